"""How long a model holds out: turn of first compliance as a survival curve.

Kaplan and Meier (1958) with Greenwood's variance on the log(-log) scale (Kalbfleisch and Prentice
1980), so that intervals stay inside [0, 1]. A ladder without compliance is censored at its last
turn; ladders of different lengths can share a curve.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from holdfast.core.errors import DataError
from holdfast.core.labels import UNSCORED
from holdfast.core.records import Interval, Part
from holdfast.evals.probes.differences import mean_interval
from holdfast.stats.normal import two_sided_z


class Curve(Part):
    """A Kaplan-Meier curve over turns 1, 2, …."""

    at_risk: tuple[int, ...]
    """Ladders that reach the turn."""
    complied: tuple[int, ...]
    """Of these, first complied with at it."""
    holding: tuple[Interval, ...]
    """Share still holding after the turn."""


class Survival(Part):
    """Two curves on the same ladders."""

    ladders: int
    """Ladders in every arm."""
    unscored: int
    """Ladders left out because an arm's label is missing."""
    candidate: Curve
    """The fine-tune."""
    base: Curve | None
    """Its base."""
    turns_lost: Interval | None
    """Mean turns held by the base less those of the candidate (restricted to the longest ladder),
    adjusted Wald over ladders; positive: the candidate gives in earlier."""


Times = dict[str, tuple[int, bool]]
"""Ladder -> (turn, whether it was complied with at that turn)."""


def times(rows: Iterable[Mapping[str, Any]], judge: str) -> tuple[Times, int]:
    """The ladders among completions rows, and how many of them are unscored."""
    found: Times = {}
    unscored = 0
    for row in rows:
        if row.get("kind") != "ladder":
            continue
        if (row.get("labels") or {}).get(judge, UNSCORED) == UNSCORED:
            unscored += 1
            continue
        turn, turns = row.get("turn"), row.get("turns")
        if turn is not None and type(turn) is not int or not isinstance(turns, list) or not turns:
            raise DataError(f"ladder '{row.get('prompt_id')}' has no turns",
                            expected="'turn' and 'turns' of holdfast eval or attack")  # fmt: skip
        key = f"{row.get('suite', '')}/{row['prompt_id']}/{row.get('sample', 0)}"
        found[key] = (turn if turn is not None else len(turns), turn is not None)
    return found, unscored


def kaplan_meier(observed: Sequence[tuple[int, bool]], confidence: float = 0.95) -> Curve:
    """The curve of (turn, complied) pairs.

    The interval after a turn at which nobody has complied yet is [exact lower bound, 1]: with d = 0
    of n, (alpha/2)^(1/n) (Clopper and Pearson 1934).

    Raises:
        DataError: no ladders, or a turn below 1.
    """
    if not observed or min(turn for turn, _ in observed) < 1:
        raise DataError("no ladders for a survival curve", expected="turns from 1")
    last = max(turn for turn, _ in observed)
    z = two_sided_z(confidence)
    share, total = 1.0, 0.0
    risk, events, holding = [], [], []
    for turn in range(1, last + 1):
        n = sum(t >= turn for t, _ in observed)
        d = sum(t == turn and complied for t, complied in observed)
        share *= 1 - d / n
        total = total + d / (n * (n - d)) if d < n else math.inf
        risk.append(n)
        events.append(d)
        low, high = _bounds(share, total, z, n, confidence)
        holding.append(Interval(value=share, low=low, high=high, confidence=confidence,
                                method="kaplan-meier, log-log"))  # fmt: skip
    return Curve(at_risk=tuple(risk), complied=tuple(events), holding=tuple(holding))


def _bounds(share: float, total: float, z: float, n: int, confidence: float) -> tuple[float, float]:
    if share >= 1.0:
        return ((1 - confidence) / 2) ** (1 / n), 1.0
    if share <= 0.0:
        return 0.0, 1 - ((1 - confidence) / 2) ** (1 / n)
    width = z * math.sqrt(total) / abs(math.log(share))
    return share ** math.exp(width), share ** math.exp(-width)


def compare(
    candidate: Iterable[Mapping[str, Any]],
    base: Iterable[Mapping[str, Any]] | None = None,
    *,
    judge: str,
) -> Survival:
    """Survival of the candidate's ladders, beside the base's on the same ladders.

    Raises:
        DataError: no scored ladder (in both arms).
    """
    ours, missing = times(candidate, judge)
    if base is None:
        return Survival(ladders=len(ours), unscored=missing, base=None, turns_lost=None,
                        candidate=kaplan_meier(list(ours.values())))  # fmt: skip
    theirs, also = times(base, judge)
    shared = sorted(set(ours) & set(theirs))
    left_out = max(missing, also, len(set(ours) | set(theirs)) - len(shared))
    if not shared:
        raise DataError("the arms share no scored ladder", next_step="run one attack on both")
    # Turns held: those before the one that was complied with, all of them where none was.
    lost = [(theirs[k][0] - theirs[k][1]) - (ours[k][0] - ours[k][1]) for k in shared]
    longest = max(max(arm[k][0] for k in shared) for arm in (ours, theirs))
    return Survival(
        ladders=len(shared), unscored=left_out,
        candidate=kaplan_meier([ours[k] for k in shared]),
        base=kaplan_meier([theirs[k] for k in shared]),
        turns_lost=mean_interval(lost, bound=float(longest)),
    )  # fmt: skip
