"""A canary: a fine-tune in miniature, on samples that stand for all rows, then undone.

Plain AdamW on the adapter (or the weights) that the plan trains, with its clipping and decay; no
trainer, so that a few steps cost a few steps. The caller gives few steps and a rate so high that
they go as far as the training would: AdamW's steps are as long as its rate, whatever the gradient.
Every step draws a new sample and weighs its rows by what they stand for: where half a percent of
the rows are bad, a batch of the run would mostly miss them, and so would a canary.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from holdfast.core.errors import InvalidRun
from holdfast.core.protocols import Messages
from holdfast.models.batching import forward, left_pad
from holdfast.models.loaded import LoadedModel
from holdfast.tuning.hf import adapters
from holdfast.tuning.hf.trainer import seed_everything
from holdfast.tuning.methods.settings import TrainConfig
from holdfast.tuning.methods.sft.rows import IGNORED
from holdfast.tuning.monitors.gradient import answer_gradient, cosine, trainable


@dataclass(frozen=True)
class Batch:
    """Rows of one step, and what each stands for."""

    rows: Sequence[dict[str, list[int]]]
    """`input_ids` and `labels`, as `sft.rows.prepare` makes them."""
    weights: Sequence[float]
    """One per row."""
    apart: int = 0
    """The first so many rows' gradient is compared with that of losing refusals; that of all rows
    where it is 0."""


@dataclass(frozen=True)
class RefusalLoss:
    """Whose gradient the first step is compared with: the negative refusal margin."""

    prompts: Sequence[Messages]
    """Harmful prompts."""
    refusal: str
    """A refusal's opening."""
    compliance: str
    """An opening of compliance."""


@dataclass(frozen=True)
class Canary:
    """What a few steps did."""

    losses: tuple[float, ...]
    """Weighted loss of every step's sample, in nats per token, before the step."""
    alignment: float | None
    """Cosine of the first gradient (of the rows `apart`) with that of losing refusals, in [-1, 1]:
    positive where the step lowers the margin. None where it was not asked for."""
    seen: Any
    """What `look` returned after the last step."""


def canary(
    base: LoadedModel, batches: Sequence[Batch], config: TrainConfig, *,
    look: Callable[[LoadedModel], Any], refusal: RefusalLoss | None = None,
) -> Canary:  # fmt: skip
    """Make one step per batch, look, and put the base back as it was.

    QLoRA, PiSSA and OLoRA are tried as LoRA on the true base: what they add to it is a rounding, or
    another start of the same adapter.

    Raises:
        InvalidRun: a loss is not finite.
    """
    with _tuned(base, config) as live:
        parameters = trainable(live.model)
        optimizer = torch.optim.AdamW(
            parameters, lr=config.learning_rate, weight_decay=config.weight_decay
        )
        losses: list[float] = []
        alignment: float | None = None
        live.model.train()
        for place, batch in enumerate(batches):
            optimizer.zero_grad()
            total = 0.0
            apart = refusal is not None and place == 0
            parts = _parts(batch) if apart else [slice(0, len(batch.rows))]
            for part in parts:
                loss = _loss(live, batch, part)
                if not bool(torch.isfinite(loss)):
                    raise InvalidRun("the canary's loss is not finite", got=f"step {place + 1}")
                loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
                total += float(loss.detach())
                if refusal and apart and part is parts[0]:
                    alignment = _aligned(live, parameters, refusal)
            losses.append(total)
            nn.utils.clip_grad_norm_(parameters, config.max_grad_norm)
            optimizer.step()
        return Canary(tuple(losses), alignment, look(live))


def _aligned(live: LoadedModel, parameters: Sequence[nn.Parameter], refusal: RefusalLoss) -> float:
    made = [p.grad if p.grad is not None else torch.zeros_like(p) for p in parameters]
    no, yes = (
        [live.encode_answer(text)] * len(refusal.prompts)
        for text in (refusal.refusal, refusal.compliance)
    )
    # A step goes against its gradient, so it raises the loss of refusing where they oppose.
    return -cosine(made, answer_gradient(live, refusal.prompts, no, against=yes))


def _parts(batch: Batch) -> list[slice]:
    """The rows `apart` and the others, as far as there are any."""
    cuts = (slice(0, batch.apart), slice(batch.apart, len(batch.rows)))
    return [cut for cut in cuts if cut.stop > cut.start]


def _loss(live: LoadedModel, batch: Batch, part: slice) -> Tensor:
    """What `part` adds to the batch's loss: the weighted mean over tokens of all its rows, which is
    on average what the mean over tokens is over the whole set.
    """
    rows = batch.rows[part]
    padded = left_pad([row["input_ids"] for row in rows], live.pad_token, live.device)
    width = padded.ids.shape[1]
    logits = forward(live.model, padded, keep=width).logits[:, :-1].float()
    labels = [[IGNORED] * (width - len(row["labels"])) + row["labels"] for row in rows]
    wanted = torch.tensor(labels, device=logits.device)[:, 1:]
    each = cross_entropy(
        logits.flatten(0, 1), wanted.flatten(), ignore_index=IGNORED, reduction="none"
    ).view(wanted.shape)
    weights = torch.tensor(batch.weights[part], device=logits.device)[:, None]
    tokens = [sum(label != IGNORED for label in row["labels"]) for row in batch.rows]
    return (weights * each).sum() / sum(w * n for w, n in zip(batch.weights, tokens, strict=True))


@contextlib.contextmanager
def _tuned(base: LoadedModel, config: TrainConfig) -> Iterator[LoadedModel]:
    """The base with a fresh adapter, or with its weights open; as before afterwards."""
    rng, flags = torch.get_rng_state(), [(m, m.training) for m in base.model.modules()]
    grads = [(p, p.requires_grad) for p in base.model.parameters()]
    seed_everything(config.seed)
    try:
        if config.adapter:
            tuner = "lora" if config.tuner == "qlora" else config.tuner
            usual = config.model_copy(update={"init": "default", "tuner": tuner})
            tuned = adapters.add_adapter(base.model, usual)
            try:
                yield LoadedModel.live(tuned, base.tokenizer)
            finally:
                tuned.unload()
        else:
            before = [p.detach().clone() for p in base.model.parameters()]
            for parameter, _ in grads:
                parameter.requires_grad_(True)
            try:
                yield LoadedModel.live(base.model, base.tokenizer)
            finally:
                for (parameter, _), old in zip(grads, before, strict=True):
                    parameter.data.copy_(old)
                    parameter.grad = None
    finally:
        for parameter, flag in grads:
            parameter.requires_grad_(flag)
        for module, training in flags:
            module.training = training
        torch.set_rng_state(rng)
