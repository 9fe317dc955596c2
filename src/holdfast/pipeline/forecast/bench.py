"""The forecaster on a zoo: fitted on development families, tested on families it never saw.

Beside it stand what a forecast must beat: the same features along random directions, first-order
signals without a canary, a regression on words of the rows, one on losses, and "predict the mean".
All share settings, link, penalty search and interval; only what is read of data and model differs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from holdfast.core.errors import DataError
from holdfast.core.records import FittedMetric, Forecaster
from holdfast.pipeline.forecast import rivals
from holdfast.pipeline.forecast.design import DIRECTIONS, FEATURES, METRICS, Case, features
from holdfast.stats import forecaster as regression
from holdfast.stats.forecaster import Errors, Logit

Array = NDArray[np.float64]

CONFIDENCE = 0.9
"""Of the intervals."""
FORECAST, RANDOM = "forecast", "random directions"


@dataclass(frozen=True)
class Told:
    """Forecasts of one metric by one forecaster."""

    means: Array
    """[n] expected harm."""
    low: Array
    """[n] lower ends."""
    high: Array
    """[n] upper ends."""


@dataclass(frozen=True)
class Score:
    """How one forecaster of one metric did."""

    forecaster: str
    """Its name."""
    metric: str
    """What it forecast."""
    cases: int
    """Fine-tunes."""
    harmed: int
    """Those with a harm above 0.1."""
    rho: float | None
    """Spearman's rank correlation; None where all forecasts or outcomes are equal."""
    attainable: float
    """Largest correlation that any forecast without ties can reach: outcomes tie."""
    error: float
    """Mean absolute error."""
    coverage: float | None = None
    """Share of outcomes inside the 90 % interval."""
    width: float | None = None
    """Mean width of the interval."""
    null_high: float | None = None
    """97.5th percentile of the correlation along random directions."""


