"""Stage: freeze the prompt plans, and answer them with the base and with every checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from holdfast.core.completions import load as load_completions
from holdfast.core.labels import REFUSAL, SAFE, UNSCORED
from holdfast.core.seeds import derive
from holdfast.evals import runner
from holdfast.evals.fanout import spread
from holdfast.evals.judges import make
from holdfast.evals.plan import PromptPlan, freeze, within
from holdfast.evals.suites import Prompt, Suite, SuiteOptions, load_all
from holdfast.geometry.contrast import HARMFUL
from holdfast.models.loaded import LoadedModel
from holdfast.models.scoring import answer_logprobs
from holdfast.pipeline.context import Run
from holdfast.pipeline.prepare import Prepared

CACHE = "answers.cache"


@dataclass(frozen=True)
class Plans:
    """The frozen prompts of a run, the same for every arm."""

    full: PromptPlan
    """Asked of the base and of the result of every arm: the gate's."""
    epoch: PromptPlan
    """Its smaller sibling, asked of every checkpoint: the trajectories."""
    validation: PromptPlan
    """Harmful prompts and task rows on which choices are made; never part of the gate."""


def freeze_plans(run: Run, prepared: Prepared) -> Plans:
    """Load the suites and freeze the three plans; they are written once and never change."""
    section = run.plan.evaluate
    options = {
        suite.spec: SuiteOptions(
            name=suite.name, kind=suite.kind, judge=suite.judge,
            usual_judge=section.judge,
            n=section.per_suite, seed=run.plan.seed,
        )
        for suite in section.suites
    }  # fmt: skip
    suites = [*load_all(list(options), options), prepared.test]
    choices = [_harmful_validation(run, prepared), prepared.validation]
    seed = derive(run.plan.seed, "prompts")
    fits = _fits(run)
    plans = Plans(
        full=freeze(suites, per_suite=section.per_suite, seed=seed, fits=fits),
        epoch=freeze(suites, per_suite=section.per_epoch, seed=seed, fits=fits),
        validation=freeze(choices, seed=seed, fits=fits),
    )
    for name in ("full", "epoch", "validation"):
        plan: PromptPlan = getattr(plans, name)
        inputs = {"prompts": plan.prompts_digest}
        if not run.store.finished(f"plans/{name}.json", inputs):
            run.store.finish(f"plans/{name}.json", plan, inputs)
    return plans


def _fits(run: Run) -> Callable[[Prompt], bool] | None:
    """The test of length, where the plan drops prompts that are too long."""
    section = run.plan.evaluate
    if section.too_long == "error":
        return None
    return within(
        lambda messages: len(run.base.render(messages)),
        context=run.base.max_context, max_new_tokens=section.max_new_tokens,
    )  # fmt: skip


def _harmful_validation(run: Run, prepared: Prepared) -> Suite:
    prompts = tuple(
        Prompt(prompt_id=row.prompt_id, messages=row.messages, category=row.category)
        for row in prepared.contrast
        if (row.concept, row.label, row.split) == (HARMFUL, 1, "validation")
    )
    judge = run.plan.evaluate.judge
    return Suite("validation-harmful", "harmful", prompts, judge, "as the contrast set's", "")


def evaluate(run: Run, plan: PromptPlan, name: str, arm: str, model: LoadedModel) -> Path:
    """Answer `plan` with `model` and label the answers: the completions file `name`.jsonl."""
    section = run.plan.evaluate
    relative = f"completions/{name}.jsonl"
    judges = sorted({suite.judge for suite in plan.suites})
    inputs = {
        "model": model.digest, "prompts": plan.prompts_digest,
        "max_new_tokens": str(section.max_new_tokens),
    }  # fmt: skip
    out = run.store.path(relative)
    if not run.store.finished(relative, inputs):
        with spread(model, section.workers) as generator:
            runner.run(
                generator, plan, {judge: make(judge) for judge in judges}, out=out,
                cache=run.store.path(CACHE), arm=arm, max_new_tokens=section.max_new_tokens,
                batch_size=section.batch_size, scorer=partial(answer_logprobs, model),
                progress=run.progress,
            )  # fmt: skip
        run.store.finish(relative, out, inputs)
    return out


def judges_of(plan: PromptPlan) -> dict[str, str]:
    """The judge whose labels count, by suite."""
    return {suite.name: suite.judge for suite in plan.suites}


def rate(path: Path, plan: PromptPlan, kind: str, label: str) -> float:
    """Share of scored answers on suites of `kind` that carry `label`; 0 where none is scored."""
    judges = judges_of(plan)
    labels = [
        row["labels"].get(judges[row["suite"]], UNSCORED)
        for row in load_completions(path).rows
        if row["kind"] == kind
    ]
    scored = [found for found in labels if found != UNSCORED]
    return sum(found == label for found in scored) / len(scored) if scored else 0.0


def task_success(path: Path, plan: PromptPlan) -> float:
    """Share of held-out task rows that were done."""
    return rate(path, plan, "task", SAFE)


def refusal(path: Path, plan: PromptPlan) -> float:
    """Share of harmful prompts that were refused."""
    return rate(path, plan, "harmful", REFUSAL)
