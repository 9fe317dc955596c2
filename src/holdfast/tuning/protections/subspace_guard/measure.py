"""The leak of a fine-tune: what of its change lies inside the protected subspaces."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from holdfast.models.architecture import residual_writers


@torch.no_grad()
def effective(model: nn.Module) -> dict[str, tuple[int, Tensor]]:
    """Layer and effective matrix [d_model, d_in], float64, of every writer, adapters included.

    LoRA: W₀ + sBA. DoRA: diag(m / ‖W₀ + sBA‖) (W₀ + sBA), arXiv 2402.09353, equation 5.
    """
    found: dict[str, tuple[int, Tensor]] = {}
    for name, layer, module in residual_writers(model):
        found[name] = (layer, _matrix(module))
    return found


def leak(
    before: Mapping[str, tuple[int, Tensor]],
    after: Mapping[str, tuple[int, Tensor]],
    bases: Mapping[int, Tensor],
) -> float:
    """‖Uᵀ ΔW‖ / ‖ΔW‖ over all writers together, in [0, 1]; 0 where nothing changed.

    Args:
        before: `effective` of the base.
        after: `effective` of the fine-tune.
        bases: orthonormal U [d_model, k] by layer.
    """
    inside = total = 0.0
    for name, (layer, matrix) in after.items():
        delta = matrix - before[name][1]
        inside += float((bases[layer].double().mT @ delta).square().sum())
        total += float(delta.square().sum())
    return (inside / total) ** 0.5 if total else 0.0


def _matrix(module: Any) -> Tensor:
    base = getattr(module, "base_layer", module)
    weight: Tensor = base.weight.detach().double()
    if type(base).__name__ == "Conv1D":
        weight = weight.mT
    if base is module:
        return weight.clone()
    for adapter in module.active_adapters:
        factors = [getattr(module, f"lora_{f}")[adapter].weight.detach().double() for f in "BA"]
        weight = weight + module.scaling[adapter] * factors[0] @ factors[1]
        if adapter in module.lora_magnitude_vector:
            magnitude = module.lora_magnitude_vector[adapter].weight.detach().double().view(-1, 1)
            weight = magnitude / weight.norm(dim=1, keepdim=True) * weight
    return weight
