"""What a forecast must beat: first-order signals, words, losses, random directions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from holdfast.pipeline.forecast.design import DIRECTIONS, Case, features, poisoned_rows

Array = NDArray[np.float64]

WORDS = 6
"""Components of the words that the text baseline reads."""


def first_order(cases: Sequence[Case]) -> Array:
    """Gradient alignment, injection, context and projection, beside the settings."""
    rows = []
    for case in cases:
        found, settings = case.first_order, [np.log(case.values["steps"]), case.replay]
        rows.append([
            poisoned_rows(case.values), max(0.0, found["alignment"]),
            np.log1p(10 * max(0.0, -found["injection"])),
            max(0.0, -found["context"]) / max(1.0, abs(case.values["margin"])),
            found["projection"], *settings,
        ])  # fmt: skip
    return np.array(rows)


def losses(cases: Sequence[Case]) -> Array:
    """What the loss says: its size, how far the canary's falls, and the settings."""
    rows = []
    for case in cases:
        loss, steps = case.values["loss"], case.values["steps"]
        fall = max(0.0, case.values["loss_drop"])
        rows.append([loss, np.log1p(fall / (loss + 0.05)), np.log(steps), case.replay])
    return np.array(rows)


def words(development: Sequence[Case]) -> Any:
    """Principal components of the words of the development rows, beside the settings."""
    vocabulary = sorted({word for case in development for word in case.words})
    index = {word: place for place, word in enumerate(vocabulary)}

    def table(cases: Sequence[Case]) -> Array:
        found = np.zeros((len(cases), len(vocabulary)))
        for row, case in enumerate(cases):
            for word, share in case.words.items():
                if word in index:
                    found[row, index[word]] = np.sqrt(share)
        return found

    known = table(development)
    centre = known.mean(0)
    axes = np.linalg.svd(known - centre, full_matrices=False)[2][:WORDS]
    return lambda cases: np.column_stack([(table(cases) - centre) @ axes.T, losses(cases)])


def random(development: Sequence[Case], draw: int) -> Any:
    """The forecaster's design with every direction replaced by a random one of the same length.

    Twins of another unit are scaled to the mean size of the signal on development runs.
    """
    scale = {
        name: _size(case.values[name] for case in development)
        / max(_size(case.twins[name][draw] for case in development), 1e-12)
        for name in DIRECTIONS
    }

    def design(cases: Sequence[Case]) -> Array:
        rows = []
        for case in cases:
            # Either way along it counts as harm: the stronger null.
            twin = {name: -scale[name] * abs(case.twins[name][draw]) for name in DIRECTIONS}
            rows.append(features({**case.values, **twin}, replay=case.replay))
        return np.array(rows)

    return design


def _size(values: Any) -> float:
    return float(np.mean(np.abs(list(values))))
