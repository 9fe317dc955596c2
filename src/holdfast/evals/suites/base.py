"""What a suite is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from holdfast.core.errors import DataError, UsageError
from holdfast.core.labels import LABELS, SCORED_KINDS, SUITE_KINDS
from holdfast.core.records import Part
from holdfast.core.registry import nearest


class Choice(Part):
    """One of the answers whose log-probabilities are compared; nothing is generated."""

    text: str = Field(min_length=1, max_length=4_000)
    """The answer, as it would follow the prompt."""
    label: str
    """One of `core.labels.LABELS`: what it means when the model prefers this answer."""


class Prompt(Part):
    """One prompt of a suite."""

    prompt_id: str = Field(min_length=1, max_length=200)
    """Pairs the answers of two arms; unique in the suite."""
    messages: list[dict[str, str]] = Field(min_length=1)
    """The conversation that the model continues; its last message is the user's."""
    category: str = ""
    """Category, such as a kind of harm."""
    followups: tuple[str, ...] = ()
    """What the user says after each answer; a ladder stops at the first that complies."""
    pair_id: str | None = None
    """Joins a prompt with its partner, such as one with and one without a wrapper."""
    reference: str | None = None
    """What the judge needs to know, such as the right answer."""
    choices: tuple[Choice, ...] = Field(default=(), max_length=64)
    """Answers to score by log-probability in place of generating one; none or at least two."""

    @model_serializer(mode="wrap")
    def _as_before_choices(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave empty choices out, so that plans frozen before there were any keep their digest."""
        content: dict[str, Any] = handler(self)
        if not content.get("choices"):
            content.pop("choices", None)
        return content


@dataclass(frozen=True)
class Suite:
    """Prompts of one kind with the judge that fits them."""

    name: str
    kind: str
    """One of `core.labels.SUITE_KINDS`; it decides the metric."""
    prompts: tuple[Prompt, ...]
    judge: str
    """Name of the judge that reads this suite best; `choices` where none is needed."""
    licence: str
    measures: str
    """What the suite measures, in one sentence."""
    source: str = ""
    """SHA-256 of the file that it was read from; empty for generated suites."""

    def __post_init__(self) -> None:
        """Check the kind, that there are prompts, and that their ids are unique."""
        if self.kind not in SUITE_KINDS:
            raise UsageError(
                f"suite '{self.name}' has the unknown kind '{self.kind}'",
                next_step=nearest(self.kind, list(SUITE_KINDS)),
            )
        if not self.prompts:
            raise DataError(f"suite '{self.name}' holds no prompts", expected="at least one")
        seen: set[str] = set()
        for prompt in self.prompts:
            self._check_choices(prompt)
            if prompt.prompt_id in seen:
                raise DataError(
                    f"suite '{self.name}' repeats prompt_id '{prompt.prompt_id}'",
                    expected="one row per prompt_id",
                )
            seen.add(prompt.prompt_id)
            last = prompt.messages[-1]["role"]
            # Only an attack begins the answer itself; elsewhere it is a training row by mistake.
            if last != "user" and (last != "assistant" or self.kind != "jailbreak"):
                raise DataError(
                    f"suite '{self.name}': prompt '{prompt.prompt_id}' does not end with the user",
                    expected="a last message of role user",
                )

    def _check_choices(self, prompt: Prompt) -> None:
        """Scored kinds need choices, the others must not have them."""
        here = f"suite '{self.name}': prompt '{prompt.prompt_id}'"
        if (self.kind in SCORED_KINDS) != bool(prompt.choices):
            what = "lacks choices" if self.kind in SCORED_KINDS else "has choices"
            raise DataError(f"{here} {what}, kind '{self.kind}'", next_step="check the kind")
        texts = [choice.text for choice in prompt.choices]
        if texts and (len(texts) < 2 or len(set(texts)) < len(texts)):
            raise DataError(f"{here} has choices that leave nothing to choose")
        unknown = {choice.label for choice in prompt.choices}.difference(LABELS)
        if unknown:
            raise DataError(f"{here} has the unknown label '{sorted(unknown)[0]}'")
