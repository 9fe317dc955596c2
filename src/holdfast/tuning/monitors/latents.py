"""Streams of a sparse autoencoder's harmful latents: how much of them is lost, and how much spills.

The latents are those that follow harm in the base (`geometry.sae.features`). A model that stops to
see harm in harmful prompts loses them there; one whose harmful features rise along with something
else shows them on harmless prompts. Both are shares of what the base shows on harmful prompts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from holdfast.core.errors import DataError
from holdfast.geometry.contrast import ContrastRow
from holdfast.geometry.sae.autoencoder import SparseAutoencoder
from holdfast.geometry.sae.features import HarmfulLatents, harmful_latents, training_rows
from holdfast.geometry.sae.fidelity import check_trained_on
from holdfast.models.activations import last_prompt
from holdfast.models.loaded import LoadedModel
from holdfast.tuning.monitors.readings import Array, Readings
from holdfast.tuning.monitors.stream import Stream

COUNT = 32
"""Harmful latents at most."""
TWINS = 16
"""Sets of as many latents, chosen by permuted labels."""


@dataclass(frozen=True)
class Latents:
    """An SAE of the base, and which of its latents are harmful there."""

    sae: SparseAutoencoder
    """The SAE; its site is where it looks."""
    harmful: HarmfulLatents
    """Chosen on the training split of a contrast set."""

    @classmethod
    def choose(
        cls, sae: SparseAutoencoder, base: LoadedModel, rows: Sequence[ContrastRow], *,
        seed: int = 0, batch_size: int = 32,
    ) -> Self:  # fmt: skip
        """Read the harmful training prompts of a contrast set in the base, and choose.

        Raises:
            UsageError: the SAE is not of the base, or does not say its site.
            DataError: no latent follows the labels.
        """
        check_trained_on(sae, base)
        chosen = training_rows(rows)
        prompts = [row.messages for row in chosen]
        read = last_prompt(base, prompts, [sae.layer], batch_size=batch_size)[sae.layer]
        found = harmful_latents(sae.encode(read), chosen, count=COUNT, seed=seed, sets=TWINS)
        return cls(sae, found)

    def activity(self, x: Tensor, harmful: Tensor) -> Tensor:
        """What a set of latents writes on average, on harmful and on harmless prompts.

        Args:
            x: activations [..., n, d] at the SAE's site, at the last token of n prompts.
            harmful: [n] bool.

        Returns:
            [1 + R, ..., 2] float64, in the stream's own unit: latents times the norm of their
            decoder rows, summed over the set; first the harmful latents, then the permuted sets.
        """
        written = self.sae.encode(x).double() * self.sae.w_dec.norm(dim=1).double()
        sets = torch.tensor([self.harmful.latents, *self.harmful.permuted])
        summed = written[..., sets].sum(-1).movedim(-1, 0)  # [1 + R, ..., n]
        return torch.stack([summed[..., harmful].mean(-1), summed[..., ~harmful].mean(-1)], -1)


def harmful_lost(readings: Readings) -> Array:
    """Share of the base's activity on harmful prompts that is gone there."""
    shown = readings.need("latents")
    return _of_base(readings, shown[0, 0] - shown[:, 0])


def harmless_risen(readings: Readings) -> Array:
    """Rise on harmless prompts, as a share of the base's activity on harmful ones."""
    shown = readings.need("latents")
    return _of_base(readings, shown[:, 1] - shown[0, 1])


def _lost_twins(readings: Readings) -> Array | None:
    found = readings.latents_random
    return None if found is None else _of_base(readings, found[:, :1, 0] - found[:, :, 0])


def _risen_twins(readings: Readings) -> Array | None:
    found = readings.latents_random
    return None if found is None else _of_base(readings, found[:, :, 1] - found[:, :1, 1])


def _of_base(readings: Readings, change: Array) -> Array:
    """`change` in units of what the harmful latents show on harmful prompts in the base.

    Raises:
        DataError: they show nothing there.
    """
    first = readings.need("latents")[0, 0]
    if first <= 0:
        raise DataError(
            "the SAE's harmful latents do not fire on the base's harmful probe prompts",
            next_step="use an SAE of another site, or more probe prompts",
        )
    share: Array = change / first
    return share


STREAMS = (
    Stream("latents-lost", "harmful latents' activity gone from harmful prompts", ("latents",),
           harmful_lost, _lost_twins, online=True),
    Stream("latents-risen", "harmful latents' rise on harmless prompts", ("latents",),
           harmless_risen, _risen_twins, online=True),
)  # fmt: skip
