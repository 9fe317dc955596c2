"""Which latents are harmful: those that follow the labels of a contrast set, on its training split.

Selection and everything that is later claimed about the latents use disjoint prompts. Correlations
are taken inside each harm category and averaged, so that what a category's prompts have in common
besides harm does not count.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from holdfast.core.errors import DataError
from holdfast.geometry.contrast import HARMFUL, ContrastRow, select
from holdfast.geometry.resampling import permuted, stream

PERMUTATIONS = 200
"""Draws of the permuted-label null."""


@dataclass(frozen=True)
class HarmfulLatents:
    """The harmful latents of an SAE, strongest first."""

    latents: tuple[int, ...]
    """Indices; those that beat the null, at most as many as were asked for."""
    correlations: tuple[float, ...]
    """Their correlation with the labels, in [−1, 1]."""
    null: float
    """95th percentile of the largest correlation of any latent under permuted labels."""
    permuted: tuple[tuple[int, ...], ...]
    """As many latents, chosen in the same way with permuted labels: sets that mean nothing."""


def training_rows(rows: Sequence[ContrastRow]) -> list[ContrastRow]:
    """The harmful concept's rows of the training split, the only ones that selection may see."""
    return [rows[i] for i in select(rows, "train", HARMFUL)]


def harmful_latents(
    codes: Tensor, rows: Sequence[ContrastRow], *, count: int, seed: int, sets: int = 50
) -> HarmfulLatents:
    """Choose up to `count` latents from their activations `codes` [n, latents] on `rows`.

    Args:
        codes: activations on the prompts of `rows`, in order.
        rows: harmful concept, training split (`training_rows`).
        count: how many at most.
        seed: seed of the permutations.
        sets: how many sets to choose with permuted labels, for later nulls.

    Raises:
        DataError: rows of another split or concept, or no latent beats the null.
    """
    if any(row.split != "train" or row.concept != HARMFUL for row in rows):
        raise DataError(
            "harmful latents are chosen on the training split alone",
            expected=f"rows of the concept '{HARMFUL}', split 'train'",
        )
    names = sorted({row.category for row in rows})
    groups = [
        torch.tensor([i for i, row in enumerate(rows) if row.category == name]) for name in names
    ]
    labels = torch.tensor([row.label == 1 for row in rows])
    found = correlations(codes, labels[None], groups)[0]
    shuffled = permuted(labels, groups, PERMUTATIONS, stream(seed, "harmful latents"))
    under_null = correlations(codes, shuffled, groups)
    null = float(under_null.max(1).values.quantile(0.95))
    order = found.argsort(descending=True)[:count]
    chosen = tuple(int(i) for i in order if found[i] > null)
    if not chosen:
        raise DataError(
            "no latent follows the labels of the contrast set",
            got=f"a correlation of {float(found.max()):.2f} at most",
            expected=f"more than {null:.2f}, the 95th percentile under permuted labels",
            next_step="use an SAE of another site, or a larger contrast set",
        )
    meaningless = under_null[:sets].topk(len(chosen), dim=1).indices
    return HarmfulLatents(
        chosen, tuple(float(found[i]) for i in chosen), null,
        tuple(tuple(int(i) for i in row) for row in meaningless),
    )  # fmt: skip


def correlations(codes: Tensor, labels: Tensor, groups: Sequence[Tensor]) -> Tensor:
    """Mean over groups of the correlation of `codes` [n, m] with `labels` [draws, n] bool.

    Returns [draws, m]; a latent that does not vary in a group counts as 0 there.
    """
    total = torch.zeros(len(labels), codes.shape[1], dtype=torch.float64)
    for group in groups:
        x = codes[group].double()
        y = labels[:, group].double()
        x, y = x - x.mean(0), y - y.mean(1, keepdim=True)
        scale = y.norm(dim=1)[:, None] * x.norm(dim=0)
        total += torch.where(scale > 1e-12, (y @ x) / scale.clamp_min(1e-12), 0.0)
    return total / len(groups)
