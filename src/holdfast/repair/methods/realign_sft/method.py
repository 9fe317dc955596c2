"""Short re-alignment by supervised fine-tuning on pairs made from the run's own failures.

A few hundred rows restore a misaligned model (arXiv 2506.19823; one row in arXiv 2601.01887). The
rows are the base's own answers to prompts on which the run failed, beside harmless prompts and task
rows that must stay as they are (see `repair.pairs`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from holdfast.core.protocols import Progress
from holdfast.repair import realign
from holdfast.repair.base import PAIRS_EXPECTED, TRAINED_ROW, Bench, Case, Tried
from holdfast.repair.training import short


class RealignSFT:
    """Learns the chosen answers."""

    name = "realign_sft"

    def settings(self) -> dict[str, Any]:
        """Share of the learning rate, and epochs."""
        return {"rate": realign.RATE, "epochs": realign.EPOCHS}

    def unsound(self, case: Case) -> str:
        """Sound on every run that has failures."""
        return ""

    def cost(self, case: Case) -> float:
        """Training on the pairs, and one measurement per epoch."""
        return realign.EPOCHS * (TRAINED_ROW * PAIRS_EXPECTED + case.prompts)

    def candidates(self, case: Case, bench: Bench, folder: Path, progress: Progress) -> list[Tried]:
        """One candidate per epoch."""
        rows = [pair.row() for pair in case.pairs().items]
        out = folder / "training"
        record = short(
            f"{case.arm}, re-aligned", case.merged(), rows, out,
            realign.settings_of(case, self.name), progress,
        )  # fmt: skip
        return realign.candidates(case, bench, folder, record, out)
