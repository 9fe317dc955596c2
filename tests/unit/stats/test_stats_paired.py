"""Paired intervals and tests against published examples, their own definitions, and each other."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.core.errors import DataError, UsageError
from holdfast.core.records import PairedTable
from holdfast.stats.normal import two_sided_z
from holdfast.stats.paired import (
    equivalence,
    mcnemar_exact,
    newcombe_interval,
    noninferiority,
    score_statistic,
    score_variance,
    tango_interval,
    tango_test,
    upper_tail,
)

counts = st.integers(0, 60)


def table(both: int, candidate_only: int, base_only: int, neither: int) -> PairedTable:
    return PairedTable(
        both=both, candidate_only=candidate_only, base_only=base_only, neither=neither
    )


tables = st.builds(table, counts, counts, counts, counts).filter(lambda t: t.n > 0)


@pytest.mark.parametrize(
    ("cells", "low", "high", "digits"),
    [
        ((36, 12, 2, 0), 0.0569, 0.3404, 4),  # Newcombe 1998, Stat Med 17:2635, table III
        ((14, 5, 0, 22), 0.011, 0.226, 3),  # Altman et al. 2000, table 6.2 (truncated there)
        ((1, 1, 7, 12), -0.507, -0.026, 3),  # Bentur 2009, in Fagerland et al. 2014, Stat Med 33
    ],
)
def test_newcombe_method_10(
    cells: tuple[int, int, int, int], low: float, high: float, digits: int
) -> None:
    interval = newcombe_interval(table(*cells))
    assert interval.low == pytest.approx(low, abs=0.6 * 10**-digits)
    assert interval.high == pytest.approx(high, abs=0.6 * 10**-digits)


@pytest.mark.parametrize(
    ("cells", "low", "high"),
    [
        ((1, 1, 7, 12), -0.517, -0.026),  # Bentur 2009, in Fagerland et al. 2014
        ((794, 150, 86, 570), 0.021, 0.059),  # approval ratings, Agresti, Categorical Data Analysis
    ],
)
def test_tango_published(cells: tuple[int, int, int, int], low: float, high: float) -> None:
    interval = tango_interval(table(*cells))
    assert (round(interval.low, 3), round(interval.high, 3)) == (low, high)


def test_tango_1998_contact_lenses() -> None:
    # 44 patients, 43 successes under both, one under the standard alone; margin 0.10.
    lenses = table(43, 0, 1, 0)
    assert score_statistic(1, 0, 44, 0.10) == pytest.approx(-1.709, abs=1e-3)
    assert tango_test(lenses, 0.10, -1) == pytest.approx(0.044, abs=5e-4)
    # The gate also asks the exact question: one flip of 44, where a tenth would flip.
    assert noninferiority(lenses, 0.10, -1) == pytest.approx(0.9**44 + 4.4 * 0.9**43, rel=1e-9)


@pytest.mark.parametrize("n", [1, 20, 100, 50_000])
def test_no_discordance_has_a_closed_form(n: int) -> None:
    z2 = two_sided_z(0.9) ** 2
    interval = tango_interval(table(n // 2, 0, 0, n - n // 2), 0.9)
    assert interval.high == pytest.approx(z2 / (n + z2), rel=1e-12)
    assert interval.low == pytest.approx(-z2 / (n + z2), rel=1e-12)


@given(tables)
@settings(deadline=None)
def test_ends_solve_the_score_equation(t: PairedTable) -> None:
    interval = tango_interval(t, 0.9)
    z = two_sided_z(0.9)
    assert -1 <= interval.low <= interval.value <= interval.high <= 1
    for end, wanted in ((interval.low, z), (interval.high, -z)):
        if abs(end) < 1 - 1e-9:
            found = score_statistic(t.candidate_only, t.base_only, t.n, end)
            assert found == pytest.approx(wanted, abs=1e-4)


@given(tables, st.integers(-95, 95))
@settings(deadline=None)
def test_restricted_estimate_is_the_maximum(t: PairedTable, percent: int) -> None:
    """The variance uses the q that a dense search of the likelihood finds too."""
    d = percent / 100
    gain, loss, same = t.candidate_only, t.base_only, t.both + t.neither

    def log_likelihood(q: float) -> float:
        total = 0.0
        for count, p in ((gain, q + d), (loss, q), (same, 1 - 2 * q - d)):
            if count:
                total += count * math.log(p) if p > 0 else -math.inf
        return total

    low, high = max(0.0, -d), (1 - d) / 2
    best = max(log_likelihood(low + (high - low) * i / 400) for i in range(401))
    q = (score_variance(gain, loss, t.n, d) - d * (1 - d)) / 2
    q = min(max(q, low), high)
    assert log_likelihood(q) >= best - 1e-6 or math.isinf(best)


@given(tables, st.integers(1, 40), st.sampled_from([1, -1]), st.sampled_from([0.01, 0.05, 0.1]))
@settings(max_examples=300, deadline=None)
def test_test_and_interval_agree(t: PairedTable, percent: int, worse: int, alpha: float) -> None:
    margin = percent / 100
    interval = tango_interval(t, 1 - 2 * alpha)
    bound = interval.high if worse == 1 else -interval.low
    p = tango_test(t, margin, worse)
    if abs(bound - margin) > 1e-9:
        assert (p < alpha) == (bound < margin)
    assert noninferiority(t, margin, worse) >= p


@given(tables, st.integers(1, 40))
@settings(max_examples=100, deadline=None)
def test_equivalence_is_both_sides(t: PairedTable, percent: int) -> None:
    margin = percent / 100
    p = equivalence(t, margin)
    assert p == max(noninferiority(t, margin, side) for side in (1, -1))
    assert p >= 0.5 or abs(t.candidate_only - t.base_only) / t.n < margin


@given(tables)
@settings(deadline=None)
def test_swapping_arms_mirrors(t: PairedTable) -> None:
    swapped = table(t.both, t.base_only, t.candidate_only, t.neither)
    for method in (tango_interval, newcombe_interval):
        assert method(swapped).high == pytest.approx(-method(t).low, abs=1e-9)
    assert mcnemar_exact(t) == mcnemar_exact(swapped)
    assert mcnemar_exact(t, worse=1) == mcnemar_exact(swapped, worse=-1)


@pytest.mark.parametrize(
    ("b", "c", "p"),
    [(1, 7, 0.0703125), (0, 5, 0.0625), (4, 4, 1.0), (0, 0, 1.0)],
)
def test_mcnemar_two_sided(b: int, c: int, p: float) -> None:
    # (1, 7): Fagerland, Lydersen and Laake 2013, BMC Med Res Methodol 13:91, 0.070.
    assert mcnemar_exact(table(3, b, c, 4)) == pytest.approx(p)


def test_mcnemar_one_sided() -> None:
    t = table(0, 7, 1, 10)
    assert mcnemar_exact(t, worse=1) == pytest.approx(9 / 256)
    assert mcnemar_exact(t, worse=-1) == pytest.approx(255 / 256)


@given(st.integers(0, 300), st.integers(0, 300))
@settings(deadline=None)
def test_upper_tail_is_exact(k: int, n: int) -> None:
    exact = sum(math.comb(n, i) for i in range(k, n + 1)) / 2**n
    assert upper_tail(k, n) == pytest.approx(exact, rel=1e-9, abs=1e-300)


def test_upper_tail_of_many() -> None:
    assert upper_tail(500_000, 1_000_000) == pytest.approx(0.5, abs=1e-3)


def test_faults() -> None:
    empty = table(0, 0, 0, 0)
    with pytest.raises(DataError, match="no pairs"):
        tango_interval(empty)
    with pytest.raises(DataError, match="no pairs"):
        noninferiority(empty, 0.05, 1)
    with pytest.raises(UsageError, match="margin"):
        noninferiority(table(1, 1, 1, 1), 1.0, 1)
    with pytest.raises(UsageError, match="worse"):
        mcnemar_exact(table(1, 1, 1, 1), worse=2)
