"""The forecast of a run whose base is mapped: by `holdfast forecast`, or on the way to training."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from holdfast.core.digest import sha256_json
from holdfast.core.errors import DataError, InvalidRun, UsageError
from holdfast.core.records import Forecast, Forecaster, MetricForecast, Variant
from holdfast.geometry.fitted import FittedMap
from holdfast.pipeline.context import Run
from holdfast.pipeline.forecast.bench import CONFIDENCE, told
from holdfast.pipeline.forecast.design import FEATURES, METRICS, features
from holdfast.pipeline.forecast.measure import Reader, read, read_rows
from holdfast.pipeline.plan import Plan
from holdfast.pipeline.prepare import Prepared
from holdfast.tuning.hf.trainer import quiet
from holdfast.tuning.methods.settings import TrainConfig

FORECAST = "forecast.json"
SHIPPED = "harbor.json"
VARY = ("rank", "learning_rate", "epochs", "replay")
"""Settings that can be varied."""
GRID: Mapping[str, tuple[float, ...]] = {
    "rank": (1, 8, 32), "learning_rate": (3e-4, 1e-3), "replay": (0.0, 0.05, 0.1, 0.2),
}  # fmt: skip
"""What is tried where nothing is named."""


def open_forecaster(name: str = "") -> Forecaster:
    """The shipped forecaster, or the one in a file.

    Raises:
        UsageError: its features are not those of this version.
    """
    if name:
        found = Forecaster.load(Path(name))
    else:
        with resources.as_file(
            resources.files("holdfast.pipeline.forecast").joinpath(SHIPPED)
        ) as path:
            found = Forecaster.load(path)
    if found.features != FEATURES:
        raise UsageError(
            "the forecaster was fitted by another version", got=", ".join(found.features),
            expected=", ".join(FEATURES),
            next_step="fit it again: holdfast bench forecast --fit FILE",
        )  # fmt: skip
    return found


def forecast_run(run: Run, prepared: Prepared, safety_map: FittedMap) -> Forecast | None:
    """Stage: forecast the arms before they are trained, or read the forecast that is finished.

    It informs and stops nothing. None where the plan turns it off, where another method than
    supervised fine-tuning is run, or where the rows cannot be read so; the journal says why.
    """
    if not run.plan.forecast or run.plan.train.method != "sft":
        return None
    fitted = open_forecaster()
    inputs = inputs_of(run, prepared, fitted)
    if not run.store.finished(FORECAST, inputs):
        try:
            made = make(run, prepared, safety_map, fitted, {})
        except (DataError, InvalidRun) as error:
            run.store.journal.append("no forecast", reason=str(error))
            return None
        run.store.finish(FORECAST, made, inputs)
    return run.store.read(FORECAST, Forecast)


def expected(run: Run, arm: str) -> float | None:
    """Harmful compliance that was forecast for an arm; None where nothing was.

    A protected arm that was not forecast is expected to do what the plain one does.
    """
    path = run.store.path(FORECAST)
    if not path.is_file():
        return None
    found = Forecast.load(path)
    told = (found.protected if arm == "protected" else ()) or found.forecasts
    return next(f.expected for f in told if f.metric == "harmful_compliance")


def inputs_of(run: Run, prepared: Prepared, fitted: Forecaster) -> dict[str, str]:
    """Digests of all that a forecast depends on."""
    return {
        "base": run.base_digest, "rows": prepared.dataset.data_digest,
        "train": sha256_json(run.plan.train.model_dump(mode="json")),
        "protect": sha256_json(run.plan.protect.model_dump(mode="json")),
        "forecaster": fitted.digest(),
    }  # fmt: skip


def make(
    run: Run, prepared: Prepared, safety_map: FittedMap, fitted: Forecaster,
    vary: Mapping[str, Sequence[float]],
) -> Forecast:  # fmt: skip
    """The forecast of a run whose base is mapped and whose rows are read."""
    with quiet():
        return _made(run, prepared, safety_map, fitted, vary)


def _made(
    run: Run, prepared: Prepared, safety_map: FittedMap, fitted: Forecaster,
    vary: Mapping[str, Sequence[float]],
) -> Forecast:  # fmt: skip
    plan, seed = run.plan, run.plan.seed
    reader = Reader.of(run.base, safety_map, prepared.openings, seed=seed)
    rows = read_rows(reader, prepared.rows, seed=seed, progress=run.progress)
    count = len(prepared.rows)
    found = read(reader, rows, count, plan.train, seed=seed, progress=run.progress)
    share = replay_share(plan)
    variants = []
    known: dict[str, Mapping[str, float]] = {}
    for settings in _combinations(vary):
        config, replay = _varied(plan.train, settings)
        key = sha256_json(config.model_dump(mode="json"))
        if key not in known:
            known[key] = read(reader, rows, count, config, seed=seed, progress=run.progress).values
        variants.append(
            Variant(settings=settings, forecasts=_forecasts(fitted, known[key], replay))
        )
    return Forecast(
        forecasts=_forecasts(fitted, found.values, 0.0),
        protected=_forecasts(fitted, found.values, share) if share is not None else (),
        variants=tuple(variants), signals=found.values, fitted_on=fitted.cases,
        calibrated=run.base_digest in fitted.bases, seed=seed,
        seconds={name: round(value, 3) for name, value in found.seconds.items()},
        inputs=inputs_of(run, prepared, fitted),
    )  # fmt: skip


def replay_share(plan: Plan) -> float | None:
    """Share of replayed rows of the protected arm; None where it is protected otherwise.

    A controller never replays less than its floor, which is the fixed default: with it the arm is
    forecast as with that.
    """
    if "protected" not in plan.arms or len(plan.protect.method) != 1:
        return None
    (name,) = plan.protect.method
    options = plan.protect.options[name]
    if name == "auto":
        return float(options["replay"]["share"])
    return float(options["share"]) if name == "replay_kl" else None


def _forecasts(
    fitted: Forecaster, values: Mapping[str, float], replay: float
) -> tuple[MetricForecast, ...]:
    row = np.array([features(values, replay=replay)])
    made = []
    for metric in fitted.metrics:
        found = told(metric, row)
        made.append(
            MetricForecast(
                metric=metric.metric, about=METRICS[metric.metric],
                expected=float(found.means[0]), low=float(found.low[0]),
                high=float(found.high[0]), confidence=CONFIDENCE, mean=metric.mean,
            )
        )  # fmt: skip
    return tuple(made)


def _combinations(vary: Mapping[str, Sequence[float]]) -> list[dict[str, float | int | str]]:
    if not vary:
        return []
    names = [name for name in VARY if name in vary]
    return [
        dict(zip(names, values, strict=True))
        for values in itertools.product(*(vary[name] for name in names))
    ]


def _varied(train: TrainConfig, settings: Mapping[str, Any]) -> tuple[TrainConfig, float]:
    """Training settings with `settings` in place, and the share of replay."""
    changed = {name: value for name, value in settings.items() if name != "replay"}
    for name in ("rank", "epochs"):
        if name in changed:
            changed[name] = int(changed[name])
    if "rank" in changed and train.adapter:  # the factor alpha / rank stays
        changed["alpha"] = train.alpha * changed["rank"] / train.rank
    made = type(train).model_validate({**train.model_dump(), **changed})
    return made, float(settings.get("replay", 0.0))
