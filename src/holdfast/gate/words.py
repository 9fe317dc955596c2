"""The sentences and numbers that every rendering of a verdict shares."""

from __future__ import annotations

import re

from holdfast.core.records import Comparison, Verdict

_CONTROL = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)
"""C0 and C1 controls, bidirectional overrides, line separators, lone surrogates, non-characters."""


def one_line(text: str) -> str:
    """Text on one line without control characters: names in files are hostile input."""
    return _CONTROL.sub(" ", text)


def percent(rate: float) -> str:
    """0.0123 as `1.2 %`."""
    return f"{100.0 * rate:.1f} %"


def points(difference: float) -> str:
    """0.0123 as `+1.2`, in percentage points."""
    return f"{100.0 * difference:+.1f}"


def word(verdict: Verdict) -> str:
    """The verdict word, in capitals."""
    return verdict.outcome.value.upper()


def describe(c: Comparison) -> str:
    """One comparison in one clause: both rates, the difference, its interval, margin and pairs."""
    level = round(100.0 * c.difference.confidence)
    return (
        f"{c.metric} on '{c.suite}': "
        f"{percent(c.base_rate.value)} -> {percent(c.candidate_rate.value)} "
        f"({points(c.difference.value)} points, {level} % interval {points(c.difference.low)} to "
        f"{points(c.difference.high)}, margin {100.0 * c.margin:.1f} worse), {units(c)}"
    )


def units(c: Comparison) -> str:
    """What the numbers of a comparison rest on, in words."""
    text = f"{c.table.n} pairs"
    if c.prompts is not None:
        text += f" of {c.prompts} prompts"
    if c.audited:
        text += f", {c.audited} audited"
    return text


HEADINGS = ("metric", "suite", "pairs", "base", "candidate", "difference", "margin",
            "p non-inferior", "p worse", "detectable", "unscored")  # fmt: skip


def row(c: Comparison) -> tuple[str, ...]:
    """The cells of one comparison, in the order of `HEADINGS`."""
    low, high = points(c.difference.low), points(c.difference.high)
    return (
        c.metric,
        one_line(c.suite),
        units(c).replace(" pairs", ""),
        percent(c.base_rate.value),
        percent(c.candidate_rate.value),
        f"{points(c.difference.value)} [{low}, {high}]",
        f"{100.0 * c.margin:.1f}",
        f"{c.p_noninferior:.2g}",
        f"{c.p_worse:.2g}",
        f"{100.0 * c.minimum_detectable:.1f}",
        f"{c.base_unscored} / {c.candidate_unscored}",
    )
