"""`holdfast forecast`: the forecast of a plan, before anything of it is trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from holdfast.core.errors import UsageError
from holdfast.core.protocols import Progress, no_progress
from holdfast.core.records import Forecast
from holdfast.core.runstore import RunStore
from holdfast.pipeline.context import Run
from holdfast.pipeline.forecast.make import FORECAST, VARY, inputs_of, make, open_forecaster
from holdfast.pipeline.plan import Plan
from holdfast.pipeline.run import begin
from holdfast.vault.store import default_root


def forecast_plan(
    plan: Plan, folder: Path, *, forecaster: str = "", vary: Mapping[str, Sequence[float]] | None,
    vault: Path | None = None, progress: Progress = no_progress,
) -> Forecast:  # fmt: skip
    """Forecast `plan`; what was prepared for it stays in `folder`, where a run goes on from it.

    Args:
        plan: the plan; its method must be `sft`.
        folder: the plan's run folder.
        forecaster: a file of one's own; the shipped one where empty.
        vary: setting -> values; every combination is forecast too. None: none.
        vault: of sealed models.
        progress: told about long work.

    Raises:
        UsageError: another method than supervised fine-tuning.
        DataError, InvalidRun: as `measure.read`.
    """
    if plan.train.method != "sft":
        raise UsageError(
            f"a run by {plan.train.method} cannot be forecast", expected="train.method: sft",
            next_step="the forecaster is fitted on supervised fine-tunes; watch this run instead",
        )  # fmt: skip
    fitted = open_forecaster(forecaster)
    with RunStore.open(folder, plan.digest()) as store:
        run = Run(plan, store, vault or default_root(), progress)
        prepared, _, safety_map = begin(run)
        made = make(run, prepared, safety_map, fitted, vary or {})
        store.finish(FORECAST, made, inputs_of(run, prepared, fitted))
    return made


def parse_vary(given: Sequence[str]) -> dict[str, tuple[float, ...]]:
    """`name=value,value` for each of `VARY`.

    Raises:
        UsageError: another name, or a value that is no number.
    """
    found = {}
    for text in given:
        name, equals, values = text.partition("=")
        try:
            numbers = tuple(float(value) for value in values.split(","))
        except ValueError:
            numbers = ()
        if name not in VARY or not equals or not numbers:
            raise UsageError(
                f"cannot vary '{text}'", expected=f"one of {', '.join(VARY)}, as in rank=1,8,32"
            )
        found[name] = numbers
    return found
