"""Reward model: the base with one output, trained on pairs (Bradley-Terry, arXiv 2203.02155).

L = -log σ(r(x, y⁺) - r(x, y⁻))
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from holdfast.core.errors import UsageError
from holdfast.core.protocols import Progress
from holdfast.models.loaded import LoadedModel
from holdfast.tuning.hf import pairs
from holdfast.tuning.methods import preferences
from holdfast.tuning.methods.reward.config import RewardConfig
from holdfast.tuning.methods.reward.scorer import load_scorer
from holdfast.tuning.methods.settings import TrainConfig
from holdfast.tuning.methods.spec import ArmSpec, Rows


class Reward:
    """Learn a score whose differences say which answer is better."""

    task = "SEQ_CLS"

    def __init__(self, arm: ArmSpec, start: LoadedModel) -> None:
        if not isinstance(arm.config, RewardConfig):
            raise UsageError(
                "method reward", got=type(arm.config).__name__, expected="RewardConfig"
            )
        if arm.protection or arm.monitor:
            raise UsageError(
                "a reward model answers nothing, so there is nothing to protect or to watch",
                next_step="protect the policy, and gate the reward model",
            )
        if arm.config.init != "default":
            raise UsageError(
                f"init: {arm.config.init} is not carried over to a reward model",
                next_step="use init: default in its settings",
            )
        self.arm, self.config, self.start = arm, arm.config, start

    @staticmethod
    def open(folder: Path, config: TrainConfig) -> LoadedModel:
        """The base with a fresh scalar head, the same for the same seed."""
        return load_scorer(folder, config)

    def rows(self, progress: Progress) -> Rows:
        """Both whole conversations of a pair as ids."""
        config = self.config
        made = preferences.prepare(
            self.start, self.arm.rows, max_length=config.max_length, unusable=config.unusable_rows
        )
        rows = [
            {
                "chosen_ids": row["prompt_ids"] + row["chosen_ids"],
                "rejected_ids": row["prompt_ids"] + row["rejected_ids"],
            }
            for row in made.rows
        ]
        return Rows(rows, made.truncated, made.dropped)

    @property
    def rows_per_update(self) -> int:
        """Micro-batch times accumulation, in pairs."""
        return self.config.batch_size * self.config.accumulation

    def trainer(self, model: Any, rows: Rows, callback: Any, common: dict[str, Any]) -> Any:
        """TRL's RewardTrainer."""
        return pairs.reward_trainer(
            model, self.start.tokenizer, rows.rows, callback=callback, arguments=common
        )
