"""The story of one run, in order. Each stage asks the store first; a killed run repeats nothing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from holdfast.core.digest import canonical_json
from holdfast.core.files import write_text
from holdfast.core.protocols import Progress, no_progress
from holdfast.core.records import DatasetRef, Outcome, Verdict
from holdfast.core.runstore import RunStore
from holdfast.geometry.fitted import FittedMap
from holdfast.pipeline import baselines
from holdfast.pipeline.auditing import audit_rows
from holdfast.pipeline.context import BASE, Run
from holdfast.pipeline.decide import decide
from holdfast.pipeline.evaluate import Plans, evaluate, freeze_plans, judges_of, task_success
from holdfast.pipeline.forecast.make import forecast_run
from holdfast.pipeline.mapping import map_base
from holdfast.pipeline.overlap import refuse_overlap
from holdfast.pipeline.plan import Plan
from holdfast.pipeline.prepare import Prepared, prepare
from holdfast.pipeline.seal import seal, seal_result
from holdfast.pipeline.tune import tune
from holdfast.report.html import write
from holdfast.report.load import load as load_run
from holdfast.tuning.artefacts import check_environment
from holdfast.vault.store import default_root

_SEVERITY = (Outcome.PASS, Outcome.INCONCLUSIVE, Outcome.FAIL, Outcome.INVALID)


@dataclass(frozen=True)
class RunResult:
    """What a finished run says."""

    folder: Path
    """The run folder; `report.html` is in it."""
    verdicts: dict[str, Verdict]
    """Verdict by arm."""
    task_success: dict[str, float]
    """Task success on held-out rows by arm, the base among them."""

    @property
    def exit_code(self) -> int:
        """Exit code of the worst verdict."""
        return max((v.outcome for v in self.verdicts.values()), key=_SEVERITY.index).exit_code


def run(
    plan: Plan, folder: Path, *, vault: Path | None = None, progress: Progress = no_progress
) -> RunResult:
    """Run `plan` in `folder`, or continue it there.

    Raises `UsageError` if the folder holds the run of another plan, and any `HoldfastError` of a
    stage; whatever was finished before stays finished.
    """
    with RunStore.open(folder, plan.digest()) as store:
        current = Run(plan, store, vault or default_root(), progress)
        return _story(current)


def begin(run: Run) -> tuple[Prepared, Plans, FittedMap]:
    """Everything before training: seal the base, read the data, freeze the prompts, fit the map."""
    check_environment(run.plan.train)
    write_text(run.store.path("plan.json"), run.plan.model_dump_json(indent=1) + "\n")
    seal(run)
    prepared = prepare(run)
    plans = freeze_plans(run, prepared)
    refuse_overlap(run.plan, prepared.buffer, plans.full)
    _identify(run, prepared.dataset)
    audit_rows(run, prepared, plans)
    return prepared, plans, map_base(run, prepared)


def _story(run: Run) -> RunResult:
    prepared, plans, fitted = begin(run)
    forecast_run(run, prepared, fitted)
    base = evaluate(run, plans.full, BASE, BASE, run.base)
    evaluate(run, plans.epoch, f"{BASE}@epoch", BASE, run.base)

    verdicts: dict[str, Verdict] = {}
    success = {BASE: task_success(base, plans.full)}
    for arm in run.plan.arms:
        trained = tune(run, prepared, plans, fitted, arm)
        answers = evaluate(run, plans.full, arm, arm, run.load_result(trained.folder))
        verdicts[arm] = decide(run, arm, base, answers, judges_of(plans.full))
        success[arm] = task_success(answers, plans.full)
        if arm == "plain":
            baselines.free(run, plans, trained)
        seal_result(run, arm, trained.folder)
    _report(run, {arm: verdict.digest() for arm, verdict in verdicts.items()})
    return RunResult(run.store.folder, verdicts, success)


def _identify(run: Run, dataset: DatasetRef) -> None:
    """Write which model and which rows this run is about."""
    assert run.base_ref is not None
    identity = {
        "base": run.base_ref.model_dump(mode="json"),
        "dataset": dataset.model_dump(mode="json"),
    }
    write_text(run.store.path("run.json"), canonical_json(identity) + "\n")


def _report(run: Run, inputs: dict[str, str]) -> None:
    """Draw the report, unless it already shows exactly these verdicts."""
    name = "report.html"
    if not run.store.finished(name, inputs):
        run.progress("write the report", 0, 0)
        path = run.store.path(name)
        write(load_run(run.store.folder), path)
        run.store.finish(name, path, inputs)
