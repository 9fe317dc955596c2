"""What a protection is: it may act on the gradients of a step, and on nothing else."""

from __future__ import annotations

from typing import Any, Protocol

from holdfast.models.loaded import LoadedModel


class Protection(Protocol):
    """Adds its gradient to a step. It must never change anything else, nor use global chance."""

    name: str
    """Name in the registry."""

    @property
    def prepared(self) -> bool:
        """Whether `prepare` has seen the base."""
        ...

    def settings(self) -> dict[str, Any]:
        """Everything that its effect depends on, JSON-ready; part of the arm's identity."""
        ...

    def prepare(self, base: LoadedModel, *, batch_rows: int) -> None:
        """Take what it needs from the base, once; `batch_rows` are the rows of one update."""
        ...

    def due(self, step: int) -> bool:
        """Whether it acts on the update that follows optimizer step `step` (0-based)."""
        ...

    def act(self, model: Any, step: int) -> float:
        """Accumulate its gradient into `p.grad` for that update; return its loss."""
        ...
