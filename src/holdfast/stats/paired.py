"""Two rates on the same prompts: score interval, non-inferiority, exact McNemar.

A difference is always candidate minus base. `worse` is +1 where a higher rate is worse and -1 where
a lower one is. With b hits of the candidate alone, c of the base alone and n pairs, Tango's score
statistic for H0: difference = d is

    T(d) = (b - c - n d) / sqrt(n (2 q + d (1 - d))),

where q, the chance of a base-only hit, is the larger root of 2n q² + B q + C = 0 with
B = -b - c + (2n - b + c) d and C = -c d (1 - d). The interval is {d : |T(d)| <= z}.

Sources: Tango (1998), Statistics in Medicine 17:891-908; Newcombe (1998), Statistics in Medicine
17:2635-2650 (method 10); McNemar (1947), Psychometrika 12:153-157.
"""

from __future__ import annotations

import math

from holdfast.core.errors import DataError, UsageError
from holdfast.core.records import Interval, PairedTable
from holdfast.stats.binomial import concentrated
from holdfast.stats.intervals import wilson
from holdfast.stats.normal import bisect, cdf, two_sided_z


def score_variance(gain: float, loss: float, n: float, difference: float) -> float:
    """2q + d(1 - d): variance of one pair's difference under H0, at the restricted estimate of q.

    `gain`, `loss` and `n` may be counts or proportions (n = 1).
    """
    curve = 2.0 * n
    slope = -gain - loss + (2.0 * n - gain + loss) * difference
    constant = -loss * difference * (1.0 - difference)
    root = math.sqrt(max(slope * slope - 4.0 * curve * constant, 0.0))
    # Two forms of the same root; each is used where it does not subtract like from like.
    q = (root - slope) / (2.0 * curve) if slope <= 0.0 else -2.0 * constant / (slope + root)
    return max(2.0 * q + difference * (1.0 - difference), 0.0)


def score_statistic(gain: int, loss: int, n: int, difference: float) -> float:
    """Tango's T(d); infinite where H0 leaves no room for chance."""
    numerator = gain - loss - n * difference
    variance = n * score_variance(gain, loss, n, difference)
    if variance <= 0.0:
        return math.copysign(math.inf, numerator) if numerator else 0.0
    return numerator / math.sqrt(variance)


def tango_interval(table: PairedTable, confidence: float = 0.95) -> Interval:
    """Score interval of the paired difference; z²/(n + z²) wide on both sides at no discordance.

    Raises `DataError` where the table holds no pairs.
    """
    n = _pairs(table)
    z = two_sided_z(confidence)
    gain, loss = table.candidate_only, table.base_only
    estimate = (gain - loss) / n
    low = bisect(lambda d: score_statistic(gain, loss, n, d) - z, -1.0, estimate)
    high = bisect(lambda d: score_statistic(gain, loss, n, d) + z, estimate, 1.0)
    return Interval(value=estimate, low=low, high=high, confidence=confidence, method="tango")


def newcombe_interval(table: PairedTable, confidence: float = 0.95) -> Interval:
    """Newcombe's method 10: two Wilson intervals joined with a corrected correlation.

    Raises `DataError` where the table holds no pairs.
    """
    n = _pairs(table)
    candidate = wilson(table.both + table.candidate_only, n, confidence)
    base = wilson(table.both + table.base_only, n, confidence)
    phi = _corrected_phi(table)
    estimate = (table.candidate_only - table.base_only) / n

    def half(one: float, other: float) -> float:
        return math.sqrt(max(one * one - 2.0 * phi * one * other + other * other, 0.0))

    low = estimate - half(candidate.value - candidate.low, base.high - base.value)
    high = estimate + half(candidate.high - candidate.value, base.value - base.low)
    return Interval(value=estimate, low=low, high=high, confidence=confidence, method="newcombe")


def _corrected_phi(table: PairedTable) -> float:
    a, b, c, d = table.both, table.candidate_only, table.base_only, table.neither
    margins = (a + b) * (c + d) * (a + c) * (b + d)
    if margins == 0:
        return 0.0
    cross = float(a * d - b * c)
    if cross > 0.0:
        cross = max(cross - table.n / 2.0, 0.0)
    return cross / math.sqrt(margins)


def tango_test(table: PairedTable, margin: float, worse: int) -> float:
    """P-value of the one-sided score test of H0: the candidate is worse by `margin` or more.

    It is below alpha exactly where the two-sided interval at 1 - 2 alpha ends inside the margin.
    Raises `UsageError` for a margin outside [0, 1), `DataError` where there are no pairs.
    """
    if not 0.0 <= margin < 1.0:
        raise UsageError("margin", got=str(margin), expected="a number in [0, 1)")
    worsened, improved = oriented(table, worse)
    return cdf(score_statistic(worsened, improved, _pairs(table), margin))


def noninferiority(table: PairedTable, margin: float, worse: int) -> float:
    """P-value of H0: the candidate is worse by `margin` or more, as the gate uses it.

    The larger of `tango_test` and the exact test of the null whose whole worsening is one-way
    (`binomial.concentrated`), at which the score test alone errs up to 1.4 alpha times for some n.
    Raises what `tango_test` raises.
    """
    score = tango_test(table, margin, worse)
    if margin == 0.0:
        return score
    worsened, improved = oriented(table, worse)
    return max(score, concentrated((worsened - improved) / table.n, table.n, margin))


def equivalence(table: PairedTable, margin: float) -> float:
    """P-value of H0: the rates differ by `margin` or more, either way (two one-sided tests).

    The larger of the two non-inferiority p-values (Schuirmann 1987, J. Pharmacokinet. Biopharm.
    15:657-680); no adjustment is needed, for both must be rejected.
    """
    return max(noninferiority(table, margin, 1), noninferiority(table, margin, -1))


def mcnemar_exact(table: PairedTable, *, worse: int = 0) -> float:
    """Exact McNemar p-value over the discordant pairs, Binomial(discordant, 1/2).

    `worse` = 0 is two-sided (twice the smaller tail, at most 1); +1 or -1 is one-sided against
    H0: the candidate is not worse. Without discordant pairs the value is 1.
    """
    if worse == 0:
        few, many = sorted((table.base_only, table.candidate_only))
        return min(1.0, 2.0 * upper_tail(many, few + many))
    worsened, improved = oriented(table, worse)
    return upper_tail(worsened, worsened + improved)


def oriented(table: PairedTable, worse: int) -> tuple[int, int]:
    """(pairs that got worse, pairs that got better)."""
    if worse not in (1, -1):
        raise UsageError("worse", got=str(worse), expected="+1 or -1")
    pair = (table.candidate_only, table.base_only)
    return pair if worse == 1 else pair[::-1]


def upper_tail(k: int, n: int) -> float:
    """P(X >= k) for X ~ Binomial(n, 1/2), to about 1e-8 relative for n in the millions."""
    if k <= 0 or k > n:
        return float(k <= 0)
    if 2 * k <= n:  # sum the short tail; terms fall off only beyond the middle
        return 1.0 - upper_tail(n - k + 1, n)
    log_term = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) - n * math.log(2.0)
    term = total = math.exp(log_term)
    for i in range(k, n):
        term *= (n - i) / (i + 1)
        total += term
        if term < total * 1e-17:
            break
    return min(total, 1.0)


def _pairs(table: PairedTable) -> int:
    if table.n == 0:
        raise DataError("no pairs to compare", expected="prompts scored in both arms")
    return table.n
