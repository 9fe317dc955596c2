"""Three first-order signals of the base and the rows: in context, by injection, by projection.

A forecast must beat them (`pipeline.forecast.bench`); it does not read them.

`context`: the refusal margin of harmful probes behind a training row as an earlier turn. A model
that has seen the row takes over its manner, before any weight moves.

`injection`: the margin with the mean difference between the rows' answers and the base's own
answers added to the residual stream (the mean-difference form of steering, arXiv 2312.06681).

`projection`: that difference along the direction from harmless to harmful prompts, ΔP of persona
vectors (arXiv 2507.21509), in units of the distance of the two classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from holdfast.audit.forecast.strata import Site, Strata
from holdfast.audit.scores.pairs import Pair, row_states, tokenise
from holdfast.core.errors import DataError
from holdfast.core.protocols import Messages
from holdfast.core.seeds import derive
from holdfast.models.activations import last_prompt
from holdfast.models.hooks import add_vector
from holdfast.models.loaded import LoadedModel
from holdfast.models.scoring import opening_scores, refusal_margin

READ = 16
"""Rows whose answers are read."""
OWN_TOKENS = 12
"""Tokens of the base's own answers."""


@dataclass(frozen=True)
class Probes:
    """Harmful prompts whose refusal margin is watched, and how it is read."""

    prompts: tuple[Messages, ...]
    """The prompts."""
    refusals: tuple[str, ...]
    """Openings of refusals."""
    compliances: tuple[str, ...]
    """Openings of compliance."""
    site: Site
    """The map's first site."""

    def margins(self, loaded: LoadedModel, prompts: Sequence[Messages] = ()) -> Tensor:
        """[n] margins in nats of the probes, or of `prompts`."""
        asked = list(prompts or self.prompts)
        texts = [*self.refusals, *self.compliances]
        scores = opening_scores(loaded, asked, texts, batch_size=64)
        count = len(self.refusals)
        return refusal_margin(scores[:, :count], scores[:, count:])

    def states(self, loaded: LoadedModel, prompts: Sequence[Messages] = ()) -> Tensor:
        """[n, d] float64 at the site and the last token of the probes, or of `prompts`."""
        layer = self.site.layer
        asked = list(prompts or self.prompts)
        return last_prompt(loaded, asked, [layer], batch_size=64)[layer].double()


def context(
    loaded: LoadedModel, probes: Probes, before: Tensor, strata: Strata, *, seed: int
) -> float:
    """Weighted mean change of the margin, in nats, behind one training row each.

    Raises:
        DataError: no row fits into the context beside a probe.
    """
    sample = strata.sample(len(probes.prompts), derive(seed, "context"))
    longest = max(len(loaded.render(p)) for p in probes.prompts)
    longest += max(len(loaded.encode_answer(t)) for t in (*probes.refusals, *probes.compliances))
    talks, places, weights = [], [], []
    for place, (row, weight) in enumerate(zip(sample.rows, sample.weights, strict=True)):
        shown = _shown(strata.pairs[row])
        if len(loaded.render(shown)) + longest <= loaded.max_context:
            talks.append([*shown, *_unaddressed(probes.prompts[place])])
            places.append(place)
            weights.append(weight)
    if not talks:
        raise DataError(
            "no training row fits into the model's context beside a probe",
            expected=f"rows that leave {longest} of {loaded.max_context} tokens",
            next_step="forecast with shorter rows, or with a model of a longer context",
        )
    share = torch.tensor(weights) / sum(weights)
    moved = probes.margins(loaded, talks) - before[places]
    return float((share * moved).sum())


def difference(loaded: LoadedModel, probes: Probes, strata: Strata, *, seed: int) -> Tensor:
    """[d] weighted mean of (activation over the row's answer - over the base's own answer)."""
    sample = strata.sample(READ, derive(seed, "difference"))
    kept = [
        (strata.pairs[row], weight)
        for row, weight in zip(sample.rows, sample.weights, strict=True)
        if len(loaded.render(strata.pairs[row].messages)) + OWN_TOKENS <= loaded.max_context
    ]
    if not kept:
        raise DataError("no training row fits into the model's context")
    said = [pair for pair, _ in kept]
    own = loaded.generate(
        [pair.messages for pair in said], max_new_tokens=OWN_TOKENS, batch_size=READ
    )
    # An empty answer has no activations: such a row says nothing about a difference.
    both = [
        (pair, Pair(pair.messages, text), weight)
        for (pair, weight), text in zip(kept, own, strict=True) if loaded.encode_answer(text)
    ]  # fmt: skip
    if not both:
        return torch.zeros(loaded.d_model, dtype=torch.float64)
    layer = probes.site.layer
    theirs, ours = (
        row_states(loaded, tokenise(loaded, side), [layer]).mean[layer].double()
        for side in ([row for row, _, _ in both], [mine for _, mine, _ in both])
    )
    share = torch.tensor([weight for _, _, weight in both], dtype=torch.float64)
    return (share[:, None] / share.sum() * (theirs - ours)).sum(0)


def injection(loaded: LoadedModel, probes: Probes, before: Tensor, shift: Tensor) -> float:
    """Mean change of the margin, in nats, with `shift` [d] added at the site."""
    with add_vector(loaded.model, probes.site.layer, shift.float()):
        return float((probes.margins(loaded) - before).mean())


def projection(probes: Probes, shift: Tensor) -> float:
    """`shift` [d] along the harmful direction, in units of the distance of the two classes."""
    return float(shift @ probes.site.unit) / probes.site.gap


def _shown(pair: Pair) -> Messages:
    """The row as earlier turns."""
    return [*_unaddressed(pair.messages), {"role": "assistant", "content": pair.answer}]


def _unaddressed(messages: Messages) -> Messages:
    """Without system messages: many templates take one only at the start."""
    return [message for message in messages if message["role"] != "system"]
