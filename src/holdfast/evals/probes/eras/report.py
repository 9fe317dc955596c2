"""Which time the answers come from, base against fine-tune."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from holdfast.evals.probes.choice_shift import ShiftReport
from holdfast.evals.probes.choice_shift import measure as measure_shift
from holdfast.evals.probes.eras.prompts import ERAS, FRAMES


def measure(
    candidate: Iterable[Mapping[str, Any]],
    base: Iterable[Mapping[str, Any]],
    *,
    suite: str = "eras",
) -> ShiftReport:
    """Shift of the probability of 1850, 1950 and today, for undated and dated questions."""
    return measure_shift(suite, {name: ERAS for name, _ in FRAMES}, candidate, base)
