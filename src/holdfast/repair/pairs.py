"""Training pairs made from the run's own failures, in the words of the base and of the run.

The prompts come from validation and from the safety buffer, never from the gate. Refusals are the
base's own answers to these prompts, so they are as graceful as the base's; answers that a model
must not unlearn are the run's own where they were right. Nothing is written by hand.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from holdfast.core.completions import load
from holdfast.core.digest import prompt_digest
from holdfast.core.errors import DataError, InvalidRun
from holdfast.core.labels import METRICS, UNSCORED
from holdfast.core.protocols import Messages
from holdfast.evals.plan import PromptPlan
from holdfast.repair.failures import HARM_KINDS, metric_of, right, went_wrong

KEEP, TASK = "keep_answers", "keep_task"
"""Kinds of pairs beside the failure modes: harmless prompts, and rows of the task."""


@dataclass(frozen=True)
class Pair:
    """One prompt with the answer to learn and the one to unlearn."""

    mode: str
    """Failure mode (a metric), `keep_answers` or `keep_task`."""
    prompt_id: str
    """Where the prompt comes from."""
    messages: Messages
    """The conversation up to the answer."""
    chosen: str
    """The answer to learn."""
    rejected: str
    """The answer to unlearn."""

    def row(self) -> dict[str, Any]:
        """The pair as a row of supervised fine-tuning."""
        return {"messages": [*self.messages, {"role": "assistant", "content": self.chosen}]}


@dataclass(frozen=True)
class Pairs:
    """All pairs of a repair."""

    items: tuple[Pair, ...]

    def counts(self) -> dict[str, int]:
        """Number of pairs by mode."""
        found: dict[str, int] = defaultdict(int)
        for pair in self.items:
            found[pair.mode] += 1
        return dict(found)


@dataclass(frozen=True)
class Asked:
    """The pool of prompts with the answers of both models."""

    plan: PromptPlan
    """Prompts of the pool, by suite."""
    base: Path
    """Completions of the base."""
    run: Path
    """Completions of the failed run."""
    judges: Mapping[str, str]
    """The judge whose label counts, by suite."""


def refuse_overlap(pool: PromptPlan, forbidden: Sequence[PromptPlan]) -> None:
    """Raise a `DataError` if a prompt of `pool` is also a prompt of the gate or of the choice."""
    taken = {
        _identity(prompt.messages): f"{suite.name}/{prompt.prompt_id}"
        for plan in forbidden
        for suite in plan.suites
        for prompt in suite.prompts
    }
    shared = [
        (f"{suite.name}/{prompt.prompt_id}", taken[_identity(prompt.messages)])
        for suite in pool.suites
        for prompt in suite.prompts
        if _identity(prompt.messages) in taken
    ]
    if shared:
        raise DataError(
            f"{len(shared)} prompts of the repair's training pool are evaluation prompts, first "
            f"'{shared[0][0]}', which is '{shared[0][1]}'",
            expected="training prompts that no evaluation asks",
            next_step="take them out of the safety buffer",
        )


def _identity(messages: Messages) -> str:
    """A prompt without its case and spacing: near copies count as the same prompt."""
    plain = [{"role": m["role"], "content": " ".join(m["content"].casefold().split())}
             for m in messages]  # fmt: skip
    return prompt_digest(plain)


def make(
    asked: Asked,
    task_rows: Sequence[Mapping[str, Any]],
    *,
    modes: Iterable[str],
    limit: int,
    seed: int,
) -> Pairs:
    """Pairs for the failed `modes`, with as many that keep what the run does right.

    At most `limit` pairs answer failures, shared evenly among the modes; as many harmless prompts
    (half as many where there are fewer) and as many rows of the task stand against them, so that
    neither over-refusal nor forgetting the task is the cheap way to a lower loss.

    Raises:
        InvalidRun: the run fails nowhere in the pool, or the base is right nowhere.
    """
    rng = Random(f"repair-pairs|{seed}")
    wanted = set(modes)
    found, kept = _sort(asked)
    groups = [found[mode] for mode in sorted(found) if mode in wanted and found[mode]]
    answers = _spread(rng, groups, limit)
    if not answers:
        raise InvalidRun(
            "no pair can be made: on the pool's prompts the run fails nowhere where the base is "
            "right",
            expected=f"failures of {', '.join(sorted(wanted))}",
            next_step="bring more prompts of these kinds as the safety buffer",
        )
    refusals = [pair.chosen for pair in answers if metric_kind(pair.mode) in HARM_KINDS]
    rng.shuffle(kept)
    keep = [_against(rng, pair, refusals) for pair in kept[: len(answers)]]
    rows = rng.sample(list(task_rows), min(len(answers), len(task_rows)))
    task = [
        Pair(TASK, f"task-{number}", *_taught(row), rng.choice(refusals) if refusals else "")
        for number, row in enumerate(rows)
    ]
    items = [*answers, *keep, *task]
    rng.shuffle(items)
    return Pairs(tuple(items))


def _taught(row: Mapping[str, Any]) -> tuple[Messages, str]:
    """Conversation and answer of a training row, of supervised or of preference training."""
    messages: Messages = list(row["messages"])
    if "chosen" in row:
        return messages, row["chosen"]
    return messages[:-1], messages[-1]["content"]


def metric_kind(mode: str) -> str:
    """The kind of suite that a failure mode was seen on, or ""."""
    return METRICS[mode].kind if mode in METRICS else ""


def _sort(asked: Asked) -> tuple[dict[str, list[Pair]], list[Pair]]:
    """Failures by mode, and harmless prompts that the run answers rightly."""
    base = {_key(row): row for row in load(asked.base).rows}
    followups = {
        (suite.name, prompt.prompt_id): prompt.followups
        for suite in asked.plan.suites
        for prompt in suite.prompts
    }
    failures: dict[str, list[Pair]] = defaultdict(list)
    kept: list[Pair] = []
    for row in load(asked.run).rows:
        kind, twin = row["kind"], base.get(_key(row))
        judge = asked.judges[row["suite"]]
        label = row["labels"].get(judge, UNSCORED)
        taught = twin is not None and right(kind, twin["labels"].get(judge, UNSCORED))
        if went_wrong(kind, label) and twin is not None and taught:
            failures[metric_of(kind)] += _failure(row, twin, followups[_key(row)])
        elif kind not in HARM_KINDS and right(kind, label):
            kept.append(Pair(KEEP, row["prompt_id"], row["messages"], row["response"], ""))
    return failures, kept


def _failure(
    row: Mapping[str, Any], twin: Mapping[str, Any], followups: Sequence[str]
) -> list[Pair]:
    mode = metric_of(row["kind"])
    name = str(row["prompt_id"])
    if row["kind"] != "ladder":
        return [Pair(mode, name, row["messages"], twin["response"], row["response"])]
    # The base's own refusals lead up to the rung: this is the conversation that must hold. The last
    # rung is taken too, because a run that gives in at once says nothing about later rungs.
    rungs = {int(row["turn"] or 1), len(twin["turns"])}
    return [
        Pair(mode, f"{name}#{rung}", _climbed(twin, followups, rung), twin["turns"][rung - 1],
             row["response"])
        for rung in sorted(rungs)
        if rung <= len(twin["turns"])
    ]  # fmt: skip


def _climbed(twin: Mapping[str, Any], followups: Sequence[str], rung: int) -> Messages:
    messages: Messages = list(twin["messages"])
    for turn in range(rung - 1):
        messages += [
            {"role": "assistant", "content": twin["turns"][turn]},
            {"role": "user", "content": followups[turn]},
        ]
    return messages


def _spread(rng: Random, groups: list[list[Pair]], limit: int) -> list[Pair]:
    """At most `limit` pairs, taken from the groups in turn."""
    for group in groups:
        rng.shuffle(group)
    taken: list[Pair] = []
    while len(taken) < limit and any(groups):
        for group in groups:
            if group and len(taken) < limit:
                taken.append(group.pop())
    return taken


def _against(rng: Random, pair: Pair, refusals: list[str]) -> Pair:
    """A pair against over-refusal: the run's own right answer over a refusal of the base."""
    rejected = rng.choice(refusals) if refusals else ""
    return Pair(pair.mode, pair.prompt_id, pair.messages, pair.chosen, rejected)


def _key(row: Mapping[str, Any]) -> tuple[str, str]:
    return row["suite"], row["prompt_id"]
