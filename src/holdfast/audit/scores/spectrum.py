"""How many directions a data set really spans: effective rank of activations and gradients."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

MOST = 1024
"""Rows that a spectrum is taken over at most: the cost grows with their cube."""


def effective_rank(rows: Tensor, *, centre: bool) -> float:
    """exp(entropy of the normalised eigenvalues) of the Gram matrix of rows [n, d], in [1, min].

    Roy and Vetterli 2007 ("The effective rank"), with eigenvalues of the covariance in place of
    singular values. `centre` takes the mean out first: for activations, whose mean would swamp the
    rest; gradients are only normalised, because there a common direction is the finding. Rows that
    do not differ have effective rank 1. An early part of at most `MOST` rows is used.
    """
    kept = rows[:MOST].double()
    kept = kept - kept.mean(0) if centre else normalize(kept, dim=1)
    scale = float(rows[:MOST].double().norm())
    if len(kept) < 2 or float(kept.norm()) <= 1e-6 * max(scale, 1e-12):
        return 1.0
    values = torch.linalg.eigvalsh(kept @ kept.T).clamp_min(0.0)
    share = values / values.sum()
    share = share[share > 1e-12]
    return float(torch.exp(-(share * share.log()).sum()))
