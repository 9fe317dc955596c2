"""What comes back when a conversation is asked: an answer, or the reason why there is none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from holdfast.core.errors import InvalidRun
from holdfast.core.protocols import Generator, Messages

CHUNK_BATCHES = 4
"""Batches of a local model between two writes to the cache: what a kill -9 can lose."""


@dataclass(frozen=True)
class Reply:
    """One answer, or none."""

    text: str
    """The answer; "" where there is an error."""
    error: str = ""
    """Why there is no answer. Such a row is unscored, and asked again by the next run."""
    input_tokens: int | None = None
    """Tokens of the prompt as the server counts them; None where nobody counts."""
    output_tokens: int | None = None
    """Tokens of the answer, likewise."""


@runtime_checkable
class Streaming(Protocol):
    """A generator that hands over answers as they finish, in any order: endpoints and fleets."""

    digest: str
    """Identity of the model: a content digest, or `unverified:…`."""
    price: tuple[float, float] | None
    """Price of a million input tokens and of a million output tokens, in any one currency."""

    @property
    def facts(self) -> dict[str, str]:
        """What the record of the evaluation should say about how the answers were made."""
        ...

    def stream(
        self,
        conversations: Sequence[Messages],
        *,
        max_new_tokens: int,
        batch_size: int,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> Iterator[Mapping[int, Reply]]:
        """Replies by index of their conversation; every index exactly once."""
        ...


def stream(
    generator: Generator | Streaming,
    conversations: Sequence[Messages],
    *,
    max_new_tokens: int,
    batch_size: int,
    temperature: float,
    seed: int,
) -> Iterator[Mapping[int, Reply]]:
    """Replies of any generator by index; a local one is asked in chunks of `CHUNK_BATCHES`.

    Raises:
        InvalidRun: the generator gave another number of answers than it was asked for.
    """
    if isinstance(generator, Streaming):
        seen: set[int] = set()
        for replies in generator.stream(
            conversations, max_new_tokens=max_new_tokens, batch_size=batch_size,
            temperature=temperature, seed=seed,
        ):  # fmt: skip
            if not seen.isdisjoint(replies) or not all(
                0 <= index < len(conversations) for index in replies
            ):
                raise InvalidRun("a conversation was answered twice, or was never asked")
            seen.update(replies)
            yield replies
        _check(len(seen), len(conversations))
        return
    size = batch_size * CHUNK_BATCHES
    for start in range(0, len(conversations), size):
        chunk = conversations[start : start + size]
        answers = generator.generate(
            chunk, max_new_tokens=max_new_tokens, batch_size=batch_size,
            temperature=temperature, seed=seed,
        )  # fmt: skip
        _check(len(answers), len(chunk))
        yield {start + index: Reply(answer) for index, answer in enumerate(answers)}


def _check(got: int, expected: int) -> None:
    if got != expected:
        raise InvalidRun(
            "the model gave another number of answers than it was asked for",
            got=str(got),
            expected=str(expected),
        )
