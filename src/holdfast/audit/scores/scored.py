"""A score with its null, its threshold, and how well it tells the anchors apart."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from holdfast.tensors.separation import auroc

QUANTILE = 0.99
"""Quantile of the null that a row must exceed."""
USABLE = 0.8
"""AUROC on anchors held out of the fit below which a score says nothing about this model."""


@dataclass(frozen=True)
class Scored:
    """One score of every row, higher is nearer to harm."""

    name: str
    """`representation`, `projection`, `gradient` or `spillover`."""
    values: Tensor
    """[n] float64."""
    safe: float
    """Mean score of safe anchors that the score was not fitted on."""
    unsafe: float
    """Mean score of unsafe anchors that the score was not fitted on."""
    anchor_auroc: float
    """How well it tells those anchors apart."""
    null_quantile: float
    """`QUANTILE` of the same score of the same rows under its null, pooled over draws."""
    null: str
    """What the null is."""
    layer: int | None = None
    """Layer it was read at."""

    @property
    def usable(self) -> bool:
        """Whether it tells unsafe from safe anchors on this model at all."""
        return self.anchor_auroc >= USABLE and self.unsafe > self.safe

    @property
    def threshold(self) -> float:
        """The higher of the null's quantile and the middle between safe and unsafe anchors."""
        return max(self.null_quantile, (self.safe + self.unsafe) / 2)

    @property
    def beyond(self) -> Tensor:
        """[n] bool: beyond the null and nearer to unsafe than to safe anchors."""
        return self.values > self.threshold

    @property
    def harm(self) -> Tensor:
        """[n]: the score on a scale where safe anchors lie at 0 and unsafe ones at 1."""
        width = self.unsafe - self.safe
        return (self.values - self.safe) / (width if abs(width) > 1e-12 else 1e-12)


def halves(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Two disjoint random halves of range(count), the same for the same seed."""
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    return order[: count // 2].sort().values, order[count // 2 :].sort().values


def quantile(null: Tensor) -> float:
    """`QUANTILE` of all values of a null, of any shape; a large null is thinned evenly."""
    flat = null.flatten().double()
    step = -(-len(flat) // 1_000_000)
    return float(torch.quantile(flat[::step], QUANTILE)) if len(flat) else 0.0


def held_out(unsafe: Tensor, safe: Tensor) -> tuple[float, float, float]:
    """(mean of safe, mean of unsafe, AUROC) of scores of anchors that were held out."""
    return float(safe.mean()), float(unsafe.mean()), auroc(unsafe, safe)
