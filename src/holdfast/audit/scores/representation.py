"""Anchor representation similarity: is a row, as the model reads it, nearer to unsafe anchors?

The score of LARF (arXiv 2507.18631): from the hidden state h at the row's last token, at a layer
that is sensitive to safety, the mean of the k largest cos(h, unsafe_i) minus the mean of the k
largest cos(h, safe_i). LARF finds its layer by scaling layers; here it is the layer whose score
tells anchors apart best that it was not fitted on, so that no row of the data chooses it.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from holdfast.audit.scores.pairs import States
from holdfast.audit.scores.scored import Scored, halves, held_out, quantile
from holdfast.tensors.separation import auroc, d_prime

TOP = 100
"""Anchors of each side that a score averages over, at most half of that side."""
DRAWS = 64
"""Permutations of the anchors' labels in the null."""


def choose_layer(unsafe: States, safe: States, *, seed: int) -> int:
    """The layer whose anchor similarity tells held-out anchors apart best.

    By AUROC, then by d-prime of the projection on the difference of means, then the earlier one.
    """

    def rank(layer: int) -> tuple[float, float, int]:
        u, s = unsafe.last[layer], safe.last[layer]
        high, low = _cross_fitted(u, s, seed)
        scores = torch.cat([high, low])
        first = torch.arange(len(scores)) < len(high)
        return auroc(high, low), float(d_prime(scores, first, ~first)), -layer

    return max(unsafe.last, key=rank)


def representation(rows: Tensor, unsafe: Tensor, safe: Tensor, *, layer: int, seed: int) -> Scored:
    """Score rows [n, d] against anchors [u, d] and [s, d], all at the last token of `layer`.

    Null: the anchors' labels permuted, `DRAWS` times; it answers how much of the similarity any
    split of these anchors would show.
    """
    high, low = _cross_fitted(unsafe, safe, seed)
    mean_safe, mean_unsafe, area = held_out(high, low)
    anchors = torch.cat([unsafe, safe])
    cosines = normalize(rows.double(), dim=1) @ normalize(anchors.double(), dim=1).T
    values = _difference(cosines[:, : len(unsafe)], cosines[:, len(unsafe) :])
    return Scored(
        "representation", values, mean_safe, mean_unsafe, area,
        quantile(_permuted(cosines, len(unsafe), seed + 1)),
        f"anchors' labels permuted, {DRAWS} draws", layer,
    )  # fmt: skip


def _count(unsafe: int, safe: int) -> int:
    return max(1, min(TOP, unsafe // 2, safe // 2))


def _difference(to_unsafe: Tensor, to_safe: Tensor) -> Tensor:
    """Mean of the largest similarities to either side, [n, u] and [n, s] to [n]."""
    count = _count(to_unsafe.shape[1], to_safe.shape[1])
    return to_unsafe.topk(count, dim=1).values.mean(1) - to_safe.topk(count, dim=1).values.mean(1)


def _permuted(cosines: Tensor, unsafe: int, seed: int) -> Tensor:
    """`_difference` under permuted labels of the anchors, [n, anchors] to [draws, n].

    Every row's similarities are sorted once; a side's largest are then its first in that order.
    """
    stream = torch.Generator().manual_seed(seed)
    total = cosines.shape[1]
    count = _count(unsafe, total - unsafe)
    falling, order = cosines.sort(dim=1, descending=True)
    position = torch.arange(1, total + 1, dtype=torch.int32)
    null = torch.empty(DRAWS, len(cosines), dtype=torch.float64)
    for draw in range(DRAWS):
        label = torch.zeros(total, dtype=torch.int32)
        label[torch.randperm(total, generator=stream)[:unsafe]] = 1
        side = label[order]
        place = side.cumsum(1, dtype=torch.int32)
        weight = ((side == 1) & (place <= count)).double()
        weight -= ((side == 0) & (position - place <= count)).double()
        null[draw] = (falling * weight).sum(1) / count
    return null


def _cross_fitted(unsafe: Tensor, safe: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Scores of unsafe and of safe anchors, each half scored against the other half."""
    pair = (normalize(unsafe.double(), dim=1), normalize(safe.double(), dim=1))
    cuts = [halves(len(side), seed) for side in pair]
    out = [torch.empty(len(side), dtype=torch.float64) for side in pair]
    for fit, test in ((0, 1), (1, 0)):
        u, s = (side[cut[fit]] for side, cut in zip(pair, cuts, strict=True))
        for side, cut, scores in zip(pair, cuts, out, strict=True):
            held = side[cut[test]]
            scores[cut[test]] = _difference(held @ u.T, held @ s.T)
    return out[0], out[1]
