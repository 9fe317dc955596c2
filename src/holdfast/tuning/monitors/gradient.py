"""Gradients in the trainable parameters: of fixed answers, and of single training rows."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from holdfast.core.protocols import Messages
from holdfast.models.batching import forward, left_pad
from holdfast.models.loaded import LoadedModel
from holdfast.tuning.protections.replay_kl.protection import evaluating

Gradient = list[Tensor]
"""One tensor per trainable parameter."""


def trainable(model: nn.Module) -> list[nn.Parameter]:
    """The parameters that are trained, in the model's order."""
    return [p for p in model.parameters() if p.requires_grad]


def answer_gradient(
    live: LoadedModel, conversations: Sequence[Messages], answers: Sequence[list[int]]
) -> Gradient:
    """Gradient of the mean negative log p of `answers`, token ids of one length.

    Dropout is off, nothing is drawn, and no `.grad` is touched: the run goes on as if not asked.
    """
    rows = [
        live.render(messages) + ids for messages, ids in zip(conversations, answers, strict=True)
    ]
    count = len(answers[0])
    batch = left_pad(rows, live.pad_token, live.device)
    with torch.enable_grad(), evaluating(live.model):
        logits = forward(live.model, batch, keep=count + 1).logits[:, :-1].float()
        loss = cross_entropy(logits.flatten(0, 1), batch.ids[:, -count:].flatten())
        return _of(loss, live.model)


def row_gradient(live: LoadedModel, ids: list[int], labels: list[int]) -> Gradient:
    """Gradient of the mean loss of one training row; `labels` are -100 where no loss is."""
    batch = left_pad([ids], live.pad_token, live.device)
    wanted = torch.tensor(labels[1:], device=live.device)
    with torch.enable_grad(), evaluating(live.model):
        logits = forward(live.model, batch, keep=len(ids)).logits[0, :-1].float()
        return _of(cross_entropy(logits, wanted, ignore_index=-100), live.model)


def dot(one: Sequence[Tensor], other: Sequence[Tensor]) -> float:
    """Inner product over all tensors."""
    return sum(float((a.float() * b.float()).sum()) for a, b in zip(one, other, strict=True))


def cosine(one: Sequence[Tensor], other: Sequence[Tensor]) -> float:
    """Cosine over all tensors together; 0 where one of them is zero."""
    size = (dot(one, one) * dot(other, other)) ** 0.5
    return dot(one, other) / size if size > 0 else 0.0


def _of(loss: Tensor, model: nn.Module) -> Gradient:
    parameters = trainable(model)
    found = torch.autograd.grad(loss, parameters, allow_unused=True)
    return [
        torch.zeros_like(p) if gradient is None else gradient
        for p, gradient in zip(parameters, found, strict=True)
    ]
