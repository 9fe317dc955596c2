"""Controls of equal size: a random subspace that removes the same norm, and plain shrinkage.

A projection makes an update smaller, and a smaller update costs less safety by itself. So what a
subspace method removes is removed twice more: along random directions, and along the update.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from holdfast.core.errors import InvalidRun

_TILT = 30.0
_HALVINGS = 200
_CLOSE = 1e-9


def inside(basis: Tensor, change: Tensor) -> float:
    """‖UᵀC‖_F: the norm that a projection off the span of `basis` [d, k] takes from C [d, m]."""
    return float((basis.double().T @ change.double()).norm())


def matched_basis(change: Tensor, like: Tensor, generator: torch.Generator) -> Tensor:
    """A random orthonormal basis of the rank of `like` that removes the same norm from `change`.

    With C = P S Qᵀ (P square) and Gaussian Z [d, k], the span of P exp(t S/s₁) Z is an isotropic
    random subspace at t = 0; ‖UᵀC‖ grows monotonically in t, from the k weakest directions to the k
    strongest. The t of the wanted norm is found by bisection: the random draw is tilted towards
    the update's own directions, or away from them, by no more than equal removal asks for.

    Args:
        change: C [d, m], what is projected.
        like: U [d, k], orthonormal; the method's own subspace.
        generator: source of Z.

    Returns:
        A basis [d, k], float64, with ‖basisᵀC‖ = ‖UᵀC‖ within 1e-6 of ‖C‖.

    Raises:
        InvalidRun: rounding leaves the norms further apart.
    """
    wide, target = change.double(), inside(like, change)
    left, values, _ = torch.linalg.svd(wide, full_matrices=True)
    weights = torch.zeros(len(left), dtype=torch.float64)
    weights[: len(values)] = values
    total = float(wide.norm())
    draw = torch.randn(like.shape, generator=generator, dtype=torch.float64)
    if total == 0.0:
        return torch.as_tensor(torch.linalg.qr(draw)[0])
    weights = weights / weights[0]

    def at(tilt: float) -> Tensor:
        scaled = torch.exp(tilt * (weights - weights.max() if tilt > 0 else weights))
        return torch.as_tensor(left @ torch.linalg.qr(scaled[:, None] * draw)[0])

    low, high = -_TILT, _TILT
    basis = at(0.0)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        basis = at(middle)
        gap = inside(basis, wide) - target
        if abs(gap) <= _CLOSE * total:
            break
        low, high = (low, middle) if gap > 0 else (middle, high)
    found = inside(basis, wide)
    if abs(found - target) > 1e-6 * total:
        raise InvalidRun(
            "no random subspace of this rank removes the same norm",
            got=f"{found / total:.6f} of the change",
            expected=f"{target / total:.6f}",
        )
    return basis


def shrink(total: float, removed: float) -> float:
    """α with ‖(1 - α)ΔW‖ = removed: plain's own update, made smaller by the same norm."""
    return max(0.0, 1.0 - removed / total) if total else 1.0


def norm(changes: Iterable[Tensor]) -> float:
    """Frobenius norm of all matrices together."""
    return math.sqrt(sum(float(change.double().square().sum()) for change in changes))


def revert_matched(
    sizes: Mapping[int, float], order: Iterable[int], removed: float
) -> dict[int, float]:
    """Share of each block's update to keep so that blocks in `order` lose `removed` together.

    Blocks are given back whole, one after the other; the last one as far as is needed.

    Args:
        sizes: norm of the update in each block.
        order: blocks in the order in which they are given back.
        removed: norm to remove over all blocks together.
    """
    left, kept = removed**2, {}
    for block in order:
        size = sizes[block] ** 2
        if left <= 0.0 or size == 0.0:
            continue
        kept[block] = 0.0 if left >= size else 1.0 - (left / size) ** 0.5
        left -= min(left, size)
    return kept
