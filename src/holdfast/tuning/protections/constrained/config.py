"""Settings of the constrained loss."""

from __future__ import annotations

from pydantic import Field

from holdfast.core.config import Config


class ConstrainedConfig(Config):
    """Defaults of arXiv 2406.05946: β₁ = 0.5, β₂..₅ = 2, β after that 0.1; floor 1e-3."""

    first: float = Field(0.5, ge=0)
    """β of the first token of an answer; 0 is plain cross-entropy."""
    early: float = Field(2.0, ge=0)
    """β of the following tokens, up to `early_tokens`."""
    late: float = Field(0.1, ge=0)
    """β of all tokens after them."""
    early_tokens: int = Field(5, ge=1)
    """Tokens that count as early, the first included."""
    floor: float = Field(1e-3, gt=0, le=1)
    """Least weight of a token."""

    def beta(self, position: int) -> float:
        """β of the token at `position` of its answer, counted from 0."""
        if position == 0:
            return self.first
        return self.early if position < self.early_tokens else self.late
