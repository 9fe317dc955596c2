"""Feature spillover: how far a row's features push along the decoder directions of harmful ones.

Gradient spillover of arXiv 2605.00842: raising feature k moves feature j by alpha * <d_j, d_k>.
The paper's score of a row is not readable, so this one is a reading of it: the mean over harmful
features t of sum_i f_i(x) <d_i, d_t>, i not among the harmful ones, less the same of the base's own
answer to the request: what the base would have said raises nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import normalize

from holdfast.audit.scores.scored import Scored, halves, held_out, quantile

HARMFUL_FEATURES = 100
"""Features taken as harmful, at most a twentieth of the dictionary."""
DRAWS = 64
"""Random feature sets in the null."""


class FeatureEncoder(Protocol):
    """A sparse autoencoder, as far as the audit needs one."""

    @property
    def layer(self) -> int:
        """Decoder block whose output it reads."""
        ...

    @property
    def decoder(self) -> Tensor:
        """Feature directions [features, d_model]."""
        ...

    def encode(self, x: Tensor, /) -> Tensor:
        """Features [n, features] of activations [n, d_model]."""
        ...


def spillover(
    encoder: FeatureEncoder, states: Sequence[Tensor], own: Sequence[Tensor] | None, *, seed: int
) -> Scored:
    """Score rows by what they add to the base's own answer, or alone where `own` is None.

    `states` are rows [n, d], unsafe anchors [u, d] and safe anchors [s, d], averaged over the
    answer at the encoder's layer; `own` the same of the base's own answers to their requests. The
    harmful features are those of the anchors themselves. Null: random sets of features that fire
    on the anchors, as many as the harmful ones.
    """
    directions = normalize(encoder.decoder.detach().double().cpu(), dim=1)
    features, high, low = (_features(encoder, side) for side in states)
    bases = [torch.zeros(())] * 3 if own is None else [_features(encoder, side) for side in own]
    cuts = (halves(len(high), seed), halves(len(low), seed))
    out = [torch.empty(len(side), dtype=torch.float64) for side in (high, low)]
    for fit, test in ((0, 1), (1, 0)):
        chosen = harmful_features(high[cuts[0][fit]], low[cuts[1][fit]])
        for side, base, cut, scores in zip((high, low), bases[1:], cuts, out, strict=True):
            scores[cut[test]] = _spill(side - base, directions, chosen)[cut[test]]
    mean_safe, mean_unsafe, area = held_out(out[0], out[1])
    chosen = harmful_features(high, low)
    added = features - bases[0]
    alive = torch.nonzero((torch.cat([high, low]) > 0).any(0))[:, 0]
    stream = torch.Generator().manual_seed(seed + 4)
    null = torch.empty(DRAWS, len(features), dtype=torch.float64)
    for draw in range(DRAWS):
        order = torch.randperm(len(alive), generator=stream)[: len(chosen)]
        null[draw] = _spill(added, directions, alive[order])
    return Scored(
        "spillover" if own is not None else "spillover-alone", _spill(added, directions, chosen),
        mean_safe, mean_unsafe, area, quantile(null),
        f"random sets of features that fire, {DRAWS} draws", encoder.layer,
    )  # fmt: skip


def _features(encoder: FeatureEncoder, states: Tensor) -> Tensor:
    return encoder.encode(states).detach().double().cpu()


def harmful_features(unsafe: Tensor, safe: Tensor) -> Tensor:
    """Indices of the features that rise most from safe to unsafe anchors, by effect size."""
    spread = (unsafe.var(0) + safe.var(0)).sqrt() + 1e-6
    effect = (unsafe.mean(0) - safe.mean(0)) / spread
    count = max(1, min(HARMFUL_FEATURES, effect.shape[0] // 20, int((effect > 0).sum())))
    return effect.topk(count).indices


def _spill(features: Tensor, directions: Tensor, harmful: Tensor) -> Tensor:
    """[n]: sum over features outside `harmful` of f_i <d_i, mean of the harmful directions>."""
    if not len(harmful):
        return torch.zeros(len(features), dtype=torch.float64)
    gain = directions @ directions[harmful].mean(0)
    gain[harmful] = 0.0
    return features @ gain
