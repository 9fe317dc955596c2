"""Many tests at once: Holm for a family that decides, Benjamini-Hochberg for exploration."""

from __future__ import annotations

from collections.abc import Sequence


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values in the order given: reject where one is at most alpha.

    The i-th smallest of m is multiplied by m - i + 1, made monotone and capped at 1 (Holm 1979,
    Scandinavian Journal of Statistics 6:65-70).
    """
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted = [0.0] * len(p_values)
    running = 0.0
    for rank, index in enumerate(order):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = running
    return adjusted


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values in the order given; those at most q have a false discovery rate below q.

    For exploration, where a share of false alarms is acceptable; it decides no verdict. Independent
    or positively dependent tests (Benjamini and Hochberg 1995, JRSS B 57:289-300).
    """
    m = len(p_values)
    order = sorted(range(m), key=lambda i: p_values[i], reverse=True)
    adjusted = [0.0] * m
    running = 1.0
    for place, index in enumerate(order):
        running = min(running, p_values[index] * m / (m - place))
        adjusted[index] = running
    return adjusted
