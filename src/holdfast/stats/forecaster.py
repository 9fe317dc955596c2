"""A small regression for outcomes in [0, 1], with intervals calibrated out of sample.

The mean is a logistic function of a linear score, fitted by penalised quasi-likelihood (fractional
logit: Papke and Wooldridge 1996, J. Applied Econometrics 11:619-632), so a forecast stays in range
and saturates. The interval of a new case comes from the errors that held-out groups made: every
group is predicted by a fit without it, each error is divided by what an outcome of that mean may
spread, and a quantile of those is put around the new forecast (conformal prediction with normalised
residuals: Lei et al. 2018, JASA 113:1094-1111, section 5.2). So intervals are narrow near the ends
and wide in the middle. Cases of one group err alike, and the next case is of a new group: each
group weighs the same, and the new one counts as one more of unknown error (hierarchical conformal
prediction: Lee, Barber and Willett 2023, arXiv 2306.06342).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from holdfast.core.errors import DataError

Array = NDArray[np.float64]

PENALTIES = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
"""Ridge penalties that are tried."""
FLOOR = 0.05
"""Spread of an outcome whose mean is 0 or 1: a few prompts of a hundred."""
RESOLUTION = 1 / 60
"""Least half-width of an interval: an outcome is counted on some sixty prompts."""
_ITERATIONS, _TOLERANCE = 100, 1e-8
_EDGE = 1e-9


@dataclass(frozen=True)
class Logit:
    """y = sigmoid(intercept + weights · (x - centre) / scale)."""

    centre: tuple[float, ...]
    """Means of the features."""
    scale: tuple[float, ...]
    """Their standard deviations; 1 where a feature never moves."""
    weights: tuple[float, ...]
    """One per feature, standardised."""
    intercept: float
    """Score of the average case."""

    def score(self, features: Array) -> Array:
        """[n] scores of [n, features]."""
        x = (np.asarray(features, dtype=float) - self.centre) / np.asarray(self.scale)
        found: Array = x @ np.asarray(self.weights) + self.intercept
        return found

    def mean(self, features: Array) -> Array:
        """[n] expected outcomes in (0, 1)."""
        return sigmoid(self.score(features))


def sigmoid(score: Array) -> Array:
    """1 / (1 + exp(-score)), without overflow."""
    found: Array = 0.5 * (1 + np.tanh(np.asarray(score, dtype=float) / 2))
    return found


def fit(features: Array, outcomes: Array, penalty: float, weights: Array | None = None) -> Logit:
    """Fit by iteratively reweighted least squares; the intercept is not penalised.

    Args:
        features: [n, f], finite.
        outcomes: [n] in [0, 1].
        penalty: of the squared standardised weights, > 0.
        weights: [n] of the cases; 1 each where absent.

    Raises:
        DataError: fewer than two cases, or values that are not finite or out of range.
    """
    x, y = np.asarray(features, dtype=float), np.asarray(outcomes, dtype=float)
    _check(x, y)
    case = np.ones(len(y)) if weights is None else np.asarray(weights, dtype=float)
    centre, scale = x.mean(0), x.std(0)
    scale[scale < _EDGE] = 1.0
    design = np.column_stack([np.ones(len(y)), (x - centre) / scale])
    ridge = np.diag([0.0] + [penalty] * x.shape[1])
    found = np.zeros(design.shape[1])
    average = np.clip((case @ y) / case.sum(), 0.01, 0.99)
    found[0] = np.log(average / (1 - average))
    loss = _loss(design, y, case, ridge, found)
    for _ in range(_ITERATIONS):
        mean = sigmoid(design @ found)
        spread = case * np.maximum(mean * (1 - mean), _EDGE)
        gradient = design.T @ (case * (y - mean)) - ridge @ found
        hessian = (design * spread[:, None]).T @ design + ridge + _EDGE * np.eye(len(found))
        step = np.linalg.solve(hessian, gradient)
        size = 1.0
        while size > 1e-4 and _loss(design, y, case, ridge, found + size * step) > loss:
            size /= 2
        found = found + size * step
        new = _loss(design, y, case, ridge, found)
        if abs(loss - new) < _TOLERANCE * (1 + abs(loss)):
            break
        loss = new
    return Logit(
        tuple(centre.tolist()), tuple(scale.tolist()), tuple(found[1:].tolist()), float(found[0])
    )


def held_out(
    features: Array, outcomes: Array, groups: Sequence[str], penalty: float,
    weights: Array | None = None,
) -> Array:  # fmt: skip
    """[n] scores, each by a fit without the case's group.

    Raises:
        DataError: fewer than two groups.
    """
    x, y, group = np.asarray(features, float), np.asarray(outcomes, float), np.asarray(groups)
    if len(set(groups)) < 2:
        raise DataError("one group cannot be held out of itself", expected="at least 2 groups")
    scores = np.empty(len(y))
    for name in set(groups):
        inside = group == name
        case = None if weights is None else weights[~inside]
        scores[inside] = fit(x[~inside], y[~inside], penalty, case).score(x[inside])
    return scores


def choose(
    features: Array, outcomes: Array, groups: Sequence[str], weights: Array | None = None
) -> float:
    """The penalty whose held-out forecasts have the smallest squared error."""
    y = np.asarray(outcomes, float)
    errors = {
        p: float(np.mean((sigmoid(held_out(features, y, groups, p, weights)) - y) ** 2))
        for p in PENALTIES
    }
    return min(PENALTIES, key=lambda p: (errors[p], -p))


def spread(mean: Array | float) -> Array:
    """How far an outcome in [0, 1] may lie from its mean: sqrt(mean (1 - mean)) and a floor."""
    inside = np.asarray(mean, dtype=float)
    found: Array = np.sqrt(inside * (1 - inside)) + FLOOR
    return found


@dataclass(frozen=True)
class Errors:
    """Held-out errors, each in units of the spread at its forecast."""

    sizes: tuple[float, ...]
    """|outcome - forecast| / spread(forecast), ascending."""
    masses: tuple[float, ...]
    """What each counts: 1 / (cases of its group)."""

    @classmethod
    def of(cls, outcomes: Array, means: Array, groups: Sequence[str]) -> Errors:
        """From outcomes [n], their held-out forecasts [n] and their groups."""
        sizes = np.abs(np.asarray(outcomes) - np.asarray(means)) / spread(means)
        count = Counter(groups)
        order = np.argsort(sizes, kind="stable")
        return cls(
            tuple(sizes[order].tolist()), tuple(1.0 / count[groups[i]] for i in order)
        )  # fmt: skip

    def interval(self, mean: float, confidence: float) -> tuple[float, float]:
        """(low, high) inside [0, 1] around the forecast `mean`; all of it with too few groups."""
        reached = np.cumsum(self.masses)
        needed = confidence * (reached[-1] + 1.0)
        place = int(np.searchsorted(reached, needed - 1e-9))
        if place >= len(self.sizes):
            return 0.0, 1.0
        half = max(RESOLUTION, self.sizes[place] * float(spread(mean)))
        return max(0.0, mean - half), min(1.0, mean + half)


def _loss(design: Array, y: Array, case: Array, ridge: Array, found: Array) -> float:
    score = design @ found
    likelihood = case @ (np.logaddexp(0, score) - y * score)
    return float(likelihood + 0.5 * found @ ridge @ found)


def _check(x: Array, y: Array) -> None:
    if x.ndim != 2 or len(x) != len(y) or len(y) < 2:
        raise DataError(
            "a forecast needs at least two cases with features", got=f"{x.shape} and {y.shape}"
        )
    if not (np.isfinite(x).all() and np.isfinite(y).all() and (y >= 0).all() and (y <= 1).all()):
        raise DataError("features must be finite, and outcomes between 0 and 1")
