"""The subspace guard: the change of the weights is projected off the safety subspace.

    W ← W₀ + (I - U Uᵀ)(W - W₀)          after every optimizer step, for all matrices that write
                                         to the residual stream; U spans the protected subspace

It acts on the change and after the step, because projecting gradients alone lets 9 % of AdamW's
update through (`research/frameworks.md`, section 2): dividing elementwise does not commute with a
projector. Acting on W itself covers optimizer, momentum and weight decay at once. Only Uᵀ W₀ is
kept of the base. An adapter starts as a zero, so of LoRA's B·A the columns of B are projected.

What it promises is about weights, in float32: Uᵀ ΔW = 0 up to rounding. Embeddings, norms and the
matrices that only read are not held, and other modules can reach the same behaviour by another
way, so a guarded model still has to pass the gate.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from holdfast.core.digest import sha256_json
from holdfast.core.errors import UsageError
from holdfast.models.architecture import decoder_layers, text_config
from holdfast.models.loaded import LoadedModel
from holdfast.tensors.projection import orthonormal
from holdfast.tuning.protections.base import Materials, Protection, TokenRow
from holdfast.tuning.protections.rules import Setting
from holdfast.tuning.protections.subspace_guard import targets
from holdfast.tuning.protections.subspace_guard.config import SubspaceGuardConfig


class SubspaceGuard(Protection):
    """See the module's text.

    Args:
        config: settings.
        bases: protected directions [d_model, n] by layer, or one for all layers under -1; they need
            not be orthonormal.
    """

    name = "subspace_guard"
    Config = SubspaceGuardConfig
    OFF: ClassVar[dict[str, Any]] = {"strength": 0.0}
    order = 60
    phase = "weights"

    def __init__(self, config: SubspaceGuardConfig, bases: Mapping[int, Tensor]) -> None:
        self.config = config
        self.bases = {layer: orthonormal(basis.mT) for layer, basis in bases.items()}
        if not self.bases or any(basis.shape[1] == 0 for basis in self.bases.values()):
            raise UsageError("the subspace guard has no direction to protect")
        self._anchors: dict[str, Tensor] | None = None
        self._targets: list[targets.Target] = []
        self._magnitudes: list[targets.Magnitude] = []
        self._removed: Tensor | float = 0.0

    @classmethod
    def build(cls, config: SubspaceGuardConfig, materials: Materials) -> Self:
        """From the safety map: what a block writes is seen at every site from it on.

        So a layer's subspace spans those of all chosen sites at or after it, and behind the last
        site that one's.
        """
        fitted = materials.mapped(cls.name)
        sites = sorted(fitted.sites, key=lambda site: site.layer)
        bases = {}
        for layer in range(sites[-1].layer + 1):
            later = [s for s in sites if s.layer >= layer]
            bases[layer] = torch.cat([fitted.array("subspace", s.name) for s in later], 1)
        bases[-1] = fitted.array("subspace", sites[-1].name)
        return cls(config, bases)

    def settings(self) -> dict[str, Any]:
        """Configuration and digest of the protected subspaces."""
        spans = {str(layer): basis.tolist() for layer, basis in sorted(self.bases.items())}
        return {**self.config.model_dump(), "bases": sha256_json(spans)}

    @property
    def prepared(self) -> bool:
        """Whether the base has been seen."""
        return self._anchors is not None

    def prepare(
        self, base: LoadedModel, *, batch_rows: int, rows: Sequence[TokenRow] = (), steps: int = 0
    ) -> None:
        """Keep Uᵀ W₀ of every writer."""
        self._anchors = targets.anchors(base.model, self.by_layer(base.model))

    def by_layer(self, model: Any) -> dict[int, Tensor]:
        """U [d, k] for every decoder block of `model`.

        Raises:
            UsageError: a basis has another width than the model, or a block has none.
        """
        count, width = len(decoder_layers(model)), int(text_config(model).hidden_size)
        found = {i: self.bases[i if i in self.bases else -1] for i in range(count)
                 if i in self.bases or -1 in self.bases}  # fmt: skip
        if len(found) < count or any(len(basis) != width for basis in found.values()):
            raise UsageError(
                "the protected subspaces do not belong to this model",
                got=f"{len(found)} of {count} blocks",
                expected=f"one basis of {width} rows for each",
            )
        return found

    def attach(self, model: Any, setting: Setting) -> None:
        """Find what is trained."""
        self._targets, self._magnitudes = targets.find(
            model, self.by_layer(model), self._anchors or {}
        )

    @torch.no_grad()
    def after_step(self, model: Any, step: int) -> bool:
        """Take the new weights' change off the subspace."""
        squares = [target.hold(self.config.strength) for target in self._targets]
        for magnitude in self._magnitudes:
            magnitude.hold(self.config.strength)
        self._removed = self._removed + torch.stack([s.cpu() for s in squares]).sum().sqrt()
        return bool(squares)

    def report(self) -> dict[str, float]:
        """Parameters held, largest k, and the summed norm of what was taken out at each step."""
        return {
            "parameters": float(len(self._targets)),
            "dimensions": float(max(basis.shape[1] for basis in self.bases.values())),
            "removed": float(self._removed),
        }

    def state(self) -> dict[str, Any]:
        """The sum so far."""
        return {"removed": float(self._removed)}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from it."""
        self._removed = state["removed"]
