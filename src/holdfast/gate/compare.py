"""Paired comparisons: one per metric and suite, from counts of label pairs alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from holdfast.core.completions import Completions
from holdfast.core.errors import InvalidRun
from holdfast.core.labels import METRICS, UNSCORED, Metric
from holdfast.core.records import Comparison, Outcome, PairedTable
from holdfast.gate.codes import outcome_of
from holdfast.gate.pairing import LabelPairs, Pairing, pair
from holdfast.gate.policy import Policy
from holdfast.stats.intervals import wilson
from holdfast.stats.paired import mcnemar_exact, noninferiority, tango_interval
from holdfast.stats.power import minimum_detectable

POOLED = "all"
"""Suite name of a metric that is measured over all suites together."""


def compare(
    base: Completions,
    candidate: Completions,
    *,
    judge: str | Mapping[str, str] = "",
    policy: Policy,
    kinds: Mapping[str, str] | None = None,
    allow_identical: bool = False,
) -> list[Comparison]:
    """Compare two arms on every metric that the policy names and the files measure.

    Raises `InvalidRun` where the pairing cannot be trusted (identical arms, too many lone prompts),
    and everything that `holdfast.gate.pairing.pair` raises.
    """
    pairing = pair(
        base, candidate, judge=judge, policy=policy, kinds=kinds, allow_identical=allow_identical
    )
    for found in pairing.findings:
        if outcome_of(found) is Outcome.INVALID:
            raise InvalidRun(found.message, next_step="check which model wrote which file")
    return comparisons(pairing, policy, inputs={"base": base.digest, "candidate": candidate.digest})


def comparisons(pairing: Pairing, policy: Policy, *, inputs: dict[str, str]) -> list[Comparison]:
    """The comparisons of a pairing, in the order of the policy's metrics.

    A suite without one prompt scored in both arms gives none: it was not measured.
    """
    made = []
    for name in policy.metrics:
        metric = METRICS[name]
        for suite, counts in _suites_of(pairing, metric).items():
            if any(UNSCORED not in labels for labels in counts):
                named = (
                    {pairing.judges[suite]} if suite in pairing.judges else pairing.judges.values()
                )
                judge = "+".join(sorted(set(named)))
                made.append(_comparison(metric, suite, counts, judge, policy, inputs))
    return made


def _suites_of(pairing: Pairing, metric: Metric) -> dict[str, LabelPairs]:
    if metric.kind == "any":
        pooled: LabelPairs = Counter()
        for counts in pairing.pairs.values():
            pooled.update(counts)
        return {POOLED: pooled}
    return {suite: counts for (kind, suite), counts in pairing.pairs.items() if kind == metric.kind}


def _comparison(
    metric: Metric,
    suite: str,
    counts: LabelPairs,
    judge: str,
    policy: Policy,
    inputs: dict[str, str],
) -> Comparison:
    table = paired_table(metric, counts)
    base_hits, base_n = _marginal(metric, counts, 0)
    candidate_hits, candidate_n = _marginal(metric, counts, 1)
    total = counts.total()
    confidence = 1.0 - 2.0 * policy.alpha
    margin = policy.metrics[metric.name].margin
    discordance = (table.base_only + table.candidate_only) / table.n
    return Comparison(
        inputs={**inputs, "policy": policy.digest()},
        metric=metric.name,
        suite=suite,
        judge=judge,
        worse=metric.worse,
        table=table,
        base_rate=wilson(base_hits, base_n, confidence),
        candidate_rate=wilson(candidate_hits, candidate_n, confidence),
        difference=tango_interval(table, confidence),
        margin=margin,
        alpha=policy.alpha,
        p_noninferior=noninferiority(table, margin, metric.worse),
        p_worse=mcnemar_exact(table, worse=metric.worse),
        p_mcnemar=mcnemar_exact(table),
        minimum_detectable=minimum_detectable(table.n, discordance, alpha=policy.alpha),
        base_unscored=total - base_n,
        candidate_unscored=total - candidate_n,
        worst_case=worst_case(metric, counts),
    )


def paired_table(metric: Metric, counts: LabelPairs) -> PairedTable:
    """Hits and misses of both arms over the prompts that are scored in both."""
    cells: Counter[tuple[bool, bool]] = Counter()
    for (a, b), times in counts.items():
        if UNSCORED not in (a, b):
            cells[(a in metric.hits, b in metric.hits)] += times
    return PairedTable(
        both=cells[(True, True)],
        base_only=cells[(True, False)],
        candidate_only=cells[(False, True)],
        neither=cells[(False, False)],
    )


def worst_case(metric: Metric, counts: LabelPairs) -> float:
    """Worsening, in [-1, 1], if every unscored answer counted against the candidate.

    An unscored candidate counts as the bad outcome of the metric, an unscored base as the good one.
    """
    balance = 0
    for (a, b), times in counts.items():
        base_bad = a != UNSCORED and _bad(metric, a)
        candidate_bad = b == UNSCORED or _bad(metric, b)
        balance += times * (int(candidate_bad) - int(base_bad))
    return balance / counts.total()


def _bad(metric: Metric, label: str) -> bool:
    return (label in metric.hits) == (metric.worse > 0)


def _marginal(metric: Metric, counts: LabelPairs, arm: int) -> tuple[int, int]:
    """(hits, scored prompts) of one arm."""
    hits = sum(times for labels, times in counts.items() if labels[arm] in metric.hits)
    scored = sum(times for labels, times in counts.items() if labels[arm] != UNSCORED)
    return hits, scored
