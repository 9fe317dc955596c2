"""What was read from a model along its training: the input of every stream, offline and online."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from holdfast.core.errors import DataError

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Readings:
    """T observations of one run, the first on its base; what was not read is None.

    P harmful probe prompts come before Q harmless ones wherever both are meant.
    """

    steps: NDArray[np.int64]
    """[T] optimizer steps, ascending, the first is 0."""
    margin: Array | None = None
    """[T, P] refusal margins in nats."""
    margin_ablated: Array | None = None
    """[T, P] the same with the base's refusal direction removed at every layer."""
    kl_first: Array | None = None
    """[T, P] KL to the base over the first positions of its own answers, in nats."""
    drifts: dict[str, Array] | None = None
    """"drift" -> [T], at the site that was fixed on the base."""
    drift_twins: dict[str, Array] | None = None
    """"drift" -> [R, T], the same along the random directions."""
    shift: Array | None = None
    """[T, 2, d] mean move of the harmful and of the harmless prompts' activations at that site,
    in units of the norm of the base's refusal direction."""
    direction: Array | None = None
    """[d] the base's refusal direction at that site, of norm 1."""
    random_directions: Array | None = None
    """[R, d] directions of permuted labels there, of norm 1: shaped like the prompts' spread."""
    latents: Array | None = None
    """[T, 2] mean activity of an SAE's harmful latents on harmful and on harmless prompts, in the
    unit of the residual stream."""
    latents_random: Array | None = None
    """[R, T, 2] the same of as many latents chosen by permuted labels."""
    forecast: float | None = None
    """Harm that was expected before training, in [0, 1]."""
    loss: Array | None = None
    """[T] loss of the newest batch."""
    grad_norm: Array | None = None
    """[T] norm of the coming batch's gradient; NaN after the last."""
    alignment: Array | None = None
    """[T] cosine of that gradient with the gradient of the loss of the base's own refusals;
    negative unlearns them. NaN where no batch follows, or none is known yet."""
    alignment_harmless: Array | None = None
    """[T] the same with the base's answers to harmless prompts."""
    alignment_random: Array | None = None
    """[T, R] the same against random gradients of equal norm."""
    cheap_refusal: Array | None = None
    """[T, n] whether each of a few probe prompts was refused, answered in full."""
    behaviour: Array | None = None
    """[T, N] whether each held-out prompt was refused; NaN where it was not asked."""

    def __post_init__(self) -> None:
        """Refuse an order of steps or a shape that no stream can be right on."""
        t = len(self.steps)
        if not t or self.steps[0] != 0 or (np.diff(self.steps) <= 0).any():
            raise DataError(
                "the observations of a run are out of order", got=str(self.steps[:6].tolist()),
                expected="ascending steps from 0, the base",
            )  # fmt: skip
        for name in ("margin", "margin_ablated", "kl_first", "latents", "loss", "alignment",
                     "cheap_refusal"):  # fmt: skip
            found = getattr(self, name)
            if found is not None and len(found) != t:
                raise DataError(
                    f"'{name}' does not fit the steps", got=f"{len(found)} readings",
                    expected=f"{t}",
                )  # fmt: skip

    def need(self, name: str) -> Array:
        """One field [T, …] as float64, or a `DataError` naming it where it was not read."""
        found = getattr(self, name)
        if found is None:
            raise DataError(f"the readings hold no '{name}'", expected="a store that measured it")
        return np.asarray(found, dtype=np.float64)

    def drift(self, name: str) -> Array:
        """One drift [T]."""
        if self.drifts is None or name not in self.drifts:
            raise DataError(f"the readings hold no drift '{name}'")
        return self.drifts[name]
