"""All scores of a set of rows at once: what the audit, a filter and a forecast share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Literal

import torch
from torch import Tensor

from holdfast.audit.scores.gradient import gradient, gradient_sketches, refusal_loss
from holdfast.audit.scores.pairs import Anchors, Pair, States, Tokens, row_states, tokenise
from holdfast.audit.scores.projection import projection
from holdfast.audit.scores.representation import choose_layer, representation
from holdfast.audit.scores.scored import Scored
from holdfast.audit.scores.spectrum import effective_rank
from holdfast.audit.scores.spillover import FeatureEncoder, spillover
from holdfast.core.protocols import Messages, Progress, no_progress
from holdfast.models.loaded import LoadedModel

ScoreName = Literal["representation", "projection", "gradient", "spillover"]
SCORES: tuple[ScoreName, ...] = ("representation", "projection", "gradient", "spillover")
Answerer = Callable[[Sequence[Messages]], list[str]]
"""The base model's own greedy answers; an empty one is read as a single space."""


@dataclass(frozen=True)
class ScoreTable:
    """Scores of n rows with what was read on the way."""

    scores: dict[str, Scored]
    """By score name, in the order of `SCORES`."""
    layer: int
    """Layer that the anchors chose."""
    own: list[str] = field(default_factory=list)
    """The base model's own answers to the rows' requests, if they were asked for."""
    sketches: Tensor | None = None
    """Gradient sketches [n, K]."""
    ranks: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Effective rank of the rows and of as many safe anchors, by `activations`, `gradients`; the
    same number of rows on both sides."""
    seconds: dict[str, float] = field(default_factory=dict)
    """What each part took."""

    @property
    def usable(self) -> list[Scored]:
        """The scores that tell the anchors apart on this model."""
        return [score for score in self.scores.values() if score.usable]

    @property
    def combined(self) -> Tensor:
        """[n]: mean of the usable scores on the scale safe = 0, unsafe = 1, each held to [-1, 2].

        Zeros where no score is usable.
        """
        parts = [score.harm.clamp(-1.0, 2.0) for score in self.usable]
        first = next(iter(self.scores.values()))
        return torch.stack(parts).mean(0) if parts else torch.zeros_like(first.values)

    @property
    def beyond(self) -> Tensor:
        """[n] bool: nearer to unsafe than to safe, and beyond the null by most usable scores."""
        votes = [score.beyond for score in self.usable]
        if not votes:
            return torch.zeros(len(self.combined), dtype=torch.bool)
        agree = torch.stack(votes).sum(0) * 2 > len(votes)
        return agree & (self.combined > 0.5)


def score_rows(
    loaded: LoadedModel, rows: Sequence[Pair], anchors: Anchors, *, seed: int,
    which: Sequence[ScoreName] = SCORES, layer: int | None = None,
    answers: Answerer | None = None, encoder: FeatureEncoder | None = None,
    batch_size: int = 32, progress: Progress = no_progress,
) -> ScoreTable:  # fmt: skip
    """Score every row by every score of `which`; each carries its null and its anchors' scores.

    Args:
        loaded: The base model, before any training.
        rows: Rows that fit its context (`pairs.fits`).
        anchors: Known unsafe and safe rows; they choose the layer, and no row of the data does.
        seed: Of the nulls, the sketch and the anchors' halves.
        which: Scores to compute; `spillover` needs an `encoder` and is left out without one.
        layer: Layer to read, in place of the one that the anchors choose.
        answers: The model's own answers; without them the projection is `projection-alone`.
        encoder: A sparse autoencoder of the model.
        batch_size: Rows of a forward pass.
        progress: Called during long work.

    Raises:
        DataError: a row is empty or longer than the context.
        InvalidRun: the model's activations are not finite.
    """
    clock = _Clock()
    sides = [tokenise(loaded, side) for side in (rows, anchors.unsafe, anchors.safe)]
    layers = range(loaded.n_layers) if layer is None else (layer,)
    extra = () if encoder is None or encoder.layer in layers else (encoder.layer,)
    unsafe, safe = (
        row_states(loaded, side, [*layers, *extra], batch_size=batch_size) for side in sides[1:]
    )
    at = choose_layer(unsafe, safe, seed=seed) if layer is None else layer
    clock.lap("anchors")
    read = sorted({at} if encoder is None else {at, encoder.layer})
    states = row_states(loaded, sides[0], read, batch_size=batch_size, progress=progress)
    scores: dict[str, Scored] = {}
    if "representation" in which:
        scores["representation"] = representation(
            states.last[at], unsafe.last[at], safe.last[at], layer=at, seed=seed
        )
    clock.lap("representation")
    said, own = _own(loaded, (rows, anchors.unsafe, anchors.safe), answers, read, batch_size)
    sides_at = (states, unsafe, safe)
    if "projection" in which:
        means = [side.mean[at] for side in sides_at]
        base = [None] * 3 if own is None else [side.mean[at] for side in own]
        scores["projection"] = projection(
            means[0], base[0], means[1], means[2], base[1], base[2], layer=at, seed=seed
        )
        clock.lap("projection")
    ranks = {"activations": _compared(states.last[at], safe.last[at], True)}
    sketches = None
    if "gradient" in which:
        sketches, scores["gradient"], ranks["gradients"] = _gradients(
            loaded, sides, anchors, seed, batch_size, progress
        )
        clock.lap("gradient")
    if "spillover" in which and encoder is not None:
        here = encoder.layer
        scores["spillover"] = spillover(
            encoder, [side.mean[here] for side in sides_at],
            None if own is None else [side.mean[here] for side in own], seed=seed,
        )  # fmt: skip
        clock.lap("spillover")
    return ScoreTable(scores, at, said, sketches, ranks, clock.laps)


def _own(
    loaded: LoadedModel, groups: Sequence[Sequence[Pair]], answers: Answerer | None,
    layers: Sequence[int], batch_size: int,
) -> tuple[list[str], list[States] | None]:  # fmt: skip
    """The model's own answers to the rows, and its states over those to rows and anchors."""
    if answers is None:
        return [], None
    said = [answers([pair.messages for pair in group]) for group in groups]
    found = []
    for group, texts in zip(groups, said, strict=True):
        tokens = [
            Tokens(loaded.render(pair.messages), loaded.encode_answer(text or " "))
            for pair, text in zip(group, texts, strict=True)
        ]
        found.append(row_states(loaded, tokens, layers, batch_size=batch_size))
    return said[0], found


def _gradients(
    loaded: LoadedModel, sides: Sequence[Sequence[Tokens]], anchors: Anchors, seed: int,
    batch_size: int, progress: Progress,
) -> tuple[Tensor, Scored, tuple[float, float]]:  # fmt: skip
    starts = [tokenise(loaded, side) for side in (anchors.refusals, anchors.compliances)]
    size = max(1, batch_size // 2)  # a backward pass keeps what a forward pass lets go
    rows, unsafe, safe, refusals, compliances = (
        gradient_sketches(loaded, side, seed=seed, batch_size=size, progress=progress)
        for side in (*sides, *starts)
    )
    target = refusal_loss(refusals, compliances)
    return rows, gradient(rows, target, unsafe, safe, seed=seed), _compared(rows, safe, False)


def _compared(rows: Tensor, reference: Tensor, centre: bool) -> tuple[float, float]:
    """Effective rank of rows and of a reference, over the same number of each."""
    count = min(len(rows), len(reference))
    return (
        effective_rank(rows[:count], centre=centre),
        effective_rank(reference[:count], centre=centre),
    )


class _Clock:
    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = monotonic()

    def lap(self, name: str) -> None:
        now = monotonic()
        self.laps[name], self._last = now - self._last, now
