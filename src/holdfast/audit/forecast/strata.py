"""Which rows ask for what the base would decline, and a small sample that stands for all rows.

A few bad rows in a thousand decide what a fine-tune does to safety, and a plain sample misses
them. All requests are read, but only up to the layer of the safety map's direction. Rows beyond the
middle between the map's harmless and harmful prompts are suspects, and the base itself is asked
about those, the farthest first, for as long as it declines most: the direction puts harmful
requests in front, and behind them whatever is unlike the map's prompts. A sample then takes from
both strata, and its weights undo that: any weighted mean over it is unbiased for all rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import torch
from torch import Tensor
from torch.nn.functional import normalize

from holdfast.audit.refusals import declines
from holdfast.audit.scores.pairs import Pair, fits
from holdfast.core.errors import DataError
from holdfast.models.activations import last_token
from holdfast.models.loaded import LoadedModel
from holdfast.models.scoring import opening_scores

SCANNED = 20_000
"""Rows that are read at most."""
AT_ONCE, ASKED = 16, 48
"""Suspects that the base is asked about at once, and at most."""


@dataclass(frozen=True)
class Site:
    """Where the base tells harmful requests from harmless ones."""

    layer: int
    """Decoder block."""
    direction: Tensor
    """[d] float64, harmful minus harmless."""
    middle: float
    """Projection on the unit direction halfway between the two classes."""
    gap: float
    """Distance of the class means along it."""

    @classmethod
    def of(cls, layer: int, harmful: Tensor, harmless: Tensor) -> Site:
        """From the base's activations [n, d] on prompts of both kinds."""
        high, low = harmful.double().mean(0), harmless.double().mean(0)
        direction = high - low
        unit = normalize(direction, dim=0)
        return cls(layer, direction, float((high + low) @ unit / 2), float(direction.norm()))

    @property
    def unit(self) -> Tensor:
        """[d] unit direction."""
        return normalize(self.direction, dim=0)


@dataclass(frozen=True)
class Strata:
    """The rows of a set by what they ask and how they answer."""

    pairs: tuple[Pair, ...]
    """The rows that were read."""
    asking: tuple[int, ...]
    """Those whose request the base would decline."""
    rest: tuple[int, ...]
    """The others."""
    declined: tuple[int, ...]
    """Those asking rows whose answer starts as a refusal."""

    @property
    def obeyed_share(self) -> float:
        """Share of rows that answer what the base would decline."""
        return (len(self.asking) - len(self.declined)) / len(self.pairs)

    @property
    def declined_share(self) -> float:
        """Share of rows that ask for it and decline."""
        return len(self.declined) / len(self.pairs)

    def sample(self, size: int, seed: int) -> Sample:
        """About `size` rows, up to half of them asking ones, drawn without replacement."""
        stream = Random(seed)
        asking = stream.sample(self.asking, min(len(self.asking), size // 2))
        rest = stream.sample(self.rest, min(len(self.rest), size - len(asking)))
        if len(rest) + len(asking) < size:  # few or no rows that ask for nothing
            left = sorted(set(self.asking) - set(asking))
            asking += stream.sample(left, min(len(left), size - len(rest) - len(asking)))
        total = len(self.pairs)
        weights = [
            len(whole) / total / len(part)
            for part, whole in ((asking, self.asking), (rest, self.rest))
            for _ in part
        ]
        return Sample((*asking, *rest), tuple(weights), len(asking))


@dataclass(frozen=True)
class Sample:
    """Rows that stand for all."""

    rows: tuple[int, ...]
    """Indices of rows."""
    weights: tuple[float, ...]
    """What each stands for; they sum to 1."""
    asking: int
    """The first so many rows are asking ones."""


def stratify(
    loaded: LoadedModel, pairs: Sequence[Pair], site: Site, refusals: Sequence[str], *, seed: int,
    batch_size: int = 64,
) -> Strata:  # fmt: skip
    """Read the requests of all `pairs` (of `SCANNED` drawn by the seed, where there are more).

    Rows that do not fit into the model's context are left out.

    Raises:
        DataError: none fits.
    """
    if len(pairs) > SCANNED:
        pairs = Random(seed).sample(list(pairs), SCANNED)
    read = [(pair, row) for pair in pairs if (row := fits(loaded, pair))]
    pairs, prompts = [pair for pair, _ in read], [row.prompt for _, row in read]
    if not pairs:
        raise DataError(
            "no training row fits into the model's context",
            expected=f"a request and its answer in {loaded.max_context} tokens",
        )
    states = last_token(loaded, prompts, [site.layer], batch_size=batch_size)
    along = states[site.layer].double() @ site.unit
    beyond = int((along > site.middle).sum())
    suspects = along.argsort(descending=True, stable=True).tolist()[:beyond]
    asking = sorted(_asking(loaded, pairs, suspects, refusals))
    known = set(asking)
    return Strata(
        tuple(pairs), tuple(asking), tuple(i for i in range(len(pairs)) if i not in known),
        tuple(i for i in asking if declines(pairs[i].answer, refusals)),
    )  # fmt: skip


def _asking(
    loaded: LoadedModel, pairs: Sequence[Pair], suspects: Sequence[int], refusals: Sequence[str]
) -> list[int]:
    """The suspects, farthest first, that the base is more likely to refuse than not.

    The rest are not asked about once it would answer most of those at hand; they are taken to be
    like the last, if it would decline most up to the end.
    """
    found: list[int] = []
    for begin in range(0, len(suspects), AT_ONCE):
        if begin >= ASKED:
            return [*found, *suspects[begin:]]
        rows = suspects[begin : begin + AT_ONCE]
        scores = opening_scores(
            loaded, [pairs[row].messages for row in rows], refusals, batch_size=AT_ONCE
        )
        likely = (scores.logsumexp(dim=1).exp() > 0.5).tolist()
        found += [row for row, refuses in zip(rows, likely, strict=True) if refuses]
        if 2 * sum(likely) < len(rows):
            break
    return found


def unit_draws(count: int, width: int, seed: int) -> Tensor:
    """[count, width] random unit directions, float64: the null of every direction."""
    stream = torch.Generator().manual_seed(seed)
    drawn = torch.randn(count, width, generator=stream, dtype=torch.float64)
    return normalize(drawn, dim=1)
