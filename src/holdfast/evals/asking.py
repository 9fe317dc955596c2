"""Answers from the cache first, then from the model; what is finished is on disk at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from holdfast.core.protocols import Generator, Messages, Progress
from holdfast.evals.cache import AnswerCache, answer_key
from holdfast.evals.replies import Reply, Streaming, stream


@dataclass
class Asker:
    """Asks each conversation of these weights once, however often it occurs."""

    generator: Generator | Streaming
    store: AnswerCache
    parameters: dict[str, Any]
    """Generation parameters; part of every key."""
    batch_size: int
    seed: int
    progress: Progress
    asked: int = 0
    """Answers given so far, cached ones included."""
    reused: int = 0
    """Answers among them that were in the cache."""

    def ask(self, conversations: Sequence[Messages], what: str) -> list[Reply]:
        """One reply per conversation, in order."""
        keys = [answer_key(self.generator.digest, c, self.parameters) for c in conversations]
        found = {key: reply for key in keys if (reply := self.store.reply(key)) is not None}
        pending: dict[str, Messages] = {
            key: messages
            for key, messages in zip(keys, conversations, strict=True)
            if key not in found
        }
        self.asked += len(keys)
        self.reused += sum(key in found for key in keys)
        # Neighbours of like length waste the least padding; the longest first shows at once
        # whether the batch fits into memory. The key breaks ties, for the same order each time.
        order = sorted(pending, key=lambda key: (-_length(pending[key]), key))
        total = len(set(keys))
        self.progress(what, len(found), total)
        for replies in stream(
            self.generator, [pending[key] for key in order],
            max_new_tokens=self.parameters["max_new_tokens"], batch_size=self.batch_size,
            temperature=self.parameters["temperature"], seed=self.seed,
        ):  # fmt: skip
            fresh = {order[index]: reply for index, reply in replies.items()}
            self.store.add({key: reply for key, reply in fresh.items() if not reply.error})
            found.update(fresh)
            self.progress(what, len(found), total)
        return [found[key] for key in keys]


def _length(messages: Messages) -> int:
    return sum(len(message["content"]) for message in messages)
