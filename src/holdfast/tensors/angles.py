"""Principal angles between subspaces, and the two numbers made of them. Radians, float64.

Björck & Golub, Mathematics of Computation 27 (1973): the cosines of the principal angles are the
singular values of Q_Aᵀ Q_B for orthonormal bases.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_TINY = 1e-13
"""Smallest eigenvalue, as a share of the largest, by which a basis vector is still divided."""


def principal_angles(a: Tensor, b: Tensor) -> Tensor:
    """Angles [k] in [0, π/2], ascending, between orthonormal `a` [d, k_a] and `b` [d, k_b].

    k = min(k_a, k_b). The arc cosine resolves angles down to about 1e-8.
    """
    return _angles(torch.linalg.svdvals(a.double().mT @ b.double()))


def gram_angles(within_a: Tensor, within_b: Tensor, across: Tensor, k: int) -> Tensor:
    """Angles [..., k] between the top-k singular subspaces of A and B, from Gram matrices alone.

    For A and B [..., n, d] of row vectors, `within_a` = AAᵀ, `within_b` = BBᵀ and `across` = ABᵀ,
    all [..., n, n]. With AAᵀ = VΛVᵀ the basis is Aᵀ V_k Λ_k^-½, so the cost does not depend on d.
    """
    left, right = _whitener(within_a, k), _whitener(within_b, k)
    return _angles(torch.linalg.svdvals(left.mT @ across @ right))


def grassmann(angles: Tensor) -> Tensor:
    """√Σθ² of `angles` [..., k] divided by its maximum √k·π/2: 0 the same, 1 orthogonal."""
    k = angles.shape[-1]
    return torch.div(angles.square().sum(-1).sqrt(), math.sqrt(k) * math.pi / 2)


def overlap(angles: Tensor) -> Tensor:
    """Σcos²θ/k of `angles` [..., k], in [0, 1]; two random k-subspaces of d expect k/d."""
    return torch.as_tensor(angles.cos().square().mean(-1))


def _angles(cosines: Tensor) -> Tensor:
    return cosines.clamp(0.0, 1.0).acos()


def _whitener(gram: Tensor, k: int) -> Tensor:
    values, vectors = torch.linalg.eigh(gram)
    values, vectors = values[..., -k:], vectors[..., -k:]
    least = (values[..., -1:] * _TINY).clamp_min(torch.finfo(values.dtype).tiny)
    return torch.div(vectors, values.maximum(least).sqrt().unsqueeze(-2))
