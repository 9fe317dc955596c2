"""What a suite is."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import Field

from holdfast.core.errors import DataError, UsageError
from holdfast.core.labels import SUITE_KINDS
from holdfast.core.records import Part
from holdfast.core.registry import nearest


class Prompt(Part):
    """One prompt of a suite."""

    prompt_id: str = Field(min_length=1, max_length=200)
    """Pairs the answers of two arms; unique in the suite."""
    messages: list[dict[str, str]] = Field(min_length=1)
    """The conversation that the model continues; its last message is the user's."""
    category: str = ""
    """Category, such as a kind of harm."""
    followups: tuple[str, ...] = ()
    """Ladders only: what the user says after each answer that did not comply."""
    pair_id: str | None = None
    """Joins a prompt with its partner, such as one with and one without a wrapper."""
    reference: str | None = None
    """The right answer, where there is one."""


@dataclass(frozen=True)
class Suite:
    """Prompts of one kind with the judge that fits them."""

    name: str
    kind: str
    """One of `core.labels.SUITE_KINDS`; it decides the metric."""
    prompts: tuple[Prompt, ...]
    judge: str
    """Name of the judge that reads this suite best."""
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
            if prompt.prompt_id in seen:
                raise DataError(
                    f"suite '{self.name}' repeats prompt_id '{prompt.prompt_id}'",
                    expected="one row per prompt_id",
                )
            seen.add(prompt.prompt_id)
            if prompt.messages[-1]["role"] != "user":
                raise DataError(
                    f"suite '{self.name}': prompt '{prompt.prompt_id}' does not end with the user",
                    expected="a last message of role user",
                )
