"""Bands over checkpoints, onsets, and kappa's interval."""

from __future__ import annotations

import numpy as np
import pytest

from holdfast.core.errors import DataError
from holdfast.stats.agreement import kappa, kappa_interval
from holdfast.stats.normal import two_sided_z
from holdfast.stats.trajectory import band


def worsening(rates: list[float], n: int, seed: int) -> np.ndarray:
    """One threshold per prompt: once worse, it stays worse at higher rates."""
    threshold = np.random.default_rng(seed).random((n, 1))
    return (threshold < np.array(rates)).astype(float)


def test_onset_of_a_step() -> None:
    found = band(worsening([0.0, 0.0, 0.0, 0.4, 0.4, 0.4], 200, 1), seed=1)
    assert (found.onset, found.earliest) == (3, 3)
    assert (found.low <= found.value).all()
    assert (found.value <= found.high).all()


def test_onset_of_a_slope_has_room_before_it() -> None:
    found = band(worsening([0.0, 0.01, 0.02, 0.05, 0.09, 0.1], 120, 2), seed=1)
    assert found.onset is not None
    assert found.earliest is not None
    assert found.earliest <= found.onset


def test_a_passing_worsening_has_no_onset() -> None:
    found = band(worsening([0.0, 0.5, 0.0], 100, 3), seed=1)
    assert found.low[1] > 0.0
    assert (found.onset, found.earliest) == (None, None)


def test_the_band_holds_for_all_steps_together() -> None:
    """Twenty independent steps without a change: left anywhere in few of the trajectories."""
    rng = np.random.default_rng(4)
    left = 0
    for _ in range(200):
        x = rng.choice([1.0, -1.0, 0.0], p=[0.1, 0.1, 0.8], size=(150, 20))
        found = band(x, confidence=0.9, resamples=300, seed=int(rng.integers(1 << 30)))
        left += bool(((found.low > 0) | (found.high < 0)).any())
    assert left / 200 <= 0.1 + 2 * np.sqrt(0.09 / 200)
    assert found.critical > two_sided_z(0.9)


def test_identical_steps_cost_no_width() -> None:
    column = worsening([0.3], 200, 5)
    found = band(np.repeat(column, 8, axis=1), seed=1)
    assert found.critical == pytest.approx(two_sided_z(0.95), rel=0.08)
    assert band(np.zeros((50, 3)), seed=1).high[0] > 0.0


@pytest.mark.parametrize("x", [np.zeros((1, 3)), np.zeros((5, 0)), np.array([[np.nan], [0.0]])])
def test_no_trajectory(x: np.ndarray) -> None:
    with pytest.raises(DataError, match="trajectory"):
        band(x)


def test_kappa() -> None:
    assert kappa(20, 5, 10, 15) == pytest.approx(0.4)  # Cohen's worked example
    assert kappa(0, 0, 0, 0) is None
    assert kappa(10, 0, 0, 0) is None
    prompts = [(1, 0, 0, 0)] * 20 + [(0, 1, 0, 0)] * 5 + [(0, 0, 1, 0)] * 10 + [(0, 0, 0, 1)] * 15
    found = kappa_interval(prompts)
    assert found is not None
    # The asymptotic standard error (Fleiss, Cohen and Everitt 1969) is 0.13 here.
    assert found.value == pytest.approx(0.4)
    assert (found.low, found.high) == pytest.approx((0.4 - 0.255, 0.4 + 0.255), abs=0.06)
    clustered = kappa_interval([tuple(4 * c for c in cells) for cells in prompts[::4]])
    assert clustered is not None
    assert clustered.high - clustered.low > found.high - found.low
    assert kappa_interval([]) is None
