"""The three drifts along a stored run, and their twins from permuted labels, in one batch.

The formulas are those of `geometry.drift.point`, which the monitor in training calls; here a run's
activations come from a store, and the directions of R random relabellings stand beside the real
ones. A relabelling keeps the prompts and their number in every category, so that its directions
have the covariance and the size of real differences of means (the null of papers.md, section 4).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from holdfast.core.errors import DataError
from holdfast.geometry.resampling import permuted, stream
from holdfast.tensors.angles import gram_angles, grassmann
from holdfast.tensors.gram import interference
from holdfast.tensors.projection import unit
from holdfast.tensors.separation import d_prime
from holdfast.tuning.monitors.readings import Array

TWINS = 16
"""Random relabellings."""


@dataclass(frozen=True)
class Probe:
    """The probe prompts and what the base's map knows at one site."""

    harmful: Tensor
    """[n] bool."""
    categories: Sequence[str]
    """Harm category of each prompt."""
    direction: Tensor
    """[d] the base's refusal direction, with its norm."""
    others: Tensor
    """[O, d] directions of the base's other features, O >= 0."""
    k: int
    """Dimension of the safety subspace."""


@dataclass(frozen=True)
class Series:
    """What a run's activations say, as plain arrays."""

    drifts: dict[str, Array]
    """"drift" -> [T]."""
    twins: dict[str, Array]
    """"drift" -> [R, T]."""
    shift: Array
    """[T, 2, d] mean move of harmful and harmless prompts, in units of the direction's norm."""
    direction: Array
    """[d], of norm 1."""
    random_directions: Array
    """[R, d], of norm 1."""


def series(activations: Tensor, probe: Probe, *, seed: int, twins: int = TWINS) -> Series:
    """All of it from `activations` [T, n, d] at one site, the first of them the base's.

    Raises:
        DataError: no category has both labels, or activations are not finite.
    """
    x = activations.double()
    if not bool(torch.isfinite(x).all()):
        raise DataError("the activations of a run are not finite")
    weights = _weights(probe, seed, twins)  # [1 + R, F, n]
    made = torch.einsum("rfn,tnd->trfd", weights, x)
    before = made[0]
    k = min(probe.k, weights.shape[1])
    angles = gram_angles(before @ before.mT, made @ made.mT, before @ made.mT, k)
    overlap = _interference(made, probe.others)
    along = torch.cat([unit(probe.direction)[None], unit(before[1:].mean(1))])  # [1 + R, d]
    collapse = _collapse(x, along, probe.harmful)
    found = {
        "direction_collapse": collapse, "interference_growth": overlap - overlap[0],
        "subspace_rotation": grassmann(angles),
    }  # fmt: skip
    moved = (x - x[0]) / probe.direction.double().norm()
    shift = torch.stack([moved[:, probe.harmful].mean(1), moved[:, ~probe.harmful].mean(1)], 1)
    return Series(
        {name: value[:, 0].numpy() for name, value in found.items()},
        {name: value[:, 1:].mT.numpy() for name, value in found.items()},
        shift.numpy(), along[0].numpy(), along[1:].numpy(),
    )  # fmt: skip


def _weights(probe: Probe, seed: int, twins: int) -> Tensor:
    """Signed weights [1 + R, F, n] that make every category's direction; first the real labels."""
    names = sorted(set(probe.categories))
    member = torch.tensor([[c == name for c in probe.categories] for name in names])
    groups = [row.nonzero()[:, 0] for row in member]
    mixed = [g for g in groups if 0 < int(probe.harmful[g].sum()) < len(g)]
    if not mixed:
        raise DataError("no category of the probe has harmful and harmless prompts")
    drawn = permuted(probe.harmful, mixed, twins, stream(seed, "monitor", "twins"))
    labels = torch.cat([probe.harmful[None], drawn]).double()
    out = torch.zeros(1 + twins, len(mixed), len(probe.harmful), dtype=torch.float64)
    for place, group in enumerate(mixed):
        yes = labels[:, group]
        no = 1.0 - yes
        out[:, place, group] = yes / yes.sum(1, keepdim=True) - no / no.sum(1, keepdim=True)
    return out


def _interference(safety: Tensor, others: Tensor) -> Tensor:
    """[T, 1 + R] of the safety directions [T, 1 + R, F, d] among themselves and with the others."""
    shape = (*safety.shape[:2], *others.shape)
    stacked = torch.cat([safety, others.double().expand(shape)], dim=2)
    return interference(stacked @ stacked.mT, range(safety.shape[2]))


def _collapse(x: Tensor, along: Tensor, harmful: Tensor) -> Tensor:
    """[T, 1 + R] loss of separation along each direction, as a share of the real one's.

    Along a random direction next to nothing is separated; its change is divided by the base's real
    separation, as in `geometry.drift.collapse.random_direction_change`.
    """
    apart = d_prime((x @ along.mT).mT, harmful, ~harmful)
    sign = torch.where(apart[0] < 0, -1.0, 1.0)
    found: Tensor = (apart[0] - apart) * sign / apart[0, 0].abs().clamp_min(1e-12)
    return found
