"""Streams of gradients: does what is learnt next work against refusing? (papers.md, section 9)

`alignment` is known before the update that it belongs to; `alignment-sum` adds up the updates that
were made, each weighed by the steps that it stands for, so that it is known at the end of a step.
"""

from __future__ import annotations

import numpy as np

from holdfast.tuning.monitors.readings import Array, Readings
from holdfast.tuning.monitors.stream import Stream, held


def against(readings: Readings) -> Array:
    """Cosine of the coming batch's gradient with that of unlearning refusals, in [-1, 1]."""
    return held(-readings.need("alignment"))


def apart(readings: Readings) -> Array:
    """How much more it works against refusals than against the base's harmless answers."""
    return against(readings) - held(-readings.need("alignment_harmless"))


def summed(readings: Readings) -> Array:
    """The same, added up over the updates made so far."""
    return _sum(readings, against(readings))


def pushed(readings: Readings) -> Array:
    """The same, each weighed by the norm of its gradient: the first-order loss of refusing."""
    return _sum(readings, against(readings) * held(readings.need("grad_norm")))


def _sum(readings: Readings, each: Array) -> Array:
    made = np.diff(readings.steps) * each[..., :-1]
    start = np.zeros((*each.shape[:-1], 1))
    found: Array = np.concatenate([start, np.cumsum(made, axis=-1)], axis=-1)
    return found


def _random(readings: Readings) -> Array | None:
    if readings.alignment_random is None:
        return None
    return held(-readings.need("alignment_random").T)


def _random_sum(readings: Readings) -> Array | None:
    found = _random(readings)
    return None if found is None else _sum(readings, found)


def _random_push(readings: Readings) -> Array | None:
    found = _random(readings)
    if found is None:
        return None
    return _sum(readings, found * held(readings.need("grad_norm")))


STREAMS = (
    Stream("alignment", "coming batch against refusing", ("alignment",), against, _random),
    Stream("alignment-sum", "the same, summed over updates made", ("alignment",), summed,
           _random_sum, online=True),
    Stream("push-sum", "the same, weighed by the gradient's norm", ("alignment", "grad_norm"),
           pushed, _random_push),
    Stream("alignment-apart", "sum of the same beyond harmless answers",
           ("alignment", "alignment_harmless"), lambda r: _sum(r, apart(r)), _random_sum),
)  # fmt: skip
