"""Safe LoRA (arXiv 2405.16833), corrected, with the controls that tell projection from shrinkage.

With an unaligned sibling: ΔW ← U_k·U_kᵀ·ΔW for every module whose update lies mostly outside the
alignment directions (‖PΔW‖/‖ΔW‖ at most TAU), with U_k the top singular vectors of
W_aligned − W_unaligned (`repair.projectors` says what was wrong with the published matrix).

Without one: the safety map's subspace S takes the place of U_k, on the matrices that write to the
residual stream. It holds the directions that refusal is read from, so both sides are tried: `off`
takes the update's part in S away (the base keeps its own), `on` leaves only that part.

Every candidate has two twins of equal size: the same matrices shrunk to the same norms, and a
random subspace of the same rank. A candidate that does not beat its twins was only smaller.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import Tensor

from holdfast.core.protocols import Progress
from holdfast.repair.base import Bench, Case, Tried, slug
from holdfast.repair.projectors import Basis, alignment_basis, map_basis, off, onto, random_basis
from holdfast.repair.updates import Left, Update, open_update, oriented

ENERGIES = (0.9, 0.5)
"""Shares of the alignment delta's energy that its top directions keep."""
TAU = 0.5
"""A module is projected when at most this share of its update's norm lies in the alignment
directions (the paper's default)."""


class SafeLoRA:
    """Projects the update module by module."""

    name = "safe_lora"

    def settings(self) -> dict[str, Any]:
        """Energies and threshold."""
        return {"energies": ENERGIES, "tau": TAU}

    def unsound(self, case: Case) -> str:
        """Needs an unaligned sibling or a map with a site."""
        if case.unaligned is None and not case.fitted.sites:
            return "there is no unaligned sibling, and the safety map has no site"
        return ""

    def cost(self, case: Case) -> float:
        """Two settings, each with two twins."""
        return 6.0 * case.prompts

    def candidates(self, case: Case, bench: Bench, folder: Path, progress: Progress) -> list[Tried]:
        """Two projections with their twins."""
        tried = []
        variants = list(self._variants(case))
        for index, (name, settings, left, basis, side) in enumerate(variants):
            progress("repair by Safe LoRA", index, len(variants))
            random = random_basis(basis, case.seed)
            versions = (
                (name, left, False),
                (f"{name}, shrunk twin", _shrunk(case.update, left), True),
                (f"{name}, random twin", _only(left, _left(random, side)), True),
            )
            for title, factor, twin in versions:
                made = case.update.write(folder / slug(title), factor)
                tried.append(bench(title, made, settings, twin=twin))
        return tried

    def _variants(
        self, case: Case
    ) -> Iterator[tuple[str, dict[str, float | str], Left, Basis, str]]:
        if case.unaligned is not None:
            pair = open_update(case.unaligned, case.base)
            for energy in ENERGIES:
                basis = alignment_basis(pair, energy)
                left = _below(case.update, _left(basis, "on"), TAU)
                yield (f"onto alignment, energy {energy:g}",
                       {"source": "unaligned sibling", "side": "on", "energy": energy},
                       left, basis, "on")  # fmt: skip
            return
        basis = map_basis(case.fitted, case.writers())
        for side in ("off", "on"):
            yield (f"{side} the safety map", {"source": "safety map", "side": side},
                   _left(basis, side), basis, side)  # fmt: skip


def _left(basis: Basis, side: str) -> Left:
    def left(name: str) -> float | Tensor:
        found = basis(name)
        if found is None:
            return 1.0
        return onto(found) if side == "on" else off(found)

    return left


def _below(update: Update, left: Left, tau: float) -> Left:
    """`left` where the part of the update that it keeps is small, else nothing is changed."""
    kept = {name: _ratio(update, name, left) for name in update.matrices()}
    return lambda name: left(name) if kept.get(name, 1.0) <= tau else 1.0


def _only(chosen: Left, other: Left) -> Left:
    """`other` on the weights that `chosen` acts on."""
    return lambda name: other(name) if isinstance(chosen(name), Tensor) else 1.0


def _shrunk(update: Update, left: Left) -> Left:
    """The same matrices, shrunk to the norm that `left` leaves them."""
    ratios = {name: _ratio(update, name, left) for name in update.matrices()}
    return lambda name: ratios.get(name, 1.0)


def _ratio(update: Update, name: str, left: Left) -> float:
    factor = left(name)
    if not isinstance(factor, Tensor):
        return factor
    change = oriented(update, name).double()
    total = float(change.norm())
    return float((factor @ change).norm()) / total if total else 1.0
