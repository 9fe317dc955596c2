"""Settings of a reward model and of its gate."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from holdfast.tuning.methods.settings import TrainConfig


class RewardConfig(TrainConfig):
    """A Bradley-Terry reward model: the base with a scalar head."""

    method: Literal["reward"] = "reward"
    """Learn which of two answers is better."""
    epochs: int = Field(2, ge=1)
    """Passes over the pairs."""
    held_out: float = Field(0.2, gt=0, lt=1)
    """Share of the pairs that the model never sees and the gate asks; split by prompt."""
    min_accuracy: float = Field(0.7, gt=0.5, lt=1)
    """Lower end of the 95 % interval of held-out accuracy that passes."""
    max_calibration_error: float = Field(0.15, gt=0, lt=1)
    """Expected calibration error of its stated preferences that passes."""
    candidates: int = Field(4, ge=1)
    """Answers sampled per held-out prompt for the reward-hacking check."""
