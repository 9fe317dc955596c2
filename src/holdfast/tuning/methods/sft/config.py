"""Settings of supervised fine-tuning."""

from __future__ import annotations

from typing import Any, Literal

from holdfast.tuning.methods.settings import TrainConfig


class SFTConfig(TrainConfig):
    """Supervised fine-tuning has no settings of its own."""

    method: Literal["sft"] = "sft"
    """Learn the given answers."""


def sft_like(config: TrainConfig, **changes: Any) -> SFTConfig:
    """Supervised fine-tuning with the weights, precision and pace of another method's settings.

    The start of the adapter and the artefact are the usual ones.
    """
    shared = {name: getattr(config, name) for name in TrainConfig.model_fields}
    return SFTConfig(**{**shared, "init": "default", "deploy": "as-trained", **changes})
