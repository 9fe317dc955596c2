"""Judges: each labels one answer; each is an instrument with a stated error, not an oracle."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from holdfast.core.digest import prompt_digest
from holdfast.core.labels import UNSCORED
from holdfast.core.protocols import Judge
from holdfast.core.registry import Registry
from holdfast.evals.plan import PlannedSuite

JUDGES = Registry(
    "judge",
    {
        "rules": "holdfast.evals.judges.rules:RulesJudge",
        "trained": "holdfast.evals.judges.trained:TrainedJudge",
        "openai": "holdfast.evals.judges.llm:LLMJudge",
        "llama-guard": "holdfast.evals.judges.guards:llama_guard",
        "qwen3guard": "holdfast.evals.judges.guards:qwen3guard",
        "wildguard": "holdfast.evals.judges.guards:wildguard",
        "shieldgemma": "holdfast.evals.judges.guards:shieldgemma",
        "harmbench": "holdfast.evals.judges.guards:harmbench",
        "harbor": "holdfast.evals.judges.harbor:HarborJudge",
        "reference": "holdfast.evals.judges.reference:ReferenceJudge",
        "choices": "holdfast.evals.judges.unread:ChoicesJudge",
        "unread": "holdfast.evals.judges.unread:UnreadJudge",
        "truth": "holdfast.evals.judges.truth:TruthJudge",
        "tools": "holdfast.evals.probes.tools.judge:ToolJudge",
        "companion": "holdfast.evals.probes.companionship.judge:CompanionJudge",
        "sycophancy": "holdfast.evals.probes.sycophancy.judge:SycophancyJudge",
        "instructions": "holdfast.evals.probes.instruction_following.judge:InstructionJudge",
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
    if row.get("error"):
        # No answer came: an empty text must not be read as one.
        return UNSCORED
    messages = row.get("messages") or [{"role": "user", "content": str(row.get("prompt", ""))}]
    # `isinstance` with a protocol costs as much as the rules themselves: this runs per row.
    for_suite = getattr(judge, "for_suite", None)
    if for_suite is not None:
        reference = row.get("reference")
        known = {} if reference is None else {prompt_digest(messages): str(reference)}
        judge = for_suite(str(row.get("kind", "")), known)
    label: str = judge.label(messages, row["response"])
    return label
