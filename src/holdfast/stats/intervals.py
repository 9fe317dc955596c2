"""The score interval of one proportion.

Wilson (1927), JASA 22:209-212; the form of Newcombe (1998), Statistics in Medicine 17:857-872,
method 3.
"""

from __future__ import annotations

import math

from holdfast.core.errors import DataError
from holdfast.core.records import Interval
from holdfast.stats.normal import two_sided_z


def wilson(hits: float, n: int, confidence: float = 0.95) -> Interval:
    """Wilson interval of `hits` out of `n`; stays inside [0, 1] and is never empty at 0 or n.

    `hits` may be a sum of rates over n prompts, each counting once however many answers it has: the
    variance of a rate is at most that of a single answer, so the interval errs on the wide side.
    Raises `DataError` for n = 0 or hits outside [0, n].
    """
    hits = round(hits, 9)  # a sum of rates may miss a whole number by rounding
    if n <= 0 or not 0 <= hits <= n:
        raise DataError(
            "a rate cannot be taken", got=f"{hits} of {n}", expected="0 <= hits <= n, n > 0"
        )
    z2 = two_sided_z(confidence) ** 2
    rate = hits / n
    centre = (hits + z2 / 2.0) / (n + z2)
    half = math.sqrt(z2) * math.sqrt(n * rate * (1.0 - rate) + z2 / 4.0) / (n + z2)
    # At the ends the formula is exactly 0 and 1; rounding must not leave 1e-18 behind.
    low = 0.0 if hits == 0 else centre - half
    high = 1.0 if hits == n else centre + half
    return Interval(value=rate, low=low, high=high, confidence=confidence, method="wilson")
