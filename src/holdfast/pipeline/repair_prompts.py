"""The prompts of a repair: some to choose on, others to make pairs from, and none of the gate's.

Generated suites have a validation split. Of a user's own suites, the prompts that the gate did not
draw are used. Where these leave no harmful or no harmless prompts, those of the contrast set's
validation split stand in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from holdfast.core.errors import DataError
from holdfast.core.protocols import Messages
from holdfast.core.seeds import derive
from holdfast.evals.plan import PromptPlan, freeze, within
from holdfast.evals.suites import Prompt, Suite, SuiteOptions, load_all
from holdfast.geometry.contrast import HARMFUL
from holdfast.pipeline.context import Run
from holdfast.pipeline.prepare import Prepared
from holdfast.repair.failures import HARM_KINDS
from holdfast.repair.pairs import refuse_overlap

CHOICE, POOL, QUICK = 60, 100, 20
"""Prompts per suite: to choose on, to make pairs from, and of the former for a quick look."""
LEAST = 10
"""Fewer prompts of a suite say nothing and are left out."""
GENERATED = "harbor-"


@dataclass(frozen=True)
class RepairPrompts:
    """The frozen prompts of a repair."""

    choice: PromptPlan
    """Every candidate answers these; the task's validation rows are among them."""
    quick: PromptPlan
    """A part of `choice`, with all of the task's rows: a first look."""
    pool: PromptPlan
    """Prompts that pairs are made from, the safety buffer among them."""


def collect(run: Run, prepared: Prepared, gate: PromptPlan) -> RepairPrompts:
    """Freeze the three plans; raise a `DataError` if the pool holds a prompt of the others.

    Whether a prompt is for choosing or for pairs is decided by its text, so that suites which ask
    the same thing (a ladder begins with a plain request) never put it on both sides.
    """
    choice: list[Suite] = []
    pool: list[Suite] = []
    for suite in _outside_the_gate(run, gate, prepared.validation):
        for side, most, to in ((0, CHOICE, choice), (1, POOL, pool)):
            part = [
                p for p in suite.prompts if derive(run.plan.seed, "repair", _text(p)) % 2 == side
            ]
            if len(part) >= LEAST:
                to.append(replace(suite, prompts=tuple(part[:most])))
    choice += _stand_ins(run, prepared, {suite.kind for suite in choice})
    looks = [replace(suite, prompts=suite.prompts[:QUICK]) for suite in choice]
    pool.append(_buffer(run, prepared.buffer[: run.plan.protect.buffer]))
    fits = _fits(run)
    plans = RepairPrompts(
        choice=freeze([*choice, prepared.validation], seed=run.plan.seed, fits=fits),
        quick=freeze([*looks, prepared.validation], seed=run.plan.seed, fits=fits),
        pool=freeze(pool, seed=run.plan.seed, fits=fits),
    )
    refuse_overlap(plans.pool, [gate, plans.choice])
    return plans


def _outside_the_gate(run: Run, gate: PromptPlan, task: Suite) -> list[Suite]:
    """Prompts of the plan's suites that neither the gate nor the task's validation rows ask."""
    section = run.plan.evaluate
    options = {
        suite.spec: SuiteOptions(
            name=suite.name, kind=suite.kind, judge=suite.judge or section.judge,
            n=2 * (CHOICE + POOL) if suite.spec.startswith(GENERATED) else section.per_suite,
            seed=run.plan.seed,
            split="validation" if suite.spec.startswith(GENERATED) else "test",
        )
        for suite in section.suites
    }  # fmt: skip
    asked = {(suite.name, prompt.prompt_id) for suite in gate.suites for prompt in suite.prompts}
    texts = {_text(prompt) for suite in gate.suites for prompt in suite.prompts}
    texts |= {_text(prompt) for prompt in task.prompts}
    found = []
    for suite in load_all(list(options), options):
        left = [
            prompt
            for prompt in suite.prompts
            if (suite.name, prompt.prompt_id) not in asked and _text(prompt) not in texts
        ]
        if left:
            found.append(replace(suite, prompts=tuple(left)))
    return found


def _text(prompt: Prompt) -> str:
    return " ".join(prompt.messages[-1]["content"].casefold().split())


def _stand_ins(run: Run, prepared: Prepared, kinds: set[str]) -> list[Suite]:
    """Validation prompts of the contrast set for what the suites leave out."""
    made = []
    for kind, label, present in (
        ("harmful", 1, kinds & set(HARM_KINDS)), ("benign", 0, kinds & {"benign", "helpful"}),
    ):  # fmt: skip
        prompts = tuple(
            Prompt(prompt_id=row.prompt_id, messages=row.messages, category=row.category)
            for row in prepared.contrast
            if (row.concept, row.label, row.split) == (HARMFUL, label, "validation")
        )
        if not present and prompts:
            judge = run.plan.evaluate.judge
            made.append(
                Suite(f"contrast-{kind}", kind, prompts, judge, "as the contrast set's", "")
            )
    return made


def _buffer(run: Run, prompts: Sequence[Messages]) -> Suite:
    if not prompts:
        raise DataError(
            "the safety buffer is empty", expected="harmful prompts under map.replay",
            next_step="add prompts to the plan's safety buffer",
        )  # fmt: skip
    rows = tuple(
        Prompt(prompt_id=f"buffer-{number:05d}", messages=messages)
        for number, messages in enumerate(prompts)
    )
    return Suite("safety-buffer", "harmful", rows, run.plan.evaluate.judge, "as the buffer's", "")


def _fits(run: Run) -> Callable[[Prompt], bool]:
    return within(
        lambda messages: len(run.base.render(messages)),
        context=run.base.max_context, max_new_tokens=run.plan.evaluate.max_new_tokens,
    )  # fmt: skip
