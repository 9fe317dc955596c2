"""SafeGrad, arXiv 2508.07172: gradient surgery on the whole concatenated gradient.

With the task's gradient g and the alignment gradient a = ∇KL(base ‖ now) on the safety buffer:

    if g·a < 0:  g ← g - (g·a / ‖a‖²) a          then the optimizer steps on g + ρ a

The test is made once on all trained parameters together; a test per tensor is another algorithm.
It is of first order, and what follows (momentum, Adam's division) may bring a part of the removed
component back: it lowers the pressure on safety and promises nothing about the weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from holdfast.core.protocols import Messages
from holdfast.models.hooks import evaluating
from holdfast.models.loaded import LoadedModel
from holdfast.tuning.protections.base import Materials, Protection, TokenRow
from holdfast.tuning.protections.replay_kl.config import ReplayKLConfig
from holdfast.tuning.protections.replay_kl.protection import ReplayKL
from holdfast.tuning.protections.safegrad.config import SafeGradConfig


class SafeGrad(Protection):
    """See the module's text. Costs one forward and backward pass on `rows` prompts."""

    name = "safegrad"
    Config = SafeGradConfig
    OFF: ClassVar[dict[str, Any]] = {"strength": 0.0}
    order = 20

    def __init__(self, config: SafeGradConfig, prompts: Sequence[Messages]) -> None:
        self.config = config
        replay = ReplayKLConfig(
            buffer=config.buffer, answer_tokens=config.answer_tokens, every=1, seed=config.seed,
            share=1.0,
        )  # fmt: skip
        self._replay = ReplayKL(replay, prompts)
        self._alignment: list[tuple[nn.Parameter, Tensor]] = []
        self._conflicts = 0

    @classmethod
    def build(cls, config: SafeGradConfig, materials: Materials) -> Self:
        """From a plan's settings and safety buffer."""
        return cls(config, materials.prompts)

    def settings(self) -> dict[str, Any]:
        """Configuration and digest of the buffer's prompts."""
        return {**self.config.model_dump(), "prompts": self._replay.settings()["prompts"]}

    @property
    def prepared(self) -> bool:
        """Whether the base's answers are cached."""
        return self._replay.prepared

    def prepare(
        self, base: LoadedModel, *, batch_rows: int, rows: Sequence[TokenRow] = (), steps: int = 0
    ) -> None:
        """Let `base` answer the buffer, and cache its distributions there."""
        self._replay.prepare(base, batch_rows=self.config.rows)

    def act(self, model: Any, step: int) -> float:
        """Take the alignment gradient, aside from what is in `p.grad`; return the KL in nats."""
        trained = [p for p in model.parameters() if p.requires_grad]
        with torch.enable_grad(), evaluating(model):
            loss, scalar = self._replay.divergence(model, step)
            found = torch.autograd.grad(scalar, trained, allow_unused=True)
        self._alignment = [
            (p, g.detach()) for p, g in zip(trained, found, strict=True) if g is not None
        ]
        return loss

    @torch.no_grad()
    def before_step(self, model: Any, step: int) -> bool:
        """Remove the conflict from the whole gradient, and add ρ times the alignment gradient."""
        if not self.config.strength:
            return bool(self._alignment)
        task = [(p, p.grad, a) for p, a in self._alignment if p.grad is not None]
        dot = sum(float((g.double() * a.double()).sum()) for _, g, a in task)
        norm = sum(float(a.double().square().sum()) for _, a in self._alignment)
        removed = min(dot, 0.0) / norm if norm else 0.0
        factor = self.config.strength * (self.config.weight - removed)
        for _, gradient, alignment in task:
            gradient.add_(alignment, alpha=factor)
        self._conflicts += dot < 0
        return bool(task)

    def report(self) -> dict[str, float]:
        """Steps on which the task worked against the base's answers."""
        return {"conflicts": float(self._conflicts)}

    def state(self) -> dict[str, Any]:
        """The count."""
        return {"conflicts": self._conflicts}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from it."""
        self._conflicts = state["conflicts"]
