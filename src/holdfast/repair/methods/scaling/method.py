"""Adapter scaling, or interpolation of full weights between the base and the fine-tune.

θ(α) = θ_base + α·(θ_run − θ_base): for an adapter only its alpha changes, no weight. It costs no
training and no data, and is the control that every cleverer step must beat (pre/post merging,
arXiv 2412.19512; WiSE-FT, arXiv 2109.01903).
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from holdfast.core.protocols import Progress
from holdfast.core.records import RepairTrial
from holdfast.repair.base import Bench, Case, Tried, slug
from holdfast.repair.updates import AdapterUpdate
from holdfast.tuning.scaling import rescale

START = (0.75, 0.5, 0.25)
"""Scales tried first. 1 is the failed run, 0 the base, which is safe and has learnt nothing."""
HALVINGS = 2
"""How often the interval between the smallest scale that keeps the task and the largest that does
not is halved afterwards: safety and task meet somewhere in it."""
KEPT = 0.99
"""Share of the best task success seen that counts as keeping the task while the interval is
searched; the choice itself is made by `repair.choose`."""


class Scaling:
    """θ_base + α·(θ_run − θ_base) for a few α."""

    name = "scaling"

    def settings(self) -> dict[str, Any]:
        """The scales."""
        return {"start": START, "halvings": HALVINGS, "kept": KEPT}

    def unsound(self, case: Case) -> str:
        """Sound on every run."""
        return ""

    def cost(self, case: Case) -> float:
        """One validation measurement per scale."""
        return float((len(START) + HALVINGS) * case.prompts)

    def candidates(self, case: Case, bench: Bench, folder: Path, progress: Progress) -> list[Tried]:
        """One candidate per scale, the largest scale first."""
        tried: dict[float, Tried] = {}
        total = len(START) + HALVINGS
        while len(tried) < total:
            progress("repair by scaling", len(tried), total)
            if len(tried) < len(START):
                scale = START[len(tried)]
            else:
                scale = next_scale({s: t.trial for s, t in tried.items()})
            tried[scale] = self._one(case, bench, folder, scale)
        return [tried[scale] for scale in sorted(tried, reverse=True)]

    def _one(self, case: Case, bench: Bench, folder: Path, scale: float) -> Tried:
        name = f"scale {scale:g}"
        to = folder / slug(name)
        if isinstance(case.update, AdapterUpdate):
            shutil.rmtree(to, ignore_errors=True)
            rescale(case.update.folder, scale, to)
        else:
            case.update.write(to, lambda _: scale)
        return bench(name, to, {"scale": scale})


def next_scale(trials: dict[float, RepairTrial]) -> float:
    """The middle between the smallest scale that keeps the task and its lower neighbour."""
    best = max(trial.task_success for trial in trials.values())
    keeping = min(scale for scale, t in trials.items() if t.task_success >= KEPT * best)
    below = max((scale for scale in trials if scale < keeping), default=0.0)
    return (keeping + below) / 2
