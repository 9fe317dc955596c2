"""How well a projection tells two groups of prompts apart."""

from __future__ import annotations

import torch
from torch import Tensor

_LARGEST = 1e9
"""d-prime is held to ± this where both groups have no spread."""


def d_prime(projections: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
    """(μ₊ − μ₋)/√((σ₊² + σ₋²)/2) of `projections` [..., n], float64.

    `positive` and `negative` [..., n] say how often each prompt counts in either group (0/1 masks,
    bootstrap counts); all three broadcast. Variances are unbiased. Scale-free; zero means no
    separation. Two groups without any spread give ±1e9, or 0 where their means agree.
    """
    x = projections.double()
    mean_p, var_p = _moments(x, positive.double())
    mean_n, var_n = _moments(x, negative.double())
    difference = mean_p - mean_n
    spread = ((var_p + var_n) / 2).sqrt().maximum(difference.abs() / _LARGEST)
    return difference / torch.where(spread > 0, spread, 1.0)


def auroc(positive: Tensor, negative: Tensor) -> float:
    """P(positive > negative) + ½ P(equal) for two 1-d samples; 0.5 is chance, 1 perfect.

    Mann-Whitney U over the number of pairs.
    """
    scores, order = positive.double(), negative.double().sort().values
    below = torch.searchsorted(order, scores, right=False)
    not_above = torch.searchsorted(order, scores, right=True)
    return float((below + not_above).double().mean() / (2 * len(order)))


def _moments(x: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    total = counts.sum(-1)
    mean = (x * counts).sum(-1) / total
    squares = ((x - mean.unsqueeze(-1)).square() * counts).sum(-1)
    return mean, squares / (total - 1).clamp_min(1.0)
