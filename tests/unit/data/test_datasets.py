"""Data sets: formats, faults in one sentence, identity, groups that never straddle a split."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.errors import DataError, UsageError
from holdfast.data import check_lengths, load, read_rows, split_by_group
from holdfast.data.template import detect


def _jsonl(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def _pairs(n: int) -> list[dict[str, object]]:
    return [{"prompt": f"ask {i}", "completion": f"say {i}", "doc": f"d{i % 5}"} for i in range(n)]


@pytest.mark.parametrize(
    ("columns", "template"),
    [
        ({"messages"}, "messages"),
        ({"prompt", "completion"}, "prompt-completion"),
        ({"prompt", "response", "id"}, "prompt-response"),
        ({"question", "answer"}, "question-answer"),
        ({"instruction", "input", "output"}, "instruction-output"),
    ],
)
def test_template_is_detected(columns: set[str], template: str) -> None:
    assert detect(columns) == template


def test_two_templates_that_fit_must_be_chosen_from() -> None:
    with pytest.raises(DataError, match="more than one template"):
        detect({"prompt", "completion", "response"})


def test_named_columns_become_a_conversation(tmp_path: Path) -> None:
    path = _jsonl(tmp_path / "a.jsonl", [{"title": "t", "summary": "s"}])
    data = load(path, template="title->summary")
    assert [m["content"] for m in data.examples[0].messages] == ["t", "s"]
    assert data.ref.template == "title->summary"


def test_unknown_template_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown template 'alpacca'"):
        load(_jsonl(tmp_path / "a.jsonl", _pairs(1)), template="alpacca")


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv"])
def test_the_same_rows_have_the_same_digest_in_every_format(tmp_path: Path, name: str) -> None:
    rows = _pairs(3)
    path = tmp_path / name
    if name == "a.json":
        path.write_text(json.dumps(rows), "utf-8")
    elif name == "a.csv":
        lines = ["prompt,completion,doc", *(",".join(map(str, row.values())) for row in rows)]
        path.write_text("\ufeff" + "\n".join(lines) + "\n", "utf-8")
    else:
        _jsonl(path, rows)
    reference = load(_jsonl(tmp_path / "ref.jsonl", rows))
    assert load(path).ref.data_digest == reference.ref.data_digest


def test_the_digest_depends_on_content_and_order(tmp_path: Path) -> None:
    rows = _pairs(3)
    digests = {
        load(_jsonl(tmp_path / f"{i}.jsonl", some)).ref.data_digest
        for i, some in enumerate([rows, rows[::-1], rows[:2]])
    }
    assert len(digests) == 3


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", "", "holds no rows"),
        ("a.csv", "prompt,completion\n", "holds no rows"),
        ("a.json", "[]", "holds no rows"),
        ("a.json", '{"a": 1}', "no list of objects"),
        ("a.json", "{", "is not JSON"),
        ("a.json", "[" * 200_000, "nested too deeply"),
        ("a.csv", "prompt,completion\na,b,c\n", "another number of fields"),
        ("a.parquet", "x", "a format that is not read"),
        ("a.jsonl", '{"text": "x"}\n', "lack the columns"),
        ("a.jsonl", '{"prompt": "x", "completion": " "}\n', "'completion' is empty"),
        ("a.jsonl", '{"messages": [{"role": "user", "content": "x"}]}\n', "end in an answer"),
        ("a.jsonl", '{"messages": [{"role": "king", "content": "x"}]}\n', "no known role"),
        ("a.jsonl", '{"messages": "x"}\n', "no list of messages"),
    ],
)
def test_bad_input_is_one_sentence(tmp_path: Path, name: str, content: str, message: str) -> None:
    path = tmp_path / name
    path.write_text(content, "utf-8")
    with pytest.raises(DataError, match=message) as caught:
        load(path)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_a_missing_file_and_a_row_that_lacks_a_column_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        read_rows(tmp_path / "none.jsonl")
    path = _jsonl(tmp_path / "a.jsonl", [*_pairs(1), {"prompt": "x"}])
    with pytest.raises(DataError, match="row 2 lacks completion"):
        load(path, template="prompt-completion")


def test_duplicates_are_dropped_and_counted_and_the_limit_holds(tmp_path: Path) -> None:
    path = _jsonl(tmp_path / "a.jsonl", _pairs(4) + _pairs(2))
    data = load(path)
    assert (data.ref.rows, data.duplicates) == (4, 2)
    assert load(path, limit=3).ref.rows == 3
    with pytest.raises(DataError, match="below 1"):
        load(path, limit=0)


@given(st.integers(0, 1000), st.floats(0.2, 0.7))
def test_groups_never_straddle_a_split(
    tmp_path_factory: pytest.TempPathFactory, seed: int, share: float
) -> None:
    path = _jsonl(tmp_path_factory.mktemp("d") / "a.jsonl", _pairs(40))
    parts = split_by_group(load(path, group="doc"), {"train": share, "test": 1 - share}, seed=seed)
    groups = {name: {e.group for e in part.examples} for name, part in parts.items()}
    assert not groups["train"] & groups["test"]
    assert sum(part.ref.rows for part in parts.values()) == 40
    assert all(part.examples for part in parts.values())
    assert parts["test"].ref.split == "test"


def test_a_split_is_the_same_for_the_same_seed_only(tmp_path: Path) -> None:
    data = load(_jsonl(tmp_path / "a.jsonl", _pairs(60)))
    shares = {"train": 0.5, "test": 0.5}
    digests = [split_by_group(data, shares, seed=s)["test"].ref.data_digest for s in (1, 1, 2)]
    assert digests[0] == digests[1] != digests[2]


def test_too_few_groups_cannot_be_split(tmp_path: Path) -> None:
    rows = [{"prompt": f"{i}", "completion": "b", "doc": "one"} for i in range(3)]
    data = load(_jsonl(tmp_path / "a.jsonl", rows), group="doc")
    with pytest.raises(DataError, match="cannot be split; got 1 groups"):
        split_by_group(data, {"train": 0.5, "test": 0.5}, seed=0)


def test_long_rows_are_counted_and_all_long_is_an_error(tmp_path: Path) -> None:
    data = load(_jsonl(tmp_path / "a.jsonl", _pairs(12)))
    kept, dropped = check_lengths(data, lambda m: len(m[0]["content"]), 5)
    assert (kept.ref.rows, dropped) == (10, 2)
    with pytest.raises(DataError, match="all 12 rows .* longer than the model's context"):
        check_lengths(data, lambda m: 99, 5)
