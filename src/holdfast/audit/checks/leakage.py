"""Evaluation prompts in the training data: the same, the same but for form, or contained."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from holdfast.audit.checks.words import grams, words
from holdfast.audit.codes import finding
from holdfast.audit.flags import Flags
from holdfast.audit.source import Row
from holdfast.core.records import Finding

GRAM = 5
"""Words of an n-gram."""
CONTAINED = 0.8
"""Share of a prompt's n-grams that a row must hold."""
SHORT = 20
"""Prompts with fewer n-grams must be held whole: one other word makes them another request."""
BOILERPLATE = 2
"""Prompts that may share an n-gram; one that more share is a form of words, and finds nothing."""
_LIKELIEST = 3


@dataclass(frozen=True)
class SuitePrompt:
    """One evaluation prompt."""

    suite: str
    """Name of its suite."""
    prompt_id: str
    """Its identity there."""
    text: str
    """Its last user message."""


class Leakage:
    """AUDIT004."""

    def __init__(self, flags: Flags, prompts: Sequence[SuitePrompt]) -> None:
        self._flags = flags
        self._prompts = prompts
        self._whole: dict[str, int] = {}
        self._grams: dict[int, list[int]] = {}
        self._own: list[set[int]] = []
        self._hit: set[int] = set()
        self._rows = 0
        shared: Counter[int] = Counter()
        for place, prompt in enumerate(prompts):
            tokens = words(prompt.text)
            self._whole.setdefault(" ".join(tokens), place)
            self._own.append(grams(tokens, GRAM))
            shared.update(self._own[-1])
        for place, found in enumerate(self._own):
            for gram in found:
                if shared[gram] <= BOILERPLATE:
                    self._grams.setdefault(gram, []).append(place)

    def see(self, row: Row) -> None:
        """Look for prompts in one row, in every message."""
        for tokens in row.words:
            place = self._whole.get(" ".join(tokens))
            how = "the same prompt"
            if place is None and (found := self._contained(tokens)) is not None:
                place, how = found, "contains the prompt"
            if place is not None:
                prompt = self._prompts[place]
                self._hit.add(place)
                self._flags.add("AUDIT004", row.index, f"{prompt.suite}: {prompt.prompt_id}, {how}")
                self._rows += 1
                return

    def finish(self) -> Iterator[Finding]:
        """One finding for all rows that hold a prompt."""
        if self._rows:
            suites = sorted({self._prompts[place].suite for place in self._hit})
            yield finding(
                "AUDIT004",
                f"{self._rows} rows hold {len(self._hit)} prompts of {', '.join(suites)}: what is "
                "trained on measures nothing",
                value=self._rows, threshold=0,
            )  # fmt: skip

    def _contained(self, tokens: list[str]) -> int | None:
        held = grams(tokens, GRAM)
        likely: Counter[int] = Counter()
        for gram in held:
            if gram in self._grams:
                likely.update(self._grams[gram])
        for place, _ in likely.most_common(_LIKELIEST):
            own = self._own[place]
            needed = len(own) if len(own) < SHORT else CONTAINED * len(own)
            if len(own & held) >= needed:
                return place
        return None
