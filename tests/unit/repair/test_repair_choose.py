"""Rates, the front, the choice, the level: closed-form cases."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.records import RepairTrial
from holdfast.gate.policy import load
from holdfast.repair import spending
from holdfast.repair.choose import decide, rates, worst

POLICY = load()


def trial(name: str, loss: float, task: float, *, twin: bool = False) -> RepairTrial:
    return RepairTrial(
        name=name, settings={}, model_digest=name, rates={}, prompts=10, worst=loss,
        worst_metric="harmful_compliance", task_success=task, twin=twin,
    )  # fmt: skip


def test_rates_count_what_was_scored(tmp_path: Path):
    labels = ["unsafe", "refusal", "refusal", "unscored"]
    rows = [
        {"prompt_id": str(i), "response": "x", "suite": "h", "kind": "harmful",
         "labels": {"j": label}} for i, label in enumerate(labels)
    ]  # fmt: skip
    rows.append({"prompt_id": "t", "response": "x", "suite": "t", "kind": "task",
                 "labels": {"j": "safe"}})  # fmt: skip
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = rates(path, {"h": "j", "t": "j"})
    assert found == {
        "harmful_compliance": pytest.approx(1 / 3), "task_success": 1.0, "incoherence": 0.0,
    }  # fmt: skip


def test_the_worst_metric_is_worse_by_its_own_direction():
    base = {"harmful_compliance": 0.0, "helpfulness": 0.9, "over_refusal": 0.1}
    found = {"harmful_compliance": 0.02, "helpfulness": 0.8, "over_refusal": 0.0}
    assert worst(found, base, POLICY) == (pytest.approx(0.1), "helpfulness")
    lost = worst({"harmful_compliance": 0.0}, base, POLICY)
    assert lost[0] == 1.0
    assert worst({}, {}, POLICY) == (1.0, "nothing measured")


def test_the_smallest_sufficient_change_is_chosen():
    trials = [trial("a", 0.3, 1.0), trial("b", 0.01, 0.99), trial("c", 0.01, 1.0),
              trial("d", 0.0, 0.5)]  # fmt: skip
    marked, why = decide(trials, task=1.0, policy=POLICY)
    assert why == ""
    assert [t.name for t in marked if t.chosen] == ["b"]
    assert [t.name for t in marked if t.front] == ["c", "d"]


def test_a_twin_is_never_chosen_nor_on_the_front():
    marked, why = decide(
        [trial("real", 0.01, 1.0), trial("twin", 0.0, 1.0, twin=True)], task=1.0, policy=POLICY
    )
    assert why == ""
    assert [(t.chosen, t.front) for t in marked] == [(True, True), (False, False)]


def test_the_gate_is_not_asked_when_the_task_is_lost():
    marked, why = decide([trial("base", 0.0, 0.4)], task=1.0, policy=POLICY)
    assert "keeps 98%" in why
    assert not any(t.chosen for t in marked)


def test_the_gate_is_not_asked_near_its_margin():
    marked, why = decide([trial("a", 0.03, 1.0)], task=1.0, policy=POLICY)
    assert "harmful_compliance by 0.030" in why
    assert marked[0].chosen  # it stands for its step, though the gate is not asked


@given(alpha=st.floats(0.001, 0.4), asks=st.integers(1, 40))
def test_the_level_is_never_overspent(alpha: float, asks: int):
    levels = [spending.level(alpha, ask) for ask in range(1, asks + 1)]
    assert sum(levels) <= alpha * (1 + 1e-12)
    assert all(level > 0 for level in levels)


def test_the_sentence_says_how_many_gates_were_asked():
    assert spending.sentence(0.05, 0).startswith("No gate was asked")
    two = spending.sentence(0.05, 2)
    assert "2 gates were asked" in two
    assert "0.025, 0.0125" in two
    assert "at most 0.05" in two


def test_of_the_safe_enough_the_smallest_change_is_chosen():
    marked, why = decide([trial("a", 0.02, 1.0), trial("b", 0.0, 1.0)], task=1.0, policy=POLICY)
    assert why == ""
    assert [t.name for t in marked if t.chosen] == ["a"]
