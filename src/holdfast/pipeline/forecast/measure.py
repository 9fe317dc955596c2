"""All signals of one fine-tune before it is trained: of its rows, its base and its settings."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
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
BATCH = 6
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
    """CPU seconds by part."""


def canary_steps(steps: int) -> int:
    """Steps of the canary: a fifth of a short training, a twenty-fifth of a long one; 2 or more.

    Each is made at as many times the peak rate as it stands for steps.
    """
    return max(2, min(12, steps // 5), steps // 25)


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
    seconds: dict[str, float]
    """CPU seconds by part."""


def read_rows(
    reader: Reader, rows: Sequence[dict[str, Any]], *, seed: int, progress: Progress = no_progress
) -> Rows:
    """Read `rows` ("messages" that end with the answer to learn) with the base.

    Raises:
        DataError: no row fits into the model's context.
    """
    clock = _Clock()
    with clock("requests"):
        progress("requests of the rows", 0, len(rows))
        pairs = [_pair(row["messages"]) for row in rows]
        strata = stratify(
            reader.base, pairs, reader.probes.site, reader.probes.refusals, seed=seed
        )  # fmt: skip
    values = {
        "obeyed": strata.obeyed_share, "declined": strata.declined_share,
        "margin": float(reader.before.mean()),
    }  # fmt: skip
    return Rows(strata, values, clock.seconds)


def read(
    reader: Reader, rows: Rows, count: int, config: TrainConfig, *, seed: int, twins: int = 0,
    progress: Progress = no_progress,
) -> Reading:  # fmt: skip
    """Add what a canary with the settings `config` tells of training on `count` rows like `rows`.

    Raises:
        DataError: rows that cannot be trained on.
        InvalidRun: the canary's loss is not finite.
    """
    clock, probes = _Clock(), reader.probes
    update = config.batch_size * config.accumulation
    steps = -(-count // update) * config.epochs
    few = canary_steps(steps)
    far = effective_steps(config, steps)
    strides = config.model_copy(update={"learning_rate": config.learning_rate * far / few})
    with clock("canary"):
        progress("canary", 0, 0)
        batches = [_batch(reader, rows.strata, config, derive(seed, "canary", step))
                   for step in range(few)]  # fmt: skip
        plain = probes.states(reader.base) if twins else None

        def look(live: LoadedModel) -> tuple[Tensor, tuple[float, ...]]:
            shift: tuple[float, ...] = ()
            if plain is not None:
                moved = (probes.states(live) - plain).mean(0)
                draws = unit_draws(twins, len(moved), derive(seed, "twins"))
                shift = tuple((draws @ moved).tolist())
            return probes.margins(live) - reader.before, shift

        tried = canary(reader.base, batches, strides, look=look)
    change, shifts = tried.seen
    values = {
        **rows.values, "canary": float(change.mean()), "loss": tried.losses[0],
        "loss_drop": tried.losses[0] - tried.losses[-1], "canary_steps": float(few), "steps": far,
        "rows_per_step": float(update),
    }  # fmt: skip
    return Reading(values, {"canary": shifts} if twins else {}, {**rows.seconds, **clock.seconds})


def first_order(
    reader: Reader, strata: Strata, config: TrainConfig, *, seed: int
) -> dict[str, float]:
    """Signals that need no step: context, injection, projection, alignment of the gradients.

    Raises:
        DataError: no row fits into the model's context beside a probe.
    """
    base, probes, before = reader.base, reader.probes, reader.before
    shift = signals.difference(base, probes, strata, seed=seed)
    no, yes = (
        texts[int(torch.tensor([len(base.encode_answer(t)) for t in texts]).argmin())]
        for texts in (probes.refusals, probes.compliances)
    )
    tried = canary(
        base, [_batch(reader, strata, config, derive(seed, "canary", 0))], config,
        look=lambda _: None, refusal=RefusalLoss(probes.prompts[:8], no, yes),
    )  # fmt: skip
    assert tried.alignment is not None
    return {
        "context": signals.context(base, probes, before, strata, seed=seed),
        "injection": signals.injection(base, probes, before, shift),
        "projection": signals.projection(probes, shift), "alignment": tried.alignment,
    }  # fmt: skip


def _batch(reader: Reader, strata: Strata, config: TrainConfig, seed: int) -> Batch:
    sample = strata.sample(min(BATCH, config.batch_size * config.accumulation), seed)
    made = prepare(
        reader.base, [{"messages": _whole(strata.pairs[row])} for row in sample.rows],
        max_length=config.max_length, unusable=config.unusable_rows,
    )  # fmt: skip
    if len(made.rows) == len(sample.rows):
        return Batch(made.rows, sample.weights, sample.asking)
    return Batch(made.rows, [1.0] * len(made.rows))  # some could not be trained on


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
