"""The frozen combined monitor: a small JSON that training reads, made by `holdfast bench monitors`.

The shipped one was fitted and calibrated on fine-tunes of the embedded model. Its streams are
shares without a unit, but whether benign runs of another model stay below the same threshold is
not known: calibrate on your own (docs/monitors.md). An alarm says whose runs set its threshold.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Self

import numpy as np

from holdfast.core.errors import UsageError
from holdfast.core.records import Record
from holdfast.stats.detectors import Reference, detector, threshold
from holdfast.tuning.monitors.combined import Combined
from holdfast.tuning.monitors.readings import Array

SHIPPED = "combined.json"


class MonitorParameters(Record):
    """Everything that the combined monitor needs in training."""

    streams: tuple[str, ...]
    """Streams in the score."""
    weights: tuple[float, ...]
    """Weight of each."""
    scales: tuple[float, ...]
    """Unit of each."""
    detector: str
    """Which statistic reads the score: `level`, `cusum` or `e-process`."""
    score: tuple[float, ...]
    """Quantiles of the score on benign development runs."""
    maxima: tuple[float, ...]
    """Largest value of the statistic in each benign development run, each scored by a fit without
    its family; ascending. The threshold for any false-alarm rate is one of them."""
    steps: tuple[int, ...]
    """Steps at which those runs were looked at."""
    bases: tuple[str, ...]
    """Digests of the models that they were fine-tunes of."""
    failing: int
    """Development runs that failed, which the score was fitted on."""
    probes: int
    """Harmful probe prompts."""

    @classmethod
    def open(cls, name: str) -> Self:
        """`combined`, the shipped parameters, or a file of one's own."""
        if name == "combined":
            shipped = resources.files("holdfast.tuning.monitors").joinpath(SHIPPED)
            if not shipped.is_file():
                raise UsageError(
                    "no combined monitor is shipped with this build",
                    next_step="make one: holdfast bench monitors --freeze FILE",
                )
            with resources.as_file(shipped) as path:
                return cls.load(path)
        path = Path(name)
        if not path.is_file():
            raise UsageError(
                f"monitor parameters '{name}'", expected="'combined' or a file",
                next_step="make one: holdfast bench monitors --freeze FILE",
            )  # fmt: skip
        return cls.load(path)

    def combined(self) -> Combined:
        """The score."""
        return Combined(self.streams, self.scales, self.weights)

    def path(self, score: Array) -> Array:
        """The statistic [T] over the score [T] of one run."""
        return detector(self.detector)(Reference(self.score), score)

    def threshold(self, false_alarms: float) -> float:
        """The value above which it fires, for a false-alarm rate per run.

        Raises:
            UsageError: too few benign runs were seen for so low a rate.
        """
        found = threshold(self.maxima, false_alarms)
        if not np.isfinite(found):
            n = len(self.maxima)
            raise UsageError(
                f"false alarms of {false_alarms:g} per run cannot be promised",
                got=f"{n} benign runs to calibrate on", expected=f"at least {1 / (n + 1):.3g}",
            )  # fmt: skip
        return found
