"""What the audit reads and how much of it; also the section `audit:` of a plan."""

from __future__ import annotations

from pydantic import Field

from holdfast.core.config import Config


class AuditConfig(Config):
    """How a training set is read before it is trained on."""

    sample: int = Field(default=512, ge=1, le=20_000)
    """Rows that the model's scores are taken on, drawn at random; the text of all rows is read."""
    scores: bool = True
    """Score the sample with the model: representation, gradient, spillover, breadth."""
    own_answers: bool = True
    """Have the model answer the sample's requests itself: projection difference, harmful answers,
    triggers, clusters. The dearest part: one answer a row."""
    alpha: float = Field(default=0.01, gt=0, lt=0.5)
    """Family-wise level of trigger candidates."""
    max_new_tokens: int = Field(default=64, ge=1)
    """Longest of the model's own answers."""
    batch_size: int = Field(default=32, ge=1)
    """Rows of a forward pass."""
