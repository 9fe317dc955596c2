"""Projection difference: how far a row moves the model along the unsafe direction.

ΔP of persona vectors (arXiv 2507.21509): (a(x, y) - a(x, y')) · v, where a averages the residual
stream over the answer, y is the row's answer and y' the base model's own. v is the difference of
means of unsafe and safe anchors, normalised. Without y' the score is a(x, y) · v, which also holds
what the request alone contributes; it goes by the name of `projection-alone`.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from holdfast.audit.scores.scored import Scored, halves, held_out, quantile

DRAWS = 64
"""Random directions in the null."""


def projection(
    rows: Tensor, own: Tensor | None, unsafe: Tensor, safe: Tensor, unsafe_own: Tensor | None,
    safe_own: Tensor | None, *, layer: int, seed: int,
) -> Scored:  # fmt: skip
    """Score rows [n, d] (mean over the answer), less `own` [n, d] where it is given.

    `unsafe_own` and `safe_own` are the model's own answers to the anchors' prompts, so that the
    anchors are scored like the rows. Null: differences of means under permuted anchor labels,
    normalised like v, `DRAWS` of them: random directions with the anchors' own covariance, which
    are harder to beat than uniform ones.
    """
    name = "projection" if own is not None else "projection-alone"
    high, low = _cross_fitted(unsafe, safe, unsafe_own, safe_own, seed)
    mean_safe, mean_unsafe, area = held_out(high, low)
    moved = _moved(rows, own)
    values = moved @ direction(unsafe, safe)
    anchors = torch.cat([unsafe, safe]).double()
    centre = 0.0 if own is not None else anchors.mean(0)
    stream = torch.Generator().manual_seed(seed + 2)
    null = torch.empty(DRAWS, len(rows), dtype=torch.float64)
    for draw in range(DRAWS):
        order = torch.randperm(len(anchors), generator=stream)
        random = direction(anchors[order[: len(unsafe)]], anchors[order[len(unsafe) :]])
        null[draw] = (moved - centre) @ random
    if own is None:  # put the null where the score's zero is
        null += anchors.mean(0) @ direction(unsafe, safe)
    return Scored(
        name, values, mean_safe, mean_unsafe, area, quantile(null),
        f"differences of means under permuted labels, {DRAWS} directions", layer,
    )  # fmt: skip


def direction(unsafe: Tensor, safe: Tensor) -> Tensor:
    """The unit difference of means [d] float64."""
    return normalize(unsafe.double().mean(0) - safe.double().mean(0), dim=0)


def _moved(states: Tensor, own: Tensor | None) -> Tensor:
    return states.double() if own is None else states.double() - own.double()


def _cross_fitted(
    unsafe: Tensor, safe: Tensor, unsafe_own: Tensor | None, safe_own: Tensor | None, seed: int
) -> tuple[Tensor, Tensor]:
    """Scores of unsafe and of safe anchors along the direction of the other halves."""
    cuts = (halves(len(unsafe), seed), halves(len(safe), seed))
    moved = (_moved(unsafe, unsafe_own), _moved(safe, safe_own))
    out = [torch.empty(len(side), dtype=torch.float64) for side in moved]
    for fit, test in ((0, 1), (1, 0)):
        v = direction(unsafe[cuts[0][fit]], safe[cuts[1][fit]])
        for side, cut, scores in zip(moved, cuts, out, strict=True):
            scores[cut[test]] = side[cut[test]] @ v
    return out[0], out[1]
