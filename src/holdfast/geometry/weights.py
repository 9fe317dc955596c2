"""Weight-space share: how much of an update writes into the safety subspace."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor

from holdfast.core.errors import InvalidRun
from holdfast.core.records import Site, WeightShare
from holdfast.geometry.fitted import FittedMap


def shares(fitted: FittedMap, deltas: Iterable[tuple[str, int, Tensor]]) -> list[WeightShare]:
    """Share ‖SᵀΔW‖²_F/‖ΔW‖²_F of updates (module, layer, ΔW [d, ·]) to the residual stream.

    In [0, 1], beside k/d, the expectation for a random update. S is that of the nearest chosen
    site, the later one on a tie. An update of zero has share 0. Misleads when compared across
    tuning methods: their updates have different spectra.

    Raises:
        InvalidRun: an update is not finite, or its first dimension is not the model's width.
    """
    found = []
    for module, layer, delta in deltas:
        if delta.ndim != 2 or delta.shape[0] != fitted.record.d_model:
            raise InvalidRun(
                f"the update of {module} does not write to the residual stream",
                got=f"shape {tuple(delta.shape)}",
                expected=f"({fitted.record.d_model}, …)",
            )
        wide = delta.detach().double().cpu()
        total = float(wide.square().sum())
        if not total < float("inf"):
            raise InvalidRun(f"the update of {module} is not finite")
        site = _nearest(fitted.sites, layer)
        subspace = fitted.array("subspace", site.name)
        inside = float((subspace.mT @ wide).square().sum())
        found.append(
            WeightShare(
                module=module,
                site=site.name,
                value=inside / total if total else 0.0,
                random=subspace.shape[1] / fitted.record.d_model,
            )  # fmt: skip
        )
    return found


def _nearest(sites: list[Site], layer: int) -> Site:
    return min(sites, key=lambda site: (abs(site.layer - layer), -site.layer))
