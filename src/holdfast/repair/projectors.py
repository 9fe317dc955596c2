"""Projectors of Safe LoRA: true ones, from the singular vectors of an alignment delta or of a map.

The published C = VVᵀ/‖V‖ (arXiv 2405.16833) is no projector: C² ≠ C, it grows with V, and for a
full-rank V the projector onto its columns is the identity. U_k·U_kᵀ of the k strongest left
singular vectors is one, whatever the scale of V.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from holdfast.core.seeds import derive
from holdfast.geometry.fitted import FittedMap
from holdfast.repair.updates import Update, oriented
from holdfast.repair.weights import layer_of
from holdfast.tensors.projection import orthonormal, rank_for_energy

Basis = Callable[[str], Tensor | None]
"""An orthonormal basis [out, k] for a weight, float64; None where the weight is left alone."""


def top_directions(delta: Tensor, energy: float) -> Tensor:
    """Basis [out, k] of the strongest output directions of `delta` [out, in]: U_k of its SVD.

    k is the smallest number whose squared singular values hold `energy` of their sum. Multiplying
    `delta` by any number changes neither k nor the span.
    """
    left, values, _ = torch.linalg.svd(delta.double(), full_matrices=False)
    return torch.as_tensor(left[:, : rank_for_energy(values**2, energy)])


def alignment_basis(pair: Update, energy: float) -> Basis:
    """Bases from W_aligned − W_unaligned, for every matrix that the two differ in."""
    known = set(pair.matrices())
    return lambda name: top_directions(oriented(pair, name), energy) if name in known else None


def map_basis(fitted: FittedMap, writers: list[str]) -> Basis:
    """The safety map's subspace S, for the weights that write to the residual stream.

    S is that of the chosen site nearest to the weight's block, the later one on a tie.
    """
    known = set(writers)

    def basis(name: str) -> Tensor | None:
        layer = layer_of(name)
        if name not in known or layer is None:
            return None
        site = min(fitted.sites, key=lambda site: (abs(site.layer - layer), -site.layer))
        return fitted.array("subspace", site.name).double()

    return basis


def random_basis(basis: Basis, seed: int) -> Basis:
    """A random subspace of the same rank for every weight that `basis` acts on."""

    def twin(name: str) -> Tensor | None:
        found = basis(name)
        if found is None:
            return None
        generator = torch.Generator().manual_seed(derive(seed, "random-basis", name))
        drawn = torch.randn(found.shape, generator=generator, dtype=torch.float64)
        return orthonormal(drawn.T)

    return twin


def onto(basis: Tensor) -> Tensor:
    """P = U·Uᵀ [out, out]: keeps what lies in the span."""
    return basis @ basis.T


def off(basis: Tensor) -> Tensor:
    """I − U·Uᵀ [out, out]: keeps what lies outside the span."""
    return torch.eye(basis.shape[0], dtype=basis.dtype) - onto(basis)
