"""The free baselines that every protection must beat: half the adapter's scale, and early stopping.

Both come from the plain arm and cost no training. They are measured on the validation prompts, on
which choices are made, and shown beside the arms.
"""

from __future__ import annotations

import json

from holdfast.core.files import write_text
from holdfast.models.loaded import LoadedModel
from holdfast.pipeline.context import Run
from holdfast.pipeline.evaluate import Plans, evaluate, refusal, task_success
from holdfast.pipeline.tune import Trained
from holdfast.tuning.scaling import rescale

HALF = 0.5
NAME = "free_baselines.json"


def free(run: Run, plans: Plans, plain: Trained) -> None:
    """Measure plain itself, plain at half scale, and plain after its first epoch."""
    inputs = {"plain": plain.record.checkpoints[-1].model_digest,
              "prompts": plans.validation.prompts_digest}  # fmt: skip
    if not run.plan.train.scalable or run.store.finished(NAME, inputs):
        return
    out = plain.folder.parent
    half = run.store.path("arms/plain/half")
    if not half.exists():
        rescale(plain.folder, HALF, half)
    first = plain.record.checkpoints[0]
    candidates = [
        ("plain, whole", run.load_result(plain.folder)),
        ("plain, adapter at half scale", run.load_result(half)),
        (f"plain, stopped after step {first.step}", run.load_result(out / first.path)),
    ]
    rows = [_measured(run, plans, index, *one) for index, one in enumerate(candidates)]
    path = run.store.path(NAME)
    write_text(path, json.dumps(rows, indent=1) + "\n")
    run.store.finish(NAME, path, inputs)


def _measured(
    run: Run, plans: Plans, index: int, name: str, model: LoadedModel
) -> dict[str, object]:
    path = evaluate(run, plans.validation, f"validation/free-{index}", "plain", model)
    return {"name": name, "arm": "plain", "task_success": task_success(path, plans.validation),
            "refusal": refusal(path, plans.validation)}  # fmt: skip
