"""Completions files: JSON Lines that any tool can write and that `judge`, `compare`, `gate` read.

Only `prompt_id` and `response` are required. Reading stays plain dictionaries, because gates read
hundreds of thousands of rows; `load` checks every row once.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from holdfast.core.digest import sha256_file
from holdfast.core.errors import DataError
from holdfast.core.files import read_jsonl
from holdfast.core.labels import LABELS

KNOWN = frozenset(
    {"prompt_id", "prompt", "response", "sample", "suite", "model", "labels", "gold", "messages",
     "category", "kind", "turn", "turns", "arm"}
)  # fmt: skip


@dataclass(frozen=True)
class Completions:
    """The rows of one arm."""

    path: Path
    """File they were read from."""
    rows: list[dict[str, Any]]
    """One dictionary per answer."""
    digest: str
    """SHA-256 of the file."""
    model: str
    """Model digest that the rows name, or "" where they name none."""


def load(path: Path) -> Completions:
    """Read and check a completions file; faults name the line."""
    rows = read_jsonl(path)
    if not rows:
        raise DataError(f"{path} holds no rows", next_step="generate completions first")
    seen: set[tuple[str, str, int]] = set()
    models: set[str] = set()
    for number, row in enumerate(rows, 1):
        _check(path, number, row)
        key = (row.get("suite", ""), row["prompt_id"], row.get("sample", 0))
        if type(key[0]) is not str or type(key[2]) is not int:
            raise DataError(
                f"{path}, line {number}: 'suite' must be text and 'sample' a whole number"
            )
        if key in seen:
            raise DataError(
                f"{path}, line {number} repeats prompt_id '{row['prompt_id']}'",
                expected="one row per prompt and sample",
            )
        seen.add(key)
        models.add(str(row.get("model") or ""))
    if len(models) > 1:
        raise DataError(f"{path} mixes {len(models)} models", expected="one model per file")
    return Completions(path, rows, sha256_file(path), models.pop())


def _check(path: Path, number: int, row: dict[str, Any]) -> None:
    if type(row.get("prompt_id")) is not str or type(row.get("response")) is not str:
        column = "response" if type(row.get("prompt_id")) is str else "prompt_id"
        raise DataError(
            f"{path}, line {number}: '{column}' is missing or no text",
            expected="prompt_id and response in every row",
        )
    labels = row.get("labels")
    if labels is not None:
        if not isinstance(labels, dict):
            raise DataError(f"{path}, line {number}: 'labels' is no mapping of judge to label")
        for judge, label in labels.items():
            if label not in LABELS:
                raise DataError(
                    f"{path}, line {number}: label '{label}' of judge '{judge}'",
                    expected="one of " + ", ".join(LABELS),
                )
