"""The direction of a concept: mean of positive minus mean of negative activations."""

from __future__ import annotations

import torch
from torch import Tensor


def difference_of_means(activations: Tensor, labels: Tensor) -> Tensor:
    """R [d] = mean of `activations` [n, d] with label 1 − mean with label 0, in float64.

    Arditi et al., arXiv 2406.11717, section 2.3.
    """
    wide = activations.double()
    positive = labels.bool()
    return torch.sub(wide[positive].mean(0), wide[~positive].mean(0))
