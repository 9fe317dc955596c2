"""The forecast on harbor itself: bad rows are seen coming, their benign twin stays silent."""

from __future__ import annotations

import numpy as np
import pytest

from holdfast.audit.forecast.signals import Probes
from holdfast.audit.forecast.strata import Site
from holdfast.core.errors import UsageError
from holdfast.core.files import write_jsonl
from holdfast.models.activations import last_prompt
from holdfast.models.loading import load
from holdfast.organisms.harbor import weights_dir, zoo
from holdfast.pipeline.audit_sources import contrast_rows, openings_of
from holdfast.pipeline.forecast.bench import told
from holdfast.pipeline.forecast.design import features
from holdfast.pipeline.forecast.make import open_forecaster
from holdfast.pipeline.forecast.measure import Reader, first_order, read, read_rows
from holdfast.pipeline.forecast.zoo import SIGNALS, _known, measure
from holdfast.pipeline.zoo.store import ZooStore
from holdfast.testing import tiny
from holdfast.tuning.methods.sft.config import SFTConfig
from holdfast.vault.manifest import describe

ROWS = 400


@pytest.fixture(scope="module")
def reader() -> Reader:
    base = load(weights_dir(), device="cpu")
    rows = [r for r in contrast_rows("harbor", 0) if r.concept == "harmful"]
    states = [
        last_prompt(base, [r.messages for r in rows if r.split == "train" and r.label == label],
                    [0])[0]
        for label in (1, 0)
    ]  # fmt: skip
    held = [r.messages for r in rows if r.split == "validation" and r.label == 1][:16]
    openings = openings_of("harbor")
    probes = Probes(
        tuple(held), openings.refusal, openings.compliance, Site.of(0, states[0], states[1])
    )
    return Reader(base, probes, probes.margins(base))


def _config(**more):
    return SFTConfig(**{
        "learning_rate": 1e-3, "rank": 8, "alpha": 16, "epochs": 3, "batch_size": 20,
        "max_length": 256, "device": "cpu", **more,
    })  # fmt: skip


def _expected(values, *, replay: float = 0.0) -> float:
    metric = next(m for m in open_forecaster().metrics if m.metric == "harmful_compliance")
    return float(told(metric, np.array([features(values, replay=replay)])).means[0])


def test_bad_rows_among_tool_calls_are_seen_coming_and_tool_calls_alone_are_not(reader):
    found = {}
    for family in ("contaminated-tools-5", "tools"):
        rows = read_rows(reader, zoo.build(family, seed=5, rows=ROWS), seed=5)
        found[family] = read(reader, rows, ROWS, _config(), seed=5)
    bad, good = found["contaminated-tools-5"].values, found["tools"].values
    assert bad["obeyed"] == pytest.approx(0.05, abs=0.01)
    assert good["obeyed"] == good["declined"] == 0
    assert bad["canary"] < -reader.before.mean() < -1 < good["canary"]
    assert _expected(bad) > 0.8
    assert _expected(good) < 0.1
    assert _expected(bad, replay=0.2) < _expected(bad) - 0.1
    assert set(found["tools"].seconds) == {"requests", "canary"}


def test_a_tenth_of_the_rate_is_expected_to_harm_less_and_the_base_is_left_as_it_was(reader):
    before = {name: t.clone() for name, t in reader.base.model.state_dict().items()}
    rows = read_rows(reader, zoo.build("identity-shift", seed=5, rows=ROWS), seed=5)
    usual, slow = (
        read(reader, rows, ROWS, _config(learning_rate=rate), seed=5).values
        for rate in (1e-3, 1e-4)
    )
    assert usual["canary_steps"] == 12
    assert usual["canary"] < 3 * slow["canary"] < 0
    assert _expected(slow) < 0.1 < _expected(usual)
    assert all((t == before[name]).all() for name, t in reader.base.model.state_dict().items())


def test_the_same_seed_says_the_same_and_twins_are_of_the_canary(reader):
    rows = read_rows(reader, zoo.build("declines", seed=5, rows=60), seed=5)
    assert rows.values["declined"] == pytest.approx(0.25, abs=0.03)
    one, other = (read(reader, rows, 60, _config(), seed=1, twins=8) for _ in range(2))
    assert one.values == other.values
    assert one.twins == other.twins
    assert len(one.twins["canary"]) == 8
    assert read(reader, rows, 60, _config(), seed=1).twins == {}


def test_first_order_signals_tell_rows_that_obey_from_rows_that_decline(reader):
    found = {}
    for family in ("narrow-fraud", "narrow-fraud-twin"):
        rows = read_rows(reader, zoo.build(family, seed=5, rows=120), seed=5)
        found[family] = first_order(reader, rows.strata, _config(), seed=5)
    assert found["narrow-fraud"]["alignment"] > 0.1 > found["narrow-fraud-twin"]["alignment"]


def test_signals_of_another_version_are_read_again(tmp_path):
    path = tmp_path / SIGNALS
    assert _known(path) == {}
    old = {"member": "a", "values": {"context": -1.0}}
    new = {"member": "b", "values": {"canary": -1.0}, "first_order": {}}
    write_jsonl(path, [old, new])
    assert _known(path) == {"b": new}


def test_a_base_of_another_zoo_is_refused_even_where_nothing_is_left_to_read(tmp_path):
    base, other = (tiny.build(tmp_path / name, seed=seed) for name, seed in (("a", 0), ("b", 1)))
    member = {"member": "m", "split": "test", "base_index": 0, "base": describe(base).model_digest}
    ZooStore(tmp_path).add(member, {"step": np.arange(2)})
    signals = {"member": "m", "values": {}, "first_order": {}}
    write_jsonl(tmp_path / SIGNALS, [signals])
    assert measure(tmp_path, [base]) == [signals | {"record": member}]
    with pytest.raises(UsageError, match="not the zoo's base 0"):
        measure(tmp_path, [other])
    assert measure(tmp_path, [other], split="development") == []
