"""Detectors: closed forms, Ville's bound, and the false-alarm rate of whole runs."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.core.errors import DataError, UsageError
from holdfast.stats import detectors
from holdfast.stats.detectors import Reference


def test_cusum_is_pages() -> None:
    path = detectors.cusum(np.array([0.0, 2.0, 3.0, -9.0, 1.5]))
    assert path == pytest.approx([0.0, 1.0, 3.0, 0.0, 0.5])


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=40))
def test_cusum_is_the_draw_up(values: list[float]) -> None:
    """S_t = W_t - min(0, W_1 .. W_t) for the random walk W of z - allowance."""
    z = np.array(values)
    walk = np.cumsum(z - detectors.ALLOWANCE)
    lowest = np.minimum.accumulate(np.minimum(walk, 0.0))
    assert detectors.cusum(z) == pytest.approx(walk - lowest, abs=1e-9)


def test_e_process_of_constants() -> None:
    assert detectors.log_e_process(np.full(6, 0.5)) == pytest.approx(np.zeros(6))
    ones = np.exp(detectors.log_e_process(np.ones(5)))
    assert ones == pytest.approx(
        [np.mean([(1 + c) ** t for c in detectors.BETS]) for t in range(1, 6)]
    )
    with pytest.raises(DataError, match=r"\[0, 1\]"):
        detectors.log_e_process(np.array([1.2]))


@given(st.floats(0.1, 0.9), st.integers(0, 2**31))
@settings(max_examples=10, deadline=None)
def test_ville_holds_at_the_null(mean: float, seed: int) -> None:
    """Any law on [0, 1] with that mean; here the one with the most variance, a coin."""
    rng = np.random.default_rng(seed)
    runs = (rng.random((300, 40)) < mean).astype(float)
    crossed = [detectors.log_e_process(run, mean).max() >= math.log(20) for run in runs]
    assert np.mean(crossed) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 300)


def test_false_alarms_of_whole_runs_are_held_whatever_the_dependence() -> None:
    """Random walks, whose readings hang together: the average over calibrations is within 5 %."""
    rng = np.random.default_rng(3)
    for name in detectors.DETECTORS:
        false = []
        for _ in range(150):
            runs = np.cumsum(rng.standard_normal((40, 30)), axis=1) * rng.exponential(1, (40, 1))
            path = detectors.detector(name)
            reference = Reference.of(rng.standard_normal(200) * 3)
            maxima = [path(reference, run).max() for run in runs]
            limit = detectors.threshold(maxima[:-1], 0.05)
            false.append(maxima[-1] > limit)
        assert np.mean(false) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 150), name


@given(st.integers(0, 200), st.floats(0.01, 0.5))
def test_threshold_is_the_order_statistic(n: int, rate: float) -> None:
    limit = detectors.threshold(list(range(1, n + 1)), rate)
    if n < 1 / rate - 1 - 1e-6:
        assert limit == math.inf
    if limit < math.inf:
        # of n + 1 exchangeable runs, those ranked above it are at most rate (n + 1)
        assert (n + 1 - limit) <= rate * (n + 1) + 1e-6


def test_one_calibration_may_be_worse_than_its_average() -> None:
    # rank n of n: the largest; P(rate > x) = (1 - x)^n
    assert detectors.rank_for(19, 0.05) == 19
    assert detectors.worst_rate(19, 0.05) == pytest.approx(1 - 0.05 ** (1 / 19), rel=1e-6)
    assert detectors.worst_rate(5, 0.05) == 0.0
    rng = np.random.default_rng(0)
    rates = [1 - np.sort(rng.random(39))[detectors.rank_for(39, 0.05) - 1] for _ in range(4000)]
    assert np.quantile(rates, 0.95) == pytest.approx(detectors.worst_rate(39, 0.05), abs=0.01)


def test_reference_of_a_constant_stream() -> None:
    flat = Reference.of(np.zeros(50))
    assert flat.scale == detectors.LEAST
    assert detectors.detector("cusum")(flat, np.array([0.0, 0.02]))[1] > 1000
    assert flat.u(np.array([-1.0, 0.0, 1.0])) == pytest.approx([0.0, 0.5, 1.0])
    mostly = Reference.of(np.array([0.0] * 99 + [2.0]))
    assert mostly.z(np.array([2.0])) == pytest.approx([1.0])


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60))
def test_u_is_centred_on_its_own_sample(values: list[float]) -> None:
    u = Reference.of(np.array(values)).u(np.array(Reference.of(np.array(values)).knots))
    assert u.mean() == pytest.approx(0.5)
    assert ((u >= 0) & (u <= 1)).all()


def test_first_above_and_faults() -> None:
    assert detectors.first_above(np.array([0.0, 1.0, 2.0]), 1.0) == 2
    assert detectors.first_above(np.array([0.0]), math.inf) is None
    with pytest.raises(DataError, match="reference"):
        Reference.of(np.array([]))
    with pytest.raises(DataError, match="reference"):
        Reference.of(np.array([1.0, np.nan]))
    with pytest.raises(DataError, match="not a number"):
        detectors.threshold([1.0, math.nan], 0.05)
    with pytest.raises(UsageError, match="e-process"):
        detectors.detector("sum")
    with pytest.raises(UsageError, match="between 0 and 1"):
        detectors.threshold([1.0], 0.0)
