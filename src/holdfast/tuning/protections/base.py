"""What a protection is, and when the callback calls it.

One update of the weights, and the calls around it:

    prepare     once, on the untouched base, before any training
    attach      once, when training begins (or goes on)
    act         gradients are zero: add one, or make ready for the forward passes
    before_step the whole gradient is there, clipped, and not used yet
    after_step  the optimizer has moved the weights
    observed    the monitor has looked (only where `watches` says so)
    swap        a checkpoint is about to be written or evaluated, or has been
    detach      training is over

A protection counts as having acted on a step only when each of these says so; a run in which it
missed a step on which it was due is invalid.
"""

# ruff: noqa: B027 - hooks that most protections do not need are empty, not abstract

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from holdfast.core.config import Config
from holdfast.core.errors import UsageError
from holdfast.core.protocols import Messages
from holdfast.core.records import MonitorPoint, MultiplierPoint
from holdfast.models.loaded import LoadedModel
from holdfast.tuning.protections.rules import Setting

if TYPE_CHECKING:
    from holdfast.geometry.safety_map import FittedMap

Phase = Literal["gradient", "forward", "weights"]
TokenRow = dict[str, list[int]]
"""A training row: `input_ids`, and `labels` of the same length with -100 where no loss is."""


@dataclass(frozen=True)
class Materials:
    """What protections are made from, besides their settings."""

    prompts: Sequence[Messages] = ()
    """Harmful prompts of the safety buffer; their answers are the base's own."""
    safety_map: FittedMap | None = field(default=None, repr=False)
    """Directions and subspaces of the base."""

    def mapped(self, name: str) -> FittedMap:
        """The safety map, or an error that names the protection that needs it."""
        if self.safety_map is None:
            raise UsageError(
                f"protection {name} needs a safety map",
                next_step="fit one on the base: holdfast map, or geometry.safety_map.fit",
            )
        return self.safety_map


class Protection(ABC):
    """Base of all protections: every hook does nothing unless overridden.

    None may use the run's random streams, change a weight that is not trained, or change one that
    several modules share.
    """

    name: str
    """Name in the registry."""
    Config: ClassVar[type[Config]]
    """Its settings."""
    OFF: ClassVar[dict[str, Any]]
    """Settings of strength zero: a run with them is the unprotected run, bit for bit."""
    order: ClassVar[int] = 50
    """Place among others on the same step: gradients first, weight averages last."""
    phase: ClassVar[Phase] = "gradient"
    """Where it acts; a count of guarded steps is taken there."""
    adds_gradient: ClassVar[bool] = False
    """Whether `act` leaves a gradient that the optimizer must still find."""
    watches: bool = False
    """Whether it must see the monitor's observations."""

    @classmethod
    @abstractmethod
    def build(cls, config: Any, materials: Materials) -> Self:
        """Make one from a plan's settings and materials.

        Raises:
            UsageError: a material is missing.
        """

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """Everything that its effect depends on, JSON-ready; part of the arm's identity."""

    @property
    def parts(self) -> tuple[Protection, ...]:
        """The single protections that this one is made of."""
        return (self,)

    @property
    def prepared(self) -> bool:
        """Whether `prepare` has seen what it must."""
        return True

    def prepare(
        self, base: LoadedModel, *, batch_rows: int, rows: Sequence[TokenRow] = (), steps: int = 0
    ) -> None:
        """Take what it needs from the base, once.

        Args:
            base: the model before any adapter or update.
            batch_rows: rows of one update on one device.
            rows: the training rows, where they are tokenized already.
            steps: optimizer steps of the whole run, 0 where unknown.
        """

    def attach(self, model: Any, setting: Setting) -> None:
        """Meet the model as it is trained."""

    def due(self, step: int) -> bool:
        """Whether it acts on the update that follows optimizer step `step` (0-based)."""
        return True

    def act(self, model: Any, step: int) -> float:
        """Do its work before the forward passes; return its loss where it has one."""
        return 0.0

    def before_step(self, model: Any, step: int) -> bool:
        """Do its work on the whole gradient; return whether it acts on this step so far."""
        return True

    def after_step(self, model: Any, step: int) -> bool:
        """Do its work on the new weights; return whether it acted on this step."""
        return True

    def wants(self, step: int) -> bool:
        """Whether the monitor must look after optimizer step `step`, whatever its schedule."""
        return False

    def observed(self, point: MonitorPoint) -> None:
        """Take in what the monitor saw."""

    def swap(self, model: Any, *, result: bool) -> None:
        """Put the weights that the run delivers in place, or back those that it trains."""

    def detach(self, model: Any) -> None:
        """Remove every hook."""

    def report(self) -> dict[str, float]:
        """Numbers for the training record."""
        return {}

    def path(self) -> tuple[MultiplierPoint, ...]:
        """The multiplier over time, where one is steered."""
        return ()

    def state(self) -> dict[str, Any]:
        """What a resumed run must know, JSON-ready."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from `state`."""

    def save(self, model: Any, folder: Path) -> None:
        """Write tensors that a resumed run needs, as safetensors, into `folder`."""

    def load(self, model: Any, folder: Path) -> None:
        """Read them back."""
