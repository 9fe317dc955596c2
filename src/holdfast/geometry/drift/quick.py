"""Point values of the three drifts on the monitor's probe: no resampling, milliseconds."""

from __future__ import annotations

import torch
from torch import Tensor

from holdfast.geometry.directions.diffmean import FeatureSet
from holdfast.geometry.drift.collapse import frozen_collapse
from holdfast.geometry.fitted import FittedMap
from holdfast.geometry.probe import ProbeSet
from holdfast.geometry.reading import finite
from holdfast.tensors.angles import gram_angles, grassmann
from holdfast.tensors.gram import interference
from holdfast.tensors.projection import unit


def point(fitted: FittedMap, probe: ProbeSet, activations: dict[int, Tensor]) -> dict[str, float]:
    """Each drift by "drift@site", from the candidate's `activations` {layer: [n, d]} on the probe.

    Harm directions are estimated anew in both models on the probe's prompts. The probe holds no
    prompts of other concepts, so for interference their directions stay those of the base. Compare
    such values along a run, not with those of `measure`, which has more prompts.

    Raises:
        InvalidRun: activations are not finite.
    """
    features = FeatureSet.of(probe.rows)
    positives = [int(features.labels[group].sum()) for group in features.groups]
    sizes = [len(group) for group in features.groups]
    use = [i for i, size in enumerate(sizes) if 0 < positives[i] < size]
    once = torch.ones(1, features.n)
    values: dict[str, float] = {}
    for site in fitted.sites:
        x = fitted.base_activations(site.name, probe.indices)
        y = finite(activations[site.layer].cpu(), who="the model", where=site.name)
        r = unit(fitted.array("direction", site.name))
        lost = frozen_collapse(x @ r, y @ r, features.labels, once)
        values[f"direction_collapse@{site.name}"] = float(lost)
        if use:
            before, after = features.directions(x)[use], features.directions(y)[use]
            growth = _interference(fitted, site.name, after) - _interference(
                fitted, site.name, before
            )
            k = min(fitted.record.subspace_dims[site.name], len(use))
            angles = gram_angles(before @ before.mT, after @ after.mT, before @ after.mT, k)
            values[f"interference_growth@{site.name}"] = growth
            values[f"subspace_rotation@{site.name}"] = float(grassmann(angles))
    return values


def _interference(fitted: FittedMap, site: str, safety: Tensor) -> float:
    train = FeatureSet.of([row for row in fitted.rows if row.split == "train"])
    others = [i for i in range(len(train.names)) if i not in train.safety]
    stacked = torch.cat([safety, fitted.array("directions", site)[others]])
    return float(interference(stacked @ stacked.mT, range(len(safety))))
