"""Opening a failed run for repair: everything that a repair rests on is checked first."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from holdfast.core.completions import load as load_completions
from holdfast.core.config import parse
from holdfast.core.digest import sha256_json
from holdfast.core.errors import DataError, IntegrityError, RefusedError, UsageError
from holdfast.core.records import ModelRef, Outcome, Verdict
from holdfast.core.runstore import RunStore
from holdfast.evals.plan import PromptPlan
from holdfast.gate.policy import Policy
from holdfast.gate.policy import load as load_policy
from holdfast.pipeline.context import BASE, Run
from holdfast.pipeline.plan import Plan
from holdfast.pipeline.prepare import HARBOR
from holdfast.repair.failures import diagnose
from holdfast.tuning.artefacts import kind_of
from holdfast.vault.manifest import describe


@dataclass(frozen=True)
class Failed:
    """A failed arm as its run left it, checked against the run's records."""

    arm: str
    verdict: Verdict
    policy: Policy
    gate_plan: PromptPlan
    result: Path
    """The arm's result: an adapter folder, or full weights."""


def read_plan(folder: Path) -> tuple[Plan, str]:
    """The plan of the run in `folder` and the digest that names the run."""
    path = folder / "plan.json"
    if not path.is_file():
        raise UsageError(
            f"{folder} holds no run", expected="a folder written by 'holdfast run'",
            next_step="check the path",
        )  # fmt: skip
    try:
        content: Any = json.loads(path.read_text("utf-8"))
    except ValueError:
        raise IntegrityError(f"{path} is not JSON", next_step="run the plan again") from None
    digest = RunStore(folder).plan_digest
    if sha256_json(content) != digest:
        raise IntegrityError(
            f"{path} is not the plan that the run was opened with", next_step="run the plan again"
        )
    return parse(Plan, content, source=str(path)), digest


def failed_arm(folder: Path, plan: Plan, wanted: str) -> str:
    """The arm to repair, or "" if none has failed."""
    if wanted and wanted not in plan.arms:
        raise UsageError(f"the run has no arm '{wanted}'", expected=", ".join(plan.arms))
    store = RunStore(folder)
    open_arms = []
    for arm in [wanted] if wanted else plan.arms:
        if not (folder / "verdicts" / f"{arm}.json").is_file():
            raise UsageError(
                f"the run in {folder} is not finished: '{arm}' has no verdict",
                next_step="finish it with 'holdfast run', then repair it",
            )
        if store.read(f"verdicts/{arm}.json", Verdict).outcome is not Outcome.PASS:
            open_arms.append(arm)
    if len(open_arms) > 1:
        raise UsageError(
            f"{len(open_arms)} arms did not pass: {', '.join(open_arms)}",
            next_step="name the one to repair with --arm",
        )
    return open_arms[0] if open_arms else ""


def require_buffer(plan: Plan) -> None:
    """Raise a `DataError` if the safety buffer that the plan names is no longer there."""
    source = plan.map.replay
    if source != HARBOR and not Path(source.rpartition(":")[2]).is_file():
        raise DataError(
            f"the safety buffer {source} of this run is missing",
            expected="the file that the plan names under map.replay",
            next_step="put it back: repair makes its training pairs from it",
        )


def check(run: Run, arm: str) -> Failed:
    """The failed arm; everything that it rests on must be what the run finished with."""
    store = run.store
    verdict = store.read(f"verdicts/{arm}.json", Verdict)
    diagnose(verdict)
    try:
        identity = json.loads(store.path("run.json").read_text("utf-8"))
        run.base_ref = ModelRef.model_validate(identity["base"])
    except (OSError, ValueError, KeyError, TypeError):
        raise IntegrityError(
            f"{store.path('run.json')} is missing or unreadable", next_step="run the plan again"
        ) from None
    result = store.path(f"arms/{arm}/final")
    if describe(run.base_folder).model_digest != run.base_digest:
        raise IntegrityError(
            f"{run.base_folder} is not the base that the run started from",
            next_step="run the plan again in a new folder",
        )
    if kind_of(result) == "quantised":
        raise RefusedError(
            f"the result of '{arm}' is quantised, and its weights cannot be edited",
            next_step="run the plan with deploy: as-trained or merged, repair that, then quantise",
        )
    if run.load_result(result).digest != verdict.candidate:
        raise IntegrityError(
            f"{result} is not the model that the verdict on '{arm}' is about",
            next_step="run the plan again in a new folder",
        )
    for name, key in ((BASE, "base"), (arm, "candidate")):
        path = store.path(f"completions/{name}.jsonl")
        if load_completions(path).digest != verdict.inputs.get(key):
            raise IntegrityError(
                f"{path} has changed since the gate read it", next_step="run the plan again"
            )
    policy = load_policy(store.path("policy.yaml"))
    if any(
        c.metric not in policy.metrics
        or (policy.metrics[c.metric].margin, policy.alpha) != (c.margin, c.alpha)
        for c in verdict.comparisons
    ):
        raise IntegrityError(
            f"{store.path('policy.yaml')} is not the policy of the verdict on '{arm}'",
            next_step="run the plan again",
        )
    return Failed(arm, verdict, policy, store.read("plans/full.json", PromptPlan), result)
