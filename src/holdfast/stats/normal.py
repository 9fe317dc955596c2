"""The normal distribution and bisection: all the numerics that the gate needs, without scipy."""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist

from holdfast.core.errors import UsageError

_STANDARD = NormalDist()


def cdf(z: float) -> float:
    """P(Z <= z), accurate in both tails; z may be infinite."""
    return 0.5 * math.erfc(-z / math.sqrt(2.0))


def quantile(p: float) -> float:
    """The z with P(Z <= z) = p, for p in (0, 1)."""
    require_between("probability", p)
    return _STANDARD.inv_cdf(p)


def two_sided_z(confidence: float) -> float:
    """The z of a two-sided interval, 1.96 for 0.95."""
    require_between("confidence", confidence)
    return quantile(0.5 + confidence / 2.0)


def bisect(decreasing: Callable[[float], float], low: float, high: float) -> float:
    """The root in [low, high] of a decreasing function, to the last bits of a double.

    Returns the end point where the function does not change sign inside the bracket.
    """
    if decreasing(low) <= 0.0:
        return low
    if decreasing(high) >= 0.0:
        return high
    for _ in range(200):
        middle = 0.5 * (low + high)
        if middle in (low, high):
            break
        if decreasing(middle) > 0.0:
            low = middle
        else:
            high = middle
    return 0.5 * (low + high)


def require_between(what: str, value: float, low: float = 0.0, high: float = 1.0) -> None:
    """Raise a `UsageError` unless low < value < high."""
    if not low < value < high:
        raise UsageError(what, got=str(value), expected=f"a number between {low:g} and {high:g}")
