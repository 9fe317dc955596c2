"""Cohen's kappa with an interval by a bootstrap over prompts: there is no closed form for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from holdfast.core.records import Interval

Cells = tuple[int, int, int, int]
"""(true positives, false negatives, false positives, true negatives) of one prompt's answers."""


def kappa(tp: float, fn: float, fp: float, tn: float) -> float | None:
    """Cohen's kappa (1960), (p_o - p_e)/(1 - p_e); None where chance alone agrees fully."""
    n = tp + fn + fp + tn
    if n == 0:
        return None
    chance = ((tp + fn) * (tp + fp) + (fp + tn) * (fn + tn)) / (n * n)
    if chance == 1.0:
        return None
    return ((tp + tn) / n - chance) / (1.0 - chance)


def kappa_interval(
    prompts: Sequence[Cells],
    confidence: float = 0.95,
    *,
    resamples: int = 400,
    seed: int = 0,
) -> Interval | None:
    """Percentile interval of kappa over resampled prompts; None where kappa is not defined.

    Prompts, not answers, are drawn: the answers to one prompt are right or wrong together. Draws
    without a defined kappa are left out.
    """
    import numpy as np

    counts: Mapping[Cells, int] = _tally(prompts)
    cells = np.array(list(counts), dtype=float).reshape(-1, 4)
    value = kappa(*(float(x) for x in np.array(list(counts.values())) @ cells)) if counts else None
    if value is None:
        return None
    chances = np.array(list(counts.values())) / len(prompts)
    draws = np.random.default_rng(seed).multinomial(len(prompts), chances, size=resamples) @ cells
    found = [k for k in (kappa(*map(float, row)) for row in draws) if k is not None]
    low, high = np.quantile(found, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(
        value=value, low=float(low), high=float(high), confidence=confidence, method="bootstrap"
    )


def _tally(prompts: Sequence[Cells]) -> dict[Cells, int]:
    counts: dict[Cells, int] = {}
    for cells in prompts:
        counts[cells] = counts.get(cells, 0) + 1
    return counts
