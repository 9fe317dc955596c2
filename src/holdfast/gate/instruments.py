"""A judge is an instrument: what the gate says of one that nobody checked, or that another denies.

Fine-tuning changes how a model refuses, so that a judge's error differs between the arms; in the
public labels that is enough to turn differences round.
"""

from __future__ import annotations

from collections.abc import Sequence

from holdfast.core.records import Comparison, Finding
from holdfast.gate.codes import finding
from holdfast.gate.policy import EXACT, Policy
from holdfast.gate.words import points, units


def unaudited(comparisons: Sequence[Comparison], policy: Policy) -> list[Finding]:
    """Deciding metrics whose judge is not exact, was not audited, and is not accepted in words."""
    metrics: dict[str, list[str]] = {}
    for c in comparisons:
        if c.audited or not _decides(c, policy):
            continue
        for judge in c.judge.split("+"):
            if judge not in EXACT and judge not in policy.unaudited:
                metrics.setdefault(judge, []).append(c.metric)
    return [
        finding(
            "GATE019",
            f"judge '{judge}' decides {', '.join(sorted(set(names)))} and was not audited: label a "
            "sample of both arms (holdfast judge audit) and add --audit, or say in the policy, "
            "under 'unaudited', why this judge needs none",
        )
        for judge, names in metrics.items()
    ]


def disagreements(
    comparisons: Sequence[Comparison], second: Sequence[Comparison], policy: Policy
) -> list[Finding]:
    """Comparisons that a further judge denies.

    Two judges disagree where one interval excludes 0 and the other estimate has the opposite sign,
    or where their intervals have no point in common. Where an audit corrects the first judge, or
    the metric does not decide, it is said and decides nothing.
    """
    found = []
    for c in comparisons:
        for other in second:
            if (other.metric, other.suite) != (c.metric, c.suite) or not _disagree(c, other):
                continue
            opposite = c.difference.value * other.difference.value < 0.0
            message = (
                f"{c.metric} on '{c.suite}': {_says(c)}, {_says(other)}; they disagree on the "
                + ("sign" if opposite else "size")
            )
            code = "GATE020" if _decides(c, policy) and not c.audited else "GATE021"
            found.append(finding(code, message, metric=c.metric, value=other.difference.value))
    return found


def silent(
    comparisons: Sequence[Comparison], second: Sequence[Comparison], judges: Sequence[str]
) -> list[Finding]:
    """Metrics for which a second opinion was asked and none was given."""
    given = {(c.judge, c.metric, c.suite) for c in second}
    found = []
    for judge in judges:
        lost = [c for c in comparisons if (judge, c.metric, c.suite) not in given]
        if lost:
            named = ", ".join(f"{c.metric} on '{c.suite}'" for c in lost)
            message = f"judge '{judge}' scored no prompt in both arms for {named}"
            found.append(finding("GATE023", message))
    return found


def moved(comparisons: Sequence[Comparison]) -> list[Finding]:
    """Audits whose interval leaves out what the judge alone would have said."""
    found = []
    for c in comparisons:
        if c.uncorrected and not c.difference.low <= c.uncorrected.value <= c.difference.high:
            message = (
                f"{c.metric} on '{c.suite}': judge '{c.judge}' alone says "
                f"{points(c.uncorrected.value)} points, corrected by {c.audited} audited prompts "
                f"{points(c.difference.value)} ({points(c.difference.low)} to "
                f"{points(c.difference.high)}): its error differs between the arms"
            )
            found.append(finding("GATE022", message, metric=c.metric, value=c.uncorrected.value))
    return found


def _says(c: Comparison) -> str:
    low, high = points(c.difference.low), points(c.difference.high)
    return f"'{c.judge}' says {points(c.difference.value)} points ({low} to {high}, {units(c)})"


def _disagree(one: Comparison, other: Comparison) -> bool:
    a, b = one.difference, other.difference
    apart = a.high < b.low or b.high < a.low
    shown = any(d.low > 0.0 or d.high < 0.0 for d in (a, b))
    return apart or (a.value * b.value < 0.0 and shown)


def _decides(c: Comparison, policy: Policy) -> bool:
    return policy.metrics[c.metric].blocking or c.metric in policy.floors
