"""The calls to a protection's parts on every step, and the count of steps on which each acted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from holdfast.core.errors import InvalidRun
from holdfast.core.records import MonitorPoint, ProtectionReport
from holdfast.models.loaded import LoadedModel
from holdfast.tuning.protections.base import Protection, TokenRow
from holdfast.tuning.protections.rules import Setting, refuse

FOLDER = "holdfast"
"""Folder inside a Trainer checkpoint for tensors of protections."""


@dataclass
class _Entry:
    """One part and its counts."""

    part: Protection
    due: int = 0
    """Steps of the whole run on which it had to act."""
    guarded: int = 0
    """Steps of the whole run on which it did."""
    missed: int = 0
    """Steps of this process on which it did not."""
    open: bool = False
    """Whether it has to act on the step under way."""
    gradient: tuple[nn.Parameter, Tensor] | None = field(default=None, repr=False)
    """A parameter and the gradient that the part left on it."""


class Ledger:
    """Drives the parts of one protection; of none, every call does nothing."""

    def __init__(self, protection: Protection | None) -> None:
        parts = protection.parts if protection else ()
        self._entries = [_Entry(part) for part in sorted(parts, key=lambda part: part.order)]
        self._swapped = False

    @property
    def parts(self) -> list[Protection]:
        """The parts, in the order in which they act."""
        return [entry.part for entry in self._entries]

    @property
    def prepared(self) -> bool:
        """Whether every part has seen the base."""
        return all(part.prepared for part in self.parts)

    @property
    def watches(self) -> bool:
        """Whether any part is steered by the monitor."""
        return any(part.watches for part in self.parts)

    @property
    def protected_steps(self) -> int:
        """Steps on which every part that was due acted: the fewest of all parts."""
        return min((entry.guarded for entry in self._entries), default=0)

    def prepare(
        self, base: LoadedModel, *, batch_rows: int, rows: Sequence[TokenRow], steps: int = 0
    ) -> None:
        """Show the untouched base to every part that has not seen it."""
        for part in self.parts:
            if not part.prepared:
                part.prepare(base, batch_rows=batch_rows, rows=rows, steps=steps)

    def refuse(self, setting: Setting) -> None:
        """Raise a `UsageError` where a part is unsound in this run, or untested on its devices."""
        if self._entries:
            refuse([part.name for part in self.parts], setting)

    def attach(self, model: Any, setting: Setting, *, resumed: Path | None) -> None:
        """Let every part meet the model in training.

        Args:
            model: the model as it is trained.
            setting: what is known of the run.
            resumed: checkpoint that the run goes on from, or None.
        """
        for part in self.parts:
            part.attach(model, setting)
            if resumed is not None:
                part.load(model, resumed / FOLDER)

    def begin(self, model: Any, step: int) -> None:
        """Before the forward passes of the update that follows optimizer step `step`."""
        self.swap(model, result=False)
        for entry in self._entries:
            if entry.open:
                entry.missed += 1
            entry.open = entry.part.due(step)
            if not entry.open:
                continue
            entry.due += 1
            entry.part.act(model, step)
            if entry.part.adds_gradient:
                entry.gradient = _some_gradient(model)

    def before(self, model: Any, step: int) -> None:
        """When the whole gradient is there and the optimizer has not used it yet."""
        for entry in self._entries:
            if not entry.open:
                continue
            if entry.gradient is not None:
                parameter, gradient = entry.gradient
                entry.gradient = None
                if parameter.grad is not gradient:
                    raise InvalidRun(
                        f"the gradient of the protection was lost at step {step}",
                        expected="a training loop that leaves gradients alone between step begin "
                        "and step",
                    )
            acted = entry.part.before_step(model, step)
            if entry.part.phase != "weights":
                self._close(entry, acted)

    def after(self, model: Any, step: int) -> None:
        """When the optimizer has moved the weights."""
        for entry in self._entries:
            if entry.open and entry.part.phase == "weights":
                self._close(entry, entry.part.after_step(model, step))

    def wants(self, step: int) -> bool:
        """Whether a part must see the model after optimizer step `step`."""
        return any(part.wants(step) for part in self.parts)

    def observed(self, point: MonitorPoint) -> None:
        """Pass on what the monitor saw."""
        for part in self.parts:
            part.observed(point)

    def swap(self, model: Any, *, result: bool) -> None:
        """Put the delivered weights in place, or the trained ones back; harmless when done."""
        if result is not self._swapped:
            for part in self.parts:
                part.swap(model, result=result)
            self._swapped = result

    def save(self, model: Any, checkpoint: Path) -> None:
        """Write what a resumed run needs beside the Trainer's own files."""
        for part in self.parts:
            part.save(model, checkpoint / FOLDER)

    def finish(self, model: Any) -> None:
        """Deliver the result; refuse a run in which a part missed a step, or guarded none."""
        self.swap(model, result=True)
        for entry in self._entries:
            entry.part.detach(model)
            if entry.open:
                entry.missed += 1
            if entry.missed or not entry.guarded:
                raise InvalidRun(
                    f"the protection {entry.part.name} did not act on every step that it should "
                    "guard",
                    got=f"{entry.guarded} of {entry.due}",
                    next_step="do not use this model as a protected one",
                )

    def reports(self) -> tuple[ProtectionReport, ...]:
        """What each part did, for the training record."""
        return tuple(
            ProtectionReport(
                name=e.part.name, due=e.due, guarded=e.guarded, numbers=e.part.report(),
                path=e.part.path(),
            )
            for e in self._entries
        )  # fmt: skip

    def state(self) -> list[dict[str, Any]]:
        """Counts and states of all parts, JSON-ready."""
        return [
            {"name": e.part.name, "due": e.due, "guarded": e.guarded, "state": e.part.state()}
            for e in self._entries
        ]

    def restore(self, state: list[dict[str, Any]]) -> None:
        """Go on from the state of a checkpoint."""
        for entry, saved in zip(self._entries, state, strict=True):
            entry.due, entry.guarded = saved["due"], saved["guarded"]
            entry.part.restore(saved["state"])

    def _close(self, entry: _Entry, acted: bool) -> None:
        entry.open = False
        if acted:
            entry.guarded += 1
        else:
            entry.missed += 1


def _some_gradient(model: Any) -> tuple[nn.Parameter, Tensor]:
    """A trainable parameter with its gradient, as proof that one was left.

    Raises:
        InvalidRun: there is none.
    """
    for parameter in model.parameters():
        if parameter.grad is not None:
            return parameter, parameter.grad
    raise InvalidRun("the protection reached no trainable parameter")
