"""Settings of concept-ablation fine-tuning."""

from __future__ import annotations

from pydantic import Field

from holdfast.core.config import Config


class CAFTConfig(Config):
    """Experimental: someone has to know which directions are unwanted."""

    strength: float = Field(1.0, ge=0, le=1)
    """Share of the component that is removed."""
