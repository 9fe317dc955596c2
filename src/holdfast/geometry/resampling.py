"""Draws of prompts, always inside strata: bootstrap counts, halves, permuted labels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from holdfast.core.seeds import derive


def stream(seed: int, *names: str | int) -> torch.Generator:
    """An independent random stream for one use of chance."""
    return torch.Generator().manual_seed(derive(seed, *names))


def bootstrap(strata: Tensor, resamples: int, generator: torch.Generator) -> Tensor:
    """How often each prompt is drawn, [resamples, n] float64, with replacement within `strata`."""
    counts = torch.zeros(resamples, len(strata), dtype=torch.float64)
    for members in _members(strata):
        draws = torch.randint(len(members), (resamples, len(members)), generator=generator)
        counts.scatter_add_(1, members[draws], torch.ones_like(draws, dtype=torch.float64))
    return counts


def halves(strata: Tensor, splits: int, generator: torch.Generator) -> Tensor:
    """Membership [splits, n] bool of the first of two disjoint halves, balanced within `strata`.

    The odd prompt of a stratum falls to either half by chance.
    """
    first = torch.zeros(splits, len(strata), dtype=torch.bool)
    for members in _members(strata):
        size = len(members)
        ranks = torch.rand(splits, size, generator=generator).argsort(1).argsort(1)
        odd = torch.randint(2, (splits, 1), generator=generator) * (size % 2)
        first[:, members] = ranks < size // 2 + odd
    return first


def permuted(
    values: Tensor, groups: Sequence[Tensor], draws: int, generator: torch.Generator
) -> Tensor:
    """`values` [n] shuffled inside each of `groups`, [draws, n]: labels that mean nothing."""
    shuffled = values.expand(draws, -1).clone()
    for group in groups:
        order = torch.rand(draws, len(group), generator=generator).argsort(1)
        shuffled[:, group] = values[group][order]
    return shuffled


def _members(strata: Tensor) -> list[Tensor]:
    return [(strata == value).nonzero()[:, 0] for value in sorted(set(strata.tolist()))]
