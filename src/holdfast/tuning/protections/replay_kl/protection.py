"""Replay-KL: keep the base's own answers to a few harmful prompts while the task is learnt.

    L = CE(task) + λ · KL(p_base ‖ p_θ) on the answer positions of a small safety buffer

Dark Experience Replay in its KL form (arXiv 2512.10150 for the evidence; `research/defenses.md`
3.2 and 7.2). The buffer holds prompts and the base model's own greedy answers; nothing harmful is
ever written by anyone, and no second model stays in memory. It protects what the buffer and its
like cover; it stops no one who wants to remove it.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from holdfast.core.digest import sha256_json
from holdfast.core.errors import DataError, InvalidRun
from holdfast.core.protocols import Messages
from holdfast.core.seeds import derive
from holdfast.models.hooks import evaluating
from holdfast.models.loaded import LoadedModel
from holdfast.tuning.protections.base import Materials, Protection, TokenRow
from holdfast.tuning.protections.replay_kl.config import LARGEST, REPEATS, ReplayKLConfig
from holdfast.tuning.protections.replay_kl.distribution import Cached, cache, replay_loss


@dataclass(frozen=True)
class _Batch:
    """A fixed batch of the buffer. Its padding never changes, so step 0 is exactly zero."""

    input_ids: Tensor
    """[rows, length], right-padded."""
    attention_mask: Tensor
    """[rows, length]."""
    rows: Tensor
    """[n] row of each guarded position."""
    columns: Tensor
    """[n] column whose logits are guarded."""
    base: Cached
    """The base's distributions at the n positions."""


class ReplayKL(Protection):
    """The default protection; see the module's text."""

    name = "replay_kl"
    Config = ReplayKLConfig
    OFF: ClassVar[dict[str, Any]] = {"weight": 0.0}
    order = 10
    adds_gradient = True

    def __init__(self, config: ReplayKLConfig, prompts: Sequence[Messages]) -> None:
        if not prompts:
            raise DataError("the safety buffer is empty", next_step="give it harmful prompts")
        self.config = config
        self.prompts = list(prompts[: max(config.buffer, LARGEST)])
        self.weight = config.weight
        """λ; a controller may turn it during the run."""
        self._batches: list[_Batch] = []

    @classmethod
    def build(cls, config: ReplayKLConfig, materials: Materials) -> Self:
        """From a plan's settings and safety buffer."""
        return cls(config, materials.prompts)

    @property
    def prepared(self) -> bool:
        """Whether the base's answers and distributions are cached."""
        return bool(self._batches)

    def settings(self) -> dict[str, Any]:
        """Configuration and digest of the buffer's prompts."""
        return {**self.config.model_dump(), "prompts": sha256_json(self.prompts)}

    def prepare(
        self, base: LoadedModel, *, batch_rows: int, rows: Sequence[TokenRow] = (), steps: int = 0
    ) -> None:
        """Let `base` answer the buffer greedily, and cache its distributions there."""
        config = self.config
        replayed = math.ceil(config.share * batch_rows * steps / REPEATS)
        prompts = self.prompts[: max(config.buffer, min(replayed, LARGEST))]
        answers = base.generate(prompts, max_new_tokens=config.answer_tokens, batch_size=32)
        pairs = [
            (base.render(prompt), base.encode_answer(answer))
            for prompt, answer in zip(prompts, answers, strict=True)
        ]
        # Rows of like length share a batch: the least padding, and a fixed composition.
        pairs.sort(key=lambda pair: len(pair[0]) + len(pair[1]))
        size = max(1, round(config.share * batch_rows * config.every))
        with torch.no_grad(), evaluating(base.model):
            self._batches = [
                self._batch(base, pairs[i : i + size]) for i in range(0, len(pairs), size)
            ]

    def due(self, step: int) -> bool:
        """Every `every`-th update, the first included."""
        return step % self.config.every == 0

    def act(self, model: Any, step: int) -> float:
        """Add λ times the gradient of the KL on one batch; return the KL in nats."""
        with torch.enable_grad(), evaluating(model):
            loss, scalar = self.divergence(model, step)
            torch.autograd.backward(self.weight * scalar)
        return loss

    def divergence(self, model: Any, step: int) -> tuple[float, Tensor]:
        """The KL in nats on the batch of `step`, and a scalar with the KL's gradient.

        Call it in eval mode (no dropout): it then draws nothing from the run's random streams.

        Raises:
            InvalidRun: it is no number.
        """
        batch = self._batch_of(step)
        loss, scalar = replay_loss(_guarded_logits(model, batch), batch.base)
        if not torch.isfinite(scalar):
            raise InvalidRun(
                "the replay loss is not a number",
                next_step="lower the learning rate, or resume from the last checkpoint",
            )
        return loss, scalar

    def _batch_of(self, step: int) -> _Batch:
        """Each cycle goes through the buffer once, in a new order: a function of the step alone."""
        cycle, place = divmod(step // self.config.every, len(self._batches))
        order = list(range(len(self._batches)))
        random.Random(derive(self.config.seed, "replay", cycle)).shuffle(order)
        return self._batches[order[place]]

    def _batch(self, base: LoadedModel, pairs: list[tuple[list[int], list[int]]]) -> _Batch:
        length = max(len(prompt) + len(answer) for prompt, answer in pairs)
        ids = torch.full((len(pairs), length), base.pad_token)
        mask = torch.zeros_like(ids)
        rows: list[int] = []
        columns: list[int] = []
        for row, (prompt, answer) in enumerate(pairs):
            whole = prompt + answer
            ids[row, : len(whole)] = torch.tensor(whole)
            mask[row, : len(whole)] = 1
            # From the last prompt token, which predicts the first answer token, to the last
            # answer token, which predicts the end.
            columns += range(len(prompt) - 1, len(whole))
            rows += [row] * (len(answer) + 1)
        device = base.device
        empty = Cached(torch.empty(0), None, None)
        batch = _Batch(
            ids.to(device), mask.to(device), torch.tensor(rows, device=device),
            torch.tensor(columns, device=device), empty,
        )  # fmt: skip
        logits = _guarded_logits(base.model, batch)
        cached = cache(logits, exact_vocab=self.config.exact_vocab, top_k=self.config.top_k)
        return _Batch(batch.input_ids, batch.attention_mask, batch.rows, batch.columns, cached)


def _guarded_logits(model: Any, batch: _Batch) -> Tensor:
    """[n, vocab] logits at the guarded positions."""
    output = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask, use_cache=False)
    logits: Tensor = output.logits[batch.rows, batch.columns]
    return logits
