"""What methods find out beside training: whether a reward may be used, which rank is enough."""

from __future__ import annotations

from holdfast.core.records.base import Part, Record
from holdfast.core.records.verdict import Interval


class RewardGate(Record):
    """What the gate of one reward model found."""

    pairs: int
    """Held-out pairs asked."""
    accuracy: Interval
    """Share of pairs whose better answer has the higher reward; 95 % Wilson interval."""
    calibration_error: float
    """Expected calibration error, in [0, 1]."""
    pools: int
    """Prompts of the hacking check."""
    reward_gain: float
    """Reward of the picked answer above its pool's mean, mean over prompts."""
    judge_pool: float
    """Share of all answers in the pools that the judge accepts."""
    judge_picked: float
    """Share of picked answers that it accepts."""
    judge_gain: Interval
    """Picked minus pool, with its 95 % bootstrap interval over prompts."""
    faults: tuple[str, ...]
    """What failed; empty means passed."""

    @property
    def passed(self) -> bool:
        """Whether the reward model may be used."""
        return not self.faults


class RankPoint(Part):
    """One rank after some epochs, on validation prompts."""

    rank: int
    """Rank of the adapter."""
    epochs: float
    """Epochs trained so far."""
    task_success: float
    """Share of validation rows done."""
    refusal: float
    """Share of harmful validation prompts refused."""
    meets: bool
    """Whether the target is met."""
    frontier: bool
    """Whether no other point is at least as good in both and better in one."""


class RankSearch(Record):
    """What a search found."""

    arm: str
    """Arm whose recipe was searched."""
    target: float
    """Task success looked for."""
    base_refusal: float
    """Refusals of the base on the same prompts."""
    chosen: int | None
    """The lowest rank that meets the target; None where none does."""
    points: tuple[RankPoint, ...]
    """Every reading."""
