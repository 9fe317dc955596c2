"""The combined monitor at work in one run: its readings so far, its statistic, its alarm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from holdfast.core.errors import UsageError
from holdfast.tuning.monitor_config import MonitorConfig
from holdfast.tuning.monitors.drifts import DRIFTS
from holdfast.tuning.monitors.parameters import MonitorParameters
from holdfast.tuning.monitors.readings import Array, Readings
from holdfast.tuning.monitors.registry import get

_ROWS = ("margin", "margin_ablated", "kl_first", "latents")


class Seen(NamedTuple):
    """What the monitor says after one observation."""

    value: float
    """Its statistic."""
    alarm: bool
    """Whether it has fired, here or before."""
    parts: dict[str, float]
    """What each stream adds to the score here."""


class Watch:
    """Scores the observations of one run on the grid of steps that it was calibrated on.

    Args:
        parameters: the frozen monitor.
        false_alarms: accepted chance that a benign run has an alarm.
        forecast: harm that was expected before training, in [0, 1]; unknown counts as none.

    Raises:
        UsageError: too few benign runs stand behind the parameters for that rate, or a stream
            cannot be measured in training.
    """

    def __init__(
        self, parameters: MonitorParameters, false_alarms: float = 0.05,
        forecast: float | None = None,
    ) -> None:  # fmt: skip
        self.parameters, self.false_alarms = parameters, false_alarms
        self.forecast = forecast
        self.threshold = parameters.threshold(false_alarms)
        self._combined = parameters.combined()
        self._used = [
            name for name, weight in zip(parameters.streams, parameters.weights, strict=True)
            if weight > 0
        ]  # fmt: skip
        for name in self._used:
            if not get(name).online:
                raise UsageError(
                    f"stream '{name}' cannot be measured in training",
                    next_step="freeze a combined monitor of streams that can",
                )
        self.needs = frozenset(need for name in self._used for need in get(name).needs)
        """Fields of the readings that have to be measured."""
        # Margins are always kept: an alarm names the category that lost most.
        measured = {"margin", "alignment", *self.needs}
        self._kept = measured | set(DRIFTS) if "drifts" in self.needs else measured
        self._steps: list[int] = []
        self._read: dict[str, list[Any]] = {}
        self._fired = False

    def wants(self, step: int) -> bool:
        """Whether it must look after optimizer step `step`: on the grid that it was calibrated on.

        Beyond the grid it takes what the monitor's time budget allows.
        """
        return step in self.parameters.steps

    def due(self, step: int) -> bool:
        """Whether an observation after `step` counts: on the grid, and beyond it no denser."""
        grid = self.parameters.steps
        if step <= grid[-1]:
            return step in grid
        gap = max(1, grid[-1] - grid[-2]) if len(grid) > 1 else 1
        return step - max(grid[-1], self._steps[-1] if self._steps else 0) >= gap

    def awaits(self, step: int) -> bool:
        """Whether the coming batch's alignment is wanted: it looked after `step` and reads it."""
        return "alignment" in self.needs and bool(self._steps) and self._steps[-1] == step

    def see(self, step: int, *, drifts: Mapping[str, float], **rows: Sequence[float]) -> Seen:
        """Take an observation in and score the run so far.

        Args:
            step: a step that was due.
            drifts: "drift" -> value at the fixed site.
            rows: `margin`, `margin_ablated`, `kl_first`, one number per probe prompt; `latents`,
                two. What no stream needs is not kept: it may be absent at another look.
        """
        if step in self._steps:  # an observation repeated after a resume replaces the first
            self._cut(self._steps.index(step))
        self._steps.append(step)
        for name in self._kept & rows.keys():
            if name in _ROWS:
                self._read.setdefault(name, []).append([float(v) for v in rows[name]])
        for name in self._kept & drifts.keys():
            self._read.setdefault(name, []).append(float(drifts[name]))
        self._read.setdefault("alignment", []).append(None)
        values = self._values()
        parts = self._combined.parts(values)
        path = self.parameters.path(parts.sum(axis=0))
        self._fired = self._fired or bool(path[-1] > self.threshold)
        names = self.parameters.streams
        told = {name: float(part) for name, part in zip(names, parts[:, -1], strict=True)}
        return Seen(float(path[-1]), self._fired, {n: told[n] for n in self._used})

    @property
    def fired(self) -> bool:
        """Whether it has fired in this run."""
        return self._fired

    def margins(self) -> tuple[list[float], list[float]]:
        """Refusal margins of the probe prompts on the base and at the newest observation."""
        seen = self._read.get("margin") or [[]]
        return seen[0], seen[-1]

    def aligned(self, step: int, cosine: float) -> None:
        """The coming batch's alignment, known after the observation at `step`."""
        if self.awaits(step):
            self._read["alignment"][-1] = cosine

    def rule(self, base: str) -> str:
        """The alarm's rule in words, whose calibration it rests on, for a model `base`."""
        n, ours = len(self.parameters.maxima), base in self.parameters.bases
        return (
            f"combined > {self.threshold:.3f} ({self.false_alarms:.0%} of benign runs; calibrated "
            f"on {n} {'of this model' if ours else 'of other models'})"
        )

    def settings(self) -> dict[str, Any]:
        """All that its alarms depend on."""
        return {
            "parameters": self.parameters.digest(), "false_alarms": self.false_alarms,
            "forecast": self.forecast,
        }  # fmt: skip

    def state(self) -> dict[str, Any]:
        """Readings so far, JSON-ready."""
        return {"steps": self._steps, "read": self._read, "fired": self._fired}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from the readings of a checkpoint."""
        self._steps, self._fired = list(state["steps"]), bool(state["fired"])
        self._read = {n: list(values) for n, values in state["read"].items() if n in self._kept}

    def _cut(self, place: int) -> None:
        self._steps = self._steps[:place]
        self._read = {name: values[:place] for name, values in self._read.items()}

    def _values(self) -> dict[str, Array]:
        """Every stream [T] of the run so far; one without weight is not read and counts nothing."""
        readings = self._readings()
        nothing = np.zeros(len(self._steps))
        return {
            name: get(name).compute(readings) if name in self._used else nothing
            for name in self.parameters.streams
        }

    def _readings(self) -> Readings:
        rows: dict[str, Any] = {
            name: np.asarray(self._read[name]) for name in _ROWS if name in self._read
        }
        turned: NDArray[np.float64] = np.asarray(
            [np.nan if value is None else value for value in self._read["alignment"]]
        )
        drifts = {name: np.asarray(self._read[name]) for name in DRIFTS if name in self._read}
        return Readings(
            steps=np.asarray(self._steps, dtype=np.int64), drifts=drifts, alignment=turned,
            forecast=self.forecast, **rows,
        )  # fmt: skip


def open_watch(config: MonitorConfig, forecast: float | None = None) -> Watch | None:
    """The combined monitor that a plan asks for; None where the share of margins decides."""
    if config.detector == "share":
        return None
    return Watch(MonitorParameters.open(config.detector), config.false_alarms, forecast)
