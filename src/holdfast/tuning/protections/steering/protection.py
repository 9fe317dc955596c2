"""Preventative steering, arXiv 2507.21509: h ← h + α v at the chosen sites, in training alone.

v points where the data would push: here against the direction that tells harmful from harmless
requests, which carries refusal. With the push supplied, the weights need not learn it; it is gone
when training ends.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

from torch import Tensor

from holdfast.core.digest import sha256_json
from holdfast.tuning.protections.base import Materials
from holdfast.tuning.protections.steering.config import SteeringConfig
from holdfast.tuning.protections.streams import StreamProtection


class Steering(StreamProtection):
    """See the module's text.

    Args:
        config: settings.
        vectors: by layer, v [d_model] in the units of the residual stream.
    """

    name = "steering"
    Config = SteeringConfig
    OFF: ClassVar[dict[str, Any]] = {"strength": 0.0}
    order = 40

    def __init__(self, config: SteeringConfig, vectors: Mapping[int, Tensor]) -> None:
        super().__init__(vectors)
        self.config = config

    @classmethod
    def build(cls, config: SteeringConfig, materials: Materials) -> Self:
        """Against the refusal direction at the best site of the safety map."""
        fitted = materials.mapped(cls.name)
        site = fitted.sites[0]
        return cls(config, {site.layer: -fitted.array("direction", site.name)})

    def settings(self) -> dict[str, Any]:
        """Configuration and digest of the vectors."""
        vectors = {str(layer): v.tolist() for layer, v in sorted(self.arrays.items())}
        return {**self.config.model_dump(), "vectors": sha256_json(vectors)}

    def change(self, x: Tensor, array: Tensor) -> Tensor:
        """Add α v to x [batch, position, d_model]."""
        return x + self.config.strength * array
