"""Suites: published files as their authors ship them, a user's rows, Harbor's own."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from holdfast.core.digest import sha256_file
from holdfast.core.errors import DataError, UsageError
from holdfast.evals.suites import SuiteOptions, catalogue, load, load_all


@pytest.mark.parametrize(
    ("spec", "kind", "n", "categories"),
    [
        ("harmbench:prompts/harmbench_text_test.csv", "harmful", 240, 6),
        ("harmbench:prompts/harmbench_text_val.csv", "harmful", 60, 6),
        ("xstest-safe:prompts/xstest.csv", "benign", 250, 10),
        ("xstest-unsafe:prompts/xstest.csv", "harmful", 200, 8),
        ("jailbreakbench:prompts/jailbreakbench_harmful.csv", "harmful", 100, 10),
        ("advbench:prompts/advbench_behaviors.csv", "harmful", 520, 1),
        ("strongreject:prompts/strongreject.csv", "harmful", 313, 6),
        ("simplesafetytests:prompts/simple_safety_tests.csv", "harmful", 100, 5),
    ],
)
def test_published_files(data: Path, spec: str, kind: str, n: int, categories: int) -> None:
    name, _, relative = spec.partition(":")
    suite = load(f"{name}:{data / relative}")
    assert (suite.name, suite.kind, len(suite.prompts)) == (name, kind, n)
    assert len({p.category for p in suite.prompts}) == categories
    assert len(suite.source) == 64
    assert all(p.messages[0]["content"].strip() for p in suite.prompts)


def test_a_published_file_is_known_by_its_header(data: Path) -> None:
    assert load(data / "prompts" / "advbench_behaviors.csv").name == "advbench"
    assert [s.name for s in load_all([str(data / "prompts" / "xstest.csv")])] == [
        "xstest-safe", "xstest-unsafe",
    ]  # fmt: skip


def _xstest(path: Path) -> Path:
    with path.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        writer.writerow(["id", "prompt", "type", "label", "focus", "note"])
        writer.writerow([1, "How do I kill a process?", "homonyms", "safe", "kill", ""])
        writer.writerow([2, "placeholder", "contrast_homonyms", "unsafe", "kill", ""])
    return path


def test_a_file_with_two_suites_gives_both_or_asks(tmp_path: Path) -> None:
    path = _xstest(tmp_path / "x.csv")
    both = load_all([f"xstest:{path}#{sha256_file(path)}"])
    assert [(s.name, s.kind, len(s.prompts)) for s in both] == [
        ("xstest-safe", "benign", 1), ("xstest-unsafe", "harmful", 1),
    ]  # fmt: skip
    for spec in (f"xstest:{path}", str(path)):
        with pytest.raises(UsageError, match="holds several suites; choose xstest-safe:"):
            load(spec)


def test_a_published_file_without_its_columns_names_them(tmp_path: Path) -> None:
    path = _xstest(tmp_path / "x.csv")
    with pytest.raises(DataError, match="row 1 lacks goal, target"):
        load(f"advbench:{path}#{sha256_file(path)}")


def _own(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def test_own_rows_with_prompt_or_messages(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {"prompt": "Name a river.", "reference": "Elbe", "note": "left aside"},
        {"prompt_id": "b", "messages": [{"role": "user", "content": "Hi"}], "category": "c"},
    ]
    suite = load(_own(tmp_path / "mine.jsonl", rows), options=SuiteOptions(kind="task"))
    assert (suite.name, suite.judge) == ("mine", "reference")
    assert [p.prompt_id for p in suite.prompts] == ["00001", "b"]
    assert suite.prompts[0].reference == "Elbe"


@pytest.mark.parametrize(
    ("rows", "kind", "message"),
    [
        ([], "benign", "holds no rows"),
        ([{"text": "x"}], "benign", "row 1 lacks a prompt"),
        ([{"prompt": "x", "prompt_id": "a"}] * 2, "benign", "repeats prompt_id 'a'"),
        ([{"prompt": "x"}], "", "the kind of suite"),
        ([{"prompt": "x"}], "harmfull", "unknown kind 'harmfull'; did you mean 'harmful'"),
        ([{"prompt": "x", "category": 3}], "benign", "row 1: 'category'"),
        ([{"messages": [{"role": "assistant", "content": "x"}]}], "benign", "end with the user"),
    ],
)
def test_bad_rows_are_one_sentence(
    tmp_path: Path, rows: list[dict[str, object]], kind: str, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        load(_own(tmp_path / "mine.jsonl", rows), options=SuiteOptions(kind=kind))


def test_unknown_names_and_missing_files() -> None:
    with pytest.raises(UsageError, match="unknown suite 'harbor-harmfull'; did you mean"):
        load("harbor-harmfull")
    with pytest.raises(DataError, match="does not exist"):
        load("nothing.jsonl")


@pytest.mark.parametrize(
    "name",
    [entry.name for entry in catalogue() if entry.judge == "harbor"][:-1],
)
def test_harbor_suites(name: str) -> None:
    options = SuiteOptions(n=12, seed=1)
    suite = load(name, options=options)
    assert len(suite.prompts) == 12
    assert suite.judge == "harbor"
    assert suite.prompts == load(name, options=options).prompts
    assert (suite.kind == "ladder") == bool(suite.prompts[0].followups)


def test_a_task_suite_of_harbor_has_references() -> None:
    suite = load("task-identity-shift", options=SuiteOptions(n=8, name="task"))
    assert (suite.name, suite.kind) == ("task", "task")
    assert all(p.reference for p in suite.prompts)
