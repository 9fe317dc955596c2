"""Settings of the weight average."""

from __future__ import annotations

from pydantic import Field

from holdfast.core.config import Config


class WeightEMAConfig(Config):
    """The average of arXiv 2508.12531, which starts from the original weights."""

    decay: float = Field(0.9, ge=0, lt=1)
    """η: share of the old average that is kept at a step; 0 is the last weights."""
