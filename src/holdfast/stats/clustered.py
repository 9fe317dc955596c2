"""Several answers per prompt: the paired difference with the prompt as the independent unit.

A prompt's difference d_i, in [-1, 1], is its rate of hits in the candidate's answers minus that in
the base's; every prompt weighs the same, however many answers it has. The estimate is the mean over
prompts, and H0: E d = d0 is tested by a score statistic

    T(d0) = sqrt(n) (mean d - d0) / sqrt(V(d0)),

where V(d0) is the variance of d under the restricted non-parametric maximum likelihood estimate:
the distribution on the values seen, and on the end of the range towards d0, that has mean d0 (Owen
2001, *Empirical Likelihood*, ch. 2). With one answer per prompt d is -1, 0 or 1 and T is Tango's
statistic exactly; a sandwich variance (Obuchowski 1998, Statistics in Medicine 17:1495-1507) would
be 0, and its interval empty, wherever no prompt differs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction

from holdfast.core.errors import DataError, UsageError
from holdfast.core.records import Interval
from holdfast.stats.binomial import concentrated
from holdfast.stats.normal import bisect, cdf, two_sided_z

Differences = Mapping[float, int]
"""How many prompts have each difference in [-1, 1]."""
EXACT_WORK = 100_000_000
"""Additions up to which the sign-flip test is exact; beyond, the normal limit is used."""


def mean(differences: Differences) -> float:
    """Mean difference over prompts. Raises `DataError` where there are none."""
    n = _prompts(differences)
    return math.fsum(d * times for d, times in differences.items()) / n


def restricted_variance(differences: Differences, d0: float) -> float:
    """Variance of one prompt's difference under the closest distribution with mean d0."""
    n = _prompts(differences)
    sign = 1.0 if d0 >= mean(differences) else -1.0
    moved = [(sign * (d - d0), times) for d, times in differences.items()]
    top = 1.0 - sign * d0
    if top <= 0.0:
        return 0.0

    def tilt(multiplier: float) -> float:
        return sum(times * x / (1.0 + multiplier * x) for x, times in moved)

    # The multiplier ends where the weight of `top` becomes free: a value that nobody has seen.
    edge = -1.0 / top
    seen = any(x >= top for x, _ in moved)
    multiplier = bisect(tilt, edge * (1.0 - 1e-15), 0.0) if seen else bisect(tilt, edge, 0.0)
    weights = [times / (n * (1.0 + multiplier * x)) for x, times in moved]
    unseen = 0.0 if seen else max(1.0 - sum(weights), 0.0)
    spread = sum(weight * x * x for weight, (x, _) in zip(weights, moved, strict=True))
    return spread + unseen * top * top


def score_statistic(differences: Differences, d0: float) -> float:
    """T(d0); infinite where H0 leaves no room for chance."""
    gap = mean(differences) - d0
    variance = restricted_variance(differences, d0)
    if variance <= 0.0:
        return math.copysign(math.inf, gap) if gap else 0.0
    return math.sqrt(_prompts(differences)) * gap / math.sqrt(variance)


def score_interval(differences: Differences, confidence: float = 0.95) -> Interval:
    """{d0 : |T(d0)| <= z}, the generalisation of Tango's interval."""
    z = two_sided_z(confidence)
    estimate = mean(differences)
    low = bisect(lambda d: score_statistic(differences, d) - z, -1.0, estimate)
    high = bisect(lambda d: score_statistic(differences, d) + z, estimate, 1.0)
    return Interval(
        value=estimate, low=low, high=high, confidence=confidence, method="clustered-score"
    )


def noninferiority(differences: Differences, margin: float, worse: int) -> float:
    """P-value of H0: worse by `margin` or more; see `paired.noninferiority` for its two parts.

    `worse` is +1 where a higher rate is worse, -1 where a lower one is. Raises `UsageError` for a
    margin outside (0, 1).
    """
    if not 0.0 < margin < 1.0:
        raise UsageError("margin", got=str(margin), expected="a number in (0, 1)")
    worsening = oriented(differences, worse)
    score = cdf(score_statistic(worsening, margin))
    return max(score, concentrated(mean(worsening), _prompts(worsening), margin))


def sign_flip(differences: Differences, worse: int = 0) -> float:
    """P-value of H0: within every prompt the two arms are exchangeable; exact McNemar's general.

    Every assignment of signs to the differences is equally likely; the p-value is the share of them
    with a sum at least as large. `worse` = 0 is two-sided. Exact up to `EXACT_WORK`.
    """
    if worse == 0:
        return min(1.0, 2.0 * min(_flip(differences), _flip(oriented(differences, -1))))
    return _flip(oriented(differences, worse))


def oriented(differences: Differences, worse: int) -> dict[float, int]:
    """The differences with + for worse."""
    if worse not in (1, -1):
        raise UsageError("worse", got=str(worse), expected="+1 or -1")
    return {worse * d: times for d, times in differences.items()}


def _flip(differences: Differences) -> float:
    import numpy as np

    parts = {Fraction(d).limit_denominator(10_000): t for d, t in differences.items() if d}
    scale = math.lcm(1, *(part.denominator for part in parts))
    steps = [(abs(int(part * scale)), times) for part, times in parts.items()]
    total = sum(int(part * scale) * times for part, times in parts.items())
    reach = sum(step * times for step, times in steps)
    flips = sum(times for _, times in steps)
    if flips * reach > EXACT_WORK:
        spread = math.sqrt(sum(step * step * times for step, times in steps))
        return cdf(-total / spread)
    chance = np.zeros(reach + 1)
    chance[0] = 1.0  # chance[u]: the steps taken upwards sum to u
    for step, times in steps:
        for _ in range(times):
            chance[step:] = 0.5 * (chance[step:] + chance[: len(chance) - step])
            chance[:step] *= 0.5
    # The signed sum is then 2u - reach, which is at least `total` from this u on.
    return float(min(1.0, chance[math.ceil((total + reach) / 2) :].sum()))


def _prompts(differences: Differences) -> int:
    n = sum(differences.values())
    if n == 0:
        raise DataError("no prompts to compare", expected="prompts scored in both arms")
    return n
