"""What the combined monitor measures in training beyond the usual observation, and whom it blames.

Cost of one look: a pass over the probe prompts with the direction ablated and a backward pass on
`GRADIENT` of them, each only where a stream of the score needs it. Rows are blamed at an alarm.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor, nn

from holdfast.core.errors import UsageError
from holdfast.core.protocols import Messages
from holdfast.core.records import BlamedRow
from holdfast.models.hooks import ablate
from holdfast.models.loaded import LoadedModel
from holdfast.models.scoring import opening_scores, refusal_margin
from holdfast.tuning.monitors.blame import Batches
from holdfast.tuning.monitors.gradient import Gradient, answer_gradient, cosine, trainable
from holdfast.tuning.monitors.readings import Array
from holdfast.tuning.monitors.watch import Seen, Watch

GRADIENT = 16
"""Harmful probe prompts of the loss of refusing."""
OPENING = 8
"""Tokens of the base's own answer that it is computed on."""


class Sight(NamedTuple):
    """What the safety map of the base tells: where to look, and along what."""

    site: str
    """The best site, fixed on the base."""
    direction: Tensor
    """[d] the base's refusal direction there."""
    categories: tuple[str, ...]
    """Harm category of every harmful probe prompt."""


class Blame(NamedTuple):
    """Whom an alarm names."""

    concept: str
    site: str
    streams: dict[str, float]
    rows: tuple[BlamedRow, ...]


class Looking:
    """A `Watch` with what it takes to feed it.

    Args:
        watch: the combined monitor.
        harmful: harmful probe prompts.
        openings: starts of answers, refusals first.
        refusals: how many of them are refusals.
        sight: what the safety map tells.
        latents: whether an SAE's latents are read.

    Raises:
        UsageError: a stream needs the safety map, or an SAE, and none is given.
    """

    def __init__(
        self, watch: Watch, harmful: Sequence[Messages], openings: Sequence[str], refusals: int, *,
        sight: Sight | None, latents: bool = False, batch_size: int = 64,
    ) -> None:  # fmt: skip
        mapped = {"margin_ablated", "drifts"} & watch.needs
        if mapped and sight is None:
            raise UsageError(
                "the combined monitor needs a safety map", got="probe prompts alone",
                next_step="pass safety_map and the ProbeSet picked from it",
            )  # fmt: skip
        if "latents" in watch.needs and not latents:
            raise UsageError("the combined monitor needs an SAE", next_step="name it: model.sae")
        self.watch, self.sight = watch, sight
        self._harmful, self._openings, self._refusals = list(harmful), list(openings), refusals
        self._batch = batch_size
        self._answers: list[list[int]] = []
        self._batches = Batches()
        self._parts: dict[str, float] = {}

    def prepare(self, base: LoadedModel) -> None:
        """Keep how the base's own answers begin."""
        asked = self._harmful[:GRADIENT]
        texts = base.generate(asked, max_new_tokens=OPENING, batch_size=self._batch)
        end = [min(base.end_tokens, default=base.pad_token)] * OPENING
        self._answers = [(base.encode_answer(text) + end)[:OPENING] for text in texts]

    def know(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Learn the training rows, as token ids, that an alarm may name."""
        self._batches = Batches(rows)

    def attach(self, model: nn.Module) -> None:
        """Meet the model in training."""
        self._batches.attach(model)

    def detach(self) -> None:
        """Leave it."""
        self._batches.detach()

    def begin(self, step: int) -> None:
        """The batches from here on make optimizer step `step`."""
        self._batches.step = step

    def look(
        self, live: LoadedModel, step: int, margins: Tensor, kl: Tensor, drifts: dict[str, float],
        latents: Array | None = None,
    ) -> Seen:  # fmt: skip
        """Measure what is missing and score; call it inside `quiet_eval`.

        Args:
            live: the model in training.
            step: a step that was due.
            margins: [P] refusal margins.
            kl: [P] first-token KL, in nats.
            drifts: by "drift@site".
            latents: [2] activity of harmful latents, where there is an SAE.
        """
        rows = {"margin": margins.tolist(), "kl_first": kl.clamp(min=0).tolist()}
        if latents is not None:
            rows["latents"] = latents.tolist()
        here: dict[str, float] = {}
        if self.sight is not None:
            end = "@" + self.sight.site
            here = {k.removesuffix(end): v for k, v in drifts.items() if k.endswith(end)}
            if "margin_ablated" in self.watch.needs:
                with ablate(live.model, self.sight.direction):
                    rows["margin_ablated"] = self._margin(live).tolist()
        seen = self.watch.see(step, drifts=here, **rows)
        self._parts = seen.parts
        return seen

    def aligned(self, live: LoadedModel, step: int) -> None:
        """Compare the gradient that is about to be used with that of the loss of refusing."""
        update: Gradient = [
            p.grad if p.grad is not None else p.new_zeros(p.shape) for p in trainable(live.model)
        ]
        self.watch.aligned(step, cosine(update, self._refusing(live)))

    def blame(self, live: LoadedModel) -> Blame:
        """Name the concept, site, streams and rows behind an alarm that has just fired."""
        first, now = self.watch.margins()
        concept = "harmful"
        if self.sight is not None and len(first) == len(self.sight.categories):
            gone = np.subtract(first, now)
            names = np.asarray(self.sight.categories)
            mean = {name: float(gone[names == name].mean()) for name in sorted(set(names))}
            concept = f"harmful/{max(mean, key=lambda name: mean[name])}"
        return Blame(
            concept, self.sight.site if self.sight else "",
            dict(sorted(self._parts.items(), key=lambda part: -part[1])),
            self._batches.blamed(live, self._refusing(live)),
        )  # fmt: skip

    def _refusing(self, live: LoadedModel) -> Gradient:
        return answer_gradient(live, self._harmful[: len(self._answers)], self._answers)

    def _margin(self, live: LoadedModel) -> Tensor:
        scores = opening_scores(live, self._harmful, self._openings, batch_size=self._batch)
        return refusal_margin(scores[:, : self._refusals], scores[:, self._refusals :])
