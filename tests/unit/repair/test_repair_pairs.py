"""Pairs come from the run's own failures, in the base's words, never from the gate's prompts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from holdfast.core.errors import DataError, InvalidRun
from holdfast.evals.plan import PromptPlan, freeze
from holdfast.evals.suites import Prompt, Suite
from holdfast.repair.pairs import KEEP, TASK, Asked, make, refuse_overlap

ROWS = [
    {
        "messages": [
            {"role": "user", "content": f"task {i}"},
            {"role": "assistant", "content": f"done {i}"},
        ]
    }
    for i in range(5)
]


def say(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def suite(name: str, kind: str, texts: list[str], followups: tuple[str, ...] = ()) -> Suite:
    prompts = tuple(
        Prompt(prompt_id=f"{name}-{i}", messages=say(text), followups=followups)
        for i, text in enumerate(texts)
    )
    return Suite(name, kind, prompts, "j", "ours", "")


def answers(path: Path, plan: PromptPlan, told: dict[str, tuple[str, str, Any]]) -> Path:
    """Completions with (response, label, turns) by prompt id."""
    rows = []
    for one in plan.suites:
        for prompt in one.prompts:
            response, label, turns = told[prompt.prompt_id]
            row = {"prompt_id": prompt.prompt_id, "messages": prompt.messages, "suite": one.name,
                   "kind": one.kind, "response": response, "labels": {"j": label}}  # fmt: skip
            if turns:
                row |= {"turns": turns, "turn": len(turns) if label == "unsafe" else None}
            rows.append(row)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def asked(tmp_path: Path, suites: list[Suite], base: dict[str, Any], run: dict[str, Any]) -> Asked:
    plan = freeze(suites)
    return Asked(plan, answers(tmp_path / "base.jsonl", plan, base),
                 answers(tmp_path / "run.jsonl", plan, run),
                 {s.name: "j" for s in suites})  # fmt: skip


def test_a_harmful_failure_is_answered_with_the_bases_refusal(tmp_path: Path):
    found = asked(
        tmp_path, [suite("h", "harmful", ["one", "two", "three"]), suite("b", "helpful", ["x"])],
        {"h-0": ("no, one", "refusal", None), "h-1": ("yes", "unsafe", None),
         "h-2": ("no, three", "refusal", None), "b-0": ("fine", "safe", None)},
        {"h-0": ("sure, one", "unsafe", None), "h-1": ("sure, two", "unsafe", None),
         "h-2": ("no", "refusal", None), "b-0": ("right", "safe", None)},
    )  # fmt: skip
    pairs = make(found, ROWS, modes=["harmful_compliance"], limit=10, seed=0)
    by_mode = {pair.mode: pair for pair in pairs.items}
    # Where the base fails too (h-1) or the run does not (h-2), there is nothing to learn.
    assert pairs.counts() == {"harmful_compliance": 1, KEEP: 1, TASK: 1}
    pair = by_mode["harmful_compliance"]
    assert (pair.chosen, pair.rejected) == ("no, one", "sure, one")
    assert pair.row()["messages"][-1] == {"role": "assistant", "content": "no, one"}
    assert by_mode[KEEP].chosen == "right"  # the run's own right answer stays
    assert by_mode[KEEP].rejected == "no, one"  # over a refusal: against over-refusal
    assert by_mode[TASK].chosen.startswith("done")


def test_over_refusal_is_answered_with_the_bases_answer(tmp_path: Path):
    found = asked(
        tmp_path, [suite("b", "benign", ["x"])], {"b-0": ("here you are", "safe", None)},
        {"b-0": ("no", "refusal", None)},
    )  # fmt: skip
    pairs = make(found, ROWS, modes=["over_refusal"], limit=10, seed=0)
    pair = next(p for p in pairs.items if p.mode == "over_refusal")
    assert (pair.chosen, pair.rejected) == ("here you are", "no")


def test_a_ladder_is_answered_at_the_rung_and_at_the_last(tmp_path: Path):
    ladder = suite("l", "ladder", ["first"], ("again", "please"))
    found = asked(
        tmp_path, [ladder],
        {"l-0": ("no 3", "refusal", ["no 1", "no 2", "no 3"])},
        {"l-0": ("sure", "unsafe", ["well, no", "sure"])},
    )  # fmt: skip
    pairs = make(found, [], modes=["weak_refusal"], limit=10, seed=0)
    by_rung = {pair.prompt_id: pair for pair in pairs.items}
    assert set(by_rung) == {"l-0#2", "l-0#3"}
    assert by_rung["l-0#2"].chosen == "no 2"
    assert [m["content"] for m in by_rung["l-0#3"].messages] == [
        "first", "no 1", "again", "no 2", "please",
    ]  # fmt: skip
    assert by_rung["l-0#3"].rejected == "sure"


def test_modes_share_the_limit(tmp_path: Path):
    texts = [f"t{i}" for i in range(20)]
    suites = [suite("h", "harmful", texts), suite("j", "jailbreak", [f"w {t}" for t in texts[:3]])]
    ids = [p.prompt_id for s in suites for p in s.prompts]
    found = asked(
        tmp_path, suites, dict.fromkeys(ids, ("no", "refusal", None)),
        dict.fromkeys(ids, ("sure", "unsafe", None)),
    )  # fmt: skip
    modes = ["harmful_compliance", "jailbreak_vulnerability"]
    pairs = make(found, [], modes=modes, limit=10, seed=0)
    assert pairs.counts() == {"harmful_compliance": 7, "jailbreak_vulnerability": 3}
    assert make(found, [], modes=modes, limit=10, seed=0) == pairs
    only = make(found, [], modes=["harmful_compliance"], limit=10, seed=0)
    assert only.counts() == {"harmful_compliance": 10}


def test_a_pool_without_failures_makes_no_pair(tmp_path: Path):
    found = asked(
        tmp_path, [suite("h", "harmful", ["one"])], {"h-0": ("no", "refusal", None)},
        {"h-0": ("no", "refusal", None)},
    )  # fmt: skip
    with pytest.raises(InvalidRun, match="no pair can be made"):
        make(found, ROWS, modes=["harmful_compliance"], limit=10, seed=0)


def test_an_evaluation_prompt_in_the_pool_is_refused():
    gate = freeze([suite("gate", "harmful", ["How do I  do IT?"])])
    clean = freeze([suite("pool", "harmful", ["How do I do that?"])])
    near = freeze([suite("pool", "harmful", ["other", "how do I do it?"])])
    refuse_overlap(clean, [gate])
    with pytest.raises(DataError, match=r"first 'pool/pool-1', which is 'gate/gate-0'"):
        refuse_overlap(near, [gate])


def test_task_rows_of_preference_training_teach_their_chosen_answer(tmp_path: Path):
    found = asked(
        tmp_path, [suite("h", "harmful", ["one"])], {"h-0": ("no", "refusal", None)},
        {"h-0": ("sure", "unsafe", None)},
    )  # fmt: skip
    rows = [{"messages": say("task"), "chosen": "good", "rejected": "bad"}]
    pairs = make(found, rows, modes=["harmful_compliance"], limit=10, seed=0)
    pair = next(p for p in pairs.items if p.mode == TASK)
    assert (pair.messages, pair.chosen) == (say("task"), "good")
