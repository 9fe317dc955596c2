"""Settings of frozen layers."""

from __future__ import annotations

from typing import Literal

from holdfast.core.config import Config


class FrozenLayersConfig(Config):
    """A baseline: region finders disagree about where safety lies (`research/defenses.md`, 2)."""

    layers: Literal["middle"] | tuple[int, ...] = "middle"
    """Decoder blocks that are not trained, from 0; `middle` is the middle third."""
