"""Frozen layers: blocks in the middle are not trained (after SPPFT, arXiv 2408.17003).

A baseline that costs less than nothing. The paper finds its blocks by scaling; this takes the
middle third, or what the plan names.
"""

from __future__ import annotations

from typing import Any, ClassVar, Self

from torch import nn

from holdfast.core.errors import UsageError
from holdfast.models.architecture import decoder_layers
from holdfast.tuning.protections.base import Materials, Protection
from holdfast.tuning.protections.frozen_layers.config import FrozenLayersConfig
from holdfast.tuning.protections.rules import Setting


class FrozenLayers(Protection):
    """See the module's text. Freezing shows in the gradients: there are none."""

    name = "frozen_layers"
    Config = FrozenLayersConfig
    OFF: ClassVar[dict[str, Any]] = {"layers": ()}
    order = 5

    def __init__(self, config: FrozenLayersConfig) -> None:
        self.config = config
        self._frozen: list[nn.Parameter] = []

    @classmethod
    def build(cls, config: FrozenLayersConfig, materials: Materials) -> Self:
        """From a plan's settings."""
        return cls(config)

    def settings(self) -> dict[str, Any]:
        """The configuration."""
        return self.config.model_dump(mode="json")

    def attach(self, model: Any, setting: Setting) -> None:
        """Stop the training of every parameter of the blocks, adapters included."""
        blocks = decoder_layers(model)
        count = len(blocks)
        named = self.config.layers
        middle = range(max(1, count // 3), max(2, count - count // 3))
        chosen = middle if named == "middle" else named
        if any(not 0 <= layer < count for layer in chosen):
            raise UsageError(
                "protection frozen_layers", got=str(tuple(chosen)), expected=f"0 to {count - 1}"
            )
        self._frozen = [p for i in chosen for p in blocks[i].parameters() if p.requires_grad]
        for parameter in self._frozen:
            parameter.requires_grad_(False)
        if not any(parameter.requires_grad for parameter in model.parameters()):
            raise UsageError("protection frozen_layers leaves nothing to train")

    def before_step(self, model: Any, step: int) -> bool:
        """Whether nothing reached the frozen parameters."""
        return all(parameter.grad is None for parameter in self._frozen)

    def detach(self, model: Any) -> None:
        """Make them trainable again, as they were found."""
        for parameter in self._frozen:
            parameter.requires_grad_(True)
