"""Concept-ablation fine-tuning, arXiv 2507.16795: h ← h - Q Qᵀ h at the chosen sites.

Q spans the base's safety subspace there. While it is ablated the task cannot be learnt by moving
along it; the ablation is gone when training ends. A step counts as guarded when every chosen block
was reached.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

from torch import Tensor

from holdfast.core.digest import sha256_json
from holdfast.tensors.projection import orthonormal
from holdfast.tuning.protections.base import Materials
from holdfast.tuning.protections.caft.config import CAFTConfig
from holdfast.tuning.protections.streams import StreamProtection


class CAFT(StreamProtection):
    """See the module's text.

    Args:
        config: settings.
        directions: by layer, unwanted directions [d_model, n]; they are made orthonormal.
    """

    name = "caft"
    Config = CAFTConfig
    OFF: ClassVar[dict[str, Any]] = {"strength": 0.0}
    order = 45

    def __init__(self, config: CAFTConfig, directions: Mapping[int, Tensor]) -> None:
        super().__init__({layer: orthonormal(v.mT) for layer, v in directions.items()})
        self.config = config

    @classmethod
    def build(cls, config: CAFTConfig, materials: Materials) -> Self:
        """The safety subspace at every chosen site of the map."""
        fitted = materials.mapped(cls.name)
        return cls(config, {s.layer: fitted.array("subspace", s.name) for s in fitted.sites})

    def settings(self) -> dict[str, Any]:
        """Configuration and digest of the subspaces."""
        spans = {str(layer): q.tolist() for layer, q in sorted(self.arrays.items())}
        return {**self.config.model_dump(), "directions": sha256_json(spans)}

    def change(self, x: Tensor, array: Tensor) -> Tensor:
        """Remove the component of x [batch, position, d_model] in the span."""
        return x - self.config.strength * (x @ array) @ array.mT
