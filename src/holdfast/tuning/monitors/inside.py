"""What an observation reads of the residual stream, in one pass over the probe prompts."""

from __future__ import annotations

import numpy as np

from holdfast.core.errors import DataError
from holdfast.geometry.drift import point
from holdfast.geometry.probe import ProbeSet
from holdfast.geometry.sae.autoencoder import SparseAutoencoder
from holdfast.geometry.safety_map import FittedMap
from holdfast.models.activations import last_prompt
from holdfast.models.loaded import LoadedModel
from holdfast.tuning.monitors.latents import STREAMS, Latents
from holdfast.tuning.monitors.readings import Array, Readings


class Inside:
    """The three drifts, and an SAE's harmful latents where an SAE of the base is given."""

    def __init__(
        self, safety_map: FittedMap, probe: ProbeSet, sae: SparseAutoencoder | None = None
    ) -> None:
        self.map, self.probe, self.sae = safety_map, probe, sae
        self.latents: Latents | None = None
        self._first: Array | None = None
        layers = {*safety_map.layers, *([sae.layer] if sae is not None else [])}
        self._layers = sorted(layers)

    def prepare(self, base: LoadedModel) -> None:
        """Choose the harmful latents in the untouched base, and keep what they show there.

        Raises:
            UsageError: the SAE is not of the base.
            DataError: none of its latents follows harm, or those that do are silent on the probe.
        """
        if self.sae is None:
            return
        self.latents = Latents.choose(self.sae, base, self.map.rows)
        self._first = self.read(base)[1]
        self.shares(self._first)

    def read(self, live: LoadedModel) -> tuple[dict[str, float], Array | None]:
        """Each drift by "drift@site", and the harmful latents' activity [2] (`Latents.activity`).

        Raises:
            InvalidRun: activations are not finite.
        """
        found = last_prompt(live, self.probe.conversations, self._layers)
        drifts = point(self.map, self.probe, found)
        if self.latents is None:
            return drifts, None
        shown = self.latents.activity(found[self.latents.sae.layer], self.probe.labels)
        activity: Array = shown[0].numpy()
        return drifts, activity

    def shares(self, activity: Array | None) -> dict[str, float]:
        """Every stream of the latents by name, from what `read` says now; none without an SAE."""
        if activity is None:
            return {}
        if self._first is None:
            raise DataError("the SAE has not seen the base", next_step="call prepare first")
        both = Readings(steps=np.array([0, 1]), latents=np.stack([self._first, activity]))
        return {stream.name: float(stream.compute(both)[-1]) for stream in STREAMS}
