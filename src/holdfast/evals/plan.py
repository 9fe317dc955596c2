"""One frozen prompt plan per gate: every arm answers exactly these prompts."""

from __future__ import annotations

from collections.abc import Sequence

from holdfast.core.digest import sha256_json
from holdfast.core.errors import UsageError
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


class PromptPlan(Record):
    """What every arm of a gate is asked. `digest()` names it; two arms share it or are not paired."""

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


def freeze(suites: Sequence[Suite], *, per_suite: int | None = None, seed: int = 0) -> PromptPlan:
    """Take at most `per_suite` prompts of each suite, chosen by seed; pairs stay together.

    The choice of one suite depends on the seed, its name and its prompt ids alone: adding a
    suite to the plan never changes another.
    """
    if not suites:
        raise UsageError("an evaluation needs at least one suite", next_step="add --suite NAME")
    if per_suite is not None and per_suite < 1:
        raise UsageError("prompts per suite", got=str(per_suite), expected="at least 1")
    planned = tuple(
        PlannedSuite(
            name=suite.name, kind=suite.kind, judge=suite.judge, licence=suite.licence,
            source=suite.source, prompts=_choose(suite, per_suite, seed),
        )
        for suite in suites
    )  # fmt: skip
    sources = {suite.name: suite.source for suite in suites if suite.source}
    return PromptPlan(suites=planned, seed=seed, inputs=sources)


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
