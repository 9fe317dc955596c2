"""Direction collapse: how much of the base's separation is gone along the base's own direction."""

from __future__ import annotations

import torch
from torch import Tensor

from holdfast.tensors.projection import unit
from holdfast.tensors.separation import d_prime

_LEAST = 1e-12


def collapse(before: Tensor, after: Tensor) -> Tensor:
    """1 − d′₁/d′₀ from the d-primes of base and candidate; in (−∞, 1], positive is loss."""
    return 1.0 - after / torch.where(before.abs() > _LEAST, before, _LEAST)


def frozen_collapse(base: Tensor, candidate: Tensor, labels: Tensor, counts: Tensor) -> Tensor:
    """Collapse [resamples] of `base` and `candidate` [n], projections on the frozen direction.

    `labels` [n] bool, `counts` [resamples, n] how often each prompt is drawn, the same for both.
    """
    positive, negative = counts * labels, counts * ~labels
    return collapse(d_prime(base, positive, negative), d_prime(candidate, positive, negative))


def collapse_between_halves(base: Tensor, labels: Tensor, first: Tensor) -> Tensor:
    """The same number [splits] of the base alone: one half of its prompts against the other."""
    one, other = first.double(), (~first).double()
    return collapse(
        d_prime(base, one * labels, one * ~labels), d_prime(base, other * labels, other * ~labels)
    )


def random_direction_change(
    base: Tensor, candidate: Tensor, labels: Tensor, separation: float,
    directions: int, generator: torch.Generator,
) -> Tensor:  # fmt: skip
    """Null [directions]: |Δd′| along random directions as a share of the real base separation.

    `base` and `candidate` [n, d] activations. A random direction hardly separates anything, so its
    own ratio d′₁/d′₀ would be noise over noise; the change is divided by the `separation` of the
    real direction instead, which keeps it on the scale of the collapse. d′ has no scale, so
    matching the norm changes nothing.
    """
    r = unit(torch.randn(directions, base.shape[1], generator=generator, dtype=torch.float64)).mT
    yes, no = labels.double(), (~labels).double()
    before, after = d_prime((base @ r).mT, yes, no), d_prime((candidate @ r).mT, yes, no)
    return (before - after).abs() / max(abs(separation), _LEAST)
