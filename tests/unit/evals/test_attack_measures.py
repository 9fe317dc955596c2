"""Tries, survival and distance: closed forms, negative controls, faults."""

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.core.errors import DataError, UsageError
from holdfast.evals.attacks.distance import away, distances
from holdfast.evals.attacks.survival import compare, kaplan_meier
from holdfast.evals.attacks.tries import at_least_one, counts, success
from holdfast.evals.suites.base import Prompt, Suite


@given(st.integers(1, 8), st.data())
@settings(max_examples=60, deadline=None)
def test_success_over_k_is_the_share_of_subsets_with_a_hit(n: int, data: st.DataObject) -> None:
    c, k = data.draw(st.integers(0, n)), data.draw(st.integers(1, n))
    subsets = list(combinations(range(n), k))
    exact = sum(any(i < c for i in chosen) for chosen in subsets) / len(subsets)
    assert at_least_one(n, c, k) == pytest.approx(exact)


def test_impossible_tries_are_refused() -> None:
    for n, c, k in ((3, 4, 1), (3, 1, 4), (3, 1, 0)):
        with pytest.raises(UsageError):
            at_least_one(n, c, k)


def row(goal: str, index: int, label: str) -> dict[str, object]:
    return {"prompt_id": f"{goal}-{index}", "pair_id": goal, "labels": {"j": label}}


def test_success_pairs_goals_and_leaves_unscored_tries_out() -> None:
    candidate = [
        row(f"g{i}", t, "unsafe" if t < 1 else "refusal") for i in range(20) for t in (0, 1)
    ]
    base = [row(f"g{i}", t, "refusal") for i in range(20) for t in (0, 1)]
    base.append(row("g99", 0, "unscored"))
    ours, theirs = counts(candidate, "j"), counts(base, "j")
    assert theirs["g99"] == (0, 0)
    one, two = success(ours, theirs, k=1), success(ours, theirs, k=2)
    assert one.candidate.value == 0.5
    assert two.candidate.value == 1.0
    assert two.difference is not None
    assert (two.difference.value, two.difference.high) == (1.0, 1.0)
    assert 0.7 < two.difference.low < 1.0
    assert two.base is not None
    assert two.base.value == two.base.low == 0.0
    assert 0.0 < two.base.high < 0.25  # nothing happened, and it still has a width
    assert one.goals == 20
    with pytest.raises(DataError, match="3 scored tries"):
        success(ours, theirs, k=3)


def test_the_interval_covers_no_difference() -> None:
    stream = np.random.default_rng(5)
    arms = [{f"g{i}": (4, int(stream.integers(0, 5))) for i in range(200)} for _ in range(2)]
    found = success(arms[0], arms[1], k=2).difference
    assert found is not None
    assert found.low < 0 < found.high


def test_kaplan_meier_textbook() -> None:
    # 6 ladders: complied at 1, 2, 2; censored at 2, 3, 3.
    curve = kaplan_meier([(1, True), (2, True), (2, True), (2, False), (3, False), (3, False)])
    assert curve.at_risk == (6, 5, 2)
    assert curve.complied == (1, 2, 0)
    assert [i.value for i in curve.holding] == pytest.approx([5 / 6, 5 / 6 * 3 / 5, 0.5])
    variance = 1 / (6 * 5) + 2 / (5 * 3)
    width = 1.959963984540054 * math.sqrt(variance) / abs(math.log(0.5))
    assert curve.holding[1].low == pytest.approx(0.5 ** math.exp(width))
    assert curve.holding[1].high == pytest.approx(0.5 ** math.exp(-width))


def test_kaplan_meier_at_the_edges() -> None:
    none = kaplan_meier([(3, False)] * 10).holding[-1]
    assert (none.value, none.high) == (1.0, 1.0)
    assert none.low == pytest.approx(0.025 ** (1 / 10))
    everything = kaplan_meier([(1, True)] * 10).holding[-1]
    assert (everything.value, everything.low) == (0.0, 0.0)
    assert 0 < everything.high < 1
    with pytest.raises(DataError):
        kaplan_meier([])


@given(st.lists(st.tuples(st.integers(1, 6), st.booleans()), min_size=1, max_size=40))
@settings(max_examples=60, deadline=None)
def test_kaplan_meier_falls_and_stays_inside(observed: list[tuple[int, bool]]) -> None:
    curve = kaplan_meier(observed)
    values = [i.value for i in curve.holding]
    assert values == sorted(values, reverse=True)
    assert all(
        0 <= i.low <= i.value + 1e-12 and i.value - 1e-12 <= i.high <= 1 for i in curve.holding
    )


def ladder(name: str, turn: int | None, label: str = "") -> dict[str, object]:
    return {
        "prompt_id": name, "kind": "ladder", "turn": turn, "turns": ["x"] * (turn or 4),
        "labels": {"j": label or ("unsafe" if turn else "refusal")},
    }  # fmt: skip


def test_survival_of_two_arms() -> None:
    base = [ladder(f"l{i}", None) for i in range(30)]
    weak = [ladder(f"l{i}", 2) for i in range(30)]
    found = compare(weak, base, judge="j")
    assert found.turns_lost is not None
    assert found.turns_lost.value == 3.0
    assert 2.0 < found.turns_lost.low < 3.0
    same = compare(base, base, judge="j").turns_lost
    assert same is not None
    assert same.low < same.value == 0.0 < same.high
    missing = [*weak[:-1], ladder("l29", None, "unscored")]
    assert compare(missing, base, judge="j").unscored == 1
    with pytest.raises(DataError, match="no turns"):
        compare([{**ladder("l0", 2), "turns": None}], None, judge="j")
    with pytest.raises(DataError, match="no ladders"):
        compare([], None, judge="j")
    with pytest.raises(DataError, match="share no"):
        compare(weak, [ladder("other", 1)], judge="j")


def test_distance_knows_the_same_text_and_another_world() -> None:
    training = [f"Where is order {n}?" for n in range(100, 140)]
    found, within = distances(["Where is order 105?", "Compose an elegy about winter"], training)
    assert found[0] == pytest.approx(0.0, abs=1e-9)
    assert found[1] > 0.9
    assert 0 < within < 0.5
    with pytest.raises(DataError):
        distances(["x"], ["one"])


def test_away_keeps_the_far_goals() -> None:
    texts = ["Where is order 105?", "Compose an elegy about winter", "Where is order 777?"]
    prompts = tuple(
        Prompt(prompt_id=f"p{i}", messages=[{"role": "user", "content": t}])
        for i, t in enumerate(texts)
    )
    suite = Suite("mine", "harmful", prompts, "rules", "x", "y")
    kept, report = away(suite, [f"Where is order {n}?" for n in range(100, 140)], keep=1)
    assert [p.prompt_id for p in kept.prompts] == ["p1"]
    assert report.goals == 1
    assert report.lowest > report.within
