"""Several answers per prompt: Tango's and McNemar's special case, worst cases, invariances."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.core.errors import DataError, UsageError
from holdfast.core.records import PairedTable
from holdfast.stats import binomial, clustered, paired

counts = st.integers(0, 40)
halves = st.dictionaries(st.sampled_from([-1.0, -0.5, 0.0, 0.25, 0.5, 1.0]), st.integers(1, 30),
                         min_size=1)  # fmt: skip


@given(counts, counts, counts)
@settings(max_examples=60, deadline=None)
def test_one_answer_each_is_tango_and_mcnemar(gain: int, loss: int, same: int) -> None:
    d = {1.0: gain, -1.0: loss, 0.0: same}
    d = {value: times for value, times in d.items() if times}
    if not d:
        return
    table = PairedTable(both=0, base_only=loss, candidate_only=gain, neither=same)
    ours, theirs = clustered.score_interval(d, 0.9), paired.tango_interval(table, 0.9)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-9)
    for worse in (1, -1):
        shown = paired.noninferiority(table, 0.05, worse)
        assert clustered.noninferiority(d, 0.05, worse) == pytest.approx(shown, abs=1e-9)
        exact = paired.mcnemar_exact(table, worse=worse)
        assert clustered.sign_flip(d, worse) == pytest.approx(exact, abs=1e-9)
    assert clustered.sign_flip(d) == pytest.approx(paired.mcnemar_exact(table), abs=1e-9)


@given(halves)
@settings(max_examples=30, deadline=None)
def test_mirror_images(d: dict[float, int]) -> None:
    mirrored = {-value: times for value, times in d.items()}
    one, other = clustered.score_interval(d, 0.9), clustered.score_interval(mirrored, 0.9)
    assert (one.low, one.high) == pytest.approx((-other.high, -other.low), abs=1e-9)
    assert one.low <= one.value <= one.high
    a, b = clustered.noninferiority(d, 0.1, 1), clustered.noninferiority(mirrored, 0.1, -1)
    assert a == pytest.approx(b)


@given(halves, st.floats(-0.95, 0.95))
@settings(max_examples=100, deadline=None)
def test_restricted_variance_is_that_of_a_law_with_the_mean_asked(
    d: dict[float, int], d0: float
) -> None:
    """It lies between 0 and the largest variance that a mean of d0 in [-1, 1] allows."""
    variance = clustered.restricted_variance(d, d0)
    assert 0.0 <= variance <= 1.0 - d0 * d0 + 1e-9


def test_restricted_variance_by_brute_force() -> None:
    """Three values and the end of the range, weights found on a grid."""
    d, d0 = {-0.5: 2, 0.0: 5, 0.5: 1}, 0.2
    best = (-np.inf, 0.0)
    grid = np.linspace(0.002, 0.996, 498)
    for low, middle in itertools.product(grid[grid < 0.3], grid):
        rest = 1.0 - low - middle
        # Mean: -low/2 + high/2 + end = d0 with high + end = rest.
        high = 2.0 * (rest - 0.5 * low - d0)
        end = rest - high
        if high <= 0 or end < 0:
            continue
        fit = 2 * np.log(low) + 5 * np.log(middle) + np.log(high)
        if fit > best[0]:
            variance = low * 0.7**2 + middle * 0.2**2 + high * 0.3**2 + end * 0.8**2
            best = (fit, variance)
    assert clustered.restricted_variance(d, d0) == pytest.approx(best[1], abs=0.01)


def test_more_answers_narrow_and_never_below_what_prompts_allow() -> None:
    rng = np.random.default_rng(1)

    def drawn(samples: int) -> Counter[float]:
        d = rng.binomial(samples, 0.3, 300) / samples - rng.binomial(samples, 0.3, 300) / samples
        return Counter(np.round(d, 12).tolist())

    widths = [clustered.score_interval(drawn(m), 0.9) for m in (1, 5, 25)]
    lengths = [i.high - i.low for i in widths]
    assert lengths[0] > lengths[1] > lengths[2] > 0.0
    # However many answers: 23 prompts cannot show that fewer than one in twenty turned round.
    assert clustered.noninferiority({0.0: 23}, 0.05, 1) == pytest.approx(0.95**23)
    assert clustered.noninferiority({0.0: 59}, 0.05, 1) < 0.05


def test_sign_flip_by_enumeration() -> None:
    values = [0.5, 0.25, -0.25, 1.0, 0.75, 0.0, -0.5]
    sums = [sum(s * abs(v) for s, v in zip(signs, values, strict=True))
            for signs in itertools.product((1, -1), repeat=len(values))]  # fmt: skip
    share = np.mean(np.array(sums) >= sum(values) - 1e-12)
    assert clustered.sign_flip(Counter(values), 1) == pytest.approx(share)
    assert clustered.sign_flip({0.0: 10}) == 1.0


def test_sign_flip_limit_meets_the_exact_test(monkeypatch: pytest.MonkeyPatch) -> None:
    d = {0.2: 220, -0.2: 180, 0.4: 60, -0.4: 50, 0.0: 100}
    exact = clustered.sign_flip(d, 1)
    monkeypatch.setattr(clustered, "EXACT_WORK", 0)
    assert clustered.sign_flip(d, 1) == pytest.approx(exact, rel=0.1)


def test_faults() -> None:
    with pytest.raises(DataError, match="no prompts"):
        clustered.score_interval({})
    with pytest.raises(UsageError, match="margin"):
        clustered.noninferiority({0.0: 3}, 0.0, 1)
    with pytest.raises(UsageError, match="worse"):
        clustered.noninferiority({0.0: 3}, 0.1, 2)


@given(st.integers(0, 60), st.integers(1, 60), st.floats(0.01, 0.99))
@settings(max_examples=100, deadline=None)
def test_binomial_tail(k: int, n: int, p: float) -> None:
    from scipy.special import bdtr

    assert binomial.at_most(k, n, p) == pytest.approx(
        (bdtr(k, n, p) if k < n else 1.0), rel=1e-7, abs=1e-12
    )


def test_concentrated() -> None:
    assert binomial.concentrated(0.0, 59, 0.05) == pytest.approx(0.95**59)
    assert binomial.concentrated(-0.3, 59, 0.05) == pytest.approx(0.95**59)
    assert binomial.concentrated(1 / 59, 59, 0.05) == binomial.at_most(1, 59, 0.05)
    assert binomial.concentrated(0.01, 59, 0.05) == binomial.at_most(1, 59, 0.05)
