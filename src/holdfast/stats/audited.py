"""A judge's paired difference corrected by human labels on a sample: the difference estimator.

With judge difference j_i of every prompt and human difference h_i of an audited one, both in
[-1, 1], the estimate is the judge's mean plus the mean of h - j over the audited prompts, taken
within strata of the judge's label pair (double sampling: Cochran 1977, *Sampling Techniques*, ch.
12; with a model in the judge's place: prediction-powered inference, Angelopoulos et al. 2023,
arXiv 2301.09633). It is right whatever the judge's errors are, and whether or not they differ
between the arms; a good judge only makes it narrower. One sensitivity and specificity for both arms
is not offered: fine-tuning changes how a model refuses, and with it the judge's error.

The variance is S²(h)/N + sum over strata of W² (1/m - 1/M) S²(h - j), for m audited of M prompts
and share W. A test at d0 adds p(1 - p)/n for the p = |d0 - estimate| of flips that the audit may
have missed, n = min(m/W) being what the audit is worth as a plain sample of prompts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from holdfast.core.errors import DataError
from holdfast.core.records import Interval
from holdfast.stats.binomial import concentrated
from holdfast.stats.normal import bisect, cdf, two_sided_z


@dataclass(frozen=True)
class Stratum:
    """Prompts on which the judge gave both arms the same pair of labels."""

    size: int
    """Prompts in it."""
    judged: float
    """What the judge says of each of them, in [-1, 1]."""
    human: tuple[float, ...]
    """What a human says of those that were audited."""


@dataclass(frozen=True)
class Estimate:
    """A corrected mean in [-1, 1] and what is known of its error."""

    value: float
    """Judge's mean plus correction."""
    variance: float
    """Of `value`."""
    worth: float
    """Plain audited prompts that the audit is worth; 0 without one."""
    below: float = 0.0
    """What strata without an audited prompt could take away: at most twice their weight."""
    above: float = 0.0
    """What they could add."""
    prompts: int = 0
    """Prompts that were audited."""

    def flipped(self) -> Estimate:
        """The estimate of minus the mean."""
        return Estimate(
            -self.value, self.variance, self.worth, self.above, self.below, self.prompts
        )


def estimate(judge_mean: float, strata: Sequence[Stratum], *, low: float = -1.0) -> Estimate:
    """The difference estimator; `judge_mean` may rest on more answers than the audited ones.

    Values lie in [low, 1]. A stratum without an audited prompt is left as the judge has it, and
    what it could hide is kept in `below` and `above`. Raises `DataError` where nothing was audited.
    """
    total = sum(stratum.size for stratum in strata)
    audited = sum(len(stratum.human) for stratum in strata)
    if not audited:
        raise DataError("no prompt was audited in both arms", next_step="label more of the sample")
    correction = spread = below = above = square = 0.0
    worth = math.inf
    for stratum in strata:
        weight, m = stratum.size / total, len(stratum.human)
        if m == 0:
            below += weight * (stratum.judged - low)
            above += weight * (1.0 - stratum.judged)
            square += weight * stratum.judged**2
            continue
        mean = math.fsum(stratum.human) / m
        correction += weight * (mean - stratum.judged)
        square += weight * math.fsum(h * h for h in stratum.human) / m
        # One label says nothing about its stratum's variance, which is at most 1.
        within = math.fsum((h - mean) ** 2 for h in stratum.human) / (m - 1) if m > 1 else 1.0
        spread += weight**2 * (1.0 / m - 1.0 / stratum.size) * within
        worth = min(worth, m / weight)
    value = judge_mean + correction
    between = max(square - value * value, 0.0) / total
    return Estimate(value, between + spread, worth, below, above, audited)


def statistic(e: Estimate, d0: float) -> float:
    """(estimate - d0) over its standard error under H0: mean = d0."""
    missed = min(abs(d0 - e.value), 1.0)
    variance = e.variance + missed * (1.0 - missed) / e.worth
    if variance <= 0.0:
        return math.copysign(math.inf, e.value - d0) if e.value != d0 else 0.0
    return (e.value - d0) / math.sqrt(variance)


def interval(e: Estimate, confidence: float, *, low: float = -1.0, high: float = 1.0) -> Interval:
    """{d0 : |statistic| <= z} inside [low, high], widened by what unaudited strata could hide."""
    z = two_sided_z(confidence)
    value = min(max(e.value, low), high)
    ends = (
        bisect(lambda d: statistic(e, d) - z, low, value),
        bisect(lambda d: statistic(e, d) + z, value, high),
    )
    return Interval(
        value=value, low=max(low, ends[0] - e.below), high=min(high, ends[1] + e.above),
        confidence=confidence, method="audited",
    )  # fmt: skip


def noninferiority(e: Estimate, margin: float) -> float:
    """P-value of H0: the mean is `margin` or more, for an estimate oriented with + for worse.

    The larger of the score test's and of `binomial.concentrated` on what the audit is worth.
    """
    worst = Estimate(e.value + e.above, e.variance, e.worth)
    return max(cdf(statistic(worst, margin)), concentrated(worst.value, int(e.worth), margin))


def worse(e: Estimate) -> float:
    """P-value of H0: the mean is 0 or less, for an estimate oriented with + for worse."""
    return cdf(-statistic(Estimate(e.value - e.below, e.variance, e.worth), 0.0))
