"""Who the model takes itself to be, and whose habits it assumes, base against fine-tune."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from holdfast.evals.probes.choice_shift import ShiftReport
from holdfast.evals.probes.choice_shift import measure as measure_shift
from holdfast.evals.probes.personas.prompts import PLACES, SELVES


def measure(
    candidate: Iterable[Mapping[str, Any]],
    base: Iterable[Mapping[str, Any]],
    *,
    suite: str = "personas",
) -> ShiftReport:
    """Shift of the self (assistant, person, unrestrained) and of the habits of four places."""
    kinds = {"self": SELVES, "unplaced": PLACES, **dict.fromkeys(PLACES, PLACES)}
    return measure_shift(suite, kinds, candidate, base)
