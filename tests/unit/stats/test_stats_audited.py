"""The difference estimator: exact where everything is audited, right whatever the judge."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.core.errors import DataError
from holdfast.stats.audited import Stratum, estimate, interval, noninferiority, worse

values = st.lists(st.sampled_from([-1.0, 0.0, 1.0]), min_size=2, max_size=40)


@given(values, st.sampled_from([-1.0, 0.0, 1.0]))
@settings(max_examples=100, deadline=None)
def test_a_full_audit_is_the_human_mean(human: list[float], judged: float) -> None:
    e = estimate(judged, [Stratum(len(human), judged, tuple(human))])
    assert e.value == pytest.approx(np.mean(human))
    assert e.variance == pytest.approx(np.var(human) / len(human))
    assert e.worth == len(human)


@given(values)
@settings(max_examples=50, deadline=None)
def test_flipping_turns_everything_round(human: list[float]) -> None:
    e = estimate(0.0, [Stratum(3 * len(human), 0.0, tuple(human)), Stratum(5, 1.0, ())])
    one, other = interval(e, 0.9), interval(e.flipped(), 0.9)
    assert (one.low, one.high) == pytest.approx((-other.high, -other.low))
    assert one.low <= one.value <= one.high


def test_a_stratum_nobody_audited_is_taken_at_its_worst() -> None:
    seen = Stratum(90, 0.0, (0.0,) * 80)
    blind = estimate(0.0, [seen, Stratum(10, 0.0, ())])
    sighted = estimate(0.0, [seen, Stratum(10, 0.0, (0.0,) * 10)])
    assert (blind.below, blind.above) == pytest.approx((0.1, 0.1))
    assert noninferiority(sighted, 0.05) < 0.05 < 0.5 < noninferiority(blind, 0.05)
    assert interval(blind, 0.9).high >= 0.1


def test_few_labels_show_nothing() -> None:
    e = estimate(0.0, [Stratum(1000, 0.0, (0.0,) * 20)])
    assert noninferiority(e, 0.05) == pytest.approx(0.95**20)
    assert worse(e) == 0.5


def test_the_judge_sets_the_width_and_not_the_value() -> None:
    """Over many audits the estimate is unbiased for a judge that is wrong in one arm alone."""
    rng = np.random.default_rng(3)
    truth = np.where(rng.random(600) < 0.3, 1.0, 0.0)
    blind, exact = np.zeros(600), truth
    found: dict[str, list[float]] = {"blind": [], "exact": []}
    for _ in range(300):
        drawn = rng.permutation(600)[:100]
        for name, judge in (("blind", blind), ("exact", exact)):
            strata = [
                Stratum(int((judge == j).sum()), j, tuple(truth[d] for d in drawn if judge[d] == j))
                for j in np.unique(judge)
            ]
            found[name].append(estimate(float(judge.mean()), strata).value)
    assert np.mean(found["blind"]) == pytest.approx(truth.mean(), abs=0.01)
    assert np.ptp(found["exact"]) < 1e-12 < np.std(found["blind"])


def test_nothing_audited() -> None:
    with pytest.raises(DataError, match="no prompt was audited"):
        estimate(0.1, [Stratum(10, 0.0, ())])
