"""The reward model's gate and the search for a rank: from records to page."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from holdfast.core.records import Interval, RankPoint, RankSearch, RewardGate
from holdfast.report import methods
from holdfast.report.html import render
from holdfast.report.load import load


def _interval(value: float, low: float, high: float) -> Interval:
    return Interval(value=value, low=low, high=high, confidence=0.95, method="wilson")


def _gate(*faults: str) -> RewardGate:
    return RewardGate(
        pairs=40, accuracy=_interval(0.9, 0.77, 0.96), calibration_error=0.04, pools=20,
        reward_gain=1.5, judge_pool=0.5, judge_picked=0.8, judge_gain=_interval(0.3, 0.2, 0.4),
        faults=faults,
    )  # fmt: skip


def _point(rank: int, task: float, *, meets: bool) -> RankPoint:
    return RankPoint(
        rank=rank, epochs=2, task_success=task, refusal=0.75, meets=meets, frontier=True
    )


def test_a_run_without_them_shows_neither(build_run: Callable[[Path], Path], tmp_path: Path):
    assert methods.tables(load(build_run(tmp_path / "run"))) == []


def test_the_gate_of_a_reward_model_stands_with_its_faults(
    build_run: Callable[[Path], Path], tmp_path: Path
):
    folder = build_run(tmp_path / "run")
    path = folder / "arms" / "plain" / "reward_gate.json"
    _gate().save(path)
    (table,) = methods.tables(load(folder))
    assert "plain" in table.caption
    assert table.note == "Outcome: passed."
    assert [row[1] for row in table.rows] == [
        "0.900 [0.770, 0.960]", "0.040", "1.50", "0.300 [0.200, 0.400]",
    ]  # fmt: skip
    path.unlink()
    _gate("held-out accuracy <b>low</b>").save(path)
    page = render(load(folder))
    assert "held-out accuracy &lt;b&gt;low" in page
    path.write_text("{")
    assert any("reward_gate.json" in problem for problem in load(folder).problems)


def test_the_search_names_the_rank_that_it_chose_or_says_that_none_is_enough(
    build_run: Callable[[Path], Path], tmp_path: Path
):
    folder = build_run(tmp_path / "run")
    found = RankSearch(
        arm="plain", target=0.9, base_refusal=0.99, chosen=2,
        points=(_point(1, 0.5, meets=False), _point(2, 0.95, meets=True)),
    )  # fmt: skip
    (folder / "search").mkdir()
    found.save(folder / "search" / "rank.json")
    (table,) = methods.tables(load(folder))
    assert [(row[0], row[4]) for row in table.rows] == [("1", "no"), ("2", "yes")]
    assert "Chosen: rank 2" in table.note
    assert "Search for the lowest rank" in render(load(folder))
    (folder / "search" / "rank.json").unlink()
    found.model_copy(update={"chosen": None}).save(folder / "search" / "rank.json")
    (table,) = methods.tables(load(folder))
    assert "No rank meets the target of 90" in table.note
