"""The combined monitor: a logistic score of a few streams, fitted to warn ahead of a failure.

Readings of runs that go on to fail, from `HORIZON` steps before the failing checkpoint up to it,
against all readings of benign runs; every run weighs the same within its class. Streams are higher
for worse, so no weight may be negative: a small fit cannot use one as a mere contrast to another.
They are scaled by how far they move over all of these readings. Scaled by benign ones alone, scores
of fits without different benign families are in different units: the family that moves most is
then scored by the others' small moves, and no threshold is right for both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from holdfast.core.errors import DataError
from holdfast.tuning.monitors.readings import Array

STREAMS = ("turning", "negative-share")
"""Streams of the combined monitor: the forecast and the margins. A score of eight streams, with
drifts, first-token KL, causal score and alignment among them, was worse on development families
than the best of its parts (docs/results/monitors.md)."""
HORIZON = 16
"""Steps ahead of a failure from which readings count as warnings."""
RIDGE = 0.02
"""Weight of the squared weights in the mean loss."""
_CLIP = (-3.0, 8.0)
"""One wild reading of one stream must not decide."""


@dataclass(frozen=True)
class Case:
    """One development run."""

    steps: NDArray[np.int64]
    """[T]."""
    values: Mapping[str, Array]
    """Stream -> [T]."""
    fail_step: int | None
    """First checkpoint that failed; None for a benign run."""


@dataclass(frozen=True)
class Combined:
    """The fitted score."""

    streams: tuple[str, ...]
    """Streams that it reads."""
    scales: tuple[float, ...]
    """Root mean square of each over the readings it was fitted on."""
    weights: tuple[float, ...]
    """Weight of each standardised stream, none negative."""

    def parts(self, values: Mapping[str, Array]) -> Array:
        """[K, T] what each stream adds to the score."""
        rows = [
            weight * np.clip(values[name] / scale, *_CLIP)
            for name, scale, weight in zip(self.streams, self.scales, self.weights, strict=True)
        ]
        return np.stack(rows)

    def score(self, values: Mapping[str, Array]) -> Array:
        """[T] log odds, up to a constant, that the run is about to fail."""
        total: Array = self.parts(values).sum(axis=0)
        return total


def fit(cases: Sequence[Case], streams: Sequence[str] = STREAMS) -> Combined:
    """Fit the score on development runs.

    Raises:
        DataError: there is no benign run, or none that fails.
    """
    benign = [case for case in cases if case.fail_step is None]
    failing = [case for case in cases if case.fail_step is not None]
    if not benign or not failing:
        raise DataError(
            "the combined monitor cannot be fitted",
            got=f"{len(benign)} benign runs and {len(failing)} that fail",
            expected="at least one of each among the development runs",
        )
    scales = tuple(_scale([case.values[name][_used(case)] for case in cases]) for name in streams)
    rows, labels, masses = [], [], []
    for case in cases:
        use = _used(case)
        if not use.any():
            continue
        rows.append(np.stack([
            np.clip(case.values[name][use] / scale, *_CLIP)
            for name, scale in zip(streams, scales, strict=True)
        ], axis=1))  # fmt: skip
        labels.append(np.full(int(use.sum()), float(case.fail_step is not None)))
        group = failing if case.fail_step is not None else benign
        masses.append(np.full(int(use.sum()), 0.5 / len(group) / use.sum()))
    weights = _logistic(np.concatenate(rows), np.concatenate(labels), np.concatenate(masses))
    return Combined(tuple(streams), scales, tuple(float(w) for w in weights))


def _scale(readings: Sequence[Array]) -> float:
    """Root mean square, every run weighing the same; 1 for a stream that never moves."""
    squares = [float(np.mean(x**2)) for x in readings if x.size]
    size = float(np.sqrt(np.mean(squares))) if squares else 0.0
    return size if size > 1e-9 else 1.0


def _used(case: Case) -> NDArray[np.bool_]:
    """Which readings of a run are shown to the fit; never the base's own."""
    later = case.steps > 0
    if case.fail_step is None:
        return later
    return later & (case.steps <= case.fail_step) & (case.steps >= case.fail_step - HORIZON)


def _logistic(x: Array, y: Array, mass: Array, steps: int = 2000) -> Array:
    """Weights [K] >= 0 of a ridge logistic regression with a free intercept.

    Accelerated projected gradient (Beck and Teboulle 2009): the loss is smooth and convex, and its
    curvature is at most a quarter of the weighted second moment.
    """
    design = np.concatenate([x, np.ones((len(x), 1))], axis=1)
    curvature = 0.25 * float(np.linalg.eigvalsh((design * mass[:, None]).T @ design)[-1]) + RIDGE
    penalty = np.append(np.full(x.shape[1], RIDGE), 0.0)
    now = ahead = np.zeros(design.shape[1])
    pace = 1.0
    for _ in range(steps):
        chance = 1.0 / (1.0 + np.exp(-np.clip(design @ ahead, -30.0, 30.0)))
        slope = design.T @ (mass * (chance - y)) + penalty * ahead
        moved = ahead - slope / curvature
        moved[:-1] = np.maximum(moved[:-1], 0.0)
        faster = 0.5 * (1.0 + np.sqrt(1.0 + 4.0 * pace * pace))
        ahead = moved + (pace - 1.0) / faster * (moved - now)
        now, pace = moved, faster
    weights: Array = now[:-1]
    return weights
