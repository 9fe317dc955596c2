"""Stage: the audit of the training rows, before the map and before any training."""

from __future__ import annotations

from holdfast.core.records import AuditRecord
from holdfast.evals.judges import make
from holdfast.geometry.contrast import digest as contrast_digest
from holdfast.pipeline.audit import RECORD, AuditModel, audit, suite_prompts
from holdfast.pipeline.context import Run
from holdfast.pipeline.evaluate import Plans
from holdfast.pipeline.prepare import Prepared

AUDIT = "audit"


def audit_rows(run: Run, prepared: Prepared, plans: Plans) -> AuditRecord | None:
    """Audit the rows that will be trained on, or read the audit that is finished.

    It informs and stops nothing: what it sets aside is for a person to read. None where the plan
    turns it off.
    """
    section = run.plan.audit
    if not section.enabled:
        return None
    settings = section.settings()
    inputs = {
        "rows": prepared.dataset.data_digest, "base": run.base_digest,
        "contrast": contrast_digest(prepared.contrast), "openings": prepared.openings.digest(),
        "settings": settings.model_dump_json(), "judge": run.plan.evaluate.judge,
    }  # fmt: skip
    if prepared.sae is not None:
        inputs["sae"] = prepared.sae.digest()
    folder = run.store.path(AUDIT)
    if not run.store.finished(AUDIT, inputs):
        model = AuditModel(
            run.base, prepared.contrast, prepared.openings,
            judge=make(run.plan.evaluate.judge), encoder=prepared.sae,
        )  # fmt: skip
        audit(
            run.store.path("data/train.jsonl"), out=folder, model=model,
            prompts=suite_prompts((s.name, s.prompts) for s in plans.full.suites),
            name=prepared.dataset.name, settings=settings, seed=run.plan.seed,
            progress=run.progress,
        )  # fmt: skip
        run.store.finish(AUDIT, folder, inputs)
    return AuditRecord.load(folder / RECORD)
