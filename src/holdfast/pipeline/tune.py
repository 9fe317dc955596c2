"""Stage: train an arm; evaluate and measure every checkpoint as it is written."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from holdfast.core.digest import sha256_json
from holdfast.core.records import DriftReport, ScaleChoice, TrainingRecord
from holdfast.core.seeds import derive
from holdfast.geometry.drift import measure
from holdfast.geometry.fitted import FittedMap
from holdfast.geometry.probe import ProbeSet
from holdfast.models.loaded import LoadedModel
from holdfast.pipeline.context import Run
from holdfast.pipeline.evaluate import Plans, evaluate, refusal, task_success
from holdfast.pipeline.forecast.make import expected
from holdfast.pipeline.prepare import Prepared
from holdfast.tuning.artefacts import deploy
from holdfast.tuning.methods.arm import train
from holdfast.tuning.methods.spec import ArmSpec
from holdfast.tuning.monitor import AlarmRule, Monitor
from holdfast.tuning.monitors.watch import open_watch
from holdfast.tuning.protections.base import Materials
from holdfast.tuning.protections.stack import make
from holdfast.tuning.scaling import rescale, sweep

PROTECTED = "protected"


@dataclass(frozen=True)
class Trained:
    """One finished arm."""

    record: TrainingRecord
    """What training did, the chosen scale among it."""
    folder: Path
    """The result: an adapter folder, or full weights."""


def spec_of(run: Run, prepared: Prepared, fitted: FittedMap, arm: str) -> ArmSpec:
    """What `arm` is: the plan's method on the prepared rows, with its protection and monitor."""
    plan = run.plan
    config = plan.train.model_copy(update={"seed": derive(plan.seed, "train") % 2**31})
    probe = ProbeSet.pick(
        fitted, seed=plan.seed, harmful=plan.monitor.probes, harmless=plan.monitor.probes
    )
    materials = Materials(prepared.buffer, fitted)
    protection = make(plan.protect.specs, materials) if arm == PROTECTED else None
    return ArmSpec(
        name=arm, base=run.base_folder, rows=prepared.rows, out=run.store.path(f"arms/{arm}"),
        config=config, protection=protection,
        monitor=Monitor.of(
            probe, prepared.openings, fitted,
            rule=AlarmRule(plan.monitor.rise, plan.monitor.min_prompts),
            watch=open_watch(plan.monitor, expected(run, arm)), sae=prepared.sae,
        ),
        watch=plan.monitor, judge=prepared.judge,
    )  # fmt: skip


def tune(run: Run, prepared: Prepared, plans: Plans, fitted: FittedMap, arm: str) -> Trained:
    """Train `arm` (or finish it), with an evaluation and a drift report for every checkpoint."""
    spec = spec_of(run, prepared, fitted, arm)

    def on_epoch(step: int, _epoch: float, model: LoadedModel) -> None:
        evaluate(run, plans.epoch, f"{arm}@step-{step}", arm, model)
        drift(run, fitted, arm, step, model)

    record = train(spec, on_epoch=on_epoch, progress=run.progress)
    return _finish(run, plans, arm, spec.out, record)


def drift(run: Run, fitted: FittedMap, arm: str, step: int, model: LoadedModel) -> DriftReport:
    """The three drifts of one checkpoint, with intervals, floors and nulls."""
    name = f"arms/{arm}/drift/step-{step}.json"
    inputs = {"map": fitted.record.digest(), "model": model.digest}
    if not run.store.finished(name, inputs):
        run.progress(f"measure drift of {arm}", step, 0)
        report = measure(fitted, model, arm=arm, step=step, seed=run.plan.seed)
        run.store.finish(name, report, inputs)
    return run.store.read(name, DriftReport)


def _finish(run: Run, plans: Plans, arm: str, out: Path, record: TrainingRecord) -> Trained:
    """Choose the adapter's scale on validation (protected arm); make the artefact in `final`."""
    last = out / record.checkpoints[-1].path
    final = out / "final"
    sweeps = arm == PROTECTED and run.plan.train.scalable
    scales = run.plan.protect.scales if sweeps else (1.0,)
    inputs = {"model": record.checkpoints[-1].model_digest, "scales": sha256_json(scales),
              "deploy": run.plan.train.deploy}  # fmt: skip
    name = f"arms/{arm}/training.json"
    if not run.store.finished(name, inputs):
        choices: tuple[ScaleChoice, ...] = ()
        scale = 1.0
        if len(scales) > 1:
            choices = _sweep(run, plans, arm, last, scales)
            scale = next(choice.scale for choice in choices if choice.chosen)
        if scale == 1.0:
            deploy(run.plan.train, run.base_folder, last, final)
        else:
            shutil.rmtree(final, ignore_errors=True)
            rescale(last, scale, final)
        record = record.model_copy(update={"scales": choices})
        run.store.finish(name, record, inputs)
    return Trained(run.store.read(name, TrainingRecord), final)


def _sweep(
    run: Run, plans: Plans, arm: str, adapter: Path, scales: tuple[float, ...]
) -> tuple[ScaleChoice, ...]:
    def measured(model: LoadedModel) -> tuple[float, float]:
        scale = model.digest.rpartition("@")[2]
        path = evaluate(run, plans.validation, f"validation/{arm}@{scale}", arm, model)
        return task_success(path, plans.validation), refusal(path, plans.validation)

    return sweep(run.load_result(adapter), measured, scales=scales)
