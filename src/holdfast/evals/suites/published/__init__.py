"""Readers for published sets, in the files that their authors distribute.

The files are not shipped: several hold offensive text, some have no licence, and a user who names
a path knows what it holds. Each entry states licence, origin, size and the rows that are used.
"""

from __future__ import annotations

from pathlib import Path

from holdfast.data.read import read_rows
from holdfast.evals.suites.published.dialogues import DIALOGUES
from holdfast.evals.suites.published.entry import Published
from holdfast.evals.suites.published.questions import QUESTIONS
from holdfast.evals.suites.published.requests import REQUESTS
from holdfast.evals.suites.published.statements import STATEMENTS

__all__ = ["GROUPS", "PUBLISHED", "Published", "detect"]

PUBLISHED: dict[str, Published] = {**REQUESTS, **STATEMENTS, **QUESTIONS, **DIALOGUES}
"""Suite name -> entry."""
GROUPS: dict[str, tuple[str, ...]] = {
    "xstest": ("xstest-safe", "xstest-unsafe"),
    "truthfulqa": ("truthfulqa-mc1", "truthfulqa-mc2", "truthfulqa-open"),
}
"""A published file that holds more than one suite."""
BY_FILE = frozenset({"statements", "emergent", "weird"})
"""Sets whose files are suites of their own: a folder gives one suite per file."""


def detect(path: Path) -> list[str]:
    """Names of the published suites whose columns the header of a CSV file has."""
    have = set(read_rows(path)[0])
    return [n for n, entry in PUBLISHED.items() if entry.columns and have.issuperset(entry.columns)]
