"""The rows of a training set, one at a time: a fault is a row's own, and memory stays bounded."""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from holdfast.audit.checks.words import words
from holdfast.core.errors import DataError
from holdfast.core.protocols import Messages
from holdfast.data.read import read_rows
from holdfast.data.template import check_messages, detect, to_messages

MAX_LINE = 1 << 24
"""Longest line of a JSON Lines file: 16 MiB. A longer one is a fault of its row."""
_TRIES = 100
"""Rows that are looked at for a template that fits."""
_STREAMED = (".jsonl", ".ndjson")
PAIRS = "chosen"
"""Template of preference pairs: the request is `prompt` or `messages`, the answer `chosen`."""


@dataclass(frozen=True)
class Row:
    """One row as it was read."""

    index: int
    """Place among the rows, from 0."""
    messages: Messages
    """The conversation with its answer; empty where there is a fault."""
    fault: str = ""
    """Why it cannot be read; says nothing of its content."""
    undecodable: bool = False
    """Whether its bytes were no UTF-8."""

    @property
    def request(self) -> Messages:
        """The conversation up to the answer."""
        return self.messages[:-1]

    @property
    def answer(self) -> str:
        """The last message."""
        return self.messages[-1]["content"] if self.messages else ""

    @cached_property
    def text(self) -> str:
        """All messages in one text."""
        return "\n".join(message["content"] for message in self.messages)

    @cached_property
    def words(self) -> list[list[str]]:
        """Words of every message."""
        return [words(message["content"]) for message in self.messages]


class Source:
    """A .jsonl file that is streamed, or a .json, .csv or .tsv file that is held."""

    def __init__(self, path: Path, template: str = "") -> None:
        if not path.is_file():
            raise DataError(f"{path} does not exist", next_step="check the path")
        self.path = path
        self._offsets = array("Q")
        self._held = None if path.suffix.lower() in _STREAMED else read_rows(path)
        self.size = path.stat().st_size
        self.template = template or self._detect()

    def __iter__(self) -> Iterator[Row]:
        """Every row in order; an empty file is a `DataError`."""
        count = 0
        for count, row in enumerate(self._rows(), 1):  # noqa: B007
            yield row
        if not count:
            raise DataError(f"{self.path} holds no rows", expected="at least one row")

    def at(self, indices: list[int]) -> Iterator[Row]:
        """The rows at `indices`, which have been read before."""
        if self._held is not None:
            yield from (self._row(i, self._held[i], False) for i in indices)
            return
        with self.path.open("rb") as handle:
            for index in indices:
                handle.seek(self._offsets[index])
                yield self._parsed(index, handle.readline(MAX_LINE))

    def lines(self) -> Iterator[bytes]:
        """Every row as a line of JSON Lines, as it stands where the file has such lines."""
        if self._held is not None:
            yield from ((json.dumps(row, ensure_ascii=False) + "\n").encode() for row in self._held)
            return
        for _, line in self._lines():
            yield line if line.endswith(b"\n") else line + b"\n"

    def _rows(self) -> Iterator[Row]:
        if self._held is not None:
            yield from (self._row(i, row, False) for i, row in enumerate(self._held))
            return
        self._offsets = array("Q")
        for index, (offset, line) in enumerate(self._lines()):
            self._offsets.append(offset)
            yield self._parsed(index, line)

    def _lines(self) -> Iterator[tuple[int, bytes]]:
        """Offset and bytes of every line that is not blank; a longer one is cut and said."""
        with self.path.open("rb") as handle:
            offset = 0
            while line := handle.readline(MAX_LINE):
                start, offset = offset, offset + len(line)
                while not line.endswith(b"\n") and (rest := handle.readline(MAX_LINE)):
                    offset += len(rest)
                    if rest.endswith(b"\n"):
                        break
                if not line.isspace():
                    yield start, line

    def _parsed(self, index: int, line: bytes) -> Row:
        undecodable = False
        try:
            text = line.decode()
        except UnicodeDecodeError:
            text, undecodable = line.decode(errors="replace"), True
        if len(line) >= MAX_LINE:
            return Row(index, [], f"the line is longer than {MAX_LINE} bytes", undecodable)
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            return Row(index, [], "not JSON", undecodable)
        return self._row(index, value, undecodable)

    def _row(self, index: int, value: Any, undecodable: bool) -> Row:
        if not isinstance(value, dict):
            return Row(index, [], "no object", undecodable)
        try:
            messages = self._messages(value)
        except DataError as error:
            return Row(index, [], error.what, undecodable)
        except (KeyError, TypeError):
            return Row(index, [], f"does not fit the template '{self.template}'", undecodable)
        fault = ""
        if len(messages) < 2 or messages[-1]["role"] != "assistant":
            fault = "does not end in an answer"
        elif not messages[-1]["content"].strip():
            fault = "has an empty answer"
        return Row(index, [] if fault else messages, fault, undecodable)

    def _messages(self, value: dict[str, Any]) -> Messages:
        if self.template != PAIRS:
            return to_messages(value, self.template, "the row")
        if "messages" not in value:
            return to_messages(value, "prompt->chosen", "the row")
        chosen = {"role": "assistant", "content": value["chosen"]}
        return check_messages([*value["messages"], chosen], "the row")

    def _detect(self) -> str:
        """The template of the first row that has one."""
        fault: DataError | None = None
        for tried, value in enumerate(self._values()):
            if tried == _TRIES:
                break
            if not isinstance(value, dict):
                continue
            if "chosen" in value and value.keys() & {"prompt", "messages"}:
                return PAIRS
            try:
                return detect(value)
            except DataError as error:
                fault = error
        raise fault or DataError(
            f"{self.path} holds no row that can be read", expected="one JSON object per line"
        )

    def _values(self) -> Iterator[Any]:
        if self._held is not None:
            yield from self._held
            return
        for _, line in self._lines():
            try:
                yield json.loads(line.decode(errors="replace"))
            except (ValueError, RecursionError):
                yield None
