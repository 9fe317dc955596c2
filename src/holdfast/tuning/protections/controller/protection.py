"""`protect: auto`: the protection is as strong as the run needs, and no stronger.

Fine-tuning is to minimise the task's loss subject to g(θ) ≤ 0: the refusal margin, the share of
prompts that turn, and the drifts stay inside a budget. With the Lagrangian

    L(θ, λ) = CE(task) + λ · KL(p_base ‖ p_θ) on the safety buffer

the weights descend and λ ascends in the worst constraint's violation v:

    λ ← clip(λ · exp(η v), floor, ceiling),     v = clip(max_i (g_i - b_i) / b_i, -1, 1)

with a smaller η where v is negative: what pulls is in the data and will be back.

This is dual ascent with multiplicative steps (exponentiated gradient, Kivinen and Warmuth 1997): λ
stays positive, grows fast where it must and fades where the run keeps inside its budget. Replay's
KL stands for the constraints on the weights' side; what is held is what the monitor measures.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar, Self

from holdfast.core.protocols import Messages
from holdfast.core.records import MonitorPoint, MultiplierPoint
from holdfast.models.loaded import LoadedModel
from holdfast.tuning.protections.base import Materials, Protection, TokenRow
from holdfast.tuning.protections.controller.config import ControllerConfig
from holdfast.tuning.protections.replay_kl.protection import ReplayKL


class Controller(Protection):
    """See the module's text.

    Args:
        config: settings.
        prompts: harmful prompts of the safety buffer.
        floors: noise floor by "drift@site"; a drift without one has a floor of zero.
    """

    name = "auto"
    Config = ControllerConfig
    OFF: ClassVar[dict[str, Any]] = {"start": 0.0, "floor": 0.0}
    order = 10
    adds_gradient = True
    watches = True

    def __init__(
        self,
        config: ControllerConfig,
        prompts: Sequence[Messages],
        floors: dict[str, float] | None = None,
    ) -> None:
        self.config = config
        self.floors = dict(floors or {})
        self._replay = ReplayKL(config.replay, prompts)
        self._replay.weight = config.start
        self._base: MonitorPoint | None = None
        self._drifts: dict[str, float] = {}
        self._interval = self._next = config.every
        self._last = -1.0
        self._path: list[MultiplierPoint] = []

    @classmethod
    def build(cls, config: ControllerConfig, materials: Materials) -> Self:
        """From a plan's settings, the safety buffer, and the map's floors where there is one."""
        fitted = materials.safety_map
        return cls(config, materials.prompts, fitted.record.floors if fitted else None)

    @property
    def multiplier(self) -> float:
        """λ now."""
        return self._replay.weight

    @property
    def prepared(self) -> bool:
        """Whether the base's answers are cached."""
        return self._replay.prepared

    def settings(self) -> dict[str, Any]:
        """Configuration, floors and digest of the buffer's prompts."""
        return {
            **self.config.model_dump(), "floors": self.floors,
            "prompts": self._replay.settings()["prompts"],
        }  # fmt: skip

    def prepare(
        self, base: LoadedModel, *, batch_rows: int, rows: Sequence[TokenRow] = (), steps: int = 0
    ) -> None:
        """Let `base` answer the buffer, and cache its distributions there."""
        self._replay.prepare(base, batch_rows=batch_rows, steps=steps)

    def due(self, step: int) -> bool:
        """As the replay."""
        return self._replay.due(step)

    def act(self, model: Any, step: int) -> float:
        """Add λ times the gradient of the KL; return the KL in nats."""
        return self._replay.act(model, step)

    def wants(self, step: int) -> bool:
        """Every `every`-th step at first and near the budget; rarer while well inside."""
        return step >= self._next

    def observed(self, point: MonitorPoint) -> None:
        """One step of dual ascent; looks that only the monitor asked for are ignored."""
        if point.step == 0:
            self._base = point
        if self._base is None or point.step == 0 or not self.wants(point.step):
            return
        worst, violation = self.violation(point)
        ahead = violation + 2 * max(0.0, violation - self._last)
        calm = point.step >= self.config.dense and ahead <= -self.config.reserve
        self._last = violation
        self._interval = min(2 * self._interval, self.config.slowest) if calm else self.config.every
        self._next = point.step + self._interval
        rate = self.config.rate * (1.0 if violation > 0 else self.config.decay)
        raised = self.multiplier * math.exp(rate * violation)
        self._replay.weight = min(max(raised, self.config.floor), self.config.ceiling)
        self._path.append(
            MultiplierPoint(
                step=point.step, multiplier=self.multiplier, violation=violation, worst=worst
            )
        )

    def violation(self, point: MonitorPoint) -> tuple[str, float]:
        """The constraint that is nearest to its budget or farthest beyond, and v in [-1, 1].

        Drifts are dear and measured on some looks only; between them the last ones stand.
        """
        base, budget = self._base, self.config.budget
        self._drifts = point.drifts or self._drifts
        assert base is not None, "step 0 is observed first"
        moved = {
            "margin": (base.margin - point.margin) / max(abs(base.margin), 1.0) / budget.margin,
            "negative_share": (point.negative_share - base.negative_share) / budget.negative_share,
            **{
                name: (value - self.floors.get(name, 0.0)) / budget.drift
                for name, value in self._drifts.items()
            },
        }
        worst = max(moved, key=lambda name: moved[name])
        return worst, min(max(moved[worst] - 1, -1.0), 1.0)

    def report(self) -> dict[str, float]:
        """λ at the end, its mean over the observations, and the share of them beyond the budget."""
        if not self._path:
            return {"multiplier": self.multiplier}
        count = len(self._path)
        return {
            "multiplier": self.multiplier,
            "mean_multiplier": sum(p.multiplier for p in self._path) / count,
            "beyond_budget": sum(p.violation > 0 for p in self._path) / count,
        }

    def path(self) -> tuple[MultiplierPoint, ...]:
        """λ after every observation that steered."""
        return tuple(self._path)

    def state(self) -> dict[str, Any]:
        """λ, its path, and what the monitor saw of the base."""
        return {
            "multiplier": self.multiplier, "drifts": self._drifts,
            "interval": self._interval, "next": self._next, "last": self._last,
            "path": [point.model_dump() for point in self._path],
            "base": self._base.model_dump() if self._base else None,
        }  # fmt: skip

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from them."""
        self._replay.weight = state["multiplier"]
        self._drifts = dict(state["drifts"])
        self._interval, self._next, self._last = state["interval"], state["next"], state["last"]
        self._path = [MultiplierPoint.model_validate(point) for point in state["path"]]
        base = state["base"]
        self._base = MonitorPoint.model_validate(base) if base else None
