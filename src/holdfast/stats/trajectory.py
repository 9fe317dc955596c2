"""A difference over checkpoints: one band for all of them together, and when it began.

The same prompts are asked at every checkpoint, so that the differences of one prompt move together
and a band that takes each step alone would be left somewhere by chance. The sup-t band (Montiel
Olea and Plagborg-Møller 2019, J. Applied Econometrics 34:1-17) widens every pointwise interval by
the same factor: the quantile of the largest |t| over the steps, by a multiplier bootstrap over
prompts (Chernozhukov, Chetverikov and Kato 2013, Annals of Statistics 41:2786).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from holdfast.core.errors import DataError
from holdfast.stats.normal import require_between, two_sided_z

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Band:
    """Mean difference at every step with a simultaneous band, and its onset."""

    value: Array
    """Mean over prompts, one per step."""
    low: Array
    """Lower end, inside [-1, 1]."""
    high: Array
    """Upper end."""
    critical: float
    """Standard errors that the band is wide on either side."""
    onset: int | None
    """Index of the first step from which the worsening is shown at every step to the end."""
    earliest: int | None
    """Index of the first step at which it may have begun: none before it is shown to be worse, and
    every later one leaves room for it."""


def band(
    differences: Array, *, confidence: float = 0.95, resamples: int = 2000, seed: int = 0
) -> Band:
    """The band of `differences` [prompts, steps], each in [-1, 1], + for worse.

    Variances take one pseudo-prompt at a distance of 1, so that a step at which nothing differs
    still has a width. Raises `DataError` for fewer than 2 prompts, no step, or a value that is not
    finite.
    """
    require_between("confidence", confidence)
    x = np.asarray(differences, dtype=float)
    if x.ndim != 2 or x.shape[0] < 2 or x.shape[1] < 1 or not np.isfinite(x).all():
        raise DataError(
            "a trajectory cannot be taken", got=f"array of shape {x.shape}",
            expected="finite differences of at least 2 prompts at 1 step",
        )  # fmt: skip
    n = x.shape[0]
    value = x.mean(axis=0)
    centred = x - value
    error = np.sqrt((centred**2).sum(axis=0) + 1.0) / n
    flips = np.random.default_rng(seed).standard_normal((resamples, n))
    largest = np.abs(flips @ (centred / n) / error).max(axis=1)
    # A single step needs at least the normal quantile; the bootstrap's noise must not go below.
    critical = max(float(np.quantile(largest, confidence)), two_sided_z(confidence))
    low = np.clip(value - critical * error, -1.0, 1.0)
    high = np.clip(value + critical * error, -1.0, 1.0)
    return Band(value, low, high, critical, *_onset(low, high))


def _onset(low: Array, high: Array) -> tuple[int | None, int | None]:
    shown = low > 0.0
    if not shown[-1]:
        return None, None
    unshown = np.flatnonzero(~shown)
    onset = int(unshown[-1]) + 1 if unshown.size else 0
    # Before its onset a worsening of the size shown last may have been there wherever the band
    # still reaches the smallest worsening that the last step leaves possible.
    room = high[:onset] >= low[-1]
    earliest = onset
    while earliest > 0 and room[earliest - 1]:
        earliest -= 1
    return onset, earliest
