"""Judges: each labels one answer; each is an instrument with a stated error, not an oracle."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from holdfast.core.digest import prompt_digest
from holdfast.core.protocols import Judge
from holdfast.core.registry import Registry
from holdfast.evals.plan import PlannedSuite

JUDGES = Registry(
    "judge",
    {
        "rules": "holdfast.evals.judges.rules:RulesJudge",
        "harbor": "holdfast.evals.judges.harbor:HarborJudge",
        "reference": "holdfast.evals.judges.reference:ReferenceJudge",
    },
)
"""Judge name -> class; called without arguments."""


@runtime_checkable
class SuiteJudge(Protocol):
    """A judge that must know the kind of the suite, or the right answers, before it labels."""

    name: str

    def for_suite(self, kind: str, references: Mapping[str, str]) -> Judge:
        """The judge for prompts of `kind`; `references` maps prompt digest to right answer."""
        ...


def make(name: str) -> Judge:
    """The judge called `name`; an unknown name is a `UsageError` that suggests the nearest."""
    judge: Judge = JUDGES.load(name)()
    return judge


def bind(judge: Judge, suite: PlannedSuite) -> Judge:
    """`judge` told about `suite`, where it asks to be told."""
    if not isinstance(judge, SuiteJudge):
        return judge
    references = {
        prompt_digest(prompt.messages): prompt.reference
        for prompt in suite.prompts
        if prompt.reference is not None
    }
    return judge.for_suite(suite.kind, references)


def label_row(judge: Judge, row: Mapping[str, Any]) -> str:
    """Label one row of a completions file, by the kind and the reference that it names.

    A row without `messages` is read by its `prompt`; what a judge makes of one without `kind` is
    said where the judge is.
    """
    messages = row.get("messages") or [{"role": "user", "content": str(row.get("prompt", ""))}]
    # `isinstance` with a protocol costs as much as the rules themselves: this runs per row.
    for_suite = getattr(judge, "for_suite", None)
    if for_suite is not None:
        reference = row.get("reference")
        known = {} if reference is None else {prompt_digest(messages): str(reference)}
        judge = for_suite(str(row.get("kind", "")), known)
    label: str = judge.label(messages, row["response"])
    return label
