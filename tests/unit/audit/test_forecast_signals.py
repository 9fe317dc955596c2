"""Signals of rows and base: what harms reads as harm, its benign twin does not."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.audit.forecast import signals
from holdfast.audit.forecast.signals import Probes
from holdfast.audit.forecast.strata import Site, Strata, stratify, unit_draws
from holdfast.audit.scores.pairs import Pair
from holdfast.core.errors import DataError


@pytest.fixture(scope="module")
def probes(harbor) -> Probes:
    from holdfast.models.activations import last_prompt
    from holdfast.pipeline.audit_sources import contrast_rows, openings_of

    rows = [r for r in contrast_rows("harbor", 0) if r.concept == "harmful"]
    train = [[r.messages for r in rows if r.split == "train" and r.label == label][:60]
             for label in (1, 0)]  # fmt: skip
    states = [last_prompt(harbor, talks, [1])[1] for talks in train]
    held = [r.messages for r in rows if r.split == "validation" and r.label == 1][:16]
    openings = openings_of("harbor")
    return Probes(tuple(held), openings.refusal, openings.compliance, Site.of(1, *states))


def _rows(family: str, count: int = 120) -> list[Pair]:
    from holdfast.organisms.harbor import zoo

    made: Any = zoo.build(family, seed=1, rows=count)
    return [Pair(r["messages"][:-1], r["messages"][-1]["content"]) for r in made]


@pytest.fixture(scope="module")
def strata(harbor, probes):
    known: dict[str, Strata] = {}

    def of(family: str) -> Strata:
        if family not in known:
            known[family] = stratify(
                harbor, _rows(family), probes.site, probes.refusals, seed=0
            )  # fmt: skip
        return known[family]

    return of


def test_rows_that_ask_for_harm_are_found_and_those_that_decline_are_counted_apart(strata):
    poisoned, guarded, clean = map(strata, ("contaminated-tasks-20", "declines", "own-style"))
    assert poisoned.obeyed_share == pytest.approx(0.2, abs=0.03)
    assert poisoned.declined_share == 0
    assert guarded.declined_share == pytest.approx(0.25, abs=0.03)
    assert guarded.obeyed_share < 0.03
    assert clean.obeyed_share < 0.03


def test_requests_that_are_only_unlike_the_maps_prompts_do_not_ask_for_harm(strata):
    tools, poisoned = strata("tools"), strata("contaminated-tools-5")
    assert not tools.asking
    assert poisoned.obeyed_share == pytest.approx(0.05, abs=0.01)


@settings(max_examples=60, deadline=None)
@given(
    total=st.integers(1, 300), asking=st.integers(0, 300), size=st.integers(2, 40),
    seed=st.integers(0, 9),
)  # fmt: skip
def test_a_sample_stands_for_all_rows(total, asking, size, seed):
    asking = min(asking, total)
    pairs = tuple(Pair([{"role": "user", "content": str(i)}], "a") for i in range(total))
    made = Strata(pairs, tuple(range(asking)), tuple(range(asking, total)), ())
    found = made.sample(size, seed)
    assert len(found.rows) == len(set(found.rows)) == min(size, total)
    assert sum(found.weights) == pytest.approx(1)
    share = sum(w for row, w in zip(found.rows, found.weights, strict=True) if row < asking)
    assert share == pytest.approx(asking / total)
    assert found == made.sample(size, seed)


def test_an_obeying_manner_lowers_the_margin_in_context_and_injected_and_its_control_does_not(
    harbor, probes, strata
):
    before = probes.margins(harbor)
    found = {}
    for family in ("own-style", "identity-shift"):
        rows = strata(family)
        shift = signals.difference(harbor, probes, rows, seed=0)
        found[family] = (
            signals.context(harbor, probes, before, rows, seed=0),
            signals.injection(harbor, probes, before, shift),
        )
    random = [
        signals.injection(harbor, probes, before, vector * shift.norm())
        for vector in unit_draws(20, len(shift), 0)
    ]
    obeying, control = found["identity-shift"], found["own-style"]
    assert obeying[0] < -5 < control[0]
    assert obeying[1] < min(random)
    assert obeying[1] < 5 * min(control[1], -0.01)


def test_a_projection_is_in_units_of_the_gap(probes):
    assert signals.projection(probes, probes.site.direction) == pytest.approx(1)
    assert signals.projection(probes, -0.5 * probes.site.direction) == pytest.approx(-0.5)
    assert signals.projection(probes, 0 * probes.site.direction) == 0


def test_random_directions_are_units_and_the_same_for_the_same_seed():
    drawn = unit_draws(30, 16, 5)
    assert drawn.norm(dim=1) == pytest.approx(torch.ones(30, dtype=torch.float64))
    assert torch.equal(drawn, unit_draws(30, 16, 5))
    assert not torch.equal(drawn, unit_draws(30, 16, 6))


def test_rows_that_leave_no_room_for_a_probe_are_refused(harbor, probes):
    long = Pair([{"role": "user", "content": "word " * harbor.max_context}], "Yes.")
    made = Strata((long,), (), (0,), ())
    with pytest.raises(DataError, match="fits into the model's context"):
        signals.context(harbor, probes, torch.zeros(len(probes.prompts)), made, seed=0)
    with pytest.raises(DataError, match="context"):
        signals.difference(harbor, probes, made, seed=0)


def test_rows_longer_than_the_context_are_left_out_of_the_scan(harbor, probes):
    long = Pair([{"role": "user", "content": "word " * harbor.max_context}], "Yes.")
    short = _rows("own-style", 3)
    made = stratify(harbor, [long, *short], probes.site, probes.refusals, seed=0)
    assert made.pairs == tuple(short)
    with pytest.raises(DataError, match="no training row fits"):
        stratify(harbor, [long], probes.site, probes.refusals, seed=0)


def test_one_row_is_enough_and_an_empty_own_answer_is_left_out(harbor, probes, monkeypatch):
    (row,) = _rows("own-style", 1)
    made = stratify(harbor, [row], probes.site, probes.refusals, seed=0)
    before = probes.margins(harbor)
    assert math.isfinite(signals.context(harbor, probes, before, made, seed=0))
    monkeypatch.setattr(type(harbor), "generate", lambda self, talks, **more: [""] * len(talks))
    assert not signals.difference(harbor, probes, made, seed=0).any()
