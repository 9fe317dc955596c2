"""A user's preference file: shapes, faults by row, and splits that share no prompt."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from holdfast.core.errors import DataError
from holdfast.pipeline.pairs import task_judge, user_pairs


def run_on(path: Path, rows: list[dict[str, Any]], **section: Any) -> Any:
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    data = {"source": str(path), "held_out": 5, "validation": 3, "rows": None, **section}
    return SimpleNamespace(plan=SimpleNamespace(data=SimpleNamespace(**data), seed=0))


ROWS = [{"prompt": f"q{i // 2}", "chosen": f"a{i}", "rejected": "b"} for i in range(40)]


def test_all_pairs_of_a_prompt_lie_in_one_part(tmp_path: Path) -> None:
    ref, parts = user_pairs(run_on(tmp_path / "p.jsonl", ROWS))
    prompts = {k: {p["messages"][0]["content"] for p in v} for k, v in parts.items()}
    assert {k: len(v) for k, v in prompts.items()} == {"test": 5, "validation": 3, "train": 12}
    assert not prompts["train"] & (prompts["test"] | prompts["validation"])
    assert ref.rows == len(parts["train"]) == 24


def test_turns_and_texts_are_read_alike(tmp_path: Path) -> None:
    turn = {"role": "assistant", "content": "a"}
    rows = [
        {"messages": [{"role": "user", "content": f"q{i}"}], "chosen": [turn], "rejected": "b"}
        for i in range(12)
    ]
    _, parts = user_pairs(run_on(tmp_path / "p.jsonl", rows))
    assert parts["train"][0]["chosen"] == "a"


@pytest.mark.parametrize(
    "bad", [{"prompt": "q"}, {"prompt": 3, "chosen": "a", "rejected": "b"},
            {"messages": [], "chosen": "a", "rejected": "b"},
            {"messages": [{"role": "user"}], "chosen": "a", "rejected": "b"}],
)  # fmt: skip
def test_a_row_that_is_no_pair_is_named(tmp_path: Path, bad: dict[str, Any]) -> None:
    with pytest.raises(DataError, match="row 2 is no preference pair"):
        user_pairs(run_on(tmp_path / "p.jsonl", [ROWS[0], bad]))


def test_too_few_prompts_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="8 that are held out"):
        user_pairs(run_on(tmp_path / "p.jsonl", ROWS[:10]))


def test_the_task_judge_knows_the_better_answer() -> None:
    pair = {"messages": [{"role": "user", "content": "2 + 2?"}], "chosen": "4", "rejected": "5"}
    accepts = task_judge("reference", [pair])
    assert accepts(pair["messages"], "It is 4.")
    assert not accepts(pair["messages"], "5")
    assert not accepts([{"role": "user", "content": "another"}], "4")
