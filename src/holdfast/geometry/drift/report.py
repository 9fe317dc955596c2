"""A drift report: the three drifts at every chosen site with interval, floor and null."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from holdfast.core.errors import UsageError
from holdfast.core.protocols import Progress, no_progress
from holdfast.core.records import DriftReport, DriftValue, WeightShare
from holdfast.core.records.geometry import DriftName
from holdfast.geometry.contrast import HARMFUL, TASK, select
from holdfast.geometry.directions.diffmean import FeatureSet, difference_of_means
from holdfast.geometry.drift.collapse import frozen_collapse, random_direction_change
from holdfast.geometry.drift.grams import PromptProducts
from holdfast.geometry.drift.interference import interference_growth, spillover
from holdfast.geometry.drift.rotation import (
    random_subspace_rotation,
    rotation_angles,
    subspace_rotation,
)
from holdfast.geometry.fitted import FittedMap
from holdfast.geometry.reading import activations_of, finite
from holdfast.geometry.resampling import bootstrap, permuted, stream
from holdfast.models.loaded import LoadedModel
from holdfast.tensors.angles import overlap
from holdfast.tensors.gram import interference
from holdfast.tensors.projection import unit
from holdfast.tensors.separation import auroc, d_prime

CONFIDENCE = 0.95
"""Confidence of the bootstrap intervals, and quantile of the nulls."""
_RANDOM_DIRECTIONS, _RANDOM_SUBSPACES = 200, 20


class _Site(NamedTuple):
    """One site in both models."""

    fitted: FittedMap
    name: str
    base: Tensor
    candidate: Tensor
    seed: int
    resamples: int

    def stream(self, *names: str) -> torch.Generator:
        """A random stream; bootstrap draws are the same at every site."""
        return stream(self.seed, "drift", *names)

    def value(
        self, drift: DriftName, value: Tensor, draws: Tensor, null: Tensor, extras: dict[str, float]
    ) -> DriftValue:
        """Assemble one drift; `draws` are its bootstrap values, `null` its null draws."""
        point = float(value)
        low, high = interval(point, draws, top=1.0 if drift != "interference_growth" else None)
        return DriftValue(
            drift=drift, site=self.name, value=point, low=low, high=high,
            floor=self.fitted.record.floors[f"{drift}@{self.name}"],
            null=float(null.abs().quantile(CONFIDENCE)), extras=extras,
        )  # fmt: skip


def measure(
    fitted: FittedMap, candidate: LoadedModel, *, arm: str, step: int, seed: int,
    resamples: int = 500, batch_size: int = 32, weight_shares: Sequence[WeightShare] = (),
    allow_identical: bool = False, progress: Progress = no_progress,
) -> DriftReport:  # fmt: skip
    """Run `candidate` on the map's contrast prompts and measure the three drifts.

    The base's activations are in the map, so the base is not loaded.

    Raises:
        UsageError: the candidate is the base itself, or another architecture.
        InvalidRun: the candidate's activations are not finite.
    """
    if candidate.digest == fitted.record.base and not allow_identical:
        raise UsageError(
            "the candidate is the base that the map was fitted on",
            next_step="name the fine-tuned model",
        )
    if candidate.d_model != fitted.record.d_model or candidate.n_layers != len(fitted.record.sites):
        raise UsageError(
            "the candidate has another shape than the base of this map",
            got=f"{candidate.n_layers} layers of width {candidate.d_model}",
            expected=f"{len(fitted.record.sites)} layers of width {fitted.record.d_model}",
        )
    progress("reading activations", 0, 1)
    activations = activations_of(candidate, fitted.rows, fitted.layers, batch_size)
    progress("reading activations", 1, 1)
    return measure_activations(
        fitted, activations, candidate=candidate.digest, arm=arm, step=step, seed=seed,
        resamples=resamples, weight_shares=weight_shares,
    )  # fmt: skip


def measure_activations(
    fitted: FittedMap, activations: dict[int, Tensor], *, candidate: str, arm: str, step: int,
    seed: int, resamples: int = 500, weight_shares: Sequence[WeightShare] = (),
) -> DriftReport:  # fmt: skip
    """The same from the candidate's activations {layer: [n, d]} on all rows of the map.

    Collapse uses the test prompts and the direction frozen on the base's training prompts;
    interference and rotation estimate directions anew in both models on the same training prompts.
    """
    drifts: list[DriftValue] = []
    for site in fitted.sites:
        name = site.name
        moved = finite(activations[site.layer].cpu(), who="the candidate", where=name)
        base = fitted.array("activations", name).double()
        place = _Site(fitted, name, base, moved, seed, resamples)
        drifts += [_collapse(place), *_subspaces(place)]
    return DriftReport(
        inputs={"safety_map": fitted.record.digest(), "candidate": candidate},
        seed=seed,
        environment={"torch": torch.__version__},
        base=fitted.record.base,
        candidate=candidate,
        arm=arm,
        step=step,
        drifts=tuple(drifts),
        weight_shares=tuple(weight_shares),
    )


def interval(value: float, draws: Tensor, *, top: float | None = None) -> tuple[float, float]:
    """95 % bootstrap interval from `draws`, recentred on `value`, cut off at `top`.

    Resampling adds prompt noise to directions that carry it already, so the draws of an angle or
    of an overlap sit beside the value by a bias of resampling; their spread is kept, their median
    moved onto the value. A value's own bias from few prompts stays: that is what the floor is for.
    """
    tail = (1 - CONFIDENCE) / 2
    levels = torch.tensor([tail, 0.5, 1 - tail], dtype=torch.float64)
    low, middle, high = draws.quantile(levels).tolist()
    low, high = value + low - middle, value + high - middle
    return low, high if top is None else max(value, min(high, top))


def _collapse(place: _Site) -> DriftValue:
    rows = place.fitted.rows
    test, train = select(rows, "test", HARMFUL), select(rows, "train", HARMFUL)
    features = FeatureSet.of([rows[i] for i in test])
    labels, r = features.labels, place.fitted.array("direction", place.name)
    before, after = place.base[test] @ unit(r), place.candidate[test] @ unit(r)
    once = torch.ones(1, features.n)
    counts = bootstrap(features.strata, place.resamples, place.stream("test"))
    separation = float(d_prime(before, labels, ~labels))
    null = random_direction_change(
        place.base[test], place.candidate[test], labels, separation, _RANDOM_DIRECTIONS,
        place.stream("directions"),
    )  # fmt: skip
    again = difference_of_means(
        place.candidate[train], torch.tensor([rows[i].label == 1 for i in train])
    )
    auroc_before = auroc(before[labels], before[~labels])
    extras = {
        "d_prime_base": separation,
        "d_prime_candidate": float(d_prime(after, labels, ~labels)),
        "norm_ratio": float(again.norm() / r.norm()),
        "cosine": float(unit(again) @ unit(r)),
        "auroc_base": auroc_before,
        "auroc_change": auroc(after[labels], after[~labels]) - auroc_before,
    }
    value = frozen_collapse(before, after, labels, once)
    draws = frozen_collapse(before, after, labels, counts)
    return place.value("direction_collapse", value, draws, null, extras)


def _subspaces(place: _Site) -> list[DriftValue]:
    """Interference growth and subspace rotation: both live on the same inner products."""
    rows, k = place.fitted.rows, place.fitted.record.subspace_dims[place.name]
    train = select(rows, "train")
    features = FeatureSet.of([rows[i] for i in train])
    products = PromptProducts.of(place.base[train], place.candidate[train])
    full = features.full()
    drawn = features.weights(bootstrap(features.strata, place.resamples, place.stream("train")))
    mixed = permuted(full[0], features.groups, place.resamples, place.stream("labels"))
    value, draws, null = (products.grams(w, w, features.groups) for w in (full, drawn, mixed))
    safety, width = features.safety, place.base.shape[1]
    extras = {
        "base": float(interference(value.before, safety)),
        "candidate": float(interference(value.after, safety)),
        "random_expectation": (len(features.names) - 1) / width,
        **_spillover(place, safety),
    }
    growth = place.value(
        "interference_growth", interference_growth(value, safety),
        interference_growth(draws, safety), interference_growth(null, safety), extras,
    )  # fmt: skip
    angles = rotation_angles(value, safety, k)
    rotation = place.value(
        "subspace_rotation", subspace_rotation(value, safety, k),
        subspace_rotation(draws, safety, k), subspace_rotation(null, safety, k),
        _angle_extras(angles[0], k, width, place.stream("subspaces")),
    )  # fmt: skip
    return [growth, rotation]


def _spillover(place: _Site, safety: list[int]) -> dict[str, float]:
    rows = place.fitted.rows
    task = [i for i, row in enumerate(rows) if row.concept == TASK and row.label == 1]
    if not task:
        return {}
    directions = place.fitted.array("directions", place.name)[safety]
    return {"spillover": spillover(place.base[task], place.candidate[task], directions)}


def _angle_extras(
    angles: Tensor, k: int, width: int, generator: torch.Generator
) -> dict[str, float]:
    degrees = angles.rad2deg().tolist()
    return {
        "k": float(k),
        **{f"angle_{index}_degrees": angle for index, angle in enumerate(degrees, 1)},
        "overlap": float(overlap(angles)),
        "overlap_random": k / width,
        "random_subspaces": random_subspace_rotation(width, k, _RANDOM_SUBSPACES, generator),
    }
