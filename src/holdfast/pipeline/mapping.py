"""Stage: the safety map, fitted on the base alone before any training."""

from __future__ import annotations

from holdfast.geometry.contrast import digest as contrast_digest
from holdfast.geometry.fitted import FittedMap
from holdfast.geometry.safety_map import fit
from holdfast.pipeline.context import Run
from holdfast.pipeline.prepare import Prepared

MAP = "map"


def map_base(run: Run, prepared: Prepared) -> FittedMap:
    """Fit the safety map, or read the one that is finished.

    A base without a safety behaviour still gets a map, marked as not eligible: the geometry and
    the trajectory work, and the gate says that there was nothing to preserve.
    """
    inputs = {
        "base": run.base_digest, "contrast": contrast_digest(prepared.contrast),
        "openings": prepared.openings.digest(), "energy": str(run.plan.map.energy),
    }  # fmt: skip
    folder = run.store.path(MAP)
    if not run.store.finished(MAP, inputs):
        fitted = fit(
            run.base, prepared.contrast, prepared.openings,
            seed=run.plan.seed, energy=run.plan.map.energy, allow_ineligible=True,
            progress=run.progress,
        )  # fmt: skip
        fitted.save(folder)
        run.store.finish(MAP, folder, inputs)
    return FittedMap.load(folder)
