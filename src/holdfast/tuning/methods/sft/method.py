"""Supervised fine-tuning: full, LoRA, DoRA and QLoRA alike; `tuner` is the only difference."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from holdfast.core.protocols import Progress
from holdfast.models.loaded import LoadedModel
from holdfast.models.loading import load
from holdfast.tuning.hf import trainer
from holdfast.tuning.methods.settings import TrainConfig
from holdfast.tuning.methods.sft import rows as sft_rows
from holdfast.tuning.methods.spec import ArmSpec, Rows


class SFT:
    """Learn the answers that the rows give."""

    task = "CAUSAL_LM"

    def __init__(self, arm: ArmSpec, start: LoadedModel) -> None:
        self.arm, self.start = arm, start

    @staticmethod
    def open(folder: Path, config: TrainConfig) -> LoadedModel:
        """The model that training starts from."""
        return load(folder, dtype=config.dtype, device=config.device)

    def rows(self, progress: Progress) -> Rows:
        """Conversations as ids and labels."""
        config = self.arm.config
        return sft_rows.prepare(
            self.start, self.arm.rows, max_length=config.max_length, unusable=config.unusable_rows
        )

    @property
    def rows_per_update(self) -> int:
        """Micro-batch times accumulation."""
        return self.arm.config.batch_size * self.arm.config.accumulation

    def trainer(self, model: Any, rows: Rows, callback: Any, common: dict[str, Any]) -> Any:
        """TRL's SFTTrainer over finished rows."""
        return trainer.sft_trainer(
            model, self.start.tokenizer, rows.rows, callback=callback, arguments=common
        )
