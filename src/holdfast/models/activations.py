"""Residual-stream activations at the two positions that Holdfast measures."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import torch
from torch import Tensor

from holdfast.core.errors import DataError
from holdfast.core.protocols import Messages
from holdfast.models.batching import by_length, check_fits, forward, left_pad
from holdfast.models.hooks import Enough, capture_layers, quiet_eval, stop_after
from holdfast.models.loaded import LoadedModel


def last_prompt(
    loaded: LoadedModel,
    conversations: Sequence[Messages],
    layers: Sequence[int],
    *,
    batch_size: int = 32,
) -> dict[int, Tensor]:
    """`resid_post.L` at the last token of every rendered prompt, [n, d_model] float32 on the CPU.

    Raises:
        DataError: a prompt is longer than the context.
    """
    rows = [loaded.render(messages) for messages in conversations]
    return last_token(loaded, rows, layers, batch_size=batch_size)


def last_token(
    loaded: LoadedModel, rows: Sequence[list[int]], layers: Sequence[int], *, batch_size: int = 32
) -> dict[int, Tensor]:
    """As `last_prompt`, of rows of token ids that are rendered already.

    Raises:
        DataError: a row is longer than the context.
    """
    return _pooled(loaded, rows, [1] * len(rows), layers, batch_size)


def response_mean(
    loaded: LoadedModel,
    conversations: Sequence[Messages],
    responses: Sequence[str],
    layers: Sequence[int],
    *,
    batch_size: int = 32,
) -> dict[int, Tensor]:
    """`resid_post.L` averaged over the tokens of every response, [n, d_model] float32 on the CPU.

    Raises:
        DataError: a response is empty, or prompt and response are longer than the context.
    """
    tails = [loaded.encode_answer(text) for text in responses]
    for index, tail in enumerate(tails):
        if not tail:
            raise DataError(f"response {index} is empty", expected="text to average over")
    rows = [
        loaded.render(messages) + tail for messages, tail in zip(conversations, tails, strict=True)
    ]
    return _pooled(loaded, rows, [len(tail) for tail in tails], layers, batch_size)


def _pooled(
    loaded: LoadedModel,
    rows: Sequence[list[int]],
    counts: list[int],
    layers: Sequence[int],
    batch_size: int,
) -> dict[int, Tensor]:
    """Mean over the last `counts[i]` tokens of row i; left padding puts them at the right edge."""
    lengths = [len(row) for row in rows]
    check_fits(lengths, loaded.max_context, "the whole context")
    out = {layer: torch.empty(len(rows), loaded.d_model) for layer in layers}
    with (
        quiet_eval(loaded.model),
        capture_layers(loaded.model, layers) as captured,
        stop_after(loaded.model, max(layers)),
    ):
        for group in by_length(lengths, batch_size):
            batch = left_pad([rows[i] for i in group], loaded.pad_token, loaded.device)
            with contextlib.suppress(Enough):
                forward(loaded.model, batch, keep=1)
            tail = torch.tensor([counts[i] for i in group], device=loaded.device)
            width = int(tail.max())
            chosen = torch.arange(width, device=loaded.device) >= width - tail[:, None]
            for layer in layers:
                # filled, not multiplied: padding may hold NaN, and NaN times zero is NaN
                stream = captured[layer][:, -width:].double()
                stream = stream.masked_fill(~chosen[..., None], 0.0)
                out[layer][group] = (stream.sum(1) / tail[:, None]).float().cpu()
    return out
