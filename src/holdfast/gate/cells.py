"""Labels of paired prompts into the numbers that the statistics take."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from holdfast.core.labels import UNSCORED, Metric
from holdfast.core.records import PairedTable
from holdfast.gate.pairing import Unit, label_of

Cell = tuple[tuple[str, ...], tuple[str, ...]]
"""The labels of one prompt's answers: the base's, the candidate's."""
Cells = Counter[Cell]
"""How many prompts have each cell."""


def count(units: Iterable[Unit], judge: str) -> Cells:
    """The cells of `units` by the labels of `judge`."""
    return Counter(
        (
            tuple(label_of(row, judge) for row in unit.base),
            tuple(label_of(row, judge) for row in unit.candidate),
        )
        for unit in units
    )


@dataclass(frozen=True)
class Tally:
    """One metric over cells."""

    table: PairedTable
    """Pairs of answers that are scored in both arms, the first with the first and so on."""
    differences: dict[float, int]
    """Prompts by candidate rate minus base rate, over those scored in both arms."""
    base: tuple[float, int]
    """(sum of the prompts' rates, prompts scored) of the base."""
    candidate: tuple[float, int]
    """The same of the candidate."""
    base_unscored: int
    """Answers without a usable label."""
    candidate_unscored: int
    """Answers without a usable label."""
    worst_case: float
    """Worsening, in [-1, 1], if every unscored answer counted against the candidate: bad there,
    good in the base."""
    clustered: bool
    """Whether any prompt has several answers."""

    @property
    def prompts(self) -> int:
        """Prompts scored in both arms."""
        return sum(self.differences.values())

    @property
    def discordance(self) -> float:
        """Mean square of a prompt's difference; with one answer each, the share that differs."""
        return sum(d * d * times for d, times in self.differences.items()) / self.prompts


def tally(metric: Metric, cells: Cells) -> Tally:
    """Count `metric` over `cells`; at least one prompt must be scored in both arms."""
    pairs: Counter[tuple[bool, bool]] = Counter()
    differences: dict[float, int] = {}
    sums, scored, unscored = [0.0, 0.0], [0, 0], [0, 0]
    worst = 0.0
    for cell, times in cells.items():
        rates = [_rate(metric, labels) for labels in cell]
        for arm, rate in enumerate(rates):
            unscored[arm] += times * cell[arm].count(UNSCORED)
            if rate is not None:
                sums[arm] += times * rate
                scored[arm] += times
        worst += times * (_bad(metric, cell[1], True) - _bad(metric, cell[0], False))
        if rates[0] is not None and rates[1] is not None:
            difference = round(rates[1] - rates[0], 12)
            differences[difference] = differences.get(difference, 0) + times
        for a, b in zip(*cell, strict=False):
            if UNSCORED not in (a, b):
                pairs[(a in metric.hits, b in metric.hits)] += times
    table = PairedTable(
        both=pairs[(True, True)],
        base_only=pairs[(True, False)],
        candidate_only=pairs[(False, True)],
        neither=pairs[(False, False)],
    )
    clustered = any(len(a) > 1 or len(b) > 1 for a, b in cells)
    return Tally(
        table, differences, (sums[0], scored[0]), (sums[1], scored[1]), unscored[0], unscored[1],
        worst / cells.total(), clustered,
    )  # fmt: skip


def _rate(metric: Metric, labels: tuple[str, ...]) -> float | None:
    hits = [label in metric.hits for label in labels if label != UNSCORED]
    return sum(hits) / len(hits) if hits else None


def _bad(metric: Metric, labels: tuple[str, ...], unscored_is_bad: bool) -> float:
    """Share of a prompt's answers that are the bad outcome of the metric."""
    bad = sum(
        unscored_is_bad if label == UNSCORED else (label in metric.hits) == (metric.worse > 0)
        for label in labels
    )
    return bad / len(labels)
