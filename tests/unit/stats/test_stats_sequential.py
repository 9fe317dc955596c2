"""E-values: closed forms, expectation at most 1, and error over all looks."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.core.errors import UsageError
from holdfast.stats import sequential
from holdfast.stats.clustered import Differences

laws = st.dictionaries(st.sampled_from([-1.0, -0.4, 0.0, 0.4, 1.0]), st.integers(1, 40), min_size=1)


@given(laws)
@settings(max_examples=100, deadline=None)
def test_one_step_has_mean_one_at_the_null(law: Differences) -> None:
    """Under any law with mean d0 the factor of every bet has mean exactly 1."""
    n = sum(law.values())
    d0 = sum(d * times for d, times in law.items()) / n
    if d0 >= 1.0:
        return
    e = sum(times / n * math.exp(sequential.log_e_value({d: 1}, d0)) for d, times in law.items())
    assert e == pytest.approx(1.0)


@given(laws)
@settings(max_examples=60, deadline=None)
def test_p_values_fall_with_the_null(law: Differences) -> None:
    p = [sequential.p_value(law, d0) for d0 in (-0.5, 0.0, 0.2, 0.5)]
    assert all(a >= b - 1e-12 for a, b in zip(p, p[1:], strict=False))
    interval = sequential.confidence_sequence(law, 0.9)
    assert -1.0 <= interval.low <= interval.value <= interval.high <= 1.0


def test_no_difference_needs_what_any_method_needs() -> None:
    needed = next(n for n in range(1, 200) if sequential.noninferiority({0.0: n}, 0.05, 1) <= 0.05)
    bound = math.log(len(sequential.BETS) / 0.05) / -math.log(0.95)
    assert 59 <= needed <= bound
    assert sequential.prompts_needed(0.05, 0.0) == math.ceil(bound)


def test_regression_is_seen_both_ways() -> None:
    d = {1.0: 30, 0.0: 70}
    assert sequential.regression(d, 1) < 1e-4
    assert sequential.regression(d, -1) == 1.0
    assert sequential.confidence_sequence(d, 0.9).low > 0.1


def test_level_over_all_looks() -> None:
    rng = np.random.default_rng(5)
    false = 0
    for _ in range(300):
        steps = rng.choice([1.0, -1.0, 0.0], p=[0.15, 0.1, 0.75], size=400)
        for n in range(20, 401, 20):
            seen = dict(zip(*np.unique(steps[:n], return_counts=True), strict=True))
            if sequential.noninferiority(seen, 0.05, 1) <= 0.05:
                false += 1
                break
    assert false / 300 <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / 300)


def test_impossible_null() -> None:
    with pytest.raises(UsageError):
        sequential.log_e_value({0.0: 1}, 1.0)
