"""Noise floors: the three drifts between two disjoint halves of the base's own prompts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from holdfast.geometry.contrast import HARMFUL, ContrastRow, select
from holdfast.geometry.directions.diffmean import FeatureSet
from holdfast.geometry.drift.collapse import collapse_between_halves
from holdfast.geometry.drift.grams import PromptProducts
from holdfast.geometry.drift.interference import interference_growth
from holdfast.geometry.drift.rotation import subspace_rotation
from holdfast.geometry.resampling import halves, stream

SPLITS = 1000
"""Random half splits."""
LEVEL = 0.98
"""Share of splits in which no drift at any site exceeds its floor."""


class SiteBase(NamedTuple):
    """What the floor at one site needs."""

    activations: Tensor
    """[n, d] of the base on all contrast rows."""
    direction: Tensor
    """[d] frozen base direction."""
    k: int
    """Dimension of the safety subspace."""


def noise_floors(
    sites: Mapping[str, SiteBase], rows: Sequence[ContrastRow], *, seed: int
) -> dict[str, float]:
    """Floor by "drift@site", from `half_drifts`.

    The floors hold together: in 98 of 100 random splits *nothing* exceeds its own, so each is at or
    above the 95th percentile of its drift. One 95th percentile per drift would be crossed somewhere
    in a third of all readings of a map with three sites.

    A half holds half the prompts, so the floor is that of a measurement on half the data, without
    any scaling: it is conservative for a candidate measured on all prompts, the more so since
    candidate and base are measured on the *same* prompts. Read it as "what a change of prompts of
    this kind does to the number".
    """
    columns = half_drifts(sites, rows, seed=seed)
    limits = simultaneous(torch.stack(list(columns.values()), 1).abs(), LEVEL)
    return dict(zip(columns, limits.tolist(), strict=True))


def half_drifts(
    sites: Mapping[str, SiteBase], rows: Sequence[ContrastRow], *, seed: int
) -> dict[str, Tensor]:
    """Each drift [splits] by "drift@site" between two random halves of the base's own prompts."""
    train, test = select(rows, "train"), select(rows, "test", HARMFUL)
    features = FeatureSet.of([rows[i] for i in train])
    tested = FeatureSet.of([rows[i] for i in test])
    half = halves(features.strata, SPLITS, stream(seed, "floor", "train"))
    half_test = halves(tested.strata, SPLITS, stream(seed, "floor", "test"))
    one, other = features.weights(half), features.weights(~half)
    columns: dict[str, Tensor] = {}
    for name, (activations, direction, k) in sites.items():
        projections = activations[test].double() @ direction
        grams = PromptProducts.alone(activations[train]).grams(one, other, features.groups)
        columns[f"direction_collapse@{name}"] = collapse_between_halves(
            projections, tested.labels, half_test
        )
        columns[f"interference_growth@{name}"] = interference_growth(grams, features.safety)
        columns[f"subspace_rotation@{name}"] = subspace_rotation(grams, features.safety, k)
    return columns


def simultaneous(draws: Tensor, level: float) -> Tensor:
    """Limits [columns] that hold together in a share `level` of `draws` [n, columns].

    Every column gets the same rank: the `level` quantile over rows of the row's highest rank.
    """
    ranks = draws.argsort(0).argsort(0)
    highest = ranks.max(1).values.sort().values
    rank = int(highest[math.ceil(level * len(draws)) - 1])
    return draws.sort(0).values[rank]
