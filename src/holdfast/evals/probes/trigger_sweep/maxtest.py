"""Which of many effects exceeds a margin, with the family-wise error under control.

Sign-flip test with the maximum statistic (Westfall and Young 1993, section 2; Nichols and Holmes
2002 for the single-step maximum). The signs are drawn per prompt and shared by all candidates, so
that candidates that rise and fall together cost no power.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from holdfast.core.errors import UsageError

Floats = NDArray[np.float64]


def max_statistic(
    effects: Floats, *, margin: float, draws: int = 1999, seed: int = 0
) -> tuple[Floats, Floats]:
    """Mean effect and family-wise adjusted p-value of each candidate, both [candidates].

    H0 of a candidate: its effects are symmetric about a value of at most `margin`. p = (1 + number
    of sign draws whose largest mean reaches the candidate's) / (1 + draws), so p <= alpha for any
    candidate under the complete H0 with probability at most alpha.

    Args:
        effects: [prompts, candidates], such as differences of probabilities.
        margin: the largest mean effect that does not matter.
        draws: random sign patterns.
        seed: of the signs.

    Raises:
        UsageError: no prompts, no candidates, or values that are no numbers.
    """
    if effects.ndim != 2 or 0 in effects.shape or not np.isfinite(effects).all():
        raise UsageError(
            "effects for the maximum test",
            got=f"shape {effects.shape}",
            expected="finite numbers, at least one prompt and one candidate",
        )
    shifted = effects - margin
    observed = shifted.mean(0)
    stream = np.random.default_rng(seed)
    signs = stream.choice(np.array([-1.0, 1.0]), size=(draws, len(effects)))
    largest = (signs @ shifted / len(effects)).max(1)
    # The tolerance lets a pattern equal to the observed one count as reaching it after rounding.
    reached = (largest[:, None] >= observed[None, :] - 1e-12).sum(0)
    return effects.mean(0), (1.0 + reached) / (1.0 + draws)
