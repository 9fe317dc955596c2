"""The one place where repair trains: an ordinary arm, without protection and without monitor."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from holdfast.core.protocols import Progress
from holdfast.core.records import TrainingRecord
from holdfast.tuning.methods.arm import train
from holdfast.tuning.methods.settings import TrainConfig
from holdfast.tuning.methods.sft.config import SFTConfig, sft_like
from holdfast.tuning.methods.spec import ArmSpec


def on_whole_weights(config: SFTConfig, **changes: Any) -> SFTConfig:
    """The run's settings for a short training that starts from whole weights.

    A run that tuned all weights does so again; every kind of adapter becomes a plain LoRA, which
    can be stacked on the run's own or added to its merged weights.
    """
    tuner = "full" if config.tuner == "full" else "lora"
    return sft_like(config, **{"tuner": tuner, **changes})


def short(
    name: str,
    base: Path,
    rows: Sequence[dict[str, Any]],
    out: Path,
    config: TrainConfig,
    progress: Progress,
) -> TrainingRecord:
    """Train on the model in `base`; a killed process goes on from its last checkpoint."""
    return train(ArmSpec(name=name, base=base, rows=rows, out=out, config=config),
                 progress=progress)  # fmt: skip
