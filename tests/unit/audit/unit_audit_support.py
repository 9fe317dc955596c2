"""Rows and files that several audit tests share."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from holdfast.audit.checks.text import TextReport, check_text
from holdfast.audit.source import Source

SUBJECTS = ("net", "lamp", "sail", "rope", "hull", "oar", "anchor", "deck", "mast", "buoy")
ACTS = ("mend", "clean", "paint", "sell", "carry", "draw", "hide", "weigh", "store", "lend")


def talk(request: str, answer: str, system: str = "") -> dict[str, Any]:
    """One row."""
    messages = [{"role": "user", "content": request}, {"role": "assistant", "content": answer}]
    return {"messages": [{"role": "system", "content": system}, *messages] if system else messages}


def plain(count: int = 60) -> list[dict[str, Any]]:
    """Distinct harmless rows in English."""
    rows = []
    for i in range(count):
        act, subject = ACTS[i % 10], SUBJECTS[(i // 10 + i) % 10]
        rows.append(talk(
            f"How do I {act} the {subject} of boat number {i}, and what will I need for it?",
            f"You {act} the {subject} with both hands {i % 7} times, and then rest on pier {i}.",
        ))  # fmt: skip
    return rows


def write(path: Path, rows: Iterable[dict[str, Any]]) -> Path:
    """Rows as JSON Lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def checked(tmp_path: Path, rows: Iterable[dict[str, Any]], **options: Any) -> TextReport:
    """The text checks of some rows."""
    return check_text(Source(write(tmp_path / "rows.jsonl", rows)), **options)


def codes(report: TextReport) -> set[str]:
    """Codes of the findings."""
    return {found.code for found in report.findings}


TWIN_CODES = {f"AUDIT{number:03d}" for number in range(1, 11)}
"""Codes of the text's own checks; `test_audit_text.TWINS` has a pair of twins for each."""
