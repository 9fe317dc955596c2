"""Fit the safety map of a base model: sites, directions, subspaces, floors, eligibility."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from holdfast.core.errors import InvalidRun
from holdfast.core.protocols import Messages, Progress, no_progress
from holdfast.core.records import CategoryDirection, SafetyMap, Site
from holdfast.geometry import eligibility, selection
from holdfast.geometry.contrast import HARMFUL, ContrastRow, Openings, check, digest, select
from holdfast.geometry.directions.diffmean import FeatureSet, difference_of_means
from holdfast.geometry.drift.floors import SiteBase, noise_floors
from holdfast.geometry.fitted import FittedMap, arrays_digest
from holdfast.geometry.reading import activations_of, finite
from holdfast.geometry.selection import SiteRules, site_name
from holdfast.models.loaded import LoadedModel
from holdfast.tensors.projection import principal_subspace, unit
from holdfast.tensors.separation import auroc, d_prime

__all__ = ["FittedMap", "SiteRules", "fit"]


class _Work(NamedTuple):
    """What the steps of a fit share."""

    loaded: LoadedModel
    rows: list[ContrastRow]
    openings: Openings
    activations: dict[int, Tensor]
    rules: SiteRules
    batch_size: int
    seed: int

    def split(self, split: str) -> tuple[list[int], Tensor]:
        """Indices of harmful and harmless rows of a split, and their labels."""
        indices = select(self.rows, split, HARMFUL)
        return indices, torch.tensor([self.rows[i].label == 1 for i in indices])


def fit(
    loaded: LoadedModel, rows: Sequence[ContrastRow], openings: Openings, *, seed: int,
    energy: float = 0.9, k: int | None = None, rules: SiteRules | None = None,
    batch_size: int = 32, allow_ineligible: bool = False, progress: Progress = no_progress,
) -> FittedMap:  # fmt: skip
    """The safety map of a base: nothing but the base and the contrast set goes into it.

    Args:
        loaded: The base model.
        rows: The contrast set; directions come from `train`, sites from `validation`, separations
            from `test`.
        openings: Openings for the refusal margin.
        seed: Seed of the floors' splits and of the permuted labels.
        energy: Share of the squared singular values that the safety subspace holds.
        k: Dimension of the subspace, in place of `energy`.
        rules: Thresholds of site selection.
        batch_size: Prompts per forward pass.
        allow_ineligible: Map a model without safety behaviour all the same; the record says so.
        progress: Called during long work.

    Raises:
        DataError: the contrast set lacks categories, labels or splits.
        InvalidRun: the base has no safety behaviour to map, or no site survives.
    """
    rows = list(rows)
    check(rows)
    rules = rules or SiteRules()
    layers = list(range(loaded.n_layers))
    progress("reading activations", 0, 1)
    found = activations_of(loaded, rows, layers, batch_size)
    for layer, tensor in found.items():
        finite(tensor, who="the base", where=site_name(layer))
    work = _Work(loaded, rows, openings, found, rules, batch_size, seed)
    harmful, _ = _validation_prompts(work)
    margin = selection.margins(loaded, harmful, openings, batch_size)
    behaviour = eligibility.behaves(margin)
    if not behaviour.eligible and not allow_ineligible:
        raise _nothing(behaviour.reason)
    sites, survived = _sites(work, float(margin.mean()), progress)
    best = min((site for site in sites if site.chosen), key=lambda site: site.bypass)
    geometry = _separation(work, best)
    reasons = [behaviour.reason, geometry.reason]
    if not survived:
        reasons.append(
            "no single direction passed the causal filter, so the drifts here describe and do not "
            "explain"
        )
    # Whether there is something to preserve is a question of behaviour and separation; a refusal
    # that no one direction carries is still a refusal.
    eligible = behaviour.eligible and geometry.eligible
    if not (eligible and survived) and not allow_ineligible:
        raise _nothing("; ".join(reasons + _drops(sites)))
    arrays = _arrays(work, sites, energy, k)
    return _assemble(work, sites, arrays, eligible, "; ".join(reasons))


def _validation_prompts(work: _Work) -> selection.Prompts:
    indices = select(work.rows, "validation", HARMFUL)
    sides: list[list[Messages]] = [
        [work.rows[i].messages for i in indices if work.rows[i].label == label] for label in (1, 0)
    ]
    return selection.Prompts(*sides)


def _sites(work: _Work, unablated: float, progress: Progress) -> tuple[list[Site], bool]:
    """Every layer with its scores, and whether any survived the filter."""
    train, train_labels = work.split("train")
    held, held_labels = work.split("validation")
    directions, separations = {}, {}
    for layer, tensor in work.activations.items():
        directions[layer] = difference_of_means(tensor[train], train_labels)
        projections = tensor[held].double() @ unit(directions[layer])
        separations[layer] = float(d_prime(projections, held_labels, ~held_labels))
    scores = selection.causal_scores(
        work.loaded, _validation_prompts(work), directions, work.openings,
        batch_size=work.batch_size, progress=progress,
    )  # fmt: skip
    depth = work.loaded.n_layers
    sites = selection.choose(scores, separations, unablated, depth, work.rules)
    if any(site.chosen for site in sites):
        return sites, True
    return selection.fall_back(sites, depth, work.rules), False


def _separation(work: _Work, site: Site) -> eligibility.Eligibility:
    train, held = (select(work.rows, split, HARMFUL) for split in ("train", "validation"))
    tensor = work.activations[site.layer]
    return eligibility.separates(
        tensor[train], FeatureSet.of([work.rows[i] for i in train]),
        tensor[held], FeatureSet.of([work.rows[i] for i in held]), work.seed,
    )  # fmt: skip


def _arrays(work: _Work, sites: list[Site], energy: float, k: int | None) -> dict[str, Tensor]:
    train = select(work.rows, "train")
    features = FeatureSet.of([work.rows[i] for i in train])
    harmful, labels = work.split("train")
    arrays = {}
    for site in sites:
        if site.chosen:
            tensor = work.activations[site.layer]
            directions = features.directions(tensor[train])
            arrays[f"activations@{site.name}"] = tensor.float()
            arrays[f"direction@{site.name}"] = difference_of_means(tensor[harmful], labels)
            arrays[f"directions@{site.name}"] = directions
            arrays[f"subspace@{site.name}"] = principal_subspace(
                directions[features.safety], energy=energy, k=k
            ).contiguous()
    return arrays


def _assemble(
    work: _Work, sites: list[Site], arrays: dict[str, Tensor], eligible: bool, reason: str
) -> FittedMap:
    chosen = [site.name for site in sites if site.chosen]
    dims = {name: arrays[f"subspace@{name}"].shape[1] for name in chosen}
    bases = {
        name: SiteBase(arrays[f"activations@{name}"], unit(arrays[f"direction@{name}"]), dims[name])
        for name in chosen
    }
    record = SafetyMap(
        inputs={
            "base": work.loaded.digest,
            "contrast": digest(work.rows),
            "openings": work.openings.digest(),
        },
        seed=work.seed,
        environment={"torch": torch.__version__, "device": str(work.loaded.device)},
        base=work.loaded.digest,
        sites=tuple(sites),
        directions=tuple(d for name in chosen for d in _categories(work.rows, name, arrays)),
        subspace_dims=dims,
        floors=noise_floors(bases, work.rows, seed=work.seed),
        d_model=work.loaded.d_model,
        eligible=eligible,
        eligibility=reason,
        arrays=arrays_digest(arrays),
    )
    return FittedMap(record, arrays, tuple(work.rows))


def _categories(
    rows: list[ContrastRow], site: str, arrays: dict[str, Tensor]
) -> list[CategoryDirection]:
    """Separation on test prompts of every feature's own direction."""
    test = select(rows, "test")
    features = FeatureSet.of([rows[i] for i in test])
    activations, found = arrays[f"activations@{site}"][test].double(), []
    for feature, (concept, category) in enumerate(features.names):
        direction, group = arrays[f"directions@{site}"][feature], features.groups[feature]
        projections, labels = activations[group] @ unit(direction), features.labels[group]
        found.append(
            CategoryDirection(
                concept=concept,
                category=category,
                site=site,
                norm=float(direction.norm()),
                separation=float(d_prime(projections, labels, ~labels)),
                auroc=auroc(projections[labels], projections[~labels]),
            )  # fmt: skip
        )
    return found


def _drops(sites: list[Site]) -> list[str]:
    return [f"{site.name} {site.reason}" for site in sites]


def _nothing(reason: str) -> InvalidRun:
    return InvalidRun(
        f"the base cannot be mapped: {reason}",
        next_step="check that it is a safety-tuned chat model and that the openings are its own, "
        "or allow an ineligible base; its verdicts will then be inconclusive",
    )
