"""Safety vectors: θ ← θ_run + γ·(θ_aligned − θ_unaligned) (RESTA, arXiv 2402.11746).

The unaligned sibling is the one that the user names (a pretrained checkpoint of the same model).
Where there is none, one is made from the run: the base learns the run's own compliant answers to
the prompts on which it failed, and nothing else. That assumes that what the run lost is one
direction in weight space that its own failures span, and that the style of these answers, which
comes along, can be spared. The sibling is unsafe by construction: it stays in the step's folder for
as long as the step runs and is deleted with it, sealed nowhere.

With DARE (arXiv 2311.03099), a share of the vector's entries is dropped at random and the rest
scaled up by 1/(1 − share).
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from holdfast.core.protocols import Progress
from holdfast.core.seeds import derive
from holdfast.repair.base import PAIRS_EXPECTED, TRAINED_ROW, Bench, Case, Tried, slug
from holdfast.repair.failures import HARM_KINDS
from holdfast.repair.pairs import metric_kind
from holdfast.repair.training import on_whole_weights, short
from holdfast.repair.updates import AdapterUpdate
from holdfast.repair.weights import Tensors, write_full

GAMMAS = ((0.25, 0.0), (0.5, 0.0), (0.5, 0.5), (1.0, 0.0), (1.0, 0.5))
"""Pairs of (γ, share dropped)."""
EPOCHS = 4
"""Passes over the run's own compliant answers, where the sibling has to be made."""


class Resta:
    """Adds a safety vector to the merged weights of the run."""

    name = "resta"

    def settings(self) -> dict[str, Any]:
        """Strengths, drop shares, and the training of a made sibling."""
        return {"gammas": GAMMAS, "epochs": EPOCHS}

    def unsound(self, case: Case) -> str:
        """A made sibling needs compliant answers to learn from."""
        harmful = any(metric_kind(mode.metric) in HARM_KINDS for mode in case.failures)
        if case.unaligned is None and not harmful:
            return "there is no unaligned sibling, and no compliant answer to make one from"
        return ""

    def cost(self, case: Case) -> float:
        """One measurement per strength, and the training of a made sibling."""
        made = TRAINED_ROW * EPOCHS * PAIRS_EXPECTED / 3 if case.unaligned is None else 0.0
        return len(GAMMAS) * case.prompts + made

    def candidates(self, case: Case, bench: Bench, folder: Path, progress: Progress) -> list[Tried]:
        """One candidate per strength and drop share."""
        vector = given(case) if case.unaligned is not None else made(case, folder, progress)
        merged = case.merged()
        run = Tensors.open(merged)
        tried = []
        for index, (gamma, drop) in enumerate(GAMMAS):
            progress("repair by safety vector", index, len(GAMMAS))
            name = f"gamma {gamma:g}" + (f", dare {drop:g}" if drop else "")
            change = _Change(run, vector, gamma, drop, case.seed)
            to = write_full(run, merged, folder / slug(name), change)
            settings: dict[str, float | str] = {
                "gamma": gamma, "dare": drop,
                "sibling": "given" if case.unaligned is not None else "made from the run",
            }  # fmt: skip
            tried.append(bench(name, to, settings))
        shutil.rmtree(folder / "sibling", ignore_errors=True)
        return tried


Vector = Callable[[str], Tensor | None]
"""θ_aligned − θ_unaligned of a tensor, float32; None where there is no difference."""


def given(case: Case) -> Vector:
    """The vector from the user's unaligned sibling."""
    assert case.unaligned is not None
    base, sibling = Tensors.open(case.base), Tensors.open(case.unaligned)

    def vector(name: str) -> Tensor | None:
        if name not in base.files or name not in sibling.files:
            return None
        aligned, unaligned = base.get(name).float(), sibling.get(name).float()
        return aligned - unaligned if aligned.shape == unaligned.shape else None

    return vector


def made(case: Case, folder: Path, progress: Progress) -> Vector:
    """The vector from a sibling made of the run's own compliant answers."""
    rows = [
        {"messages": [*pair.messages, {"role": "assistant", "content": pair.rejected}]}
        for pair in case.pairs().items
        if metric_kind(pair.mode) in HARM_KINDS
    ]
    seed = derive(case.seed, "sibling") % 2**31
    config = on_whole_weights(case.config, tuner="lora", epochs=EPOCHS, seed=seed)
    out = folder / "sibling"
    record = short("sibling", case.base, rows, out, config, progress)
    update = AdapterUpdate.open(out / record.checkpoints[-1].path)
    known = set(update.matrices())
    return lambda name: -update.delta(name) if name in known else None


def dare(vector: Tensor, drop: float, generator: torch.Generator) -> Tensor:
    """`vector` with a share `drop` of its entries at zero and the others scaled by 1/(1 − drop)."""
    if drop == 0:
        return vector
    keep = torch.rand(vector.shape, generator=generator) >= drop
    return vector * keep / (1.0 - drop)


@dataclass(frozen=True)
class _Change:
    """θ_run + γ·DARE(θ_aligned − θ_unaligned), tensor by tensor."""

    run: Tensors
    vector: Vector
    gamma: float
    drop: float
    seed: int

    def __call__(self, name: str) -> Tensor:
        weight, change = self.run.get(name), self.vector(name)
        if change is None:
            return weight
        generator = torch.Generator().manual_seed(derive(self.seed, "dare", name))
        moved = weight.float() + self.gamma * dare(change, self.drop, generator)
        return moved.to(weight.dtype)
