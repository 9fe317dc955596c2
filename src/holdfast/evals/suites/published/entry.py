"""How one published set becomes a suite, and the small readers that several sets share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from holdfast.core.errors import DataError
from holdfast.data.read import read_rows, require_columns
from holdfast.evals.suites.base import Prompt

Row = dict[str, Any]


class Title(NamedTuple):
    """Name of a suite and what it measures, where both depend on the file."""

    name: str
    measures: str


@dataclass(frozen=True)
class Published:
    """One entry of the catalogue."""

    kind: str
    """One of `core.labels.SUITE_KINDS`."""
    judge: str
    """Judge that reads it best among those that ship."""
    size: int
    """Prompts in the authors' files."""
    licence: str
    """As the authors state it."""
    measures: str
    """In one sentence, with the paper."""
    origin: str
    """Where the authors publish it."""
    read: Callable[[list[Path]], tuple[Prompt, ...]]
    """Files, in order, to prompts."""
    suffixes: tuple[str, ...] = (".csv",)
    """Files that count in a folder."""
    digests: str = ""
    """Key into the known digests, where several suites come from one set."""
    columns: tuple[str, ...] = ()
    """Columns by which a CSV file is known for this set; empty: it is not guessed."""
    title: Callable[[Path], Title] | None = None
    """Name by file, for sets of many files that are suites of their own."""


def user(prompt_id: str, text: str, category: str = "", system: str = "") -> Prompt:
    """A prompt of one user message, with a system message where one is given."""
    messages = [{"role": "user", "content": text}]
    if system:
        messages.insert(0, {"role": "system", "content": system})
    return Prompt(prompt_id=prompt_id, messages=messages, category=category)


def table(
    columns: tuple[str, ...], prompt: Callable[[int, Row, Path], Prompt | None]
) -> Callable[[list[Path]], tuple[Prompt, ...]]:
    """A reader of tables: row number (1-based), row and file to a prompt, or None to leave it out.

    It raises `DataError` for files without these columns and for files without one usable row.
    """

    def read(files: list[Path]) -> tuple[Prompt, ...]:
        prompts: list[Prompt] = []
        for file in files:
            rows = read_rows(file)
            require_columns(file, rows, columns)
            for number, row in enumerate(rows, 1):
                found = prompt(number, row, file)
                if found is not None:
                    prompts.append(found)
        if not prompts:
            raise DataError(f"{files[0]} holds no row of this suite", expected=", ".join(columns))
        return tuple(prompts)

    return read


def text_of(row: Row, column: str, where: str) -> str:
    """The text in a column; anything else is a `DataError` that names the place."""
    value = row.get(column)
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"{where}: '{column}' is empty or no text", expected="text")
    return value
