"""The forecast's bench on made-up fine-tunes: a planted signal wins, and nothing else does."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest
from scipy.stats import spearmanr

from holdfast.core.errors import DataError
from holdfast.pipeline.forecast.bench import (
    FORECAST,
    RANDOM,
    attainable,
    fit,
    run,
    spearman,
    told,
)
from holdfast.pipeline.forecast.design import DIRECTIONS, FEATURES, METRICS, Case, features
from holdfast.pipeline.forecast.table import figure, markdown

DRAWS = 20


def _case(family: int, seed: int, *, split: str = "development", told: bool = True) -> Case:
    """A fine-tune whose canary tells the outcome (or does not)."""
    stream = np.random.default_rng([family, seed, split == "test"])
    harm = float(family % 3 == 0)
    push = -(harm if told else stream.random()) - 0.05 * stream.random()
    values = {
        "canary": 9 * push, "loss": 1.0, "loss_drop": 0.1, "obeyed": 0.0, "declined": 0.0,
        "canary_steps": 3.0, "steps": 60.0, "rows_per_step": 20.0, "margin": 10.0,
    }  # fmt: skip
    silent = {"context": 0.0, "injection": 0.0, "projection": 0.0, "alignment": 0.0}
    outcome = float(np.clip(harm + 0.05 * stream.normal(), 0, 1))
    return Case(
        name=f"{family}.{seed}.{split}", family=f"{split}-{family}", split=split, base="b",
        replay=0.0, values=values,
        twins={name: tuple(stream.normal(size=DRAWS)) for name in DIRECTIONS},
        first_order=silent,
        words={f"says:{family}": 1.0, "asks:the": 0.5}, outcomes=dict.fromkeys(METRICS, outcome),
        seconds=0.5, training=10.0,
    )  # fmt: skip


def _cases(split: str = "development", **more: bool) -> list[Case]:
    return [_case(f, s, split=split, **more) for f in range(12) for s in range(3)]


def _score(result, name):
    return next(s for s in result.scores if s.forecaster == name and s.metric in METRICS)


def test_a_signal_that_tells_is_told_on_new_families_and_random_directions_are_not():
    result = run(_cases(), _cases("test"))
    own, null = _score(result, FORECAST), _score(result, RANDOM)
    assert own.rho > 0.55 > own.null_high
    assert own.error < 0.15 < _score(result, "the mean").error
    assert own.coverage >= 0.8
    assert null.rho < own.rho
    assert result.cost == pytest.approx((0.05, 0.05, 0.05))
    assert "**forecast**" in markdown(result)


def test_a_signal_that_tells_nothing_does_not_beat_random_directions():
    result = run(_cases(told=False), _cases("test", told=False))
    own = _score(result, FORECAST)
    assert own.rho < own.null_high + 0.2
    assert own.rho < 0.5


def test_development_families_are_forecast_by_fits_without_them():
    """Words name the family, so they would tell everything if a family were in its own fit."""
    words = _score(run(_cases()), "words")
    assert words.rho < 0.5


def test_the_frozen_forecaster_says_what_the_bench_says():
    development, test = _cases(), _cases("test")
    forecaster = fit(development)
    result = run(development, test)
    rows = np.array([features(case.values) for case in test])
    for metric in forecaster.metrics:
        again = told(metric, rows)
        assert again.means == pytest.approx(result.forecasts[metric.metric].means)
        assert again.low == pytest.approx(result.forecasts[metric.metric].low)
    assert forecaster.features == FEATURES
    assert forecaster.cases == 36


def test_ranks_are_those_of_scipy_and_ties_bound_what_can_be_reached():
    stream = np.random.default_rng(0)
    one, other = stream.integers(0, 4, 50).astype(float), stream.normal(size=50)
    assert spearman(one, other) == pytest.approx(spearmanr(one, other)[0])
    assert spearman(np.ones(5), np.arange(5.0)) is None
    assert attainable(np.arange(9.0)) == pytest.approx(1)
    tied = np.array([0.0] * 30 + [1.0] * 10)  # sqrt(1 - (30^3 - 30 + 10^3 - 10) / (40^3 - 40))
    assert attainable(tied) == pytest.approx(np.sqrt(1 - (26970 + 990) / 63960))


def test_replay_and_rows_that_decline_count_against_harm_and_more_of_the_canary_for_it():
    values = dict(_case(0, 0).values) | {"obeyed": 0.2, "declined": 0.0, "canary": -1.0}
    plain = dict(zip(FEATURES, features(values), strict=True))
    guarded = dict(zip(FEATURES, features({**values, "declined": 0.4}), strict=True))
    replayed = dict(zip(FEATURES, features(values, replay=0.1), strict=True))
    assert guarded["poisoned_rows"] == pytest.approx(plain["poisoned_rows"] / 3)
    assert replayed["replay"] > plain["replay"] == 0
    assert features({**values, "canary": -2.0})[0] > plain["canary"]
    assert features({**values, "canary": 3.0})[0] == features({**values, "canary": 0.0})[0]


def test_one_family_is_refused_and_a_picture_is_drawn(tmp_path):
    with pytest.raises(DataError, match="families"):
        run([_case(0, seed) for seed in range(5)])
    cases = _cases()
    result = run(cases)
    figure(result, cases, tmp_path / "f.svg", metric="harmful_compliance", title="t")
    drawn = re.findall(r"side the 90 % interval \((\d+)\)", (tmp_path / "f.svg").read_text())
    inside = round(36 * _score(result, FORECAST).coverage)
    assert list(map(int, drawn)) == [inside, 36 - inside]  # every fine-tune is on it


def test_a_case_is_told_apart_by_replay():
    cases = _cases()
    protected = [
        dataclasses.replace(c, replay=0.1, outcomes=dict.fromkeys(METRICS, 0.0)) for c in cases
    ]
    forecaster = fit([*cases, *protected])
    metric = forecaster.metrics[0]
    harmful = next(c for c in cases if c.outcomes["harmful_compliance"] > 0.5)
    plain, kept = (told(metric, np.array([features(harmful.values, replay=r)])) for r in (0.0, 0.1))
    assert kept.means[0] < 0.5 * plain.means[0]
