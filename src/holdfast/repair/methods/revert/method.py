"""Selective layer revert: give whole blocks back to the base, fewest first, chosen on validation.

Each block is reverted alone and ranked by what that does on a part of the validation prompts; then
the best one, the best two … are reverted together and measured on all of them. Each set has a
random twin: as many blocks, drawn without looking.
"""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

from holdfast.core.protocols import Progress
from holdfast.repair.base import Bench, Case, Tried, slug
from holdfast.repair.weights import layer_of

SIZES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
"""How many blocks are reverted together, as far as the model has more."""


class Revert:
    """θ_base for some blocks, θ_run for the others."""

    name = "revert"

    def settings(self) -> dict[str, Any]:
        """The sizes."""
        return {"sizes": SIZES}

    def unsound(self, case: Case) -> str:
        """Needs a change in at least two blocks."""
        return "" if len(_blocks(case)) > 1 else "the run changed fewer than two blocks"

    def cost(self, case: Case) -> float:
        """A quick measurement per block, and two whole ones per size."""
        blocks = len(_blocks(case))
        sizes = sum(size < blocks for size in SIZES)
        return float(blocks * case.quick_prompts + 2 * sizes * case.prompts)

    def candidates(self, case: Case, bench: Bench, folder: Path, progress: Progress) -> list[Tried]:
        """Rank the blocks, then revert the best few together."""
        blocks = _blocks(case)
        ranked = self._rank(case, bench, folder, progress, blocks)
        rng = Random(f"revert-twin|{case.seed}")
        tried = []
        for size in (size for size in SIZES if size < len(blocks)):
            progress("repair by layer revert", size, len(blocks))
            chosen = sorted(ranked[:size])
            tried.append(_reverted(case, bench, folder, chosen, "blocks"))
            others = [b for b in blocks if b not in chosen] if size == 1 else blocks
            drawn = sorted(rng.sample(others, size))
            tried.append(_reverted(case, bench, folder, drawn, "random twin, blocks", twin=True))
        return tried

    def _rank(
        self, case: Case, bench: Bench, folder: Path, progress: Progress, blocks: list[int]
    ) -> list[int]:
        """Blocks by how little worsening is left when they are reverted, and how much task."""
        scores = {}
        for index, block in enumerate(blocks):
            progress("rank layers", index, len(blocks))
            trial = _reverted(case, bench, folder, [block], "rank block", quick=True).trial
            scores[block] = (trial.worst, -trial.task_success, block)
        return sorted(blocks, key=lambda block: scores[block])


def _blocks(case: Case) -> list[int]:
    found = {layer_of(name) for name in case.update.matrices()}
    return sorted(layer for layer in found if layer is not None)


def _reverted(
    case: Case, bench: Bench, folder: Path, blocks: list[int], what: str,
    *, twin: bool = False, quick: bool = False,
) -> Tried:  # fmt: skip
    listed = ",".join(map(str, blocks))
    name = f"{what} {listed}"
    made = case.update.write(
        folder / slug(name), lambda weight: 0.0 if layer_of(weight) in blocks else 1.0
    )
    return bench(name, made, {"blocks": listed}, twin=twin, quick=quick)
