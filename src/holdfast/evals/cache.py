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
        self._answers: dict[str, str] = {}
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
        return self._answers.get(key)

    def add(self, answers: Mapping[str, str]) -> None:
        """Append finished answers and force them to disk before returning."""
        lines = "".join(json.dumps({"key": k, "answer": a}) + "\n" for k, a in answers.items())
        with disk_faults(self.path):
            self._handle.write(lines.encode())
            self._handle.flush()
            os.fsync(self._handle.fileno())
        self._answers.update(answers)

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
                self._answers[entry["key"]] = str(entry["answer"])
            except (ValueError, KeyError, TypeError):
                raise IntegrityError(
                    f"{self.path}, line {number} is no cached answer",
                    next_step="delete the file; the answers are generated again",
                ) from None
        self._handle.seek(0, os.SEEK_END)
