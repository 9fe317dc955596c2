"""Exact tails of the binomial distribution, without scipy: sums of few terms from the near end."""

from __future__ import annotations

import math


def at_most(k: int, n: int, p: float) -> float:
    """P(X <= k) for X ~ Binomial(n, p), 0 < p < 1, to about 1e-8 relative for n in the millions."""
    if k < 0:
        return 0.0
    if k >= n:
        return 1.0
    if k >= n * p:  # sum the short tail; terms fall off only away from the mean
        return 1.0 - at_most(n - k - 1, n, 1.0 - p)
    log_term = (
        math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
        + k * math.log(p) + (n - k) * math.log1p(-p)
    )  # fmt: skip
    term = total = math.exp(log_term)
    odds = (1.0 - p) / p
    for i in range(k, 0, -1):
        term *= odds * i / (n - i + 1)
        total += term
        if term < total * 1e-17:
            break
    return min(total, 1.0)


def concentrated(estimate: float, n: int, margin: float) -> float:
    """P-value of the null that a score test overlooks: `margin` of the prompts flips entirely.

    Under it the number of flipped prompts among `n` is Binomial(n, margin), and `n * estimate` were
    seen (rounded up; an improvement counts as none). Any method that holds for every distribution
    of a prompt's difference in [-1, 1] must wait for it: with nothing seen it is (1 - margin)^n.
    """
    return at_most(math.ceil(max(estimate, 0.0) * n - 1e-9), n, margin)
