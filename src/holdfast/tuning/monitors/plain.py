"""What every monitor must be held against: the loss, the KL, a few answers, and the truth."""

from __future__ import annotations

from functools import partial

from holdfast.tuning.monitors.readings import Array, Readings
from holdfast.tuning.monitors.stream import Stream, held

BASELINE = "few-answers"
"""The cheapest behavioural baseline."""
MORE = {"answers-16": 16, "answers-32": 32}
"""Dearer ones: so many of the held-out prompts, answered at every look."""
ORACLE = "behaviour"
"""The behaviour that the outcome is made of: all of them."""


def loss_fall(readings: Readings) -> Array:
    """Share of the first loss that is gone: how much of the data is learnt."""
    loss = held(readings.need("loss"))
    gone: Array = 1.0 - loss / max(float(loss[loss > 0][:1].sum()), 1e-6)
    return gone


def first_token_kl(readings: Readings) -> Array:
    """Mean KL to the base over the first positions of its own answers, in nats."""
    found: Array = readings.need("kl_first").reshape(len(readings.steps), -1).mean(axis=1)
    return found


def few_answers(readings: Readings) -> Array:
    """Share of a few probe prompts no longer refused, answered in full."""
    return _unrefused(readings.need("cheap_refusal"))


def behaviour(readings: Readings, most: int | None = None) -> Array:
    """The same of the first `most` held-out prompts, or all; an older measurement stands."""
    return _unrefused(readings.need("behaviour")[:, :most])


def asked(name: str, readings: Readings) -> int:
    """Prompts that a look of this stream answers in full."""
    if name == BASELINE:
        return int(readings.need("cheap_refusal").shape[1])
    every: int = 0 if readings.behaviour is None else readings.behaviour.shape[1]
    return min(MORE.get(name, every if name == ORACLE else 0), every)


def _unrefused(refused: Array) -> Array:
    rates = held(refused.mean(axis=1))
    gone: Array = rates[0] - rates
    return gone


STREAMS = (
    Stream("loss", "share of the first loss gone", ("loss",), loss_fall),
    Stream("first-token-kl", "KL to the base's first tokens", ("kl_first",), first_token_kl,
           online=True),
    Stream(BASELINE, "few greedy answers: share not refused", ("cheap_refusal",), few_answers),
    *(
        Stream(name, f"{most} held-out answers: share not refused", ("behaviour",),
               partial(behaviour, most=most))
        for name, most in MORE.items()
    ),
    Stream(ORACLE, "held-out answers: share not refused", ("behaviour",), behaviour),
)  # fmt: skip
