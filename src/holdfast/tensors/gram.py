"""Gram matrices of feature directions, and interference."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def feature_gram(products: Tensor, left: Tensor, right: Tensor, groups: Sequence[Tensor]) -> Tensor:
    """Inner products [resamples, F, F] of directions that are weighted sums of prompts.

    `products` [n, n] holds the inner products of the prompts' activations, `left` and `right`
    [resamples, n] the weights, `groups` the prompts of each of the F features (disjoint). Entry
    (f, g) is Σ_{i in f, j in g} left_i · products_ij · right_j. One pass costs resamples · n²,
    whatever the width of the model and the number of features.
    """
    member = torch.zeros(products.shape[0], len(groups), dtype=products.dtype)
    for column, group in enumerate(groups):
        member[group, column] = 1.0
    rows = [((left[:, group] @ products[group]) * right) @ member for group in groups]
    return torch.stack(rows, dim=1)


def interference(gram: Tensor, safety: Sequence[int]) -> Tensor:
    """I [...]: mean over `safety` features i of Σ_{j≠i} (f̂ᵢ·f̂ⱼ)², from `gram` [..., F, F].

    Directions need not be normalised. Range [0, F - 1]; for random directions in d dimensions the
    expectation is (F - 1)/d. A zero direction interferes with nothing.
    """
    squares = gram.diagonal(dim1=-2, dim2=-1)
    scale = squares.unsqueeze(-1) * squares.unsqueeze(-2)
    cosines = gram.square() / torch.where(scale > 0, scale, 1.0)
    off = cosines - torch.diag_embed(cosines.diagonal(dim1=-2, dim2=-1))
    return off[..., list(safety), :].sum(-1).mean(-1)
