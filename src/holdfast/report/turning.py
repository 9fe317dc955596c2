"""How far the safety subspace has turned at each checkpoint: the principal angles, as a fan."""

from __future__ import annotations

import re
from dataclasses import dataclass

from holdfast.core.records import DriftReport
from holdfast.report.load import Run
from holdfast.report.panels import MAX_PANELS
from holdfast.report.text import number, one_line

_ANGLE = re.compile(r"angle_(\d{1,4})_degrees")


@dataclass(frozen=True)
class Turned:
    """One arm."""

    arm: str
    """Its name."""
    steps: list[int]
    """Checkpoints, the base as step 0."""
    angles: list[list[float]]
    """For each principal angle, its degrees at every checkpoint."""


@dataclass(frozen=True)
class Fan:
    """One figure: the subspace at one site, for all arms."""

    site: str
    """Where."""
    arms: list[Turned]
    """What turned."""

    @property
    def title(self) -> str:
        """Name of the figure."""
        return f"The safety subspace at {one_line(self.site, 40)} turning"

    @property
    def note(self) -> str:
        """How to read it."""
        return (
            "One line for each principal angle between the base's subspace and the checkpoint's. "
            "Outwards is training; along the bottom nothing has turned, upright it is lost."
        )

    @property
    def description(self) -> str:
        """The figure in words."""
        told = [
            f"{one_line(t.arm)}: {', '.join(number(path[-1], 0) for path in t.angles)} degrees at "
            f"step {t.steps[-1]}"
            for t in self.arms
        ]
        return f"{self.title}. Principal angles. " + "; ".join(told) + "."


def fans(run: Run) -> list[Fan]:
    """A fan for every site at which subspaces were compared."""
    found: dict[str, list[Turned]] = {}
    for name, arm in run.arms.items():
        sites = dict.fromkeys(d.site for r in arm.drifts for d in r.drifts)
        for site in sites:
            paths = [(r.step, angles) for r in arm.drifts if (angles := _angles(r, site))]
            count = min((len(angles) for _, angles in paths), default=0)
            if count:
                found.setdefault(site, []).append(
                    Turned(
                        name, [0, *(step for step, _ in paths)],
                        [[0.0, *(angles[i] for _, angles in paths)] for i in range(count)],
                    )
                )  # fmt: skip
    return [Fan(site, turned) for site, turned in found.items()][:MAX_PANELS]


def _angles(report: DriftReport, site: str) -> list[float]:
    """Principal angles in degrees, ascending."""
    for drift in report.drifts:
        if (drift.drift, drift.site) == ("subspace_rotation", site):
            named = {
                int(match[1]): value
                for name, value in drift.extras.items()
                if (match := _ANGLE.fullmatch(name))
            }
            return [named[place] for place in sorted(named)]
    return []
