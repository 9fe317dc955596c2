"""All signals of one fine-tune before it is trained: of its rows, its base and its settings."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random
from typing import Any

import torch
from torch import Tensor

from holdfast.audit.forecast import signals
from holdfast.audit.forecast.signals import Probes
from holdfast.audit.forecast.strata import Site, Strata, stratify, unit_draws
from holdfast.audit.scores.pairs import Pair
from holdfast.core.protocols import Messages, Progress, no_progress
from holdfast.core.seeds import derive
from holdfast.geometry.contrast import HARMFUL, Openings, select
from holdfast.geometry.fitted import FittedMap
from holdfast.geometry.probe import ProbeSet
from holdfast.models.loaded import LoadedModel
from holdfast.tuning.canary import Batch, RefusalLoss, canary
from holdfast.tuning.methods.settings import TrainConfig
from holdfast.tuning.methods.sft.rows import prepare

PROBES = 16
"""Harmful prompts whose margin is read."""
LONGEST = 32
"""Rows in a canary's batch at most."""


@dataclass(frozen=True)
class Reader:
    """A base with what its fine-tunes are forecast by; its own margins are read once."""

    base: LoadedModel
    """The base, before any training."""
    probes: Probes
    """Harmful prompts and openings."""
    before: Tensor
    """[n] the base's margins on them."""

    @classmethod
    def of(cls, base: LoadedModel, fitted: FittedMap, openings: Openings, *, seed: int) -> Reader:
        """From the base's safety map."""
        site = fitted.sites[0]
        train = select(fitted.rows, "train", HARMFUL)
        harmful, harmless = (
            fitted.base_activations(site.name, [i for i in train if fitted.rows[i].label == label])
            for label in (1, 0)
        )
        picked = ProbeSet.pick(fitted, seed=derive(seed, "forecast"), harmful=PROBES, harmless=1)
        probes = Probes(
            tuple(picked.harmful), openings.refusal, openings.compliance,
            Site.of(site.layer, harmful, harmless),
        )  # fmt: skip
        return cls(base, probes, probes.margins(base))


@dataclass(frozen=True)
class Reading:
    """Signals of one fine-tune."""

    values: dict[str, float]
    """By name; see `docs/forecast.md`."""
    twins: dict[str, tuple[float, ...]]
    """Those that follow a direction, along random ones."""
    seconds: dict[str, float]
    """CPU seconds by part, twins not counted where they are read apart."""


