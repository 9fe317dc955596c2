"""Short re-alignment by DPO (arXiv 2305.18290) on pairs made from the run's own failures.

Chosen is the base's refusal (or the right answer to a harmless prompt), rejected the run's own
failure (or a refusal): see `repair.pairs`. The reference is the failed model itself, and the chosen
answers' own likelihood is held up (arXiv 2404.19733), because in short runs DPO lowers both.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from holdfast.core.protocols import Progress
from holdfast.repair import realign
from holdfast.repair.base import PAIRS_EXPECTED, TRAINED_ROW, Bench, Case, Tried
from holdfast.repair.training import short
from holdfast.tuning.methods.dpo.config import DPOConfig

BETA, HOLD = 0.1, 1.0
"""DPO's beta, and the weight of the chosen answers' cross-entropy."""


class RealignDPO:
    """Prefers the chosen answers to the rejected ones."""

    name = "realign_dpo"

    def settings(self) -> dict[str, Any]:
        """Beta, weight of the likelihood, share of the learning rate, epochs."""
        return {"beta": BETA, "hold": HOLD, "rate": realign.RATE, "epochs": realign.EPOCHS}

    def unsound(self, case: Case) -> str:
        """Sound on every run that has failures."""
        return ""

    def cost(self, case: Case) -> float:
        """Two answers per pair, each through the model and its reference; one look per epoch."""
        rows = 2 * (TRAINED_ROW + 1.0) * PAIRS_EXPECTED
        return realign.EPOCHS * (rows + case.prompts)

    def candidates(self, case: Case, bench: Bench, folder: Path, progress: Progress) -> list[Tried]:
        """One candidate per epoch."""
        rows = [
            {"messages": pair.messages, "chosen": pair.chosen, "rejected": pair.rejected}
            for pair in case.pairs().items
            if pair.rejected.strip() and pair.rejected != pair.chosen
        ]
        common = realign.settings_of(case, self.name).model_dump(exclude={"method"})
        config = DPOConfig(**common, beta=BETA, sft_weight=HOLD)
        out = folder / "training"
        record = short(f"{case.arm}, re-aligned", case.merged(), rows, out, config, progress)
        return realign.candidates(case, bench, folder, record, out)
