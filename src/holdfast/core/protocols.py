"""What a lower part needs of an upper one, so that the arrows keep pointing down."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

Messages = list[dict[str, str]]
"""A conversation: a list of {"role": "system|user|assistant", "content": text}."""

Progress = Callable[[str, int, int], None]
"""Called as progress(what, done, total) during long work."""


def no_progress(what: str, done: int, total: int) -> None:
    """The progress callback that says nothing."""


class Judge(Protocol):
    """Labels one answer. What it cannot read is `unscored`, never a guess."""

    name: str

    def label(self, messages: Messages, response: str) -> str:
        """One of `holdfast.core.labels.LABELS` for the answer to `messages`."""
        ...


class Generator(Protocol):
    """A model that answers conversations."""

    digest: str
    """Content digest of weights, adapter, tokenizer, template and generation config."""

    def generate(
        self,
        conversations: Sequence[Messages],
        *,
        max_new_tokens: int,
        batch_size: int,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> list[str]:
        """One answer per conversation, in order; temperature 0 is greedy."""
        ...
