"""A reward model in use: conversations and answers in, scores out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from holdfast.core.protocols import Messages
from holdfast.models.architecture import with_gradients
from holdfast.models.hooks import quiet_eval
from holdfast.models.loaded import LoadedModel
from holdfast.models.versions import precision
from holdfast.tuning.hf.adapters import attach
from holdfast.tuning.methods.settings import TrainConfig
from holdfast.tuning.methods.turns import turn_end
from holdfast.vault.manifest import describe


def load_scorer(folder: Path, config: TrainConfig, adapter: Path | None = None) -> LoadedModel:
    """The model in `folder` with one output per conversation, or a trained one.

    The tokenizer is the causal model's, so both render a prompt alike.

    Args:
        folder: base, or full weights of a trained reward model.
        config: precision, device, and the seed of a fresh head.
        adapter: adapter of a trained reward model; it brings its own head.
    """
    ref = describe(folder, adapter)
    tokenizer: Any = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
    found = torch.accelerator.current_accelerator(check_available=True)
    device = found if found is not None and config.device == "auto" else torch.device("cpu")
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model: Any = AutoModelForSequenceClassification.from_pretrained(
            str(folder), num_labels=1, local_files_only=True, use_safetensors=True,
            pad_token_id=tokenizer.pad_token_id, **precision(getattr(torch, config.dtype)),
        )  # fmt: skip
        with_gradients(model)
    if adapter is not None:
        model = attach(model, adapter)
    return LoadedModel(model.to(device).eval(), tokenizer, ref.model_digest, ref, ref.name)


class Scorer:
    """Scores answers with a trained reward model."""

    def __init__(self, loaded: LoadedModel, *, batch_size: int = 64) -> None:
        self.loaded, self.batch_size = loaded, batch_size
        self._end: list[int] | None = None

    def score(self, prompts: Sequence[Messages], answers: Sequence[str]) -> list[float]:
        """The reward of each answer; only differences for one prompt mean something."""
        rows = [self._ids(p, a) for p, a in zip(prompts, answers, strict=True)]
        # Rows of like length share a batch.
        order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
        found = [0.0] * len(rows)
        for first in range(0, len(rows), self.batch_size):
            some = order[first : first + self.batch_size]
            for place, value in zip(some, self._batch([rows[i] for i in some]), strict=True):
                found[place] = value
        return found

    def _ids(self, prompt: Messages, answer: str) -> list[int]:
        if self._end is None:
            turn = {"role": "assistant", "content": "."}
            self._end = turn_end(self.loaded, [*prompt, turn])
        return self.loaded.render(prompt) + self.loaded.encode_answer(answer) + self._end

    def _batch(self, rows: list[list[int]]) -> list[float]:
        length = max(map(len, rows))
        ids = torch.full((len(rows), length), self.loaded.pad_token)
        mask = torch.zeros_like(ids)
        for index, row in enumerate(rows):
            ids[index, : len(row)] = torch.tensor(row)
            mask[index, : len(row)] = 1
        model: Any = self.loaded.model
        device = self.loaded.device
        with quiet_eval(model):
            logits = model(input_ids=ids.to(device), attention_mask=mask.to(device)).logits
        return [float(value) for value in logits[:, 0]]
