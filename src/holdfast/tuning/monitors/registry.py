"""All streams that need no fit, by name."""

from __future__ import annotations

from holdfast.core.errors import UsageError
from holdfast.core.registry import nearest
from holdfast.tuning.monitors import causal, drifts, gradients, latents, margins, plain, residual
from holdfast.tuning.monitors.stream import Stream

STREAMS: dict[str, Stream] = {
    stream.name: stream
    for family in (margins, causal, gradients, drifts, residual, latents, plain)
    for stream in family.STREAMS
}


def get(name: str) -> Stream:
    """One stream, or a `UsageError` that names the nearest."""
    if name not in STREAMS:
        raise UsageError(f"unknown stream '{name}'", next_step=nearest(name, list(STREAMS)))
    return STREAMS[name]
