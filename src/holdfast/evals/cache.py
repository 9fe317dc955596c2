"""The cache of answers: keyed by weights, messages and generation parameters, safe under kill -9.

Two widely used harnesses leave the weights out of the key and then hand the base model's answers
to the fine-tune. Here a generator without a content digest is refused.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from holdfast.core.digest import prompt_digest, sha256_json
from holdfast.core.errors import IntegrityError, UsageError
from holdfast.core.files import disk_faults
from holdfast.core.protocols import Messages
from holdfast.evals.replies import Reply

_NAMELESS = re.compile(r"|live|none|unknown", re.IGNORECASE)
"""Digests that do not tell one set of weights from another."""


def check_identity(digest: str) -> None:
    """Refuse a model digest that names no content ("" or "live")."""
    if _NAMELESS.fullmatch(digest.strip()):
        raise UsageError(
            "answers of a model without a content digest cannot be cached",
            got=f"'{digest}'",
            expected="the digest of its weights",
            next_step="save the model and load it from its folder",
        )


def answer_key(digest: str, messages: Messages, parameters: Mapping[str, Any]) -> str:
    """Identity of one answer: model digest, messages, generation parameters."""
    check_identity(digest)
    return sha256_json([digest, prompt_digest(messages), dict(parameters)])


class AnswerCache:
    """An append-only JSON Lines file of finished answers; one process writes it at a time."""

    def __init__(self, path: Path) -> None:
        """Open or create `path`; a torn last line is dropped, any other fault is an error."""
        self.path = path
        self._answers: dict[str, Reply] = {}
        with disk_faults(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._handle = path.open("a+b")
        try:
            self._lock()
            self._read()
        except BaseException:
            self._handle.close()
            raise

    def __enter__(self) -> Self:
        """The cache itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the file and with it the lock."""
        self._handle.close()

    def __len__(self) -> int:
        """Number of answers."""
        return len(self._answers)

    def get(self, key: str) -> str | None:
        """The answer under `key`, if it is finished."""
        found = self._answers.get(key)
        return None if found is None else found.text

    def reply(self, key: str) -> Reply | None:
        """The answer under `key` with its token counts, if it is finished."""
        return self._answers.get(key)

    def add(self, answers: Mapping[str, str | Reply]) -> None:
        """Append finished answers and force them to disk before returning."""
        replies = {k: a if isinstance(a, Reply) else Reply(a) for k, a in answers.items()}
        if not replies:
            return
        lines = "".join(json.dumps(_entry(k, r)) + "\n" for k, r in replies.items())
        with disk_faults(self.path):
            self._handle.write(lines.encode())
            self._handle.flush()
            os.fsync(self._handle.fileno())
        self._answers.update(replies)

    def discard(self) -> None:
        """Delete the file: its answers are not to be used again."""
        self.path.unlink(missing_ok=True)
        self._answers.clear()

    def _lock(self) -> None:
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(
                f"the answer cache {self.path} is in use by another process",
                next_step="wait for it to end, or name another cache",
            ) from None

    def _read(self) -> None:
        self._handle.seek(0)
        start = 0
        for number, line in enumerate(self._handle, 1):
            if not line.endswith(b"\n"):
                # A process died while writing this line: its answer is generated again.
                self._handle.truncate(start)
                break
            start += len(line)
            try:
                entry = json.loads(line)
                counts = entry.get("tokens") or (None, None)
                self._answers[entry["key"]] = Reply(str(entry["answer"]), "", *counts)
            except (ValueError, KeyError, TypeError):
                raise IntegrityError(
                    f"{self.path}, line {number} is no cached answer",
                    next_step="delete the file; the answers are generated again",
                ) from None
        self._handle.seek(0, os.SEEK_END)


def _entry(key: str, reply: Reply) -> dict[str, Any]:
    counts = [reply.input_tokens, reply.output_tokens]
    tokens = {"tokens": counts} if counts != [None, None] else {}
    return {"key": key, "answer": reply.text, **tokens}
