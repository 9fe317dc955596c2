"""Subspace rotation: the angle between the safety subspaces of base and candidate."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from holdfast.geometry.drift.grams import Grams
from holdfast.tensors.angles import gram_angles, grassmann, principal_angles
from holdfast.tensors.projection import orthonormal


def rotation_angles(grams: Grams, safety: Sequence[int], k: int) -> Tensor:
    """Principal angles [resamples, k] in radians between S(M₀) and S(M₁), ascending.

    Both subspaces hold k dimensions, as many as the base needed for its share of energy.
    """
    rows = torch.tensor(list(safety))
    before, after, across = (gram[:, rows][:, :, rows] for gram in grams)
    return gram_angles(before, after, across, k)


def subspace_rotation(grams: Grams, safety: Sequence[int], k: int) -> Tensor:
    """Grassmann distance [resamples] divided by its maximum √k·π/2; in [0, 1], positive is loss."""
    return grassmann(rotation_angles(grams, safety, k))


def random_subspace_rotation(d: int, k: int, pairs: int, generator: torch.Generator) -> float:
    """Mean rotation between two random k-subspaces of d dimensions: what total loss looks like."""
    values = []
    for _ in range(pairs):
        a, b = torch.randn(2, k, d, generator=generator, dtype=torch.float64)
        values.append(grassmann(principal_angles(orthonormal(a), orthonormal(b))))
    return float(torch.stack(values).mean())
