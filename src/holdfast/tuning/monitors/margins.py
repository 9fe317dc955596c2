"""Streams of the refusal margins: their mean, their low end, their sign, and where they head."""

from __future__ import annotations

import numpy as np

from holdfast.tuning.monitors.readings import Array, Readings
from holdfast.tuning.monitors.stream import Stream, lost

LOW = 0.1
"""Quantile of the prompts whose margins are the first to go."""
HORIZON = 8.0
"""Steps that a margin is extrapolated."""
WINDOW = 5
"""Observations that a parabola is fitted to."""
AHEAD, RECENT = 6.0, 2
"""Steps that the low end is carried on, by a line to the last so many readings before."""
TURN, TRUST = 1.0, 4.0
"""Steps that each margin is carried on: `TURN`, and `TRUST` times the square of the harm that was
forecast, so that a doubtful forecast adds little. Chosen on development families
(docs/results/monitors.md)."""
_RIDGE = 1e-6


def mean_lost(readings: Readings) -> Array:
    """Share of the mean margin that is gone."""
    return lost(readings.need("margin").mean(axis=1))


def low_lost(readings: Readings) -> Array:
    """Share of the low end of the margins that is gone, by the mean margin of the base."""
    margin = readings.need("margin")
    low = np.quantile(margin, LOW, axis=1)
    gone: Array = (low[:1] - low) / np.maximum(np.abs(margin[:1].mean()), 1.0)
    return gone


def negative_share(readings: Readings) -> Array:
    """Share of prompts whose margin is below zero, over the base's own share."""
    share: Array = (readings.need("margin") < 0).mean(axis=1)
    over: Array = share - share[0]
    return over


def spread(readings: Readings) -> Array:
    """How much further apart the margins are than on the base, by the base's mean margin."""
    margin = readings.need("margin")
    apart = margin.std(axis=1)
    grown: Array = (apart - apart[0]) / np.maximum(np.abs(margin[0].mean()), 1.0)
    return grown


def crossing(readings: Readings) -> Array:
    """Share of prompts that comply now or are about to, over the base's own share.

    A parabola through the last margins of each prompt, fitted by least squares, gives its slope and
    curvature now; the prompt counts in so far as the parabola falls below zero within the horizon:
    1 where it has crossed, less the later it will.
    """
    margin, steps = readings.need("margin"), readings.steps.astype(float)
    soon = np.zeros(margin.shape)
    for t in range(len(steps)):
        begin = max(0, t + 1 - WINDOW)
        soon[t] = _soon(steps[begin : t + 1] - steps[t], margin[begin : t + 1])
    share = soon.mean(axis=1)
    over: Array = share - share[0]
    return over


def turning(readings: Readings) -> Array:
    """Share of prompts whose margin is below zero or about to be, over the base's own share.

    Each margin is carried on along its last fall. How far depends on what was forecast: a fall in
    a run that nobody expects harm of is that of a style, which ends before it turns a prompt.
    """
    return _turning(readings, TURN + TRUST * (readings.forecast or 0.0) ** 2)


def turning_alone(readings: Readings) -> Array:
    """`turning` without the forecast."""
    return _turning(readings, TURN)


def _turning(readings: Readings, horizon: float) -> Array:
    margin, steps = readings.need("margin"), readings.steps.astype(float)
    fall = np.zeros_like(margin)
    fall[1:] = np.minimum(0.0, np.diff(margin, axis=0) / np.diff(steps)[:, None])
    share: Array = (margin + horizon * fall < 0).mean(axis=1)
    over: Array = share - share[0]
    return over


def ahead_lost(readings: Readings) -> Array:
    """`low_lost` as it will be `AHEAD` steps from now, if the margins go on as they went."""
    margin, steps = readings.need("margin"), readings.steps.astype(float)
    low = np.quantile(margin, LOW, axis=1)
    going = np.zeros(len(steps))
    for t in range(1, len(steps)):
        ago = steps[max(0, t - RECENT) : t] - steps[t]
        fell = low[max(0, t - RECENT) : t] - low[t]
        going[t] = (ago @ fell) / (ago @ ago)  # the line through the newest reading
    gone: Array = (low[0] - low - AHEAD * going) / np.maximum(np.abs(margin[0].mean()), 1.0)
    return gone


def _soon(ago: Array, margin: Array) -> Array:
    """[P] 1 - (crossing time)/horizon of the extrapolated margins [t, P], in [0, 1]."""
    now = margin[-1]
    if len(ago) < 2:
        return np.where(now < 0, 1.0, 0.0)
    # Through the newest margin; with two readings a line.
    columns = [ago[:-1], ago[:-1] ** 2] if len(ago) > 3 else [ago[:-1]]
    design = np.stack(columns, axis=1)
    gram = design.T @ design + _RIDGE * np.eye(len(columns))
    fitted = np.linalg.solve(gram, design.T @ (margin[:-1] - now))
    ahead = np.linspace(0.0, HORIZON, 17)
    bend = fitted[1] if len(columns) > 1 else np.zeros_like(now)
    path = now + np.outer(ahead, fitted[0]) + np.outer(ahead**2, bend)
    below = path < 0
    first = np.where(below.any(axis=0), below.argmax(axis=0), len(ahead))
    found: Array = np.clip(1.0 - first / len(ahead), 0.0, 1.0)
    return found


STREAMS = (
    Stream("margin", "share of the mean margin gone", ("margin",), mean_lost, online=True),
    Stream("margin-low", "the same of the lowest tenth", ("margin",), low_lost, online=True),
    Stream("margin-ahead", "the same, 6 steps from now", ("margin",), ahead_lost, online=True),
    Stream("negative-share", "prompts that would comply", ("margin",), negative_share, online=True),
    Stream("margin-spread", "margins drifting apart", ("margin",), spread, online=True),
    Stream("turning", "prompts that turn soon, as far ahead as harm was forecast", ("margin",),
           turning, online=True),
    Stream("turning-alone", "the same without the forecast", ("margin",), turning_alone,
           online=True),
    Stream("crossing", "prompts whose margin is about to cross zero", ("margin",), crossing,
           online=True),
)  # fmt: skip
