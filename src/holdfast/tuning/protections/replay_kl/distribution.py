"""The base's cached next-token distributions, and the KL to them with its exact gradient.

For a large vocabulary only the k likeliest tokens are kept; the others share one bucket whose mass
is kept. That KL is a lower bound of the full one (data-processing inequality) and both are zero
together at the base.

    KL = Σ_{i in K} p_i (log p_i - log q_i) + P (log P - log Q),   P, Q = mass outside K

with p of the base and q of the model in training. Its gradient on the logits is q - t, where the
target t is p on K and q·P/Q outside. Computed in that form, loss and gradient are exactly zero,
not nearly, whenever q equals p bit for bit.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

_TINY = torch.finfo(torch.float32).tiny


@dataclass(frozen=True)
class Cached:
    """Distributions of n positions."""

    log_probs: Tensor
    """[n, vocab] or [n, k], float32: log p of the tokens kept."""
    tokens: Tensor | None
    """[n, k] token ids, or None where the whole vocabulary is kept."""
    tail: Tensor | None
    """[n] mass of all other tokens, or None likewise."""

    def to(self, device: torch.device) -> Cached:
        """The same on another device."""
        return Cached(
            self.log_probs.to(device),
            None if self.tokens is None else self.tokens.to(device),
            None if self.tail is None else self.tail.to(device),
        )


def cache(logits: Tensor, *, exact_vocab: int, top_k: int) -> Cached:
    """Keep the distributions of `logits` [n, vocab]."""
    log_q = torch.log_softmax(logits.detach().float(), dim=-1)
    if logits.shape[-1] <= max(exact_vocab, top_k):
        return Cached(log_q, None, None)
    tokens = log_q.topk(top_k, dim=-1).indices
    return Cached(log_q.gather(-1, tokens), tokens, _outside(log_q.exp(), tokens))


def replay_loss(logits: Tensor, base: Cached) -> tuple[float, Tensor]:
    """Mean KL in nats over the positions, and a scalar whose gradient is that of the mean KL.

    Args:
        logits: [n, vocab] of the model in training, with gradient.
        base: the n cached distributions.

    Returns:
        The KL, and a tensor to call `backward` on (its own value means nothing).
    """
    with torch.no_grad():
        log_q = torch.log_softmax(logits.float(), dim=-1)
        q, p = log_q.exp(), base.log_probs.exp()
        if base.tokens is None or base.tail is None:
            kl = (p * (base.log_probs - log_q)).sum(-1)
            target = p
        else:
            outside = _outside(q, base.tokens).clamp_min(_TINY)
            tail = base.tail.clamp_min(_TINY)
            kl = (p * (base.log_probs - log_q.gather(-1, base.tokens))).sum(-1)
            kl = kl + tail * (tail.log() - outside.log())
            target = (q * (tail / outside).unsqueeze(-1)).scatter(-1, base.tokens, p)
        slope = (q - target) / logits.shape[0]
    return float(kl.mean()), (slope * logits.float()).sum()


def _outside(q: Tensor, tokens: Tensor) -> Tensor:
    """Mass of each row of `q` [n, vocab] outside `tokens` [n, k]."""
    return q.scatter(-1, tokens, 0.0).sum(-1)
