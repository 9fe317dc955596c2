"""Holm against a worked example and statsmodels; sample sizes against simulation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.core.errors import UsageError
from holdfast.core.records import PairedTable
from holdfast.stats.multiplicity import benjamini_hochberg, holm
from holdfast.stats.normal import quantile
from holdfast.stats.paired import mcnemar_exact, noninferiority
from holdfast.stats.power import minimum_detectable, pairs_needed


def simulate(n: int, gain: float, loss: float, repeats: int, seed: int) -> list[PairedTable]:
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(n, [gain, loss, 1 - gain - loss], size=repeats)
    return [
        PairedTable(both=0, candidate_only=int(b), base_only=int(c), neither=int(d))
        for b, c, d in drawn
    ]


def test_holm_worked_example() -> None:
    # Step-down by hand: 0.005 x 4, 0.01 x 3, 0.03 x 2, then 0.04 x 1 raised to the one before.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_holm_of_nothing() -> None:
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
@settings(max_examples=30, deadline=None)
def test_holm_equals_statsmodels(p_values: list[float]) -> None:
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    expected = multitest.multipletests(p_values, method="holm")[1]
    assert holm(p_values) == pytest.approx(list(expected))


@pytest.mark.parametrize("discordance", [0.05, 0.1, 0.3])
def test_pairs_needed_reach_their_power(discordance: float) -> None:
    n = pairs_needed(0.05, discordance)
    tables = simulate(n, discordance / 2, discordance / 2, 2000, seed=5)
    shown = np.mean([noninferiority(t, 0.05, 1) < 0.05 for t in tables])
    assert shown == pytest.approx(0.8, abs=0.05)


def test_noninferiority_keeps_its_level() -> None:
    """At a true worsening of exactly the margin, about alpha of the tests err."""
    tables = simulate(400, 0.10, 0.05, 4000, seed=6)
    assert np.mean([noninferiority(t, 0.05, 1) < 0.05 for t in tables]) < 0.065


@pytest.mark.parametrize(("n", "discordance"), [(300, 0.2), (1000, 0.1), (200, 0.0)])
def test_minimum_detectable_is_detected(n: int, discordance: float) -> None:
    d = minimum_detectable(n, discordance)
    w = max(discordance, d)
    tables = simulate(n, (w + d) / 2, (w - d) / 2, 2000, seed=7)
    # The exact test is a little more cautious than the formula's.
    assert 0.68 < np.mean([mcnemar_exact(t, worse=1) <= 0.05 for t in tables]) < 0.86


def test_no_discordance_has_a_closed_form() -> None:
    z = quantile(1 - 0.001)
    assert pairs_needed(0.05, 0.0, alpha=0.001) == int(z * z * 0.95 / 0.05) + 1
    # At the usual level it is the chance of seeing none of the flips that decides.
    assert pairs_needed(0.05, 0.0) == 59
    assert 0.95**59 < 0.05 < 0.95**58


def test_more_pairs_detect_less() -> None:
    assert minimum_detectable(400, 0.1) < minimum_detectable(100, 0.1) <= 1.0
    assert minimum_detectable(1, 1.0) == 1.0


def test_worsening_inside_the_margin_needs_more() -> None:
    assert pairs_needed(0.05, 0.1, worsening=0.02) > pairs_needed(0.05, 0.1)


@pytest.mark.parametrize(
    "arguments",
    [
        {"margin": 0.0, "discordance": 0.1},
        {"margin": 0.05, "discordance": 1.1},
        {"margin": 0.05, "discordance": 0.1, "worsening": 0.05},
        {"margin": 0.05, "discordance": 0.01, "worsening": 0.02},
        {"margin": 0.05, "discordance": 0.1, "alpha": 0.6},
        {"margin": 0.05, "discordance": 0.1, "power": 1.0},
    ],
)
def test_impossible_plans(arguments: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        pairs_needed(**arguments)


def test_no_pairs() -> None:
    with pytest.raises(UsageError, match="pairs"):
        minimum_detectable(0, 0.1)


def test_benjamini_hochberg_against_statsmodels() -> None:
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    p = [0.001, 0.04, 0.03, 0.8, 0.04, 0.2]
    assert benjamini_hochberg(p) == pytest.approx(multitest.multipletests(p, method="fdr_bh")[1])
    assert benjamini_hochberg([]) == []
