"""Orthonormal bases and projections, in float64 whatever the input."""

from __future__ import annotations

import torch
from torch import Tensor

from holdfast.core.errors import InvalidRun

_RANK = 1e-10
"""Singular values below this share of the largest count as zero."""


def unit(vector: Tensor) -> Tensor:
    """`vector` [..., d] divided by its Euclidean norm, float64; a zero vector stays zero."""
    wide = vector.double()
    norm = wide.norm(dim=-1, keepdim=True)
    return torch.div(wide, torch.where(norm > 0, norm, 1.0))


def orthonormal(vectors: Tensor) -> Tensor:
    """An orthonormal basis [d, rank] of the span of the rows of `vectors` [n, d], float64."""
    left, values, _ = torch.linalg.svd(vectors.double().mT, full_matrices=False)
    return torch.as_tensor(left[:, values > _RANK * values.max()])


def rank_for_energy(energies: Tensor, share: float) -> int:
    """Smallest k whose leading entries hold `share` of the sum of `energies` [n] (descending)."""
    cumulative = energies.double().cumsum(0) / energies.double().sum()
    # A little slack, so that a share of 1 is reached in spite of rounding.
    return int((cumulative < share - 1e-12).sum().item()) + 1


def principal_subspace(directions: Tensor, *, energy: float = 0.9, k: int | None = None) -> Tensor:
    """Safety subspace S [d, k]: top left singular vectors of the stacked `directions` [n, d].

    k is the smallest number whose squared singular values hold `energy` of their sum, unless given.

    Raises:
        InvalidRun: all directions are zero, or k exceeds their rank.
    """
    left, values, _ = torch.linalg.svd(directions.double().mT, full_matrices=False)
    rank = int((values > _RANK * values.max()).sum().item()) if values.max() > 0 else 0
    if rank == 0:
        raise InvalidRun("all directions are zero, so they span no subspace")
    size = rank_for_energy(values**2, energy) if k is None else k
    if not 1 <= size <= rank:
        raise InvalidRun(
            "the subspace is larger than its directions allow",
            got=f"k = {size}",
            expected=f"1 to {rank}",
        )
    return torch.as_tensor(left[:, :size])


def projector(vectors: Tensor) -> Tensor:
    """P [d, d] onto the span of the columns of `vectors` [d, n], which need not be orthonormal.

    Built from an orthonormal basis, so P² = P and scaling a column changes nothing. (VVᵀ/‖V‖, seen
    in published code, is neither.)
    """
    basis = orthonormal(vectors.mT)
    return basis @ basis.mT


def project_on(x: Tensor, basis: Tensor) -> Tensor:
    """The part of `x` [..., d] inside the span of the orthonormal `basis` [d, k], float64."""
    return x.double() @ basis.double() @ basis.double().mT


def project_off(x: Tensor, basis: Tensor) -> Tensor:
    """The part of `x` [..., d] outside the span of the orthonormal `basis` [d, k], float64."""
    return x.double() - project_on(x, basis)
