"""Left-padded batches and the one forward pass that all measurements go through."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from holdfast.core.errors import DataError
from holdfast.models.architecture import unwrap


class Batch(NamedTuple):
    """Token rows and what each token sees; the last column is every row's last token."""

    ids: Tensor
    """Token ids [batch, length], int64."""
    mask: Tensor
    """1 for tokens, 0 for padding [batch, length]; or added to attention [batch, 1, to, from]."""
    positions: Tensor
    """Position ids [batch, length]: 0 at the first real token, whatever the padding."""


def left_pad(rows: Sequence[list[int]], pad: int, device: torch.device) -> Batch:
    """Pad `rows` on the left to the longest."""
    width = max(len(row) for row in rows)
    ids = torch.tensor([[pad] * (width - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    return Batch(ids.to(device), mask.to(device), positions.to(device))


def by_length(lengths: Sequence[int], size: int) -> Iterator[list[int]]:
    """Indices in groups of `size`, longest first: little padding, and memory runs out at once."""
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    for start in range(0, len(order), max(1, size)):
        yield order[start : start + max(1, size)]


def check_fits(lengths: Sequence[int], limit: int, what: str) -> None:
    """Refuse rows longer than `limit` tokens, naming the first."""
    for index, length in enumerate(lengths):
        if length > limit:
            raise DataError(
                f"prompt {index} is too long: {what}",
                got=f"{length} tokens",
                expected=f"at most {limit}",
                next_step="shorten it or use a model with a longer context",
            )


def forward(model: nn.Module, batch: Batch, *, keep: int) -> Any:
    """Forward pass whose `logits` hold the last `keep` columns [batch, keep, vocab].

    Goes to the bare model: LoRA layers sit inside it, and DDP or compile wrappers stay out of it.
    """
    bare = cast(Any, unwrap(model))
    # Of the class: trainers replace the instance's forward by one that hides its parameters.
    accepted = inspect.signature(type(bare).forward).parameters
    extra: dict[str, Any] = {}
    if "position_ids" in accepted:
        extra["position_ids"] = batch.positions
    if "logits_to_keep" in accepted:
        extra["logits_to_keep"] = keep
    output = bare(
        input_ids=batch.ids, attention_mask=batch.mask, use_cache=False, return_dict=True, **extra
    )
    output.logits = output.logits[:, -keep:]
    return output