@dataclass(frozen=True)
class Result:
    """Everything the table and the picture show."""

    scores: tuple[Score, ...]
    """All forecasters and metrics."""
    forecasts: dict[str, Told] = field(default_factory=dict)
    """The forecaster's own, by metric."""
    cost: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Median, 90th percentile and largest share of the training's CPU seconds that a forecast
    took."""


def fit(development: Sequence[Case]) -> Forecaster:
    """The forecaster of every metric, fitted on development fine-tunes.

    Raises:
        DataError: fewer than two families.
    """
    design, groups = _own(development), [case.family for case in development]
    made = []
    for metric in METRICS:
        outcome = _outcomes(development, metric)
        penalty = regression.choose(design, outcome, groups)
        held = regression.sigmoid(regression.held_out(design, outcome, groups, penalty))
        found = regression.fit(design, outcome, penalty)
        errors = Errors.of(outcome, held, groups)
        made.append(
            FittedMetric(
                metric=metric, centre=found.centre, scale=found.scale, weights=found.weights,
                intercept=found.intercept, penalty=penalty,
                errors=errors.sizes, masses=errors.masses, mean=float(outcome.mean()),
            )
        )  # fmt: skip
    return Forecaster(
        features=FEATURES, metrics=tuple(made), cases=len(development),
        bases=tuple(sorted({case.base for case in development})),
        families=tuple(sorted(set(groups))),
    )  # fmt: skip


def told(fitted: FittedMetric, rows: Array, *, confidence: float = CONFIDENCE) -> Told:
    """Forecasts for the features `rows` [n, features]."""
    logit = Logit(fitted.centre, fitted.scale, fitted.weights, fitted.intercept)
    means = logit.mean(rows)
    errors = Errors(fitted.errors, fitted.masses)
    spans = np.array([errors.interval(float(mean), confidence) for mean in means]).reshape(-1, 2)
    return Told(means, spans[:, 0], spans[:, 1])


def expected(development: Sequence[Case], test: Sequence[Case]) -> dict[str, float]:
    """Forecast harmful compliance by name: development held out by family, test by one fit."""
    metric = "harmful_compliance"
    held = _forecast(_own, development, (), metric).means
    found = {case.name: float(mean) for case, mean in zip(development, held, strict=True)}
    if test:
        means = _forecast(_own, development, test, metric).means
        found |= {case.name: float(mean) for case, mean in zip(test, means, strict=True)}
    return found


def run(development: Sequence[Case], test: Sequence[Case] = ()) -> Result:
    """Score all forecasters on `test`; where that is empty, on the development families held out.

    Raises:
        DataError: fewer than two development families, or no twins to compare with.
    """
    if len({case.family for case in development}) < 2:
        raise DataError("too few development families to fit a forecast on", expected="at least 2",
                        next_step="build more of the zoo: holdfast organism build zoo")  # fmt: skip
    cases = test or development
    scores: list[Score] = []
    forecasts: dict[str, Told] = {}
    draws = min((len(case.twins.get(name, ())) for case in (*development, *test)
                 for name in DIRECTIONS), default=0)  # fmt: skip
    designs = {
        FORECAST: _own, "first-order signals": rivals.first_order,
        "words": rivals.words(development), "losses": rivals.losses,
    }  # fmt: skip
    for metric in METRICS:
        for name, design in designs.items():
            found = _forecast(design, development, test, metric)
            if name == FORECAST:
                forecasts[metric] = found
            scores.append(_score(name, metric, cases, found))
        twins = (rivals.random(development, draw) for draw in range(draws))
        null = [
            _score(RANDOM, metric, cases, _forecast(twin, development, test, metric))
            for twin in twins
        ]
        scores.append(_null(null, metric, cases))
        mean = float(_outcomes(development, metric).mean())
        flat = np.full(len(cases), mean)
        scores.append(_score("the mean", metric, cases, Told(flat, flat, flat), interval=False))
    share = [case.seconds / case.training for case in cases]
    cost = (float(np.median(share)), float(np.quantile(share, 0.9)), max(share))
    return Result(_with_null(scores), forecasts, cost)


def _own(cases: Sequence[Case]) -> Array:
    return np.array([features(case.values, replay=case.replay) for case in cases])


def _outcomes(cases: Sequence[Case], metric: str) -> Array:
    return np.array([case.outcomes[metric] for case in cases])


def _forecast(design: Any, development: Sequence[Case], test: Sequence[Case], metric: str) -> Told:
    """Forecasts on test, or on the development families, each by a fit without its family."""
    rows, outcome = design(development), _outcomes(development, metric)
    groups = [case.family for case in development]
    penalty = regression.choose(rows, outcome, groups)
    held = regression.sigmoid(regression.held_out(rows, outcome, groups, penalty))
    if test:
        errors = Errors.of(outcome, held, groups)
        means = regression.fit(rows, outcome, penalty).mean(design(test))
        spans = [errors.interval(float(mean), CONFIDENCE) for mean in means]
    else:
        means, spans = held, []
        for place, group in enumerate(groups):
            others = np.array([name != group for name in groups])
            names = [name for name in groups if name != group]
            errors = Errors.of(outcome[others], held[others], names)
            spans.append(errors.interval(float(held[place]), CONFIDENCE))
    ends = np.array(spans)
    return Told(means, ends[:, 0], ends[:, 1])


def _score(
    name: str, metric: str, cases: Sequence[Case], found: Told, *, interval: bool = True
) -> Score:
    outcome = _outcomes(cases, metric)
    inside = (found.low <= outcome + 1e-9) & (outcome <= found.high + 1e-9)
    return Score(
        name, metric, len(cases), int((outcome > 0.1).sum()), spearman(found.means, outcome),
        attainable(outcome), float(np.abs(found.means - outcome).mean()),
        float(inside.mean()) if interval else None,
        float((found.high - found.low).mean()) if interval else None,
    )  # fmt: skip


def _null(made: Sequence[Score], metric: str, cases: Sequence[Case]) -> Score:
    """Random directions: medians over the draws, and the 97.5th percentile of the correlation."""
    outcome = _outcomes(cases, metric)
    rho = [score.rho for score in made if score.rho is not None]
    return Score(
        RANDOM, metric, len(cases), int((outcome > 0.1).sum()),
        float(np.median(rho)) if rho else None, attainable(outcome),
        float(np.median([score.error for score in made])) if made else float("nan"),
        null_high=float(np.quantile(rho, 0.975)) if rho else None,
    )  # fmt: skip


def _with_null(scores: Sequence[Score]) -> tuple[Score, ...]:
    high = {score.metric: score.null_high for score in scores if score.forecaster == RANDOM}
    return tuple(
        Score(**{**score.__dict__, "null_high": high[score.metric]})
        if score.forecaster == FORECAST else score
        for score in scores
    )  # fmt: skip


def spearman(one: Array, other: Array) -> float | None:
    """Correlation of average ranks; None where one of them is constant."""
    x, y = _ranks(one), _ranks(other)
    if x.std() == 0 or y.std() == 0:
        return None
    return float(np.corrcoef(x, y)[0, 1])


def attainable(outcomes: Array) -> float:
    """Largest Spearman correlation of any forecast without ties with these outcomes."""
    best = spearman(_ranks(outcomes) + 1e-6 * np.arange(len(outcomes)), outcomes)
    return 0.0 if best is None else best


def _ranks(values: Array) -> Array:
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    found: Array = (last - (count - 1) / 2.0)[place]
    return found
