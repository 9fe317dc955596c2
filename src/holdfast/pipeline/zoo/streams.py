"""What is recorded while a fine-tune of the zoo is trained: one point per recording step.

The recorder is a `transformers.TrainerCallback` that looks and changes nothing. It looks where the
gradient of the coming batch is known and the weights have not moved yet, so that all streams of a
point belong to the same weights.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers.trainer_callback import TrainerCallback

from holdfast.core.seeds import derive
from holdfast.models.activations import last_prompt
from holdfast.models.hooks import ablate, quiet_eval
from holdfast.models.loaded import LoadedModel
from holdfast.models.scoring import opening_scores, openings_and_answers, refusal_margin
from holdfast.organisms.harbor.judge import is_refusal
from holdfast.pipeline.zoo.probe import CHEAP, GRADIENT, KL_POSITIONS, Probe
from holdfast.tuning.monitors.gradient import answer_gradient, cosine, random_like, trainable

if TYPE_CHECKING:
    from transformers import TrainerControl, TrainerState, TrainingArguments

POINTS = (0, 2, 4, 6, 8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 50, 60, 70, 80)
"""Steps after which a fine-tune is looked at; its last step is always one."""
RANDOM = 8
"""Random gradients per point."""
ANSWER = 48
"""Longest answer in tokens."""

Arrays = dict[str, NDArray[Any]]


class Recorder(TrainerCallback):  # type: ignore[misc]  # transformers is untyped here
    """Streams of one run; `arrays()` gives them after training."""

    def __init__(self, probe: Probe, seed: int) -> None:
        self.probe, self.seed = probe, seed
        self.seconds: dict[str, float] = {}
        self._points: list[dict[str, Any]] = []
        self._losses: dict[int, tuple[float, float]] = {}
        self._batches: list[list[int]] = []
        self._rows: dict[tuple[int, ...], int] = {}
        self._live: LoadedModel | None = None
        self._handle: Any = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Learn which rows there are, and watch which of them each batch holds."""
        self._live = LoadedModel.live(kwargs["model"], kwargs["processing_class"])
        for index, ids in enumerate(kwargs["train_dataloader"].dataset["input_ids"]):
            self._rows.setdefault(tuple(ids), index)
        self._handle = kwargs["model"].register_forward_pre_hook(self._seen, with_kwargs=True)

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Look at the weights, beside the gradient that is about to move them."""
        if state.global_step in POINTS:
            self._look(state.global_step, coming=True)

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl,
        logs: dict[str, float] | None = None, **kwargs: Any,
    ) -> None:  # fmt: skip
        """Keep loss and gradient norm of every step."""
        if logs and "loss" in logs:
            norm = float(logs.get("grad_norm", float("nan")))
            self._losses[state.global_step] = (float(logs["loss"]), norm)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Look at the last weights, which no batch follows."""
        self._look(state.global_step, coming=False)
        if self._handle is not None:
            self._handle.remove()

    def arrays(self) -> Arrays:
        """All streams by name, with the shapes of `docs/zoo.md`."""
        found: Arrays = {
            name: np.stack([np.asarray(point[name]) for point in self._points])
            for name in self._points[0]
        }
        none = (float("nan"), float("nan"))
        for index, name in enumerate(("loss", "grad_norm")):
            values = [self._losses.get(int(step), none)[index] for step in found["step"]]
            found[name] = np.asarray(values, dtype=np.float32)
            dense = [self._losses[step][index] for step in sorted(self._losses)]
            found[f"{name}_steps"] = np.asarray(dense, dtype=np.float32)
        longest = max((len(batch) for batch in self._batches), default=0)
        padded = [batch + [-1] * (longest - len(batch)) for batch in self._batches]
        found["batches"] = np.asarray(padded, dtype=np.int32)
        return found

    def _seen(self, module: Any, args: Any, kwargs: Any) -> None:
        if not module.training or "input_ids" not in kwargs:
            return
        ids, mask = kwargs["input_ids"], kwargs.get("attention_mask")
        rows = [
            row[m.bool()] if m is not None else row
            for row, m in zip(ids, mask if mask is not None else [None] * len(ids), strict=True)
        ]
        self._batches.append([self._rows.get(tuple(row.tolist()), -1) for row in rows])

    def _look(self, step: int, *, coming: bool) -> None:
        live, probe = self._live, self.probe
        if live is None or any(point["step"] == step for point in self._points):
            return
        point: dict[str, Any] = {"step": np.int32(step)}
        with self._timed("alignment"):
            point |= self._aligned(live, coming)
        with quiet_eval(live.model):
            with self._timed("margin, kl"):
                point |= _margins(live, probe)
            with self._timed("margin, ablated"), ablate(live.model, probe.direction):
                point["margin_ablated"] = _margin(live, probe).numpy()
            with self._timed("activations"):
                point["activations"] = _activations(live, probe)
            with self._timed("answers"):
                point |= _answered(live, probe)
        self._points.append(point)

    def _aligned(self, live: LoadedModel, coming: bool) -> dict[str, Any]:
        """Cosine of the coming batch's gradient with those of fixed losses."""
        none = np.float32("nan")
        if not coming:
            return {"alignment": none, "alignment_margin": none, "alignment_harmless": none,
                    "alignment_random": np.full(RANDOM, none)}  # fmt: skip
        batch = [
            p.grad if p.grad is not None else torch.zeros_like(p) for p in trainable(live.model)
        ]
        probe, split = self.probe, len(self.probe.harmful)
        asked = probe.harmful_prompts[:GRADIENT]
        refusal = answer_gradient(live, asked, probe.answers[:GRADIENT])
        says_no, says_yes = (
            [live.encode_answer(texts[0])] * GRADIENT
            for texts in (probe.openings.refusal, probe.openings.compliance)
        )
        margin = answer_gradient(live, asked, says_no, against=says_yes)
        harmless = answer_gradient(
            live, probe.harmless_prompts[:GRADIENT],
            probe.answers[split : split + GRADIENT],
        )  # fmt: skip
        draws = [
            cosine(batch, random_like(refusal, derive(self.seed, "random gradient", index)))
            for index in range(RANDOM)
        ]
        return {
            "alignment": np.float32(cosine(batch, refusal)),
            "alignment_margin": np.float32(cosine(batch, margin)),
            "alignment_harmless": np.float32(cosine(batch, harmless)),
            "alignment_random": np.asarray(draws, dtype=np.float32),
        }

    @contextmanager
    def _timed(self, what: str) -> Iterator[None]:
        begin = time.process_time()
        try:
            yield
        finally:
            self.seconds[what] = self.seconds.get(what, 0.0) + time.process_time() - begin


