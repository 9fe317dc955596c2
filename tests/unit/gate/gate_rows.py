"""Rows of a completions file, built from labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

Rows = list[dict[str, Any]]
Write = Callable[..., Path]
ACCEPTED = {"rules": "its labels are written by the test itself"}
"""What a policy says where a judge without an audit is to pass."""


def rows(
    labels: Sequence[str | None], *, kind: str | None = "harmful", suite: str = "s", arm: str = "a"
) -> Rows:
    """One row per label; None leaves the row without labels."""
    made: Rows = []
    for i, label in enumerate(labels):
        row: dict[str, Any] = {
            "prompt_id": f"p{i}",
            "prompt": f"question {i}",
            "response": f"answer {i} of {arm}",
            "suite": suite,
            "model": arm * 8,
            "labels": {} if label is None else {"rules": label},
        }
        if kind is not None:
            row["kind"] = kind
        made.append(row)
    return made
