"""One question, four designs: what is known of a paired difference, in one shape.

Plain: one answer per prompt. Clustered: several. Audited: a judge corrected by human labels.
Looks: the files may still grow, and the test holds however often one looks.
"""

from __future__ import annotations

from typing import NamedTuple

from holdfast.core.records import Interval
from holdfast.gate.cells import Tally
from holdfast.stats import audited, clustered, paired, sequential


class Evidence(NamedTuple):
    """The interval of a difference and its p-values."""

    difference: Interval
    """Candidate minus base."""
    noninferior: float
    """P-value of H0: worse by the margin or more."""
    equivalent: float
    """P-value of H0: different by the margin or more, either way."""
    worse: float
    """P-value of H0: not worse."""
    changed: float
    """Two-sided p-value of H0: no change."""


def plain(tally: Tally, worse: int, margin: float, confidence: float) -> Evidence:
    """Tango's interval and tests, exact McNemar."""
    table = tally.table
    return Evidence(
        paired.tango_interval(table, confidence),
        paired.noninferiority(table, margin, worse),
        paired.equivalence(table, margin),
        paired.mcnemar_exact(table, worse=worse),
        paired.mcnemar_exact(table),
    )


def by_prompt(tally: Tally, worse: int, margin: float, confidence: float) -> Evidence:
    """The same with the prompt as unit."""
    found = tally.differences
    shown = {side: clustered.noninferiority(found, margin, side) for side in (1, -1)}
    return Evidence(
        clustered.score_interval(found, confidence),
        shown[worse],
        max(shown.values()),
        clustered.sign_flip(found, worse),
        clustered.sign_flip(found),
    )


def at_any_look(tally: Tally, worse: int, margin: float, confidence: float) -> Evidence:
    """E-values: valid at every look, for one answer per prompt or several."""
    found = tally.differences
    shown = {side: sequential.noninferiority(found, margin, side) for side in (1, -1)}
    moved = {side: sequential.regression(found, side) for side in (1, -1)}
    return Evidence(
        sequential.confidence_sequence(found, confidence),
        shown[worse],
        max(shown.values()),
        moved[worse],
        min(1.0, 2.0 * min(moved.values())),
    )


def by_audit(e: audited.Estimate, worse: int, margin: float, confidence: float) -> Evidence:
    """The difference estimator."""
    sides = {1: e, -1: e.flipped()}
    shown = {side: audited.noninferiority(s, margin) for side, s in sides.items()}
    moved = {side: audited.worse(s) for side, s in sides.items()}
    return Evidence(
        audited.interval(e, confidence),
        shown[worse],
        max(shown.values()),
        moved[worse],
        min(1.0, 2.0 * min(moved.values())),
    )
