"""Weight averaging, arXiv 2508.12531: θ_ema ← η θ_ema + (1 - η) θ, from the original weights.

The run trains θ and delivers θ_ema: at every checkpoint, evaluation and at the end the average is
in place, and afterwards the trained weights again. Averaging over a short run is close to training
less, so compare it with a smaller scale of the same adapter.

For an adapter the factors are averaged, not their product: mean(B)·mean(A) is not mean(BA), but
what results is one adapter of the same rank, which can be saved, merged and scaled.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Self

import safetensors.torch
import torch
from torch import Tensor, nn

from holdfast.core.errors import IntegrityError
from holdfast.core.files import write_bytes
from holdfast.tuning.protections.base import Materials, Protection
from holdfast.tuning.protections.rules import Setting
from holdfast.tuning.protections.weight_ema.config import WeightEMAConfig

FILE = "weight_ema.safetensors"


class WeightEMA(Protection):
    """See the module's text. Costs two float32 copies of what is trained."""

    name = "weight_ema"
    Config = WeightEMAConfig
    OFF: ClassVar[dict[str, Any]] = {"decay": 0.0}
    order = 70
    phase = "weights"

    def __init__(self, config: WeightEMAConfig) -> None:
        self.config = config
        self._mean: dict[str, Tensor] = {}
        self._trained: dict[str, Tensor] = {}

    @classmethod
    def build(cls, config: WeightEMAConfig, materials: Materials) -> Self:
        """From a plan's settings."""
        return cls(config)

    def settings(self) -> dict[str, Any]:
        """The configuration."""
        return self.config.model_dump()

    def attach(self, model: Any, setting: Setting) -> None:
        """Begin with the weights as they are."""
        self._mean = {name: p.detach().float().clone() for name, p in _trained(model).items()}

    @torch.no_grad()
    def after_step(self, model: Any, step: int) -> bool:
        """Take the new weights in."""
        for name, parameter in _trained(model).items():
            mean = self._mean[name]
            mean.mul_(self.config.decay).add_(parameter.float(), alpha=1 - self.config.decay)
        return bool(self._mean)

    @torch.no_grad()
    def swap(self, model: Any, *, result: bool) -> None:
        """Put the average in place, or the trained weights back, bit for bit."""
        if result:
            self._trained = {n: p.detach().clone() for n, p in _trained(model).items()}
        source = self._mean if result else self._trained
        for name, parameter in _trained(model).items():
            parameter.copy_(source[name])

    def report(self) -> dict[str, float]:
        """How far the average lies from the last trained weights, as a share of their norm."""
        if not self._trained:
            return {}
        pairs = [(self._mean[n].double(), t.double()) for n, t in self._trained.items()]
        gap = sum(float((mean - last).square().sum()) for mean, last in pairs) ** 0.5
        size = sum(float(last.square().sum()) for _, last in pairs) ** 0.5
        return {"distance": gap / size if size else 0.0}

    def save(self, model: Any, folder: Path) -> None:
        """The trained weights and the average; the checkpoint itself holds the average."""
        arrays = {f"mean/{name}": t for name, t in self._mean.items()}
        arrays |= {f"trained/{name}": t for name, t in self._trained.items()}
        write_bytes(folder / FILE, safetensors.torch.save(arrays))

    @torch.no_grad()
    def load(self, model: Any, folder: Path) -> None:
        """Go on from a checkpoint: its model is the average, training continues on the other."""
        path = folder / FILE
        if not path.is_file():
            raise IntegrityError(
                f"{path} is missing, so the weight average cannot go on", next_step="train anew"
            )
        arrays = safetensors.torch.load_file(path)
        for name, parameter in _trained(model).items():
            self._mean[name] = arrays[f"mean/{name}"].to(parameter.device)
            parameter.copy_(arrays[f"trained/{name}"])


def _trained(model: Any) -> dict[str, nn.Parameter]:
    return {name: p for name, p in model.named_parameters() if p.requires_grad}
