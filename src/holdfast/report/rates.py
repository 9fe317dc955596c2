"""Behavioural rates of a completions file, with their unscored answers and Wilson intervals."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from holdfast.core.labels import (
    METRICS,
    SCORED_KINDS,
    SUITE_KINDS,
    UNSCORED,
    Metric,
    metric_of_kind,
)
from holdfast.stats.intervals import wilson

CONFIDENCE = 0.95
POOLED = "all suites"
"""Name under which `incoherence` stands: it is measured over the rows of all suites."""


@dataclass(frozen=True)
class Rate:
    """The share of scored answers that are hits of a metric on a suite."""

    metric: str
    suite: str
    hits: int
    scored: int
    unscored: int
    low: float
    """Lower end of the 95 % Wilson interval, in [0, 1]."""
    high: float
    """Upper end."""

    @property
    def value(self) -> float | None:
        """The rate, or None where nothing was scored."""
        return self.hits / self.scored if self.scored else None


def label_of(row: Mapping[str, Any], judges: Mapping[str, str]) -> str:
    """The label that counts for a row: its suite's judge, else its only label, else `unscored`.

    `judges` maps a suite to the judge whose labels the gate counted. A row with several labels and
    no named judge is `unscored`: to choose one would be to guess.
    """
    labels = row.get("labels") or {}
    judge = judges.get(str(row.get("suite", "")))
    if judge is not None:
        return str(labels.get(judge, UNSCORED))
    return str(next(iter(labels.values()))) if len(labels) == 1 else UNSCORED


def measure(rows: Iterable[Mapping[str, Any]], judges: Mapping[str, str]) -> list[Rate]:
    """Every rate that the rows support, by suite, and pooled incoherence last."""
    by_suite: dict[tuple[str, str], list[str]] = defaultdict(list)
    everything: list[str] = []
    for row in rows:
        label = label_of(row, judges)
        if row.get("kind") not in SCORED_KINDS:
            everything.append(label)
        if row.get("kind") in SUITE_KINDS:
            by_suite[str(row["kind"]), str(row.get("suite", ""))].append(label)
    order = {kind: place for place, kind in enumerate(SUITE_KINDS)}
    found = [
        _rate(metric_of_kind(kind), suite, labels)
        for (kind, suite), labels in sorted(
            by_suite.items(), key=lambda item: (order[item[0][0]], item[0][1])
        )
    ]
    return [*found, _rate(METRICS["incoherence"], POOLED, everything)]


def _rate(metric: Metric, suite: str, labels: list[str]) -> Rate:
    scored = [label for label in labels if label != UNSCORED]
    hits = sum(label in metric.hits for label in scored)
    low, high = _interval(hits, len(scored))
    return Rate(metric.name, suite, hits, len(scored), len(labels) - len(scored), low, high)


def _interval(hits: int, scored: int) -> tuple[float, float]:
    if not scored:
        return 0.0, 1.0  # nothing is known
    interval = wilson(hits, scored, CONFIDENCE)
    return interval.low, interval.high
