"""The interval of a mean of small whole numbers: differences of differences on the same prompts."""

from __future__ import annotations

import math
from collections.abc import Sequence

from holdfast.core.errors import DataError
from holdfast.core.records import Interval
from holdfast.stats.normal import two_sided_z


def mean_interval(
    values: Sequence[float], confidence: float = 0.95, bound: float = 2.0
) -> Interval:
    """Interval of the mean of `values`, one per prompt, each in [-bound, bound].

    Adjusted Wald: two imagined prompts at +1 and -1 are added before the variance is taken, as
    Agresti and Min (2005, Statistics in Medicine 24:729-740) do for a paired difference of rates.
    So a sample in which nothing happened still has a width, and small samples keep their coverage
    (`tests/unit/evals/test_suite_deception.py` simulates it). The value is the plain mean.

    Raises `DataError` where there are no values.
    """
    n = len(values)
    if n == 0:
        raise DataError("no prompts to compare", expected="prompts labelled under every framing")
    total, squares = math.fsum(values), math.fsum(v * v for v in values)
    centre = total / (n + 2)
    variance = max((squares + 2.0) / (n + 2) - centre * centre, 0.0)
    half = two_sided_z(confidence) * math.sqrt(variance / (n + 2))
    mean = total / n
    low, high = min(centre - half, mean), max(centre + half, mean)
    return Interval(
        value=mean, low=max(low, -bound), high=min(high, bound), confidence=confidence,
        method="adjusted-wald",
    )  # fmt: skip
