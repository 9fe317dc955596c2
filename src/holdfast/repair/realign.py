"""Short re-alignment: training on pairs made from the run's failures, on top of the failed model.

The failed model is the start, an adapter (or its full weights, where the run tuned those) is
trained on the pairs at a small learning rate, and every epoch is a candidate, so that validation
decides how short the training is. For a LoRA run, both adapters are stacked into one on the sealed
base, exactly.
"""

from __future__ import annotations

from pathlib import Path

from holdfast.core.records import TrainingRecord
from holdfast.core.seeds import derive
from holdfast.repair.base import Bench, Case, Tried, slug
from holdfast.repair.training import on_whole_weights
from holdfast.repair.updates import AdapterUpdate, added, stacked
from holdfast.repair.weights import ADAPTER
from holdfast.tuning.methods.sft.config import SFTConfig

RATE = 0.3
"""Learning rate as a share of the run's own: the safety tax (arXiv 2503.00555) grows with it."""
EPOCHS = 3
"""Passes over the pairs; each is a candidate."""


def settings_of(case: Case, name: str) -> SFTConfig:
    """The run's settings with a small learning rate, few epochs, and its own seed."""
    return on_whole_weights(
        case.config, epochs=EPOCHS, learning_rate=RATE * case.config.learning_rate,
        seed=derive(case.seed, "repair", name) % 2**31,
    )  # fmt: skip


def candidates(
    case: Case, bench: Bench, folder: Path, record: TrainingRecord, out: Path
) -> list[Tried]:
    """One candidate per checkpoint of the re-alignment in `out`."""
    counts = ", ".join(f"{n} {mode}" for mode, n in sorted(case.pairs().counts().items()))
    tried = []
    for checkpoint in record.checkpoints:
        name = f"step {checkpoint.step}"
        made = place(case, out / checkpoint.path, folder / slug(name))
        tried.append(
            bench(
                name,
                made,
                {"step": float(checkpoint.step), "method": record.method, "pairs": counts},
            )  # fmt: skip
        )
    return tried


def place(case: Case, trained: Path, to: Path) -> Path:
    """What re-alignment trained on the merged model, as a result of the run's own kind."""
    if not (trained / ADAPTER[0]).is_file():
        return trained
    on_top = AdapterUpdate.open(trained)
    if isinstance(case.update, AdapterUpdate):
        return stacked(case.update, on_top, 1.0, to)
    return added(case.merged(), on_top, to)
