"""The forecaster's regression: known answers, leaks that must not happen, intervals that hold."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.errors import DataError
from holdfast.stats.forecaster import FLOOR, Errors, choose, fit, held_out, sigmoid, spread


def _planted(n: int, weights: list[float], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    stream = np.random.default_rng(seed)
    rows = stream.normal(size=(n, len(weights)))
    return rows, sigmoid(rows @ np.array(weights) - 0.5)


def test_a_planted_logistic_is_found_again():
    rows, outcome = _planted(400, [2.0, -1.0, 0.0])
    found = fit(rows, outcome, penalty=1e-6)
    raw = np.array(found.weights) / np.array(found.scale)
    assert raw == pytest.approx([2.0, -1.0, 0.0], abs=1e-3)
    assert found.mean(rows) == pytest.approx(outcome, abs=1e-4)


def test_a_penalty_shrinks_the_weights_and_leaves_the_mean():
    rows, outcome = _planted(200, [3.0, 1.0])
    weak, strong = fit(rows, outcome, 0.01), fit(rows, outcome, 1e6)
    assert np.abs(strong.weights).max() < 1e-3 < np.abs(weak.weights).min()
    assert strong.mean(rows) == pytest.approx(np.full(200, outcome.mean()), abs=1e-3)


def test_a_constant_feature_and_constant_outcomes_are_no_trouble():
    rows = np.column_stack([np.ones(10), np.arange(10.0)])
    assert fit(rows, np.zeros(10), 1.0).mean(rows) == pytest.approx(np.zeros(10), abs=1e-3)
    assert np.isfinite(fit(rows, np.linspace(0, 1, 10), 1.0).weights).all()


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=9))
def test_forecasts_stay_in_range(scores):
    means = sigmoid(np.array(scores))
    assert ((means >= 0) & (means <= 1)).all()


def test_held_out_scores_do_not_see_their_own_group():
    """A feature that names the group tells nothing of a group that was never seen."""
    groups = [name for name in "abcdef" for _ in range(10)]
    outcome = np.array([float(name in "ace") for name in groups])
    names = np.array([[float(g == name) for name in "abcdef"] for g in groups])
    score = sigmoid(held_out(names, outcome, groups, 0.1))
    assert ((score > 0.5) == (outcome > 0.5)).mean() < 0.5  # worse than chance: the mean without it
    inside = sigmoid(fit(names, outcome, 0.1).score(names))
    assert ((inside > 0.5) == (outcome > 0.5)).all()


def test_the_penalty_is_chosen_on_groups_that_were_held_out():
    stream = np.random.default_rng(3)
    rows, outcome = _planted(60, [2.0])
    noise = stream.normal(size=(60, 40))
    groups = [str(i // 6) for i in range(60)]
    assert choose(rows, outcome, groups) < choose(
        np.column_stack([0 * rows, noise]), outcome, groups
    )


def test_intervals_cover_as_often_as_they_say():
    """Exchangeable bimodal outcomes, as of fine-tunes: 90 % of new ones lie inside."""
    stream = np.random.default_rng(1)
    covered, widths = [], []
    for _ in range(300):
        mean = stream.beta(0.4, 0.6, size=100)
        outcome = (stream.random(100) < mean).astype(float)
        errors = Errors.of(outcome[:-1], mean[:-1], [str(i) for i in range(99)])
        low, high = errors.interval(float(mean[-1]), 0.9)
        covered.append(low <= outcome[-1] <= high)
        widths.append(high - low)
    assert 0.85 <= np.mean(covered) <= 0.95
    assert np.mean(widths) < 0.95


def test_intervals_are_narrow_at_the_ends_and_all_of_the_range_where_nothing_is_known():
    errors = Errors(tuple(np.linspace(0, 1, 40)), (1.0,) * 40)
    low, high = errors.interval(0.01, 0.9)
    assert high - low < 0.2 < np.subtract(*errors.interval(0.5, 0.9)[::-1])
    assert Errors((0.1,) * 8, (1.0,) * 8).interval(0.3, 0.9) == (0.0, 1.0)
    assert float(spread(0.0)) == float(spread(1.0)) == FLOOR


def test_intervals_cover_cases_of_a_new_group_though_groups_err_alike():
    """Groups of one to nine cases with an error of their own: half of all cases sit in the few
    large ones, and a case of a new group is covered as often as promised all the same."""
    stream = np.random.default_rng(2)
    covered = []
    for _ in range(400):
        sizes = stream.choice([1, 9], size=40, p=[0.8, 0.2])
        error = np.abs(stream.normal(size=41)) * 0.1
        groups = [str(g) for g in range(40) for _ in range(sizes[g])]
        outcome = np.array([0.5 + error[int(g)] for g in groups]).clip(0, 1)
        errors = Errors.of(outcome, np.full(len(groups), 0.5), groups)
        low, high = errors.interval(0.5, 0.9)
        covered.append(low <= 0.5 + error[40] <= high)
    assert 0.86 <= np.mean(covered) <= 0.97
    assert Errors.of(outcome, np.full(len(groups), 0.5), ["one"] * len(groups)).interval(
        0.5, 0.9
    ) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("rows", "outcome"),
    [
        (np.ones((1, 2)), np.ones(1)),
        (np.ones((3, 2)), np.array([0.0, 1.2, 0.5])),
        (np.array([[1.0], [np.nan]]), np.array([0.0, 1.0])),
        (np.ones((3, 2)), np.ones(2)),
    ],
)
def test_what_cannot_be_fitted_is_refused(rows, outcome):
    with pytest.raises(DataError):
        fit(rows, outcome, 1.0)
    if len(outcome) > 1:
        with pytest.raises(DataError):
            held_out(rows, outcome, ["a"] * len(outcome), 1.0)
