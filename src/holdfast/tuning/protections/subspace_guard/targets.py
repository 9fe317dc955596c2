"""Which parameters write into the residual stream, and how each of them is held."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from holdfast.core.errors import InvalidRun, UsageError
from holdfast.models.architecture import residual_writers
from holdfast.tuning.protections.subspace_guard.backends import home_of


@dataclass(frozen=True)
class Target:
    """One guarded parameter W, whose change must stay off the basis: Uᵀ W = anchor."""

    name: str
    """Name of the writer, and which of its parameters this is."""
    parameter: nn.Parameter
    """W, stored [d, ·], or [·, d] where `flipped`."""
    basis: Tensor
    """U [d, k], orthonormal, float64, on the parameter's device."""
    anchor: Tensor | None
    """Uᵀ W of the base [k, ·], float64; None for the zero that an adapter starts from."""
    flipped: bool = False
    """Whether the matrix is stored transposed (GPT-2's Conv1D)."""

    def hold(self, strength: float) -> Tensor:
        """W ← W - strength · U (Uᵀ W - anchor); return the squared norm of what was removed."""
        home = home_of(self.parameter)
        part = home.inside(self.parameter, self.basis, flipped=self.flipped)
        if self.anchor is not None:
            part = part - self.anchor
        if strength:
            home.subtract(self.parameter, self.basis, strength * part, flipped=self.flipped)
        return (strength * part).square().sum()


@dataclass(frozen=True)
class Magnitude:
    """The magnitude m of a DoRA writer: W_eff = diag(m / ‖W₀ + sBA‖) (W₀ + sBA), norms by row.

    For a generic U, Uᵀ(W_eff - W₀) = 0 forces m to equal those norms (ADR 0015), so m follows them.
    """

    module: Any
    """The adapted layer."""
    adapter: str
    """Name of its adapter."""

    def hold(self, strength: float) -> None:
        """Let the magnitude follow: m ← m + strength · (‖W₀ + sBA‖ - m)."""
        if not strength:
            return
        module, name = self.module, self.adapter
        layer = module.lora_magnitude_vector[name]
        held = (module.lora_B[name].weight, module.lora_A[name].weight, module.base_layer.weight,
                layer.weight)  # fmt: skip
        b, a, base, magnitude = (home_of(p).whole(p) for p in held)
        norms = layer.get_weight_norm(base, b @ a, module.scaling[name]).view(magnitude.shape)
        home_of(layer.weight).write(layer.weight, magnitude + strength * (norms - magnitude))


@torch.no_grad()
def anchors(model: nn.Module, bases: Mapping[int, Tensor]) -> dict[str, Tensor]:
    """Uᵀ W₀ of every writer that is a plain trainable matrix, and Uᵀ b₀ of its bias, by name."""
    found: dict[str, Tensor] = {}
    for name, layer, module in residual_writers(model):
        for kind, parameter in _own(module):
            if parameter.requires_grad and parameter.is_floating_point():
                basis = _on(bases[layer], parameter)
                flipped = _flipped(module) and kind == "weight"
                found[f"{name}.{kind}"] = home_of(parameter).inside(
                    parameter, basis, flipped=flipped
                )
    return found


def find(
    model: nn.Module, bases: Mapping[int, Tensor], held: Mapping[str, Tensor]
) -> tuple[list[Target], list[Magnitude]]:
    """Every trained parameter through which the writers of `model` change.

    Args:
        model: the model as it is trained.
        bases: U [d, k] by layer.
        held: `anchors` of the base.

    Raises:
        UsageError: nothing that is trained writes to the residual stream, or a writer is shared.
        InvalidRun: the base of a fully trained writer was not seen.
    """
    uses = Counter(id(p) for _, p in model.named_parameters(remove_duplicate=False))
    targets: list[Target] = []
    magnitudes: list[Magnitude] = []
    for name, layer, module in residual_writers(model):
        for kind, parameter, needs_anchor in _trained(module):
            full = f"{name}.{kind}"
            if uses[id(parameter)] > 1:
                raise UsageError(
                    f"{full} is shared by several modules",
                    expected="matrices of its own for every writer: the guard never moves a tied "
                    "weight",
                )
            if needs_anchor and full not in held:
                raise InvalidRun(f"the guard did not see the base's {full}")
            flipped = needs_anchor and kind == "weight" and _flipped(module)
            anchor = held[full].to(parameter.device) if needs_anchor else None
            targets.append(Target(full, parameter, _on(bases[layer], parameter), anchor, flipped))
        for adapter in getattr(module, "lora_magnitude_vector", {}):
            magnitudes.append(Magnitude(module, adapter))
    if not targets:
        raise UsageError(
            "the subspace guard reaches nothing that is trained",
            expected="trained output projections, such as o_proj and down_proj",
            next_step="add them to train.targets, or choose another protection",
        )
    return targets, magnitudes


def _own(module: Any) -> list[tuple[str, nn.Parameter]]:
    """Weight and bias of the writer itself, under an adapter too."""
    layer = getattr(module, "base_layer", module)
    pairs = [("weight", layer.weight), ("bias", getattr(layer, "bias", None))]
    return [(kind, p) for kind, p in pairs if isinstance(p, nn.Parameter)]


def _trained(module: Any) -> list[tuple[str, nn.Parameter, bool]]:
    """(kind, parameter, needs an anchor) of all that is trained in a writer."""
    found = [(kind, p, True) for kind, p in _own(module) if p.requires_grad]
    for adapter, layer in getattr(module, "lora_B", {}).items():
        for kind, parameter in (("weight", layer.weight), ("bias", layer.bias)):
            if isinstance(parameter, nn.Parameter) and parameter.requires_grad:
                found.append((f"lora_B.{adapter}.{kind}", parameter, False))
    return found


def _flipped(module: Any) -> bool:
    return type(getattr(module, "base_layer", module)).__name__ == "Conv1D"


def _on(basis: Tensor, parameter: nn.Parameter) -> Tensor:
    return basis.to(parameter.device, torch.float64)
