"""Streams of the causal score: what removing the base's refusal direction does to the margin.

score(x) = margin(x) - margin(x with the direction of the base ablated at every layer). A style that
spreads over all answers lowers both margins; a refusal that is no longer carried by the direction
lowers their difference.
"""

from __future__ import annotations

from holdfast.tuning.monitors.readings import Array, Readings
from holdfast.tuning.monitors.stream import Stream, lost


def score_lost(readings: Readings) -> Array:
    """Share of the base's mean causal score that is gone."""
    score = readings.need("margin") - readings.need("margin_ablated")
    return lost(score.mean(axis=1))


def beneath(readings: Readings) -> Array:
    """How far the margin without the direction fell, by the base's mean causal score."""
    margin, ablated = readings.need("margin"), readings.need("margin_ablated").mean(axis=1)
    unit = max(abs(float((margin[0] - readings.need("margin_ablated")[0]).mean())), 1.0)
    fallen: Array = (ablated[0] - ablated) / unit
    return fallen


STREAMS = (
    Stream("causal-score", "share of the direction's effect gone", ("margin", "margin_ablated"),
           score_lost, online=True),
    Stream("margin-beneath", "fall of the margin without the direction",
           ("margin", "margin_ablated"), beneath, online=True),
)  # fmt: skip
