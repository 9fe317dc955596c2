"""Looking as often as one likes: e-values for the paired difference, valid at every sample size.

The capital of a gambler who bets a share c against H0: E w >= d0, for w in [-1, 1], is multiplied
with every prompt by 1 - c + c (1 - w)/(1 - d0), which is never negative and has mean at most 1
under H0. The average over a grid of c is an e-process: by Ville's inequality the chance that it
ever reaches 1/alpha is at most alpha, whatever the distribution of w and whenever one stops
(Waudby-Smith and Ramdas 2024, JRSS B 86:1-27; Howard et al. 2021, Annals of Statistics 49:1055).
1/E is a p-value that holds at every look, and the d0 not rejected form a confidence sequence.

The order of the prompts must be random, as in a frozen plan. Where no prompt differs, the best bet
(c = 1) needs log(alpha)/log(1 - margin) prompts, which no method that holds can undercut.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from holdfast.core.errors import UsageError
from holdfast.core.records import Interval
from holdfast.stats.clustered import Differences, mean, oriented
from holdfast.stats.normal import bisect, quantile

BETS = (1.0, 0.7, 0.4, 0.2, 0.1, 0.05, 0.02)
"""Shares of the capital that are bet: the more prompts differ, the smaller the best one."""


def log_e_value(differences: Differences, d0: float) -> float:
    """Log of the e-value against H0: mean >= d0, for d0 < 1; the differences are + for worse."""
    if not d0 < 1.0:
        raise UsageError("null", got=str(d0), expected="a difference below 1")
    ratios = [((1.0 - d) / (1.0 - d0), times) for d, times in differences.items()]
    logs = []
    for bet in BETS:
        factors = [(1.0 - bet + bet * ratio, times) for ratio, times in ratios]
        broke = any(factor <= 0.0 for factor, _ in factors)
        logs.append(-math.inf if broke else sum(t * math.log(f) for f, t in factors))
    top = max(logs)
    if top == -math.inf:
        return top
    return top + math.log(sum(math.exp(log - top) for log in logs) / len(BETS))


def p_value(differences: Differences, d0: float) -> float:
    """min(1, 1/E): at most alpha at any look with chance at most alpha under H0: mean >= d0."""
    return math.exp(-max(log_e_value(differences, d0), 0.0))


def noninferiority(differences: Differences, margin: float, worse: int) -> float:
    """Always-valid p-value of H0: worse by `margin` or more."""
    return p_value(oriented(differences, worse), margin)


def regression(differences: Differences, worse: int) -> float:
    """Always-valid p-value of H0: not worse."""
    return p_value(oriented(differences, -worse), 0.0)


def confidence_sequence(differences: Differences, confidence: float) -> Interval:
    """The means that neither one-sided e-process rejects at (1 - confidence)/2."""
    estimate = mean(differences)
    return Interval(
        value=estimate, low=-_upper(oriented(differences, -1), confidence),
        high=_upper(differences, confidence), confidence=confidence, method="confidence-sequence",
    )  # fmt: skip


def _upper(differences: Differences, confidence: float) -> float:
    """Smallest mean above the estimate that is rejected, 1 where none is."""
    bar = -math.log((1.0 - confidence) / 2.0)
    estimate, edge = mean(differences), 1.0 - 1e-9
    if estimate >= edge:
        return 1.0
    high = bisect(lambda d: bar - log_e_value(differences, d), estimate, edge)
    return 1.0 if high >= edge else high


def prompts_needed(
    margin: float, discordance: float, *, alpha: float = 0.05, power: float = 0.8
) -> int:
    """Prompts at which the e-process shows `margin` with about `power`, if nothing got worse.

    From mean and variance of the log capital of the best bet of the grid, which the average over
    the grid undercuts by at most log(len(BETS)): a guide, on the safe side.
    """
    half = discordance / 2.0
    law: Mapping[float, float] = {1.0: half, -1.0: half, 0.0: 1.0 - discordance}
    z = quantile(power)
    bar = math.log(len(BETS) / alpha)
    best = math.inf
    for bet in BETS:
        steps = [(p, 1.0 - bet + bet * (1.0 - d) / (1.0 - margin)) for d, p in law.items() if p]
        if any(factor <= 0.0 for _, factor in steps):
            continue
        drift = sum(p * math.log(factor) for p, factor in steps)
        if drift > 0.0:
            noise = math.sqrt(sum(p * (math.log(f) - drift) ** 2 for p, f in steps))
            root = (z * noise + math.sqrt(z * z * noise * noise + 4.0 * drift * bar)) / (2 * drift)
            best = min(best, root * root)
    return math.ceil(best)
