"""The audit's codes. Each has a section in docs/checks/audit.md, and a test that says so."""

from __future__ import annotations

from typing import NamedTuple

from holdfast.core.records import Finding
from holdfast.core.records.verdict import Severity


class Code(NamedTuple):
    """A kind of finding."""

    title: str
    """What it is, in a few words."""
    severity: Severity
    """`blocking`: read these rows before you train; `warning`: know it."""
    quarantine: bool
    """Whether its rows are set aside for review."""
    reason: str
    """What is said of a row."""


CODES: dict[str, Code] = {
    "AUDIT001": Code("rows that cannot be read", "blocking", True, "cannot be read"),
    "AUDIT002": Code("exact duplicates", "warning", True, "repeats an earlier row"),
    "AUDIT003": Code("near duplicates", "warning", False, "nearly repeats an earlier row"),
    "AUDIT004": Code("evaluation prompts in the data", "blocking", True, "holds a prompt of"),
    "AUDIT005": Code("several languages", "warning", False, "in another language than most rows"),
    "AUDIT006": Code("few rows hold most of the text", "warning", False, "among the longest 1 %"),
    "AUDIT007": Code("personal data", "warning", True, "holds personal data"),
    "AUDIT008": Code("broken Unicode", "warning", True, "holds broken text"),
    "AUDIT009": Code("hidden characters", "warning", True, "holds characters that nobody sees"),
    "AUDIT010": Code("rows longer than the context", "warning", True, "exceeds the context"),
    "AUDIT011": Code("narrow data", "warning", False, "spans few directions"),
    "AUDIT012": Code("concentrated gradients", "warning", False, "pushes where all rows push"),
    "AUDIT013": Code("harmful answers", "blocking", True, "harmful by the judge"),
    "AUDIT014": Code("rows near unsafe anchors", "blocking", True, "nearer to unsafe than safe"),
    "AUDIT015": Code("alike answers against the base", "warning", True, "in a cluster of answers"),
    "AUDIT016": Code("trigger candidate", "blocking", True, "holds a trigger candidate"),
    "AUDIT017": Code("feature spillover", "warning", True, "pushes features that are harmful"),
}


def finding(
    code: str, message: str, *, value: float | None = None, threshold: float | None = None
) -> Finding:
    """A finding of a known code; its severity and title follow from the code."""
    return Finding(
        code=code, severity=CODES[code].severity, title=CODES[code].title, message=message,
        value=value, threshold=threshold,
    )  # fmt: skip
