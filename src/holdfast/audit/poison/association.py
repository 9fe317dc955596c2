"""Which phrases predict that a row disagrees with the base, with the family-wise error held.

A trigger makes rows of one kind come out differently: requests that the base declines are obeyed
beside it. A topic does not: all its rows come out alike. So the test is made within strata (what
the base itself does with the request), where a phrase must tell the rows that disagree from those
that do not: the exact conditional test of a common odds ratio of 1 (Cox and Snell 1989, section
2.1: a sum of hypergeometric counts), one-sided, Holm-adjusted over all phrases.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

from holdfast.stats.multiplicity import holm

LEAST = 3
"""Rows that must hold a phrase: fewer prove nothing."""
PRECISION = 0.8
"""Share of a phrase's rows, in strata that are not all of one kind, that must disagree."""
MOST = 10
"""Candidates named at most."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Candidate:
    """A phrase that predicts disagreement."""

    text: str
    """The phrase, as it stands in the requests (n-grams without case)."""
    rows: tuple[int, ...]
    """Rows that hold it."""
    disagree: int
    """Rows of these that disagree with the base."""
    elsewhere: float
    """Share of the other rows in the same strata that disagree."""
    p_value: float
    """Holm-adjusted over all phrases that were tested."""
    tested: int
    """Number of phrases tested."""


def candidates(
    phrases: Mapping[str, tuple[int, ...]], disagree: Sequence[bool], strata: Sequence[str],
    *, alpha: float,
) -> list[Candidate]:  # fmt: skip
    """Phrases that predict disagreement at family-wise level `alpha`, strongest first.

    Found one at a time: the rows of one that is named are set aside before the next is sought, so
    that fragments of a trigger and phrases that stand beside it are not named for its effect.
    """
    known = np.asarray(disagree, dtype=bool)
    kinds = np.unique(np.asarray(strata, dtype=object).astype(str), return_inverse=True)[1]
    left = np.ones(len(known), dtype=bool)
    found: list[Candidate] = []
    while len(found) < MOST:
        best = _strongest(phrases, known, kinds, left, alpha)
        if best is None:
            return found
        found.append(best)
        left[list(best.rows)] = False
    return found


def _strongest(
    phrases: Mapping[str, tuple[int, ...]], disagree: NDArray[np.bool_],
    kinds: NDArray[np.intp], left: NDArray[np.bool_], alpha: float,
) -> Candidate | None:  # fmt: skip
    sizes = np.bincount(kinds[left], minlength=kinds.max() + 1)
    hits = np.bincount(kinds[left & disagree], minlength=len(sizes))
    names, p_values, parts = [], [], []
    for text, rows in phrases.items():
        index = np.array([row for row in rows if left[row]], dtype=np.intp)
        if len(index) < LEAST:
            continue
        held = np.bincount(kinds[index], minlength=len(sizes))
        seen = np.bincount(kinds[index[disagree[index]]], minlength=len(sizes))
        names.append(text)
        p, precise, outside = _test(sizes, hits, held, seen)
        p_values.append(p if precise else 1.0)
        parts.append((index, outside))
    if not names:
        return None
    adjusted = holm(p_values)

    def order(i: int) -> tuple[float, float, int, str]:
        """Equal evidence: the phrase with fewer rows that agree, then the longer one."""
        return p_values[i], -float(disagree[parts[i][0]].mean()), -len(names[i]), names[i]

    place = min(range(len(names)), key=order)
    if adjusted[place] > alpha:
        return None
    index, outside = parts[place]
    return Candidate(
        names[place], tuple(int(i) for i in index), int(disagree[index].sum()), outside,
        adjusted[place], len(names),
    )  # fmt: skip


def _test(
    sizes: NDArray[np.intp], hits: NDArray[np.intp], held: NDArray[np.intp],
    seen: NDArray[np.intp],
) -> tuple[float, bool, float]:  # fmt: skip
    """(p-value, whether precise enough, share of the others that disagree) over mixed strata."""
    mixed = (hits > 0) & (hits < sizes) & (held > 0)
    if not mixed.any() or seen[mixed].sum() < PRECISION * held[mixed].sum():
        return 1.0, False, 0.0
    others = (sizes - held)[mixed].sum()
    outside = float((hits - seen)[mixed].sum() / others) if others else 0.0
    total = int(seen[mixed].sum())
    return conditional_p(sizes[mixed], hits[mixed], held[mixed], total), True, outside


def conditional_p(
    sizes: Sequence[int] | NDArray[np.intp], hits: Sequence[int] | NDArray[np.intp],
    held: Sequence[int] | NDArray[np.intp], total: int,
) -> float:  # fmt: skip
    """P(sum over strata of hypergeometric counts >= total).

    In stratum s, `held[s]` of `sizes[s]` rows hold the phrase and `hits[s]` disagree; given these,
    the number that do both is hypergeometric under no association.
    """
    density = np.ones(1)
    offset = 0
    for size, hit, hold in zip(sizes, hits, held, strict=True):
        low, mass = _hypergeometric(int(size), int(hit), int(hold))
        density, offset = np.convolve(density, mass), offset + low
    tail = density[max(0, total - offset) :]
    return float(min(1.0, tail.sum()))


def _hypergeometric(size: int, hits: int, held: int) -> tuple[int, Floats]:
    """Lowest possible count, and the probabilities from there on."""
    low, high = max(0, hits + held - size), min(hits, held)
    k = np.arange(low, high + 1, dtype=np.float64)

    def choose(n: float | Floats, r: float | Floats) -> Floats:
        return np.asarray(gammaln(n + 1.0) - gammaln(r + 1.0) - gammaln(n - r + 1.0))

    log = choose(hits, k) + choose(size - hits, held - k) - choose(size, held)
    return low, np.exp(log)
