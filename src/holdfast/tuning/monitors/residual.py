"""Streams of the activations' move with what style explains removed.

A benign fine-tune moves the answers' style, and the residual stream with it. The subspace of those
moves is fitted on benign development runs; what remains of a run's move outside of it is what no
benign run did. A second way needs no fit: the move of harmful prompts less that of harmless ones.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from holdfast.core.errors import DataError
from holdfast.tuning.monitors.readings import Array, Readings
from holdfast.tuning.monitors.stream import Stream

ENERGY = 0.9
"""Share of the benign moves' energy that the style subspace keeps."""
LARGEST = 12
"""Its largest dimension."""


def style_subspace(shifts: Sequence[Array]) -> Array:
    """Orthonormal basis [d, k] of benign runs' moves, each `shift` [T, 2, d], half way and at end.

    Raises:
        DataError: there is none.
    """
    rows = [shift[place].reshape(-1, shift.shape[-1]) for shift in shifts
            for place in {len(shift) // 2, len(shift) - 1}]  # fmt: skip
    if not rows:
        raise DataError("no benign run to fit the style subspace on")
    _, values, right = np.linalg.svd(np.concatenate(rows), full_matrices=False)
    share = np.cumsum(values**2) / max(float((values**2).sum()), 1e-300)
    k = min(int(np.searchsorted(share, ENERGY)) + 1, LARGEST, len(values))
    basis: Array = right[:k].T
    return basis


def unexplained(readings: Readings, basis: Array) -> Array:
    """Norm of the harmful prompts' mean move outside the style subspace."""
    found: Array = np.linalg.norm(_outside(readings, basis), axis=-1)
    return found


def unexplained_toward(readings: Readings, basis: Array) -> Array:
    """How far that remainder moved against the refusal direction."""
    found: Array = -_outside(readings, basis) @ readings.need("direction")
    return found


def unexplained_random(readings: Readings, basis: Array) -> Array | None:
    """[R, T] the same along the random directions, either way."""
    if readings.random_directions is None:
        return None
    found: Array = np.abs(_outside(readings, basis) @ readings.random_directions.T).T
    return found


def _outside(readings: Readings, basis: Array) -> Array:
    moved = readings.need("shift")[:, 0]
    outside: Array = moved - moved @ basis @ basis.T
    return outside


def apart_toward(readings: Readings) -> Array:
    """How far harmful prompts moved against the refusal direction beyond harmless ones."""
    shift = readings.need("shift")
    found: Array = -(shift[:, 0] - shift[:, 1]) @ readings.need("direction")
    return found


def _apart_random(readings: Readings) -> Array | None:
    if readings.random_directions is None:
        return None
    shift = readings.need("shift")
    found: Array = np.abs((shift[:, 0] - shift[:, 1]) @ readings.random_directions.T).T
    return found


def toward(readings: Readings) -> Array:
    """How far harmful prompts moved against the refusal direction."""
    found: Array = -readings.need("shift")[:, 0] @ readings.need("direction")
    return found


def random_shift(readings: Readings) -> Array | None:
    """[R, T] how far they moved along random directions, either way: the null of every monitor."""
    if readings.random_directions is None or readings.shift is None:
        return None
    found: Array = np.abs(readings.shift[:, 0] @ readings.random_directions.T).T
    return found


STREAMS = (
    Stream("shift-toward", "harmful prompts' move against the direction", ("shift", "direction"),
           toward, random_shift),
    Stream("shift-apart", "the same beyond harmless prompts' move", ("shift", "direction"),
           apart_toward, _apart_random),
)  # fmt: skip
FITTED = {
    "unexplained-shift": ("move outside the style subspace", unexplained),
    "unexplained-toward": ("the same against the direction", unexplained_toward),
}
"""Streams that take the style subspace."""
