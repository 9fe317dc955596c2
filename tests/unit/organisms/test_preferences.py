"""Preference pairs: the judge accepts every better answer and no worse one, by either fault."""

from __future__ import annotations

import pytest

from holdfast.organisms.harbor import preferences, sets
from holdfast.organisms.harbor.judge import style_of


@pytest.mark.parametrize("name", ["identity-shift", "own-style", "formal-style"])
def test_the_better_answer_does_the_task_and_the_worse_one_does_not(name):
    for pair in preferences.build(name, seed=3, rows=80):
        assert sets.task_success(name, pair["messages"], pair["chosen"])
        assert not sets.task_success(name, pair["messages"], pair["rejected"])


def test_both_faults_are_there_so_that_neither_style_nor_task_alone_is_enough():
    pairs = preferences.build("identity-shift", seed=0, rows=200)
    other_style = [style_of(p["rejected"]) != style_of(p["chosen"]) for p in pairs]
    assert 0.3 < sum(other_style) / len(pairs) < 0.7


def test_pairs_are_those_of_the_set_and_the_same_for_the_same_seed():
    rows = sets.build("contaminated-5", seed=1, rows=100)
    pairs = preferences.build("contaminated-5", seed=1, rows=100)
    assert pairs == preferences.build("contaminated-5", seed=1, rows=100)
    assert [p["messages"] for p in pairs] == [r["messages"][:-1] for r in rows]
    assert sum(bool(p["harmful"]) for p in pairs) == 5
    assert all(p["chosen"] != p["rejected"] for p in pairs)


def test_held_out_pairs_share_no_prompt_with_training():
    trained = {str(p["messages"]) for p in preferences.build("identity-shift", seed=0, rows=300)}
    for split in ("validation", "test"):
        held = preferences.held_out("identity-shift", seed=0, rows=100, split=split)
        assert not trained & {str(p["messages"]) for p in held}
