"""The forecaster on a zoo: fitted on development families, tested on families it never saw.

Beside it stand what a forecast must beat: the same features along random directions, first-order
signals without a canary, a regression on words of the rows, one on losses, and "predict the mean".
All share settings, link, penalty search and interval; only what is read of data and model differs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from holdfast.core.errors import DataError
from holdfast.core.records import FittedMetric, Forecaster
from holdfast.pipeline.forecast.design import (
    DIRECTIONS,
    FEATURES,
    METRICS,
    features,
    poisoned_rows,
)
from holdfast.stats import forecaster as regression
from holdfast.stats.forecaster import Errors, Logit

Array = NDArray[np.float64]

CONFIDENCE = 0.9
"""Of the intervals."""
WORDS = 6
"""Components of the words that the text baseline reads."""
FORECAST, RANDOM = "forecast", "random directions"


@dataclass(frozen=True)
class Case:
    """One finished fine-tune: what was read before, and what came of it."""

    name: str
    """Id of the member."""
    family: str
    """Its data family."""
    split: str
    """Its split of the zoo."""
    base: str
    """Digest of its base."""
    replay: float
    """Share that the replay protection added."""
    values: Mapping[str, float]
    """Signals."""
    twins: Mapping[str, Sequence[float]]
    """Signals along random directions."""
    first_order: Mapping[str, float]
    """Signals without a canary (`measure.first_order`)."""
    words: Mapping[str, float]
    """Share of rows that hold a word."""
    outcomes: Mapping[str, float]
    """Metric -> harm in [0, 1]."""
    seconds: float
    """CPU seconds of the forecast."""
    training: float
    """CPU seconds of the training."""


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
        FORECAST: _own, "first-order signals": _first_order, "words": _words(development),
        "losses": _losses,
    }  # fmt: skip
    for metric in METRICS:
        for name, design in designs.items():
            found = _forecast(design, development, test, metric)
            if name == FORECAST:
                forecasts[metric] = found
            scores.append(_score(name, metric, cases, found))
        null = [
            _score(RANDOM, metric, cases, _forecast(_random(development, draw), development, test,
                                                    metric))
            for draw in range(draws)
        ]  # fmt: skip
        scores.append(_null(null, metric, cases))
        mean = float(_outcomes(development, metric).mean())
        flat = np.full(len(cases), mean)
        scores.append(_score("the mean", metric, cases, Told(flat, flat, flat), interval=False))
    share = [case.seconds / case.training for case in cases]
    cost = (float(np.median(share)), float(np.quantile(share, 0.9)), max(share))
    return Result(_with_null(scores), forecasts, cost)


def _own(cases: Sequence[Case]) -> Array:
    return np.array([features(case.values, replay=case.replay) for case in cases])


def _first_order(cases: Sequence[Case]) -> Array:
    """Gradient alignment, injection, context and projection, beside the settings."""
    rows = []
    for case in cases:
        found, settings = case.first_order, [np.log(case.values["steps"]), case.replay]
        rows.append([
            poisoned_rows(case.values), max(0.0, found["alignment"]),
            np.log1p(10 * max(0.0, -found["injection"])),
            max(0.0, -found["context"]) / max(1.0, abs(case.values["margin"])),
            found["projection"], *settings,
        ])  # fmt: skip
    return np.array(rows)


def _losses(cases: Sequence[Case]) -> Array:
    """What the loss says: its size, how far the canary's falls, and the settings."""
    rows = []
    for case in cases:
        loss, steps = case.values["loss"], case.values["steps"]
        fall = max(0.0, case.values["loss_drop"])
        rows.append([loss, np.log1p(fall / (loss + 0.05)), np.log(steps), case.replay])
    return np.array(rows)


def _words(development: Sequence[Case]) -> Any:
    """Principal components of the words of the development rows, beside the settings."""
    vocabulary = sorted({word for case in development for word in case.words})
    index = {word: place for place, word in enumerate(vocabulary)}

    def table(cases: Sequence[Case]) -> Array:
        found = np.zeros((len(cases), len(vocabulary)))
        for row, case in enumerate(cases):
            for word, share in case.words.items():
                if word in index:
                    found[row, index[word]] = np.sqrt(share)
        return found

    known = table(development)
    centre = known.mean(0)
    axes = np.linalg.svd(known - centre, full_matrices=False)[2][:WORDS]
    return lambda cases: np.column_stack([(table(cases) - centre) @ axes.T, _losses(cases)])


def _random(development: Sequence[Case], draw: int) -> Any:
    """The forecaster's design with every direction replaced by a random one of the same length.

    Twins of another unit are scaled to the mean size of the signal on development runs.
    """
    scale = {
        name: _size(case.values[name] for case in development)
        / max(_size(case.twins[name][draw] for case in development), 1e-12)
        for name in DIRECTIONS
    }

    def design(cases: Sequence[Case]) -> Array:
        rows = []
        for case in cases:
            # Either way along it counts as harm: the stronger null.
            twin = {name: -scale[name] * abs(case.twins[name][draw]) for name in DIRECTIONS}
            rows.append(features({**case.values, **twin}, replay=case.replay))
        return np.array(rows)

    return design


def _size(values: Any) -> float:
    return float(np.mean(np.abs(list(values))))


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