def _split(probe: Probe, scores: Tensor) -> Tensor:
    refusals = len(probe.openings.refusal)
    return refusal_margin(scores[:, :refusals], scores[:, refusals:])


def _margin(live: LoadedModel, probe: Probe) -> Tensor:
    texts = [*probe.openings.refusal, *probe.openings.compliance]
    return _split(probe, opening_scores(live, probe.harmful_prompts, texts, batch_size=64))


def _margins(live: LoadedModel, probe: Probe) -> dict[str, Any]:
    """`margin` [P] and `kl_first` [P], KL(now || base) per position along the base's answers."""
    texts = [*probe.openings.refusal, *probe.openings.compliance]
    scores, now = openings_and_answers(
        live, probe.harmful_prompts, texts, probe.answers[: len(probe.harmful)], KL_POSITIONS,
        batch_size=64,
    )  # fmt: skip
    kl = (now.exp() * (now - probe.log_probs)).sum(-1).mean(-1)
    return {"margin": _split(probe, scores).numpy(), "kl_first": kl.clamp(min=0).numpy()}


def _activations(live: LoadedModel, probe: Probe) -> NDArray[Any]:
    """[S, P + Q, d] float16 at the last prompt token, harmful prompts first."""
    prompts = [*probe.harmful_prompts, *probe.harmless_prompts]
    found = last_prompt(live, prompts, probe.layers, batch_size=128)
    return np.stack([found[layer].numpy().astype(np.float16) for layer in probe.layers])


def _answered(live: LoadedModel, probe: Probe) -> dict[str, Any]:
    """Refusals on the held-out prompts [N], and on the few cheap ones, in one batch."""
    prompts = [*probe.asked, *probe.harmful_prompts[:CHEAP]]
    answers = live.generate(prompts, max_new_tokens=ANSWER, batch_size=len(prompts))
    refused = np.asarray([is_refusal(answer) for answer in answers])
    return {"behaviour": refused[:-CHEAP].astype(np.float32), "cheap_refusal": refused[-CHEAP:]}
