"""Token rows and their activations at one site, one position at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from holdfast.core.errors import DataError
from holdfast.core.protocols import Messages
from holdfast.models.batching import Batch, by_length, forward, left_pad
from holdfast.models.hooks import capture_layers, quiet_eval
from holdfast.models.loaded import LoadedModel

Text = Messages | str


def encode_rows(loaded: LoadedModel, texts: Sequence[Text]) -> list[list[int]]:
    """Token ids of conversations and plain texts, cut at the context.

    A conversation that ends with the assistant is read with its answer and end token, another one
    up to where the answer would begin.

    Raises:
        DataError: no row has two tokens.
    """
    rows = [_encode(loaded, text)[: loaded.max_context] for text in texts]
    rows = [row for row in rows if len(row) > 1]
    if not rows:
        raise DataError("there is no text to read activations from", expected="rows of text")
    return rows


def batches(
    loaded: LoadedModel, rows: Sequence[list[int]], layer: int, *, batch_size: int = 32
) -> Iterator[tuple[list[int], Batch, Tensor, Any]]:
    """Forward passes over `rows`: indices, batch, `resid_post.layer` [n, length, d], output."""
    for group in by_length([len(row) for row in rows], batch_size):
        with quiet_eval(loaded.model), capture_layers(loaded.model, [layer]) as captured:
            batch = left_pad([rows[i] for i in group], loaded.pad_token, loaded.device)
            output = forward(loaded.model, batch, keep=batch.ids.shape[1])
            stream = captured[layer]
        yield group, batch, stream, output


def read_positions(batch: Batch) -> Tensor:
    """[n, length] bool: tokens that an SAE reads, all but padding and a row's first.

    The first position takes attention that has nowhere else to go, and its norm is several times
    that of the others; SAEs are trained without it.
    """
    return (batch.mask == 1) & (batch.positions > 0)


def activations(
    loaded: LoadedModel, rows: Sequence[list[int]], layer: int, *, batch_size: int = 32
) -> Iterator[Tensor]:
    """Activations [tokens, d] float32 on the CPU, batch by batch, rows in the order given."""
    for start in range(0, len(rows), batch_size):
        part = rows[start : start + batch_size]
        for _, batch, stream, _ in batches(loaded, part, layer, batch_size=batch_size):
            yield stream[read_positions(batch)].float().cpu()


def row_means(
    loaded: LoadedModel,
    rows: Sequence[list[int]],
    layer: int,
    change: Callable[[Tensor], Tensor],
    *,
    batch_size: int = 32,
) -> Tensor:
    """Mean over a row's read tokens of `change` of their activations, [rows, …] on the CPU.

    `change` takes [tokens, d]; an SAE's `encode` gives a row's mean latents.
    """
    out: list[Tensor] = [torch.empty(0)] * len(rows)
    for group, batch, stream, _ in batches(loaded, rows, layer, batch_size=batch_size):
        chosen = read_positions(batch)
        for place, index in enumerate(group):
            out[index] = change(stream[place][chosen[place]].float()).mean(0).cpu()
    return torch.stack(out)


def _encode(loaded: LoadedModel, text: Text) -> list[int]:
    if isinstance(text, str):
        return list(loaded.tokenizer(text)["input_ids"])
    if text and text[-1]["role"] == "assistant":
        ends = sorted(loaded.end_tokens)[:1]
        return loaded.render(text[:-1]) + loaded.encode_answer(text[-1]["content"]) + ends
    return loaded.render(text)
