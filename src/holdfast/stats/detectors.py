"""Detectors over the observations of one run, and the false-alarm rate of a whole run.

Three statistics turn a stream x_1, x_2, … (higher is worse) into a path that an alarm reads:

    level      x_t                                              the newest value alone
    cusum      max(0, S + z_t - allowance)                      Page 1954, Biometrika 41:100-115
    e-process  mean over bets c of prod (1 - c + c u_t / m)     Shafer and Vovk 2019; Shin, Ramdas
                                                                and Rinaldo 2023, arXiv 2203.03532

with z and u in [0, 1] from a `Reference` of benign runs. `level` needs none: its unit is the
stream's own, so that thresholds taken on different sets of runs are alike. A stream that counts
change since the base is the sum of its increments already, and `level` reads it; `cusum` adds up
what stays above nine in ten benign readings, for streams whose single readings are noise. If every
u_t has mean at most m given the past, the e-process passes 1/alpha in a run with chance at most
alpha (Ville). Readings of one run hang together, benign ones too, so nothing rests on that: all
three are calibrated on whole runs. With n benign runs exchangeable with the next one, the

    ceil((n + 1)(1 - alpha))-th smallest of their largest values

is exceeded by the next benign run with chance at most alpha (split conformal prediction: Vovk,
Gammerman and Shafer 2005; Lei et al. 2018, JASA 113:1094-1111): whatever the streams, at any n,
and however a run's readings depend on each other. Below n = 1/alpha - 1 no finite threshold does.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from holdfast.core.errors import DataError, UsageError
from holdfast.stats.binomial import at_most
from holdfast.stats.normal import bisect, require_between

Array = NDArray[np.float64]

ALLOWANCE = 1.0
"""What the CUSUM forgives at each reading, in units of the reference: z = 1 is exceeded by one in
ten benign readings."""
BETS = (1.0, 0.7, 0.4, 0.2, 0.1)
"""Shares of the capital that the e-process bets."""
KNOTS = 41
"""Quantiles of the benign readings that a reference keeps."""
LEAST = 1e-6
"""Scale of a stream that never moves on benign runs: any move is far beyond them."""


@dataclass(frozen=True)
class Reference:
    """What the readings of benign runs look like, all steps pooled."""

    knots: tuple[float, ...]
    """Their quantiles at equal steps from 0 to 1."""

    @classmethod
    def of(cls, values: Array) -> Reference:
        """From pooled readings [n]. Raises `DataError` where there are none or not all finite."""
        x = np.asarray(values, dtype=float).ravel()
        if not x.size or not np.isfinite(x).all():
            raise DataError(
                "a reference cannot be taken", got=f"{x.size} readings, not all finite"
                if x.size else "no readings", expected="finite readings of benign runs",
            )  # fmt: skip
        return cls(tuple(float(q) for q in np.quantile(x, np.linspace(0.0, 1.0, KNOTS))))

    @property
    def scale(self) -> float:
        """From the median to the 90th percentile; where those agree, to the end, or `LEAST`."""
        middle, high, top = self._at(0.5), self._at(0.9), self.knots[-1]
        return next((gap for gap in (high - middle, top - middle) if gap > LEAST), LEAST)

    def z(self, values: Array) -> Array:
        """Readings in units of `scale` above the median."""
        found: Array = (np.asarray(values, dtype=float) - self._at(0.5)) / self.scale
        return found

    def u(self, values: Array) -> Array:
        """Share of benign readings below, ties counted half; in [0, 1], mean 1/2 on benign."""
        knots = np.asarray(self.knots)
        below = np.searchsorted(knots, values, side="left")
        through = np.searchsorted(knots, values, side="right")
        found: Array = (below + through) / (2.0 * len(knots))
        return found

    def _at(self, share: float) -> float:
        return self.knots[round(share * (len(self.knots) - 1))]


def cusum(z: Array, allowance: float = ALLOWANCE) -> Array:
    """S_t = max(0, S_{t-1} + z_t - allowance) from S_0 = 0; same length as `z` [T]."""
    path = np.empty(len(z))
    total = 0.0
    for index, value in enumerate(z):
        total = max(0.0, total + float(value) - allowance)
        path[index] = total
    return path


def log_e_process(u: Array, mean: float = 0.5) -> Array:
    """Log capital [T] of the gambler who bets that `u` [T], in [0, 1], has a mean above `mean`."""
    require_between("mean under the null", mean)
    if ((u < 0) | (u > 1)).any():
        raise DataError("the e-process is for values in [0, 1]", got=f"{u.min():g} to {u.max():g}")
    with np.errstate(divide="ignore"):
        logs = np.cumsum([np.log(1.0 - c + c * u / mean) for c in BETS], axis=1)
    top = logs.max(axis=0)
    found: Array = top + np.log(np.exp(logs - top).mean(axis=0))
    return found


DETECTORS: dict[str, Callable[[Reference, Array], Array]] = {
    "level": lambda reference, x: np.asarray(x, dtype=float),
    "cusum": lambda reference, x: cusum(reference.z(x)),
    "e-process": lambda reference, x: log_e_process(reference.u(x)),
}
"""Name -> path of the statistic over the readings `x` [T] of one run."""


def rank_for(n: int, false_alarms: float) -> int:
    """Which of n ascending maxima is the threshold for a false-alarm rate per run; n + 1: none."""
    require_between("false alarms per run", false_alarms)
    return min(n + 1, math.ceil((n + 1) * (1.0 - false_alarms) - 1e-9))


def threshold(maxima: Sequence[float], false_alarms: float) -> float:
    """The value that the next benign run's maximum exceeds with chance at most `false_alarms`.

    Args:
        maxima: largest value of the statistic in each of n benign runs, exchangeable with the next.
        false_alarms: accepted share of benign runs with an alarm, in (0, 1).

    Returns:
        The order statistic of the module's text; infinity where n < 1/false_alarms - 1.

    Raises:
        DataError: a maximum is not a number.
    """
    values = sorted(float(value) for value in maxima)
    if any(math.isnan(value) for value in values):
        raise DataError("the maximum of a benign run is not a number")
    rank = rank_for(len(values), false_alarms)
    return values[rank - 1] if rank <= len(values) else math.inf


def worst_rate(n: int, false_alarms: float, confidence: float = 0.95) -> float:
    """Upper limit of the false-alarm rate of *this* threshold, at `confidence` over calibrations.

    The rate given the n runs is at most Beta(n + 1 - k, k) distributed for rank k (Vovk 2012), so
    its average is within `false_alarms` and a single calibration may be worse than that.
    """
    rank = rank_for(n, false_alarms)
    if rank > n:
        return 0.0
    return bisect(
        lambda rate: 1.0 - at_most(rank - 1, n, 1.0 - rate) - (1.0 - confidence), 1e-12, 1.0 - 1e-12
    )


def first_above(path: Array, limit: float) -> int | None:
    """Index of the first value strictly above `limit`, or None."""
    above = np.flatnonzero(np.asarray(path) > limit)
    return int(above[0]) if above.size else None


def detector(name: str) -> Callable[[Reference, Array], Array]:
    """One of `DETECTORS`, or a `UsageError` that lists them."""
    if name not in DETECTORS:
        raise UsageError("detector", got=name, expected=", ".join(DETECTORS))
    return DETECTORS[name]
