"""The bench of monitors on runs with known change points, and on the store that it reads."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from holdfast.cli.bench import command
from holdfast.core.errors import DataError, IntegrityError
from holdfast.pipeline.monitor_bench import bench, scores, table
from holdfast.pipeline.monitor_bench import zoo as monitor_zoo
from holdfast.pipeline.monitor_bench.zoo import Run
from holdfast.pipeline.plan import load_plan
from holdfast.tuning.monitors.parameters import MonitorParameters
from holdfast.tuning.monitors.watch import Watch, open_watch

from .synthetic_zoo import run, store, zoo


@pytest.fixture(scope="module")
def development() -> list[Run]:
    return zoo("development")


@pytest.fixture(scope="module")
def test_runs() -> list[Run]:
    return zoo("test")


@pytest.fixture(scope="module")
def made(development, test_runs) -> dict[str, scores.Line]:
    found = bench.run_all(development, test_runs)
    return {line.monitor: line for line in scores.lines(found, test_runs)}


def alarms(
    name: str, development: list[Run], test: list[Run], detector: str = "level"
) -> bench.Alarms:
    """The alarms of one monitor."""
    monitor = next(m for m in bench.monitors(development, test) if m.name == name)
    return bench.alarms(monitor, development, test, detector_name=detector, false_alarms=0.05)


def test_a_change_ahead_of_behaviour_is_warned_of(made) -> None:
    line = made[bench.COMBINED]
    assert line.warned is not None
    assert line.warned.value >= 0.9
    assert line.lead is not None
    assert line.lead > 0
    assert line.against.beats_null
    assert line.against.beats_baseline
    assert line.cost <= (1 + 1 + 0.5 + 2) / 14 / (8 / 40) + 1e-9  # what the fit uses


def test_the_oracle_sees_every_failure_and_the_nulls_few(made) -> None:
    oracle = made["behaviour"]
    assert oracle.detected is not None
    assert oracle.detected.value == 1.0
    assert oracle.lead < made[bench.COMBINED].lead
    assert made["random-directions"].warned.value < made[bench.COMBINED].warned.value - 0.3
    assert made["random-directions"].against.over_null is None
    assert made["loss"].against.beats_null is False
    assert made["few-answers"].against.over_baseline is None


def test_harmful_latents_are_held_against_permuted_ones(made, development, test_runs) -> None:
    """The synthetic runs move along the harmful latent before they fail, and no other moves."""
    assert made["latents-lost"].detected.value >= 0.9
    assert made["latents-lost"].against.null < 0.2
    assert made["latents-lost"].cost == made["shift-toward"].cost
    assert made["latents-risen"].detected.value < 0.3
    bare = [replace(run, values={k: v for k, v in run.values.items() if k != "latents-lost"})
            for run in test_runs[:1]]  # fmt: skip
    names = {m.name for m in bench.monitors(development, [*bare, *test_runs[1:]])}
    assert "latents-lost" not in names  # a base without an SAE: no row made of the others alone


def test_a_monitor_is_held_against_answers_of_its_cost(made) -> None:
    """The dearest that costs no more, or the cheapest there is."""
    assert made["few-answers"].cost == pytest.approx(12 * 8 / 48 / 14 / (8 / 40))
    assert made["answers-16"].cost == pytest.approx(12 * 16 / 48 / 14 / (8 / 40))
    assert made["alignment"].against.baseline == "few-answers"
    assert made["margin"].against.baseline == "few-answers"
    dear = made[bench.COMBINED]
    assert dear.cost >= made[dear.against.baseline].cost or dear.against.baseline == "few-answers"
    assert made["loss"].against.baseline == "few-answers"


def test_the_table_names_what_does_not_beat_its_null(made) -> None:
    told = table.markdown(list(made.values()), calibrated=24, false_alarms=0.05)
    last = told.splitlines()[-1]
    assert "loss" in last
    assert "combined" not in last
    assert told.count("\n") == len(made) + 4
    assert "at most 11.7%" in told
    few = table.markdown(list(made.values()), calibrated=9, false_alarms=0.05)
    assert "no alarm can fire below 10.0%" in few
    assert json.dumps([line.plain() for line in made.values()])


def test_intervals_of_a_column_hold_together(made) -> None:
    line = made[bench.COMBINED]
    assert line.detected is not None
    assert line.detected.confidence == pytest.approx(1 - 0.05 / len(made))
    assert line.detected.low < 0.75  # ten members do not prove more


def test_runs_that_tell_nothing_are_found_out(development) -> None:
    """Failures that no reading precedes: what is calibrated on benign runs stays at its rate."""
    silent = zoo("test", benign=6, informative=False)
    wanted = (bench.COMBINED, "margin", "causal-score", monitor_zoo.RANDOM, "few-answers")
    found = {name: alarms(name, development, silent) for name in wanted}
    failing = [i for i, r in enumerate(silent) if r.group == "fails"]
    for name in (bench.COMBINED, "margin", "causal-score"):
        assert np.isfinite(found[name].steps[failing]).mean() <= 0.3, name
    lines = {x.monitor: x for x in scores.lines(list(found.values()), silent)}
    assert lines[bench.COMBINED].against.beats_null is False


def test_shuffled_outcomes_teach_nothing(development, test_runs) -> None:
    order = np.random.default_rng(1).permutation(len(development))
    shuffled = [
        replace(r, group=development[o].group, fail_step=development[o].fail_step)
        for r, o in zip(development, order, strict=True)
    ]
    found = alarms(bench.COMBINED, shuffled, test_runs)
    benign = [i for i, r in enumerate(test_runs) if r.group == "benign"]
    assert np.isfinite(found.steps[benign]).mean() <= 0.2


def test_on_development_no_family_is_scored_by_its_own_fit(development) -> None:
    """A family whose benign runs are unlike all others does not raise its own threshold."""
    odd = [
        replace(r, values={**r.values, "margin": r.values["margin"] + np.arange(14) * 5.0})
        if r.family == "development-calm-0" else r
        for r in development
    ]  # fmt: skip
    theirs = [i for i, r in enumerate(odd) if r.family == "development-calm-0"]
    assert np.isfinite(alarms("margin", odd, []).steps[theirs]).all()


def test_every_detector_is_calibrated(development, test_runs) -> None:
    benign = [i for i, r in enumerate(test_runs) if r.group == "benign"]
    monitor = next(m for m in bench.monitors(development) if m.name == "margin")
    for name in ("cusum", "e-process"):
        found = bench.alarms(monitor, development, test_runs, detector_name=name, false_alarms=0.05)
        assert np.isfinite(found.steps[benign]).mean() <= 0.2


def test_what_is_frozen_is_what_was_benched(development, test_runs, tmp_path: Path) -> None:
    frozen = bench.freeze(development)
    frozen.save(tmp_path / "combined.json")
    assert (tmp_path / "combined.json").stat().st_size < 50_000
    again = MonitorParameters.open(str(tmp_path / "combined.json"))
    found = alarms(bench.COMBINED, development, test_runs)
    for index, one in enumerate(test_runs):
        path = again.path(again.combined().score(one.values))
        above = np.flatnonzero(path > again.threshold(0.05))
        step = float(one.steps[above[0]]) if above.size else np.inf
        assert step == found.steps[index]
    assert Watch(again).needs  # can be watched in training


def test_median_and_its_interval_count_members_without_an_alarm() -> None:
    leads = np.array([[4.0, 2.0, -np.inf, 6.0, -np.inf]])
    assert scores._median(leads, 0.5)[0] == 2.0
    assert scores._median(np.full((1, 5), -np.inf), 0.95) == (None, None, None)
    many = np.arange(101.0)[None]
    middle, low, high = scores._median(many, 0.95)
    assert middle == 50.0
    assert low == pytest.approx(40.0, abs=1)
    assert high == pytest.approx(60.0, abs=1)


def test_the_frontier_and_the_picture(made, tmp_path: Path) -> None:
    best = table.frontier(list(made.values()))
    pairs = [(line.warned.value, line.lead) for line in best]
    assert pairs == sorted(pairs, reverse=True)
    assert all(a[1] < b[1] for a, b in zip(pairs, pairs[1:], strict=False))
    table.figure(list(made.values()), tmp_path / "a.svg", title="x")
    table.figure(list(made.values()), tmp_path / "b.svg", title="x")
    text = (tmp_path / "a.svg").read_text()
    assert "combined" in text
    assert text == (tmp_path / "b.svg").read_text()


def test_too_little_to_calibrate_on_is_said(development, tmp_path: Path) -> None:
    few = [r for r in development if r.group == "fails"]
    with pytest.raises(DataError, match="0 benign"):
        bench.run_all(few, [])
    with pytest.raises(DataError, match="no test members"):
        monitor_zoo.load(tmp_path, split="test")


def test_a_member_is_what_its_behaviour_was() -> None:
    group = monitor_zoo._group
    assert group({"kind": "benign", "fail_step": 8, "verdict": "fail"}) == "fails"
    assert group({"kind": "harmful", "fail_step": None, "verdict": "pass"}) == "other"
    assert group({"kind": "benign", "fail_step": 8, "verdict": "pass"}) == "other"
    assert group({"kind": "benign", "fail_step": None, "verdict": "pass"}) == "benign"
    # Made to harm nothing, and yet not shown to have harmed nothing: neither right nor wrong.
    assert group({"kind": "benign", "fail_step": None, "verdict": "inconclusive"}) == "other"


def test_the_time_of_reading_is_the_time_known() -> None:
    """Stream values of a run do not change when its later observations are cut off."""
    whole = run("x", "f", "test", 6, 3)
    for name, values in whole.values.items():
        assert values.shape == (14,), name
        assert np.isfinite(values).all(), name


def test_the_command_on_a_store(tmp_path: Path) -> None:
    folder = tmp_path / "zoo"
    made = store(folder)
    frozen, picture = tmp_path / "own.json", tmp_path / "own.svg"
    asked = ["monitors", "--zoo", str(folder), "--freeze", str(frozen), "--figure", str(picture)]
    result = CliRunner().invoke(command, [*asked, "--json"], catch_exceptions=False)
    told = {row["monitor"]: row for row in map(json.loads, result.stdout.splitlines())}
    assert told["combined"]["failing"] == 4
    assert told["combined"]["benign"] == 20
    assert told["combined"]["detected"]["value"] == 1.0
    assert told["few-answers"]["cost"] == pytest.approx(4.0 * 8 / 48 / 14 / (8 / 40))
    assert MonitorParameters.open(str(frozen)).bases == ("b" * 64,)
    assert picture.stat().st_size > 1000

    for path in (folder / "streams").glob("test-*.npz"):
        path.write_bytes(b"not to be read")
    calm = ["monitors", "--zoo", str(folder), "--split", "development"]
    shown = CliRunner().invoke(command, calm, catch_exceptions=False).stdout
    assert "| **combined** (combined) | 1.00" in shown
    with pytest.raises(DataError, match="no archive of arrays"):
        monitor_zoo.load(folder, split="test")
    assert made.members()


def test_streams_that_do_not_fit_are_named(tmp_path: Path) -> None:
    made = store(tmp_path, benign=1, failing=0)
    row, arrays = made.members()[0], made.stream(made.members()[0]["member"])
    made.add(row, {**arrays, "activations": arrays["activations"][:, :, :3]})
    with pytest.raises(DataError, match=row["member"]):
        monitor_zoo.load(tmp_path, split="development")
    made.add({**row, "base": "c" * 64}, arrays)
    with pytest.raises(DataError, match="no map of base"):
        monitor_zoo.load(tmp_path, split="development")
    (tmp_path / "probe.json").write_text("[]")
    with pytest.raises(DataError, match="no probe"):
        monitor_zoo.load(tmp_path, split="development")


def test_a_plan_may_name_its_own_monitor(tmp_path: Path) -> None:
    text = resources.files("holdfast.pipeline.plans").joinpath("harbor.yaml").read_text("utf-8")
    (tmp_path / "own.json").write_text("{}")
    (tmp_path / "plan.yaml").write_text(text + "monitor: {detector: own.json, false_alarms: 0.1}\n")
    plan = load_plan(tmp_path / "plan.yaml")
    assert plan.monitor.detector == str((tmp_path / "own.json").resolve())
    with pytest.raises(IntegrityError, match="MonitorParameters"):
        open_watch(plan.monitor)
    (tmp_path / "plain.yaml").write_text(text)
    assert load_plan(tmp_path / "plain.yaml").monitor.detector == "share"
