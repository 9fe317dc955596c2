"""Figures: what a panel takes from the records, and drawings that survive odd input."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from holdfast.report.figures import draw
from holdfast.report.load import load
from holdfast.report.panels import (
    MAX_POINTS,
    Panel,
    Series,
    drift_panels,
    monitor_panels,
    rate_panels,
)


def test_panels_hold_the_records_numbers(run_folder: Path) -> None:
    run = load(run_folder)
    margin = monitor_panels(run)[0]
    assert margin.lines[0].values[0] == 6
    assert margin.alarms == {"plain": [28, 30]}
    drift = drift_panels(run)[0]
    assert (drift.floor, drift.null) == (0.06, 0.15)
    assert drift.points[0].steps == [20, 40, 60]
    assert drift.points[0].values[-1] == pytest.approx(0.72)
    harm = next(p for p in rate_panels(run) if p.title == "Harmful compliance")
    assert harm.points[0].steps == [0, 20, 40, 60]
    assert harm.base is not None
    for value, low, high in zip(
        harm.points[0].values, harm.points[0].low, harm.points[0].high, strict=True
    ):
        assert low <= value <= high


def test_long_trajectories_are_thinned_but_keep_ends_and_alarms(run_folder: Path) -> None:
    run = load(run_folder)
    training = run.arms["plain"].training
    assert training is not None
    one = training.trajectory[0]
    many = tuple(one.model_copy(update={"step": s, "alarm": s == 777}) for s in range(10_001))
    run.arms["plain"].training = training.model_copy(update={"trajectory": many})
    steps = monitor_panels(run)[0].lines[0].steps
    assert len(steps) <= MAX_POINTS + 2
    assert {0, 777, 10_000} <= set(steps)


@pytest.mark.parametrize(
    ("arm", "steps"),
    [("<b>&\"'", [0]), ("$x^2$ \\frac{", [5]), ("_hidden", [0, 10**9]), ("日本語", [0, 1])],
)
def test_any_arm_name_and_any_step_draws(arm: str, steps: list[int]) -> None:
    values = [0.5 for _ in steps]
    series = Series(arm, steps, values, [0.4 for _ in steps], [0.7 for _ in steps])
    panel = Panel(
        "A < B & C", "", "y", lines=[series], points=[series], alarms={arm: steps}, floor=0.0,
        null=0.0, share=True, base=(0.5, 0.4, 0.6),
    )  # fmt: skip
    svg = draw(panel, "k", [arm, "b", "c", "d", "e"])
    root = ElementTree.fromstring(
        str.replace(svg, "<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ')
    )
    words = "".join(root.itertext())
    assert arm[:14] in words
    assert "<b>" not in svg


def test_five_arms_share_four_looks() -> None:
    arms = list("abcde")
    lines = [Series(arm, [0, 1], [0.0, 1.0]) for arm in arms]
    svg = draw(Panel("t", "", "y", lines=lines), "k", arms)
    assert all(f"var(--arm-{place})" in svg for place in range(4))
