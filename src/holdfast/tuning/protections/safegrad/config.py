"""Settings of SafeGrad."""

from __future__ import annotations

from pydantic import Field

from holdfast.core.config import Config


class SafeGradConfig(Config):
    """Defaults follow arXiv 2508.07172 as far as its summary goes: about 20 prompts are enough."""

    strength: float = Field(1.0, ge=0, le=1)
    """Share of the conflicting part that is removed; 0 changes nothing at all."""
    weight: float = Field(1.0, ge=0)
    """ρ: factor on the alignment gradient that is added after the removal."""
    rows: int = Field(4, ge=1)
    """Buffer prompts in one alignment gradient."""
    buffer: int = Field(64, ge=1)
    """Prompts kept, the first ones of the list given."""
    answer_tokens: int = Field(24, ge=1)
    """Length of the base's own greedy answer that is guarded, in tokens."""
    seed: int = 0
    """Order in which the buffer is used."""
