"""Gradients of fixed answers in the trainable parameters, and how they lie to each other."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from holdfast.core.protocols import Messages
from holdfast.models.batching import forward, left_pad
from holdfast.models.loaded import LoadedModel


def answer_gradient(
    live: LoadedModel, parameters: Sequence[nn.Parameter], conversations: Sequence[Messages],
    answers: Sequence[list[int]], against: Sequence[list[int]] = (),
) -> list[Tensor]:  # fmt: skip
    """Gradient of the mean negative log p of `answers`, one tensor per parameter.

    With `against` it is the gradient of log p(against) - log p(answers), the negative refusal
    margin where one is a compliance and the other a refusal. Each is a list of token ids, all of
    one length. Nothing is left behind: `.grad` is not touched, the model stays in its mode.
    """
    with torch.enable_grad():
        loss = _loss(live, conversations, answers)
        if against:
            loss = loss - _loss(live, conversations, against)
        found = torch.autograd.grad(loss, list(parameters), allow_unused=True)
    return [
        torch.zeros_like(p) if gradient is None else gradient
        for p, gradient in zip(parameters, found, strict=True)
    ]


def _loss(
    live: LoadedModel, conversations: Sequence[Messages], answers: Sequence[list[int]]
) -> Tensor:
    """Negative log p of whole answers, mean over conversations."""
    rows = [
        live.render(messages) + ids for messages, ids in zip(conversations, answers, strict=True)
    ]
    count = len(answers[0])
    batch = left_pad(rows, live.pad_token, live.device)
    logits = forward(live.model, batch, keep=count + 1).logits[:, :-1].float()
    wanted = batch.ids[:, -count:].flatten()
    return cross_entropy(logits.flatten(0, 1), wanted, reduction="sum") / len(rows)


def cosine(one: Sequence[Tensor], other: Sequence[Tensor]) -> float:
    """Cosine of two gradients over all their tensors; 0 where one of them is zero."""
    dot = sum(float((a * b).sum()) for a, b in zip(one, other, strict=True))
    norms = norm(one) * norm(other)
    return dot / norms if norms > 0 else 0.0


def norm(gradient: Sequence[Tensor]) -> float:
    """Euclidean norm over all tensors."""
    return math.sqrt(sum(float(tensor.pow(2).sum()) for tensor in gradient))


def random_like(gradient: Sequence[Tensor], seed: int) -> list[Tensor]:
    """A random gradient that has, in every tensor, the norm of `gradient`; same for same seed."""
    stream = torch.Generator().manual_seed(seed)
    drawn = []
    for tensor in gradient:
        noise = torch.randn(tensor.shape, generator=stream).to(tensor.device)
        drawn.append(noise * (tensor.norm() / noise.norm().clamp(min=1e-12)))
    return drawn
