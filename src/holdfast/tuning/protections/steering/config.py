"""Settings of preventative steering."""

from __future__ import annotations

from pydantic import Field

from holdfast.core.config import Config


class SteeringConfig(Config):
    """Experimental: effective in its paper, with some cost to task and coherence."""

    strength: float = Field(1.0, ge=0)
    """α: length of the push against refusing, in norms of the base's refusal direction."""
