"""Which rows of the last batches pushed most against refusing, asked only when an alarm fires.

A step along -g of a row raises the loss of refusing by -(g . r) per unit of learning rate, to first
order, with r the gradient of that loss (TracIn, Pruthi et al. 2020, arXiv 2002.08484): the row's
push. One backward pass a row, at most `MOST_ROWS` of them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from holdfast.core.records import BlamedRow
from holdfast.models.loaded import LoadedModel
from holdfast.tuning.monitors.gradient import dot, row_gradient

MOST_ROWS = 64
"""Rows of the newest batches that are asked."""
NAMED = 8
"""Rows that an alarm names at most."""
LEAST = 0.05
"""A row that pushed less than this share of the worst is not named."""


class Batches:
    """Keeps the rows of the newest batches as the model in training gets them."""

    def __init__(self, rows: Sequence[Mapping[str, Any]] = ()) -> None:
        self.step = 0
        """Optimizer step that the batches under way make."""
        self._known: dict[tuple[int, ...], int] = {}
        for index, row in enumerate(rows):
            if "input_ids" in row:
                self._known.setdefault(tuple(row["input_ids"]), index)
        self._recent: deque[tuple[int, Tensor, Tensor]] = deque(maxlen=MOST_ROWS)
        self._handle: Any = None

    def attach(self, model: nn.Module) -> None:
        """Begin to watch what the model is trained on."""
        self.detach()
        self._handle = model.register_forward_pre_hook(self._seen, with_kwargs=True)

    def detach(self) -> None:
        """Stop watching."""
        if self._handle is not None:
            self._handle.remove()
            self._handle = None

    def blamed(self, live: LoadedModel, refusing: Sequence[Tensor]) -> tuple[BlamedRow, ...]:
        """The rows that pushed most against refusing, the worst first; `refusing` is its gradient.

        Rows that hardly pushed, or the other way, are not named.
        """
        scored = []
        for step, ids, labels in self._recent:
            found = row_gradient(live, ids.tolist(), labels.tolist())
            place = self._known.get(tuple(ids.tolist()), -1)
            scored.append(BlamedRow(step=step, row=place, push=-dot(found, refusing)))
        worst = sorted((row for row in scored if row.push > 0), key=lambda row: -row.push)
        return tuple(row for row in worst[:NAMED] if row.push >= LEAST * worst[0].push)

    def _seen(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        ids, labels = kwargs.get("input_ids"), kwargs.get("labels")
        if not module.training or ids is None or labels is None:
            return
        mask = kwargs.get("attention_mask")
        for index in range(len(ids)):
            keep = mask[index].bool() if mask is not None else slice(None)
            row, wanted = ids[index][keep].detach().cpu(), labels[index][keep].detach().cpu()
            if len(row) > 1 and bool((wanted[1:] != -100).any()):
                self._recent.append((self.step, row, wanted))
