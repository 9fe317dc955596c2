"""Comparisons and verdicts in closed form."""

from __future__ import annotations

from holdfast.core.labels import METRICS
from holdfast.core.records import Comparison, PairedTable
from holdfast.stats.intervals import wilson
from holdfast.stats.paired import mcnemar_exact, noninferiority, tango_interval


def comparison(metric: str, table: PairedTable, *, margin: float = 0.05) -> Comparison:
    worse = METRICS[metric].worse
    return Comparison(
        metric=metric, suite=metric, judge="j", worse=worse, table=table,
        base_rate=wilson(table.both + table.base_only, table.n, 0.9),
        candidate_rate=wilson(table.both + table.candidate_only, table.n, 0.9),
        difference=tango_interval(table, 0.9), margin=margin, alpha=0.05,
        p_noninferior=noninferiority(table, margin, worse),
        p_worse=mcnemar_exact(table, worse=worse), p_mcnemar=mcnemar_exact(table),
        minimum_detectable=0.05, base_unscored=0, candidate_unscored=0, worst_case=0.0,
    )  # fmt: skip
