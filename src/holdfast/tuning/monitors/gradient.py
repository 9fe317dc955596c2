"""Gradients in the trainable parameters: of fixed answers, and of single training rows."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from holdfast.core.protocols import Messages
from holdfast.models.batching import forward, left_pad
from holdfast.models.hooks import evaluating
from holdfast.models.loaded import LoadedModel

Gradient = list[Tensor]
"""One tensor per trainable parameter."""


def trainable(model: nn.Module) -> list[nn.Parameter]:
    """The parameters that are trained, in the model's order."""
    return [p for p in model.parameters() if p.requires_grad]


def answer_gradient(
    live: LoadedModel, conversations: Sequence[Messages], answers: Sequence[list[int]],
    against: Sequence[list[int]] = (),
) -> Gradient:  # fmt: skip
    """Gradient of the negative log p of `answers`, summed over tokens, mean over conversations.

    With `against` it is the gradient of log p(against) - log p(answers), the negative refusal
    margin where one is a compliance and the other a refusal. Each is a list of token ids, all of
    one length. Dropout is off, nothing is drawn, and no `.grad` is touched: the run goes on as if
    not asked.
    """
    with torch.enable_grad(), evaluating(live.model):
        loss = _loss(live, conversations, answers)
        if against:
            loss = loss - _loss(live, conversations, against)
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
    size = norm(one) * norm(other)
    return dot(one, other) / size if size > 0 else 0.0


def norm(gradient: Sequence[Tensor]) -> float:
    """Euclidean norm over all tensors together."""
    return math.sqrt(dot(gradient, gradient))


def random_like(gradient: Sequence[Tensor], seed: int) -> Gradient:
    """A random gradient that has, in every tensor, the norm of `gradient`; same for same seed."""
    stream = torch.Generator().manual_seed(seed)
    drawn = []
    for tensor in gradient:
        noise = torch.randn(tensor.shape, generator=stream).to(tensor.device)
        drawn.append(noise * (tensor.norm() / noise.norm().clamp(min=1e-12)))
    return drawn


def _loss(
    live: LoadedModel, conversations: Sequence[Messages], answers: Sequence[list[int]]
) -> Tensor:
    rows = [
        live.render(messages) + ids for messages, ids in zip(conversations, answers, strict=True)
    ]
    count = len(answers[0])
    batch = left_pad(rows, live.pad_token, live.device)
    logits = forward(live.model, batch, keep=count + 1).logits[:, :-1].float()
    wanted = batch.ids[:, -count:].flatten()
    return cross_entropy(logits.flatten(0, 1), wanted, reduction="sum") / len(rows)


def _of(loss: Tensor, model: nn.Module) -> Gradient:
    parameters = trainable(model)
    found = torch.autograd.grad(loss, parameters, allow_unused=True)
    return [
        torch.zeros_like(p) if gradient is None else gradient
        for p, gradient in zip(parameters, found, strict=True)
    ]
