"""Requests with answers, the anchors that scores are held against, and one pass over both."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from holdfast.core.errors import DataError, InvalidRun
from holdfast.core.protocols import Messages, Progress, no_progress
from holdfast.models.batching import by_length, forward, left_pad
from holdfast.models.hooks import Enough, capture_layers, quiet_eval, stop_after
from holdfast.models.loaded import LoadedModel

LEAST_ANCHORS = 8
"""Fewest anchors of a side: each is halved, and a direction from fewer than four is noise."""


class Pair(NamedTuple):
    """One training row: a conversation up to its last answer, and that answer."""

    messages: Messages
    """The conversation, ending with the user."""
    answer: str
    """What the row teaches to say."""


class Tokens(NamedTuple):
    """A pair as token ids, rendered once for all passes."""

    prompt: list[int]
    """The rendered prompt."""
    answer: list[int]
    """The answer behind it."""


@dataclass(frozen=True)
class Anchors:
    """Known rows on both sides of the line that a score draws."""

    unsafe: tuple[Pair, ...]
    """What must not be taught, such as harmful requests with answers that comply."""
    safe: tuple[Pair, ...]
    """What may be: harmful requests that are declined, harmless ones that are answered."""
    refusals: tuple[Pair, ...] = ()
    """Harmful requests, none of them an anchor's, each with the start of a refusal."""
    compliances: tuple[Pair, ...] = ()
    """The same requests, each with the start of an answer that complies."""
    origin: str = ""
    """Where they come from, in words, for the record."""

    def __post_init__(self) -> None:
        """Refuse sides that are too small to halve."""
        for side, pairs in (("unsafe", self.unsafe), ("safe", self.safe)):
            if len(pairs) < LEAST_ANCHORS:
                raise DataError(
                    f"the audit has too few {side} anchors",
                    got=str(len(pairs)),
                    expected=f"at least {LEAST_ANCHORS}",
                    next_step="name more anchors, or turn the model's scores off",
                )


class States(NamedTuple):
    """Residual stream of rows at some layers, float32 on the CPU."""

    last: dict[int, Tensor]
    """At the last token of the answer, [n, d_model] by layer."""
    mean: dict[int, Tensor]
    """Averaged over the tokens of the answer, [n, d_model] by layer."""


def tokenise(loaded: LoadedModel, pairs: Sequence[Pair]) -> list[Tokens]:
    """Token ids of every pair.

    Raises:
        DataError: an answer has no tokens, or a row is longer than the context; names its place.
    """
    rows, limit = [], loaded.max_context
    for index, pair in enumerate(pairs):
        row = Tokens(loaded.render(pair.messages), loaded.encode_answer(pair.answer))
        if not row.answer:
            raise DataError(f"answer {index} is empty", expected="text to score")
        length = len(row.prompt) + len(row.answer)
        if length > limit:
            raise DataError(
                f"row {index} is longer than the model's context",
                got=f"{length} tokens",
                expected=f"at most {limit}",
            )
        rows.append(row)
    return rows


def fits(loaded: LoadedModel, pair: Pair) -> Tokens | None:
    """A pair's tokens, where it has an answer and stands whole in the model's context."""
    row = Tokens(loaded.render(pair.messages), loaded.encode_answer(pair.answer))
    whole = len(row.prompt) + len(row.answer) <= loaded.max_context
    return row if row.answer and whole else None


def row_states(
    loaded: LoadedModel,
    rows: Sequence[Tokens],
    layers: Sequence[int],
    *,
    batch_size: int = 32,
    progress: Progress = no_progress,
) -> States:
    """`resid_post.L` of every row at its last token and averaged over its answer, in one pass.

    Raises:
        InvalidRun: the model's activations are not finite.
    """
    shape = (len(rows), loaded.d_model)
    last = {layer: torch.empty(shape) for layer in layers}
    mean = {layer: torch.empty(shape) for layer in layers}
    done = 0
    with (
        quiet_eval(loaded.model),
        capture_layers(loaded.model, layers) as captured,
        stop_after(loaded.model, max(layers)),
    ):
        for group in by_length([len(r.prompt) + len(r.answer) for r in rows], batch_size):
            batch = left_pad(
                [rows[i].prompt + rows[i].answer for i in group], loaded.pad_token, loaded.device
            )
            with contextlib.suppress(Enough):
                forward(loaded.model, batch, keep=1)
            counts = torch.tensor([len(rows[i].answer) for i in group], device=loaded.device)
            width = int(counts.max())
            hidden = torch.arange(width, device=loaded.device) < width - counts[:, None]
            for layer in layers:
                stream = captured[layer][:, -width:].float()
                last[layer][group] = stream[:, -1].cpu()
                # filled, not multiplied: padding may hold NaN, and NaN times zero is NaN
                pooled = stream.masked_fill(hidden[..., None], 0.0).sum(1) / counts[:, None]
                mean[layer][group] = pooled.cpu()
            done += len(group)
            progress("read the rows", done, len(rows))
    for tensor in (*last.values(), *mean.values()):
        if not bool(torch.isfinite(tensor).all()):
            raise InvalidRun(
                "the model's activations are not finite", next_step="the weights are broken"
            )
    return States(last, mean)
