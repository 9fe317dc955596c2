"""What a method found out beside its training: the reward model's gate, the search for a rank."""

from __future__ import annotations

from holdfast.core.records import Interval, RankSearch, RewardGate
from holdfast.report.load import Run
from holdfast.report.tables import Table
from holdfast.report.text import number, one_line, percent


def tables(run: Run) -> list[Table]:
    """Those that the run has; none where it has neither."""
    found = [
        _gate(name, arm.reward_gate) for name, arm in run.arms.items() if arm.reward_gate
    ]  # fmt: skip
    return [*found, *([_ranks(run.rank_search)] if run.rank_search else [])]


def _gate(arm: str, gate: RewardGate) -> Table:
    told = "; ".join(one_line(fault) for fault in gate.faults) or "passed"
    return Table(
        f"Gate of the reward model of {one_line(arm, 40)}", ["Question", "Measured", "On"],
        [
            ["Prefers the better answer", _interval(gate.accuracy), f"{gate.pairs} held-out pairs"],
            ["Calibration error", number(gate.calibration_error, 3), f"{gate.pairs} pairs"],
            ["Reward gained by choosing", number(gate.reward_gain, 2), f"{gate.pools} prompts"],
            ["The judge's gain by that choice", _interval(gate.judge_gain),
             f"{percent(gate.judge_pool)} of all answers accepted, {percent(gate.judge_picked)} of "
             "those picked"],
        ],
        f"Outcome: {told}.",
    )  # fmt: skip


def _ranks(found: RankSearch) -> Table:
    chosen = (
        f"Chosen: rank {found.chosen}, the lowest that meets the target"
        if found.chosen is not None else "No rank meets the target"
    )  # fmt: skip
    return Table(
        f"Search for the lowest rank of {one_line(found.arm, 40)}",
        ["Rank", "Epochs", "Task success", "Harmful prompts refused", "Meets the target",
         "On the frontier"],
        [
            [str(p.rank), number(p.epochs, 2), percent(p.task_success), percent(p.refusal),
             _yes(p.meets), _yes(p.frontier)]
            for p in found.points
        ],
        f"{chosen} of {percent(found.target)}; the base refuses {percent(found.base_refusal)}. "
        "Validation prompts.",
    )  # fmt: skip


def _interval(found: Interval) -> str:
    return f"{number(found.value, 3)} [{number(found.low, 3)}, {number(found.high, 3)}]"


def _yes(value: bool) -> str:
    return "yes" if value else "no"
