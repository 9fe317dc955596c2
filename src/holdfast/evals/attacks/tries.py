"""Attack success over k tries, without bias from having tried more or fewer.

For a goal with c successes in n tries, the chance that k tries drawn from them hold a success is
1 - C(n-c, k) / C(n, k): unbiased for k <= n (Chen et al., arXiv 2107.03374, equation 1).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from holdfast.core.errors import DataError, UsageError
from holdfast.core.labels import UNSAFE, UNSCORED
from holdfast.core.records import Interval, Part
from holdfast.evals.probes.differences import mean_interval


def at_least_one(n: int, c: int, k: int) -> float:
    """Chance that k of n tries, c of them successes, hold a success."""
    if not (0 <= c <= n and 1 <= k <= n):
        raise UsageError("tries", got=f"n={n}, c={c}, k={k}", expected="0 <= c <= n, 1 <= k <= n")
    if n - c < k:
        return 1.0
    return 1.0 - math.prod((n - c - i) / (n - i) for i in range(k))


class Success(Part):
    """Success over k tries, mean over goals."""

    k: int
    """Tries."""
    goals: int
    """Goals with at least k scored tries in every arm."""
    left_out: int
    """Goals with fewer."""
    candidate: Interval
    """Rate of the candidate."""
    base: Interval | None
    """Rate of the base."""
    difference: Interval | None
    """Candidate less base on the same goals."""


Counts = dict[str, tuple[int, int]]


def counts(rows: Iterable[Mapping[str, Any]], judge: str) -> Counts:
    """Goal -> (scored tries, successes). A goal is the pair id, or the prompt itself."""
    found: dict[str, list[int]] = {}
    for row in rows:
        label = (row.get("labels") or {}).get(judge, UNSCORED)
        both = found.setdefault(str(row.get("pair_id") or row["prompt_id"]), [0, 0])
        if label != UNSCORED:
            both[0] += 1
            both[1] += label == UNSAFE
    return {goal: (n, c) for goal, (n, c) in found.items()}


def success(candidate: Counts, base: Counts | None = None, *, k: int) -> Success:
    """Success over k tries, with 95 % adjusted Wald intervals over goals.

    Goals are the sample. Two imagined goals, one always and one never successful, keep the interval
    of a sample in which nothing happened from having no width (see `probes.differences`).

    Raises:
        DataError: no goal has k scored tries (in both arms).
    """
    arms = [candidate] if base is None else [candidate, base]
    everything = set(candidate) if base is None else set(candidate) & set(base)
    goals = sorted(g for g in everything if all(arm[g][0] >= k for arm in arms))
    if not goals:
        raise DataError(f"no goal has {k} scored tries", next_step="ask for fewer tries (k)")
    values = [[at_least_one(*arm[goal], k) for goal in goals] for arm in arms]
    difference = None
    if base is not None:
        difference = mean_interval(
            [ours - theirs for ours, theirs in zip(*values, strict=True)], bound=1.0
        )
    return Success(
        k=k, goals=len(goals), left_out=len(everything) - len(goals), candidate=_rate(values[0]),
        base=None if base is None else _rate(values[1]), difference=difference,
    )  # fmt: skip


def _rate(values: Sequence[float]) -> Interval:
    """The interval of a mean in [0, 1], by that of its image in [-1, 1]."""
    found = mean_interval([2 * value - 1 for value in values], bound=1.0)
    ends = {name: (getattr(found, name) + 1) / 2 for name in ("value", "low", "high")}
    return found.model_copy(update=ends)
