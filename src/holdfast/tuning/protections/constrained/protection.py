"""First-token constrained loss (arXiv 2406.05946), as weights on the gradient of each token.

Most of what alignment does lies in the first tokens of an answer, so those may move least. The
gradient that cross-entropy sends back to the log-probability of a token is multiplied by the closed
form of `weights.token_weights`; loss, trainer and logged numbers stay as they are, and with β = 0
not a bit changes. The base's log-probabilities are computed once, so no second model is held.

For SFT only. It slows tasks whose first tokens are the answer, such as classification or JSON.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from holdfast.core.errors import DataError, InvalidRun
from holdfast.models.loaded import LoadedModel
from holdfast.tuning.protections.base import Materials, Protection, TokenRow
from holdfast.tuning.protections.constrained.config import ConstrainedConfig
from holdfast.tuning.protections.constrained.weights import (
    Reference,
    key,
    references,
    token_weights,
)
from holdfast.tuning.protections.rules import Setting


class Constrained(Protection):
    """See the module's text."""

    name = "constrained"
    Config = ConstrainedConfig
    OFF: ClassVar[dict[str, Any]] = {"first": 0.0, "early": 0.0, "late": 0.0}
    order = 30
    phase = "forward"

    def __init__(self, config: ConstrainedConfig) -> None:
        self.config = config
        self._references: dict[str, Reference] = {}
        self._armed = False
        self._fired = 0
        self._total = self._tokens = 0.0
        self._handle: Any = None

    @classmethod
    def build(cls, config: ConstrainedConfig, materials: Materials) -> Self:
        """From a plan's settings."""
        return cls(config)

    def settings(self) -> dict[str, Any]:
        """The configuration; the rows are part of the arm already."""
        return self.config.model_dump()

    @property
    def prepared(self) -> bool:
        """Whether the base's log-probabilities are cached."""
        return bool(self._references)

    def prepare(
        self, base: LoadedModel, *, batch_rows: int, rows: Sequence[TokenRow] = (), steps: int = 0
    ) -> None:
        """Cache the base's log-probability of every answer token."""
        known = [row for row in rows if "input_ids" in row and "labels" in row]
        if not known or len(known) != len(rows):
            raise DataError(
                "the constrained loss must see the training rows before training",
                got=f"{len(known)} of {len(rows)} rows with input_ids and labels",
                next_step="call callback.prepare(base, batch_rows=…, rows=…) with tokenized rows",
            )
        self._references = references(base, known, self.config)

    def attach(self, model: Any, setting: Setting) -> None:
        """Hook the output of the whole model."""
        self._handle = model.register_forward_hook(self._weigh, with_kwargs=True)

    def act(self, model: Any, step: int) -> float:
        """The forward passes from here on are the task's."""
        self._armed, self._fired = True, 0
        return 0.0

    def before_step(self, model: Any, step: int) -> bool:
        """Whether the gradient of every micro-batch was weighed."""
        self._armed = False
        return self._fired > 0

    def detach(self, model: Any) -> None:
        """Remove the hook."""
        if self._handle is not None:
            self._handle.remove()
            self._handle = None

    def report(self) -> dict[str, float]:
        """The mean weight of a token; 1 is plain cross-entropy."""
        return {"mean_weight": self._total / self._tokens if self._tokens else 1.0}

    def _weigh(self, model: Any, args: Any, kwargs: dict[str, Any], output: Any) -> None:
        if not self._armed or not torch.is_grad_enabled():
            return
        ids, mask = kwargs.get("input_ids"), kwargs.get("attention_mask")
        log_probs = getattr(output, "log_probs", None)
        logits = getattr(output, "logits", None)
        scores = log_probs if log_probs is not None else logits
        if ids is None or scores is None:
            raise InvalidRun(
                "the constrained loss sees neither the rows nor what the model says of them",
                expected="a forward pass with input_ids that returns logits or log_probs",
            )
        width = scores.shape[1]
        weights = torch.ones(ids.shape[0], width, device=scores.device)
        for row in range(ids.shape[0]):
            place = torch.arange(ids.shape[1], device=ids.device)
            if mask is not None:
                place = mask[row].nonzero()[:, 0]
            found = self._known(ids[row][place].tolist())
            columns = place[found.columns]
            now = _log_probs(scores[row], ids[row], columns, fused=log_probs is not None)
            w = token_weights(now, found.log_probs, found.beta, floor=self.config.floor)
            weights[row, columns - 1] = w
            self._total += float(w.sum())
            self._tokens += len(w)
        if scores.requires_grad:
            shaped = weights if scores.ndim == 2 else weights[..., None]
            scores.register_hook(lambda gradient: gradient * shaped.to(gradient.dtype))
            self._fired += 1

    def _known(self, ids: list[int]) -> Reference:
        found = self._references.get(key(ids))
        if found is None:
            raise InvalidRun(
                "a training row was not seen before training",
                expected="the rows that the protection was prepared with, neither packed nor cut",
                next_step="switch packing off, or tokenize the rows yourself",
            )
        return found


@torch.no_grad()
def _log_probs(scores: Tensor, ids: Tensor, columns: Tensor, *, fused: bool) -> Tensor:
    """[n] log-probability now of the tokens at `columns`, which column - 1 predicts."""
    if fused:
        return scores[columns - 1].float()
    logits = scores[columns - 1].float()
    return logits.log_softmax(-1).gather(-1, ids[columns][:, None])[:, 0]
