"""A stream: one number per observation, higher is worse, from the readings so far and no later."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from holdfast.tuning.monitors.readings import Array, Readings


@dataclass(frozen=True)
class Stream:
    """How one stream is computed; the same function serves a stored run and a live one."""

    name: str
    """Its name."""
    about: str
    """What it says, in a few words."""
    needs: tuple[str, ...]
    """Fields of `Readings` that it reads."""
    compute: Callable[[Readings], Array]
    """[T]; the value at t must not depend on readings after t."""
    twins: Callable[[Readings], Array | None] | None = None
    """[R, T] the same along random directions of equal norm, for a stream that follows a direction;
    None where those were not read."""
    online: bool = False
    """Whether the monitor in training can measure it."""

    def known(self, readings: Readings) -> bool:
        """Whether everything that it needs was read."""
        return all(getattr(readings, need) is not None for need in self.needs)


def held(values: Array) -> Array:
    """`values` [..., T] with every gap filled by the last number before it, 0 where none is."""
    known = np.isfinite(values)
    last = np.maximum.accumulate(np.where(known, np.arange(values.shape[-1]), -1), axis=-1)
    found = np.take_along_axis(np.where(known, values, 0.0), np.maximum(last, 0), axis=-1)
    filled: Array = np.where(last < 0, 0.0, found)
    return filled


def lost(now: Array, least: float = 1.0) -> Array:
    """Share [T, …] of the first value that is gone: 0 on the base, 1 at zero, above it beyond.

    A share has no unit, so that one threshold can serve bases of different margins. Below `least`
    the first value is too small to divide by and counts as `least`.
    """
    first = np.maximum(np.abs(now[:1]), least)
    gone: Array = (now[:1] - now) / first
    return gone
