"""Settings of the subspace guard."""

from __future__ import annotations

from pydantic import Field

from holdfast.core.config import Config


class SubspaceGuardConfig(Config):
    """The subspaces themselves come from the safety map of the base."""

    strength: float = Field(1.0, ge=0, le=1)
    """Share of the protected component that is removed after every step; 0 is for comparisons."""
