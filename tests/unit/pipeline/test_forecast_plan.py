"""The forecast of a plan: what can be varied and refused, what the shipped forecaster knows."""

from __future__ import annotations

from pathlib import Path

import pytest

from holdfast.core.digest import sha256_json
from holdfast.core.errors import IntegrityError, UsageError
from holdfast.core.records import Forecaster
from holdfast.organisms.harbor import weights_dir
from holdfast.pipeline.forecast.design import FEATURES, METRICS
from holdfast.pipeline.forecast.make import (
    _combinations,
    _varied,
    open_forecaster,
    replay_share,
)
from holdfast.pipeline.forecast.measure import canary_steps, effective_steps
from holdfast.pipeline.forecast.plan import forecast_plan, parse_vary
from holdfast.pipeline.plan import Plan
from holdfast.tuning.methods.sft.config import SFTConfig
from holdfast.vault.manifest import describe


def _plan(**changes) -> Plan:
    return Plan.model_validate({
        "model": {"source": "harbor"}, "data": {"source": "harbor:identity-shift", "rows": 40},
        "map": {"contrast": "harbor", "openings": "harbor", "replay": "harbor"},
        "evaluate": {"judge": "harbor", "suites": [{"spec": "harbor-harmful"}]}, **changes,
    })  # fmt: skip


def test_the_shipped_forecaster_knows_the_shipped_base_and_all_metrics():
    found = open_forecaster()
    assert found.features == FEATURES
    assert {metric.metric for metric in found.metrics} == set(METRICS)
    assert describe(weights_dir()).model_digest in found.bases
    assert found.cases >= 60


def test_no_family_of_the_last_test_is_in_the_shipped_forecaster():
    from holdfast.organisms.harbor.zoo import families

    test = {name for name, family in families().items() if family.split == "third"}
    assert not test & set(open_forecaster().families)


def test_a_forecaster_of_another_version_or_a_broken_one_is_refused(tmp_path: Path):
    found = open_forecaster()
    other = found.model_copy(update={"features": ("poison", "luck")})
    other.save(tmp_path / "other.json")
    with pytest.raises(UsageError, match="another version"):
        open_forecaster(str(tmp_path / "other.json"))
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(IntegrityError, match="Forecaster"):
        open_forecaster(str(tmp_path / "broken.json"))
    metric = found.metrics[0].model_dump() | {"errors": ()}
    with pytest.raises(ValueError, match="one error per case"):
        Forecaster.model_validate(found.model_dump() | {"metrics": [metric]})


@pytest.mark.parametrize("text", ["rank", "rank=", "rank=a", "dropout=0.1", "=1", "rank=1,"])
def test_what_cannot_be_varied_is_refused(text):
    with pytest.raises(UsageError, match="cannot vary"):
        parse_vary([text])


def test_every_combination_is_tried_and_the_factor_of_the_adapter_stays():
    vary = parse_vary(["rank=1,8", "replay=0,0.1"])
    assert _combinations(vary) == [
        {"rank": 1.0, "replay": 0.0}, {"rank": 1.0, "replay": 0.1},
        {"rank": 8.0, "replay": 0.0}, {"rank": 8.0, "replay": 0.1},
    ]  # fmt: skip
    assert _combinations({}) == []
    config, replay = _varied(SFTConfig(rank=8, alpha=16), {"rank": 2.0, "replay": 0.1})
    assert (config.rank, config.alpha, replay) == (2, 4.0, 0.1)
    assert _varied(SFTConfig(), {"epochs": 5.0})[0].epochs == 5


def test_steps_are_counted_as_far_as_they_move_the_weights():
    assert effective_steps(SFTConfig(), 60) == 60
    assert effective_steps(SFTConfig(schedule="linear"), 60) == 30
    assert effective_steps(SFTConfig(warmup_steps=20), 60) == 50
    assert [canary_steps(steps) for steps in (1, 20, 60, 300, 6000)] == [2, 4, 12, 12, 240]


def test_the_protected_arm_is_forecast_where_it_replays():
    assert replay_share(_plan(protect="replay_kl")) == pytest.approx(0.10)
    assert replay_share(_plan(protect="auto")) == pytest.approx(0.10)
    assert replay_share(_plan(protect="weight_ema")) is None
    assert replay_share(_plan(arms=["plain"])) is None


def test_other_methods_are_refused_before_anything_is_read(tmp_path: Path):
    plan = _plan(train={"method": "dpo", "beta": 0.1}, arms=["plain"])
    with pytest.raises(UsageError, match="cannot be forecast"):
        forecast_plan(plan, tmp_path / "run", vary=None)
    assert not (tmp_path / "run").exists()


def test_a_plan_without_a_word_about_forecasts_keeps_its_digest():
    told = _plan().model_dump(mode="json")
    assert "forecast" not in told
    assert _plan(forecast=False).model_dump(mode="json")["forecast"] is False
    assert _plan(forecast=True).digest() == sha256_json(told)
