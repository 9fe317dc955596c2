"""Direct preference optimisation, with the start model's own log-probabilities as reference.

L = -log σ(β[(log π(y⁺) - log π₀(y⁺)) - (log π(y⁻) - log π₀(y⁻))]), arXiv 2305.18290, eq. 7.

π₀ is the model that training starts from, asked once before an adapter touches it: the same for
every tuner, and right after PiSSA or OLoRA, whose switched-off adapter is another model.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from holdfast.core.errors import UsageError
from holdfast.core.protocols import Progress
from holdfast.models.hooks import quiet_eval
from holdfast.models.loaded import LoadedModel
from holdfast.models.loading import load
from holdfast.tuning.hf import pairs
from holdfast.tuning.methods import preferences
from holdfast.tuning.methods.dpo.config import DPOConfig
from holdfast.tuning.methods.settings import TrainConfig
from holdfast.tuning.methods.spec import ArmSpec, Rows


class DPO:
    """Learn to prefer the chosen answers."""

    task = "CAUSAL_LM"

    def __init__(self, arm: ArmSpec, start: LoadedModel) -> None:
        if not isinstance(arm.config, DPOConfig):
            raise UsageError("method dpo", got=type(arm.config).__name__, expected="DPOConfig")
        self.arm, self.config, self.start = arm, arm.config, start

    @staticmethod
    def open(folder: Path, config: TrainConfig) -> LoadedModel:
        """The model that training starts from, which is the reference too."""
        return load(folder, dtype=config.dtype, device=config.device)

    def rows(self, progress: Progress) -> Rows:
        """Pairs as ids, with the reference's log-probabilities of both answers."""
        config = self.config
        made = preferences.prepare(
            self.start, self.arm.rows, max_length=config.max_length, unusable=config.unusable_rows
        )
        for first in range(0, len(made.rows), config.batch_size):
            progress("ask the reference", first, len(made.rows))
            batch = made.rows[first : first + config.batch_size]
            for side in ("chosen", "rejected"):
                asked = [(row["prompt_ids"], row[f"{side}_ids"]) for row in batch]
                sums = answer_sums(self.start, asked)
                for row, value in zip(batch, sums, strict=True):
                    row[f"ref_{side}_logps"] = value
        return made

    @property
    def rows_per_update(self) -> int:
        """Micro-batch times accumulation, in pairs."""
        return self.config.batch_size * self.config.accumulation

    def trainer(self, model: Any, rows: Rows, callback: Any, common: dict[str, Any]) -> Any:
        """TRL's DPOTrainer over finished rows."""
        return pairs.dpo_trainer(
            model, self.start.tokenizer, rows.rows, beta=self.config.beta,
            sft_weight=self.config.sft_weight, callback=callback, arguments=common,
        )  # fmt: skip


def answer_sums(loaded: LoadedModel, asked: list[tuple[list[int], list[int]]]) -> list[float]:
    """Summed log-probability of each answer after its prompt, in nats, as one batch.

    Args:
        loaded: the model.
        asked: token ids of prompt and answer.
    """
    length = max(len(prompt) + len(answer) for prompt, answer in asked)
    ids = torch.full((len(asked), length), loaded.pad_token)
    attended, answers = torch.zeros_like(ids), torch.zeros_like(ids, dtype=torch.bool)
    for row, (prompt, answer) in enumerate(asked):
        whole = prompt + answer
        ids[row, : len(whole)] = torch.tensor(whole)
        attended[row, : len(whole)] = 1
        answers[row, len(prompt) : len(whole)] = True
    ids, attended, answers = (t.to(loaded.device) for t in (ids, attended, answers))
    model: Any = loaded.model
    with quiet_eval(model):
        logits = model(input_ids=ids, attention_mask=attended, use_cache=False).logits[:, :-1]
        taken = torch.log_softmax(logits.float(), -1).gather(-1, ids[:, 1:, None])[..., 0]
    return [float(v) for v in taken.masked_fill(~answers[:, 1:], 0.0).sum(-1)]
