"""Settings of direct preference optimisation."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from holdfast.tuning.methods.settings import TrainConfig


class DPOConfig(TrainConfig):
    """DPO, arXiv 2305.18290."""

    method: Literal["dpo"] = "dpo"
    """Prefer the chosen answer over the rejected one."""
    beta: float = Field(0.1, gt=0)
    """Strength of the pull towards the start model."""
    sft_weight: float = Field(0.0, ge=0)
    """Weight of the chosen answers' cross-entropy beside the preference loss: keeps their own
    likelihood from falling (arXiv 2404.19733)."""
