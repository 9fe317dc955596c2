"""Wilson intervals against the published table."""

from __future__ import annotations

import pytest

from holdfast.core.errors import DataError, UsageError
from holdfast.stats.intervals import wilson


@pytest.mark.parametrize(
    ("hits", "n", "low", "high"),
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_newcombe_1998_table_1_method_3(hits: int, n: int, low: float, high: float) -> None:
    interval = wilson(hits, n)
    assert (round(interval.low, 4), round(interval.high, 4)) == (low, high)


def test_mirror_image() -> None:
    few, many = wilson(7, 40), wilson(33, 40)
    assert many.low == pytest.approx(1 - few.high)
    assert many.high == pytest.approx(1 - few.low)


def test_ends_are_exact() -> None:
    assert wilson(0, 3).low == 0.0
    assert wilson(3, 3).high == 1.0


@pytest.mark.parametrize(("hits", "n"), [(0, 0), (3, 2), (-1, 4)])
def test_no_rate(hits: int, n: int) -> None:
    with pytest.raises(DataError):
        wilson(hits, n)


def test_confidence_is_checked() -> None:
    with pytest.raises(UsageError, match="confidence"):
        wilson(1, 2, 1.0)
