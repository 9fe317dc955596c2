"""Contrast sets: prompts that carry a concept beside prompts that do not, and answer openings."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from holdfast.core.digest import sha256_json
from holdfast.core.errors import DataError
from holdfast.core.files import read_jsonl
from holdfast.core.protocols import Messages

HARMFUL = "harmful"
"""The concept whose categories make the safety features."""
TASK = "task"
"""The concept whose positive prompts are those of the fine-tuning task, where given."""
SPLITS = ("train", "validation", "test")
_LEAST = 2
"""Prompts per category, label and split: fewer have no halves and no variance."""


@dataclass(frozen=True)
class ContrastRow:
    """One prompt of a contrast set."""

    concept: str
    """Concept: `harmful`, `persona`, `era`, `task` …"""
    category: str
    """Harm category, or a name within the concept; each has positives and its own negatives."""
    label: int
    """1 where the prompt carries the concept, else 0."""
    split: str
    """`train` (directions), `validation` (site selection, probes) or `test` (separation)."""
    prompt_id: str
    """Identity of the prompt."""
    messages: Messages
    """The conversation, up to the answer."""


@dataclass(frozen=True)
class Openings:
    """Starts of answers: teacher-forced to read whether a model is about to refuse."""

    refusal: tuple[str, ...]
    """How refusals begin."""
    compliance: tuple[str, ...]
    """How compliant answers begin."""

    def digest(self) -> str:
        """SHA-256 of the openings in order."""
        return sha256_json(asdict(self))


def load_contrast(path: Path) -> list[ContrastRow]:
    """Read and check a contrast file; faults name the line or the category.

    Raises:
        DataError: a row is malformed, a category lacks a label in a split, or there are fewer than
            two harm categories.
    """
    rows = [_row(path, number, value) for number, value in enumerate(read_jsonl(path), 1)]
    check(rows)
    return rows


def load_openings(path: Path) -> Openings:
    """Read `{"refusal": [text…], "compliance": [text…]}`."""
    if not path.is_file():
        raise DataError(f"{path} does not exist", next_step="check the path")
    try:
        value = json.loads(path.read_text("utf-8"))
    except ValueError:
        raise DataError(f"{path} is not JSON") from None
    return parse_openings(value, source=str(path))


def parse_openings(value: Any, *, source: str = "openings") -> Openings:
    """`Openings` from plain data: two lists of non-empty texts."""
    lists = []
    for kind in ("refusal", "compliance"):
        texts = value.get(kind) if isinstance(value, dict) else None
        if (
            not isinstance(texts, list)
            or not texts
            or not all(isinstance(text, str) and text for text in texts)
        ):
            raise DataError(f"{source} has no usable list '{kind}'", expected="a list of texts")
        lists.append(tuple(texts))
    return Openings(*lists)


def check(rows: Sequence[ContrastRow]) -> None:
    """Raise a `DataError` unless a safety map can be fitted on `rows`."""
    categories = {row.category for row in rows if row.concept == HARMFUL}
    if len(categories) < 2:
        raise DataError(
            "the contrast set spans no safety subspace",
            got=f"{len(categories)} categories of the concept '{HARMFUL}'",
            expected="at least 2",
        )
    counts = Counter((row.concept, row.category, row.split, row.label) for row in rows)
    for concept, category in sorted({(row.concept, row.category) for row in rows}):
        splits = SPLITS if concept == HARMFUL else ("train", "test")
        for split in splits:
            for label in (0, 1):
                found = counts[concept, category, split, label]
                if found < _LEAST:
                    raise DataError(
                        f"contrast set '{concept}/{category}', split '{split}', label {label}",
                        got=f"{found} prompts",
                        expected=f"at least {_LEAST}",
                    )


def digest(rows: Sequence[ContrastRow]) -> str:
    """SHA-256 over all rows in order."""
    return sha256_json([asdict(row) for row in rows])


def select(rows: Sequence[ContrastRow], split: str, concept: str | None = None) -> list[int]:
    """Indices of the rows of one split (and concept), in order."""
    return [
        index
        for index, row in enumerate(rows)
        if row.split == split and concept in (None, row.concept)
    ]


def _row(path: Path, number: int, value: dict[str, Any]) -> ContrastRow:
    where = f"{path}, line {number}"
    for key in ("concept", "category", "split", "prompt_id"):
        if not isinstance(value.get(key), str) or not value[key]:
            raise DataError(f"{where}: '{key}' is missing or no text")
    if value.get("label") not in (0, 1):
        raise DataError(f"{where}: 'label'", got=repr(value.get("label"))[:40], expected="0 or 1")
    if value["split"] not in SPLITS:
        raise DataError(f"{where}: 'split'", got=value["split"][:40], expected=", ".join(SPLITS))
    messages = value.get("messages")
    if not isinstance(messages, list) or not messages or not all(_is_message(m) for m in messages):
        raise DataError(f"{where}: 'messages' is no conversation")
    return ContrastRow(
        value["concept"], value["category"], int(value["label"]), value["split"],
        value["prompt_id"], [{"role": m["role"], "content": m["content"]} for m in messages],
    )  # fmt: skip


def _is_message(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and isinstance(value.get("role"), str)
        and isinstance(value.get("content"), str)
    )
