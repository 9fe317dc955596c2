"""Settings of the controller."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from holdfast.core.config import Config
from holdfast.tuning.protections.replay_kl.config import ReplayKLConfig


class Budget(Config):
    """How far the model may move before the protection grows stronger."""

    margin: float = Field(0.5, gt=0)
    """Loss of the mean refusal margin, as a share of the base's own (in nats, at least 1)."""
    negative_share: float = Field(0.05, gt=0)
    """Rise of the share of harmful prompts whose margin is negative."""
    drift: float = Field(0.8, gt=0)
    """Each of the three drifts, beyond the noise floor of its site; where a map measures them.
    Wide, because a harmless style that is learnt drifts by 0.6 (docs/results/harbor.md)."""


class ControllerConfig(Config):
    """`protect: auto`: dual ascent on the constraints of `budget`, between two bounds."""

    budget: Budget = Budget()
    """The constraints."""
    start: float = Field(1.0, ge=0)
    """λ at the first step: the fixed default."""
    floor: float = Field(1.0, ge=0)
    """Least λ: the fixed default. Before anything has moved there is no violation to see, and a
    lower floor lets λ sink just when it is about to be needed."""
    ceiling: float = Field(16.0, gt=0)
    """Largest λ."""
    rate: float = Field(1.0, ge=0)
    """Step of the dual ascent: change of log λ per observation at a full violation."""
    decay: float = Field(0.1, ge=0, le=1)
    """Share of `rate` at which λ falls while the run keeps inside its budget. Falling as fast as it
    rises, λ swings about the edge of the budget, and the run may end on the wrong side of it."""
    every: int = Field(2, ge=1)
    """Steps between the observations that steer, in the first `dense` steps and near the budget."""
    dense: int = Field(24, ge=0)
    """Steps at the start in which the interval never grows: that is when behaviour moves."""
    slowest: int = Field(32, ge=1)
    """Longest interval. A function of what was observed, so that a resumed run looks at the same
    steps."""
    reserve: float = Field(0.25, ge=0, le=1)
    """The interval doubles while, should the run move twice as far again as since the last look,
    this share of the budget would still be left. How much is left alone does not tell: a harmless
    style takes half of it once, and then stays."""
    replay: ReplayKLConfig = ReplayKLConfig()
    """The protection that is steered; its `weight` is λ and is set by the controller."""

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if not self.floor <= self.start <= self.ceiling:
            raise ValueError("start must lie between floor and ceiling")
        if self.slowest < self.every:
            raise ValueError("slowest must be at least every")
        if self.floor == 0 < self.start:
            raise ValueError("floor: 0 would let a strength of zero never grow again")
        return self