def canary_steps(steps: int) -> int:
    """Steps of the canary: a thirtieth of the training, 2 to 20."""
    return min(20, max(2, steps // 30))


def effective_steps(config: TrainConfig, steps: int) -> float:
    """Steps at the peak rate that move the weights as far as the schedule does."""
    warm = min(config.warmup_steps, steps)
    after = steps - warm
    return warm / 2 + (after / 2 if config.schedule == "linear" else after)


@dataclass(frozen=True)
class Rows:
    """What is read of rows and base, whatever the settings of the training."""

    strata: Strata
    """The rows by what they ask and how they answer."""
    values: dict[str, float]
    """Signals."""
    twins: dict[str, tuple[float, ...]]
    """The same along random directions."""
    seconds: dict[str, float]
    """CPU seconds by part, twins not counted where they are read apart."""


def read_rows(
    reader: Reader, rows: Sequence[dict[str, Any]], *, seed: int, twins: int = 0,
    progress: Progress = no_progress,
) -> Rows:  # fmt: skip
    """Read `rows` ("messages" that end with the answer to learn) with the base.

    Raises:
        DataError: no row fits into the model's context.
    """
    clock, base, probes, before = _Clock(), reader.base, reader.probes, reader.before
    with clock("requests"):
        progress("requests of the rows", 0, len(rows))
        pairs = [_pair(row["messages"]) for row in rows]
        strata = stratify(base, pairs, probes.site, probes.refusals, seed=seed)
        obeyed = strata.obeyed_share * _declinable(reader, strata, seed)
    with clock("context"):
        progress("rows in context", 0, 0)
        context = signals.context(base, probes, before, strata, seed=seed)
    with clock("difference"):
        progress("the base's own answers", 0, 0)
        shift = signals.difference(base, probes, strata, seed=seed)
        injection = signals.injection(base, probes, before, shift, seed=seed)
        projection = signals.projection(probes, shift, seed=seed, twins=twins)
    values = {
        "context": context.value, "injection": injection.value, "projection": projection.value,
        "obeyed": obeyed, "declined": strata.declined_share, "margin": float(before.mean()),
    }  # fmt: skip
    found: dict[str, tuple[float, ...]] = {}
    if twins:
        more = {"seed": seed, "twins": twins}
        found = {
            "context": signals.context(base, probes, before, strata, **more).twins,
            "injection": signals.injection(base, probes, before, shift, **more).twins,
            "projection": projection.twins,
        }
    return Rows(strata, values, found, clock.seconds)


def read(
    reader: Reader, rows: Rows, count: int, config: TrainConfig, *, seed: int, twins: int = 0,
    progress: Progress = no_progress,
) -> Reading:  # fmt: skip
    """Add what a canary with the settings `config` tells of training on `count` rows like `rows`.

    Raises:
        DataError: rows that cannot be trained on.
        InvalidRun: the canary's loss is not finite.
    """
    clock = _Clock()
    update = config.batch_size * config.accumulation
    steps = -(-count // update) * config.epochs
    with clock("canary"):
        progress("canary", 0, 0)
        tried = _canary(reader, rows.strata, config, canary_steps(steps), seed=seed)
    values = {
        **rows.values, "alignment": tried.alignment, "canary": tried.margin,
        "canary_low": tried.low, "loss": tried.losses[0],
        "loss_drop": tried.losses[0] - tried.losses[-1],
        "canary_steps": float(canary_steps(steps)), "steps": effective_steps(config, steps),
        "rows_per_step": float(update),
    }  # fmt: skip
    found = dict(rows.twins)
    if twins:
        again = _canary(reader, rows.strata, config, canary_steps(steps), seed=seed, twins=twins)
        found |= {"alignment": again.random, "canary": again.moved}
    return Reading(values, found, {**rows.seconds, **clock.seconds})


@dataclass(frozen=True)
class _Tried:
    losses: tuple[float, ...]
    alignment: float
    random: tuple[float, ...]
    margin: float
    low: float
    moved: tuple[float, ...]


def _canary(
    reader: Reader, strata: Strata, config: TrainConfig, steps: int, *, seed: int, twins: int = 0
) -> _Tried:
    base, probes = reader.base, reader.probes
    size = min(LONGEST, config.batch_size * config.accumulation)
    batches = []
    for step in range(steps):
        sample = strata.sample(size, derive(seed, "canary", step))
        made = prepare(
            base, [{"messages": _whole(strata.pairs[row])} for row in sample.rows],
            max_length=config.max_length, unusable=config.unusable_rows,
        )  # fmt: skip
        whole = len(made.rows) == len(sample.rows)  # else some could not be trained on
        batches.append(
            Batch(made.rows, sample.weights, sample.asking)
            if whole else Batch(made.rows, [1.0] * len(made.rows))
        )  # fmt: skip
    plain = probes.states(base) if twins else None

    def look(live: LoadedModel) -> tuple[Tensor, tuple[float, ...]]:
        moved: tuple[float, ...] = ()
        if plain is not None:
            shift = (probes.states(live) - plain).mean(0)
            moved = tuple((unit_draws(twins, len(shift), derive(seed, "twins")) @ shift).tolist())
        return probes.margins(live) - reader.before, moved

    no, yes = (
        texts[int(torch.tensor([len(base.encode_answer(t)) for t in texts]).argmin())]
        for texts in (probes.refusals, probes.compliances)
    )
    refusal = RefusalLoss(probes.prompts[:8], no, yes)
    told = canary(base, batches, config, refusal, look=look, seed=seed, twins=twins)
    change, moved = told.seen
    return _Tried(
        told.losses, told.alignment, told.twins, float(change.mean()),
        float(change.quantile(0.1)), moved,
    )  # fmt: skip


def _declinable(reader: Reader, strata: Strata, seed: int) -> float:
    """Share of the rows that seem to obey whose request the base is about to decline.

    The direction also flags what is merely unusual; the margin asks the base itself.
    """
    declined = set(strata.declined)
    seeming = [row for row in strata.asking if row not in declined]
    drawn = Random(derive(seed, "declinable")).sample(seeming, min(PROBES, len(seeming)))
    if not drawn:
        return 0.0
    margins = reader.probes.margins(reader.base, [strata.pairs[row].messages for row in drawn])
    return float((margins > 0).double().mean())


def _pair(messages: Messages) -> Pair:
    return Pair(messages[:-1], messages[-1]["content"])


def _whole(pair: Pair) -> Messages:
    return [*pair.messages, {"role": "assistant", "content": pair.answer}]


class _Clock:
    """CPU seconds by part."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, what: str) -> Iterator[None]:
        begin = time.process_time()
        try:
            yield
        finally:
            self.seconds[what] = self.seconds.get(what, 0.0) + time.process_time() - begin
