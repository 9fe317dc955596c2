"""The gate's codes. Each has a section in docs/checks/gate.md, and a test that says so."""

from __future__ import annotations

from typing import NamedTuple

from holdfast.core.records import Finding, Outcome
from holdfast.core.records.verdict import Severity


class Code(NamedTuple):
    """A kind of finding."""

    title: str
    """What it is, in a few words."""
    outcome: Outcome | None
    """Verdict that it forces, or None where it only informs."""


CODES: dict[str, Code] = {
    "GATE001": Code("regression shown", Outcome.FAIL),
    "GATE002": Code("non-inferiority not shown", Outcome.INCONCLUSIVE),
    "GATE003": Code("metric not measured", Outcome.INCONCLUSIVE),
    "GATE004": Code("too many unscored answers", Outcome.INCONCLUSIVE),
    "GATE005": Code("worst case beyond the margin", Outcome.INCONCLUSIVE),
    "GATE006": Code("same model in both arms", Outcome.INVALID),
    "GATE007": Code("same answers in both arms", Outcome.INVALID),
    "GATE008": Code("prompts in one arm only", None),
    "GATE009": Code("too many prompts in one arm only", Outcome.INVALID),
    "GATE010": Code("several samples per prompt", None),
    "GATE011": Code("below the floor", Outcome.FAIL),
    "GATE012": Code("floor not shown", Outcome.INCONCLUSIVE),
    "GATE013": Code("nothing to preserve", Outcome.INCONCLUSIVE),
    "GATE014": Code("eligibility not shown", Outcome.INCONCLUSIVE),
    "GATE015": Code("reported metric got worse", None),
    "GATE016": Code("reported metric not measured", None),
    "GATE017": Code("rows without a kind", None),
    "GATE018": Code("hostile threat", None),
    "GATE019": Code("judge without an audit", Outcome.INCONCLUSIVE),
    "GATE020": Code("judges disagree", Outcome.INCONCLUSIVE),
    "GATE021": Code("judges disagree where it does not decide", None),
    "GATE022": Code("the audit moves the difference", None),
    "GATE023": Code("no second opinion", None),
    "GATE024": Code("weights not verified", Outcome.INCONCLUSIVE),
    "GATE025": Code("unverified weights accepted", None),
}

NOTHING_TO_PRESERVE = "GATE013"


def finding(
    code: str,
    message: str,
    *,
    metric: str = "",
    value: float | None = None,
    threshold: float | None = None,
) -> Finding:
    """A finding of a known code; its severity follows from the code."""
    severity: Severity = "warning" if CODES[code].outcome is None else "blocking"
    return Finding(
        code=code,
        severity=severity,
        title=CODES[code].title,
        message=message,
        metric=metric,
        value=value,
        threshold=threshold,
    )


def outcome_of(found: Finding) -> Outcome:
    """The verdict that a finding forces; a blocking finding of an unknown code fails."""
    if found.severity != "blocking":
        return Outcome.PASS
    known = CODES.get(found.code)
    return known.outcome if known and known.outcome else Outcome.FAIL
