"""Settings of replay-KL."""

from __future__ import annotations

from pydantic import Field

from holdfast.core.config import Config

REPEATS = 2
"""A prompt is replayed about so often at most, as in the recipe of 60 steps that all else was
measured with: longer runs take more prompts. Over 400 steps 64 prompts, replayed a dozen times
each, were learnt by heart: the controller kept 0.89 of other refusals with them, 0.99 with 256
(docs/results/protections.md)."""
LARGEST = 256
"""Prompts that a run takes at most of its own accord."""


class ReplayKLConfig(Config):
    """Defaults: harmful prompts only, 10 % of the rows.

    5 % kept direct refusals as well, but failed the gate on context blindness in one quickstart of
    ten, and lost more of the task in another (docs/results/harbor.md).
    """

    weight: float = Field(1.0, ge=0)
    """λ: factor on the KL, in units of task loss per nat; 0 is for comparisons."""
    share: float = Field(0.10, gt=0, le=1)
    """Replayed rows as a share of the rows of an update, averaged over steps."""
    every: int = Field(2, ge=1)
    """Act on every n-th update, with n times the rows."""
    buffer: int = Field(64, ge=1)
    """Prompts replayed, the first ones of the list given; more of them, up to `LARGEST`, where the
    run is so long that each would be replayed more than `REPEATS` times."""
    answer_tokens: int = Field(24, ge=1)
    """Length of the base's own greedy answer that is guarded, in tokens."""
    exact_vocab: int = Field(4096, ge=1)
    """Vocabulary up to which the base's whole distribution is kept."""
    top_k: int = Field(256, ge=1)
    """Tokens kept per position above that; all others share one bucket."""
    seed: int = 0
    """Order in which the buffer is replayed."""
