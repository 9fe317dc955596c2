"""One frozen prompt plan per gate: every arm answers exactly these prompts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from holdfast.core.digest import sha256_json
from holdfast.core.errors import DataError, UsageError
from holdfast.core.protocols import Messages
from holdfast.core.records import Part, Record
from holdfast.core.seeds import derive
from holdfast.evals.suites.base import Prompt, Suite


class PlannedSuite(Part):
    """The prompts of one suite that take part."""

    name: str
    """Name of the suite."""
    kind: str
    """Its kind, which decides the metric."""
    judge: str
    """The judge that reads it best."""
    licence: str
    """Licence of the prompts."""
    source: str
    """SHA-256 of the file that it came from, or empty."""
    prompts: tuple[Prompt, ...]
    """The prompts, in the suite's order."""
    too_long: int = 0
    """Prompts of the suite that were left out because the model's context cannot hold them."""


class PromptPlan(Record):
    """What every arm of a gate is asked. `digest()` names it; paired arms share it."""

    suites: tuple[PlannedSuite, ...]
    """The suites, in order."""

    @property
    def prompts_digest(self) -> str:
        """Digest of the prompts alone, the same whichever version of Holdfast froze them."""
        return sha256_json([suite.model_dump(mode="json") for suite in self.suites])

    @property
    def total(self) -> int:
        """Number of prompts over all suites."""
        return sum(len(suite.prompts) for suite in self.suites)


def within(
    count_tokens: Callable[[Messages], int], *, context: int, max_new_tokens: int
) -> Callable[[Prompt], bool]:
    """A test for `freeze`: a prompt fits with its answer, a ladder with all its turns."""

    def fits(prompt: Prompt) -> bool:
        asked = [[{"role": "user", "content": text}] for text in prompt.followups]
        turns = [prompt.messages, *asked]
        return sum(map(count_tokens, turns)) + max_new_tokens * len(turns) <= context

    return fits


def freeze(
    suites: Sequence[Suite],
    *,
    per_suite: int | None = None,
    seed: int = 0,
    fits: Callable[[Prompt], bool] | None = None,
) -> PromptPlan:
    """Take at most `per_suite` prompts of each suite, chosen by seed; pairs stay together.

    Prompts that do not pass `fits` (see `within`) are left out for every arm and counted.

    The choice of one suite depends on the seed, its name and its prompt ids alone: adding a
    suite to the plan never changes another.
    """
    if not suites:
        raise UsageError("an evaluation needs at least one suite", next_step="add --suite NAME")
    if per_suite is not None and per_suite < 1:
        raise UsageError("prompts per suite", got=str(per_suite), expected="at least 1")
    planned = tuple(_plan(suite, per_suite, seed, fits) for suite in suites)
    sources = {suite.name: suite.source for suite in suites if suite.source}
    return PromptPlan(suites=planned, seed=seed, inputs=sources)


def _plan(
    suite: Suite, per_suite: int | None, seed: int, fits: Callable[[Prompt], bool] | None
) -> PlannedSuite:
    fitting = suite.prompts if fits is None else tuple(filter(fits, suite.prompts))
    too_long = len(suite.prompts) - len(fitting)
    if not fitting:
        raise DataError(
            f"all {too_long} prompts of suite '{suite.name}' are longer than the model's context",
            next_step="ask for fewer new tokens or use a model with a longer context",
        )
    return PlannedSuite(
        name=suite.name, kind=suite.kind, judge=suite.judge, licence=suite.licence,
        source=suite.source, too_long=too_long,
        prompts=_choose(replace(suite, prompts=fitting), per_suite, seed),
    )  # fmt: skip


def _choose(suite: Suite, per_suite: int | None, seed: int) -> tuple[Prompt, ...]:
    if per_suite is None or len(suite.prompts) <= per_suite:
        return suite.prompts
    groups: dict[str, list[int]] = {}
    for index, prompt in enumerate(suite.prompts):
        # The prefix keeps a pair id from meeting another prompt's own id.
        key = f"pair {prompt.pair_id}" if prompt.pair_id else f"single {prompt.prompt_id}"
        groups.setdefault(key, []).append(index)
    order = sorted(groups, key=lambda group: (derive(seed, "plan", suite.name, group), group))
    kept: list[int] = []
    for group in order:
        if len(kept) + len(groups[group]) <= per_suite:
            kept += groups[group]
    if not kept:
        raise UsageError(
            f"no group of suite '{suite.name}' fits into {per_suite} prompts",
            next_step="allow more prompts per suite",
        )
    return tuple(suite.prompts[index] for index in sorted(kept))
