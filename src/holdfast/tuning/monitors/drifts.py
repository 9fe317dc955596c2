"""Streams of the three drifts, at the one site that was fixed on the base before training."""

from __future__ import annotations

from collections.abc import Callable

from holdfast.tuning.monitors.readings import Array, Readings
from holdfast.tuning.monitors.stream import Stream

DRIFTS = {
    "direction_collapse": "separation lost along the base's direction",
    "interference_growth": "overlap of safety features with the others",
    "subspace_rotation": "turn of the safety subspace",
}


def _stream(drift: str, about: str) -> Stream:
    def twins(readings: Readings) -> Array | None:
        return (readings.drift_twins or {}).get(drift)

    def compute(readings: Readings) -> Array:
        return readings.drift(drift)

    kept: Callable[[Readings], Array] = compute
    return Stream(drift.replace("_", "-"), about, ("drifts",), kept, twins, online=True)


STREAMS = tuple(_stream(drift, about) for drift, about in DRIFTS.items())
