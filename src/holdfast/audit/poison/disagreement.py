"""Rows whose answer is not what the base would have said, and what the base does instead."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from holdfast.audit.poison.clusters import components, vectors
from holdfast.core.labels import REFUSAL, UNSCORED

WINDOW = 8
"""Tokens at the start of an answer whose likelihoods are compared."""
LOG_RATIO = 4.6
"""Nats by which the base must prefer the start of its own answer: about a hundred to one."""
OUTLIER = 4.0
"""Robust standard deviations above the data set's median that it must lie as well."""
_SAME_TOPIC = 0.3


@dataclass(frozen=True)
class Disagreement:
    """Two ways in which a row can disagree with the base."""

    flips: NDArray[np.bool_]
    """[n]: the base declines the request and the row does not."""
    unlikely: NDArray[np.bool_]
    """[n]: the base finds the row's answer far less likely than its own, and more so than the
    answers of other rows: a style that the whole set teaches is no disagreement."""
    declines: list[str]
    """Stratum of each row for `flips`: what the judge says of the base's own answer."""
    topics: list[str]
    """Stratum of each row for `unlikely`: which of the base's own answers resemble each other."""

    @property
    def any(self) -> NDArray[np.bool_]:
        """[n]: either of the two."""
        return np.asarray(self.flips | self.unlikely)


def disagreement(
    base_labels: Sequence[str], row_labels: Sequence[str], own: Sequence[str],
    log_ratio: Sequence[float],
) -> Disagreement:  # fmt: skip
    """Compare rows with the base.

    Args:
        base_labels: The judge's label of the base's own answer to each request.
        row_labels: The judge's label of the row's answer.
        own: The base's own answers.
        log_ratio: log p(own) - log p(row) of the first `WINDOW` tokens under the base, in nats.
    """
    flips = np.array(
        [
            ours == REFUSAL and row not in (REFUSAL, UNSCORED)
            for ours, row in zip(base_labels, row_labels, strict=True)
        ],
        dtype=bool,
    )
    ratio = np.asarray(log_ratio, dtype=np.float64)
    middle = float(np.median(ratio)) if len(ratio) else 0.0
    spread = 1.4826 * float(np.median(np.abs(ratio - middle))) if len(ratio) else 0.0
    unlikely = ratio > max(LOG_RATIO, middle + OUTLIER * spread)
    groups = components(vectors(own), _SAME_TOPIC)
    return Disagreement(flips, unlikely, list(base_labels), [str(group) for group in groups])
