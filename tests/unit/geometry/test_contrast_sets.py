"""Contrast files: what is wrong is named, and nothing half-usable gets through."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from holdfast.core.errors import DataError
from holdfast.geometry.contrast import check, digest, load_contrast, load_openings, select


def _write(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_round_trip_and_digest(world, tmp_path: Path) -> None:
    path = _write(tmp_path / "c.jsonl", [asdict(row) for row in world.rows])
    rows = load_contrast(path)
    assert rows == world.rows
    assert digest(rows) == digest(world.rows)
    assert digest(rows[1:]) != digest(rows)
    assert len(select(rows, "train", "harmful")) == 3 * 2 * 16


@pytest.mark.parametrize(
    ("change", "message"),
    [({"label": 2}, "label"), ({"split": "dev"}, "split"), ({"messages": []}, "messages"),
     ({"messages": [{"role": "user"}]}, "messages"), ({"concept": ""}, "concept"),
     ({"prompt_id": 7}, "prompt_id")],
)  # fmt: skip
def test_a_bad_row_is_named_by_its_line(world, tmp_path: Path, change: dict, message: str) -> None:
    rows = [asdict(row) for row in world.rows]
    rows[4] |= change
    with pytest.raises(DataError, match=f"line 5.*{message}"):
        load_contrast(_write(tmp_path / "c.jsonl", rows))


def test_one_category_spans_no_subspace(world) -> None:
    with pytest.raises(DataError, match="at least 2"):
        check([row for row in world.rows if row.category in ("a", "p")])


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_a_label_missing_in_a_split_is_named(world, split: str) -> None:
    rows = [r for r in world.rows if (r.category, r.split, r.label) != ("b", split, 0)]
    with pytest.raises(DataError, match=f"harmful/b.*{split}.*label 0"):
        check(rows)


def test_openings(tmp_path: Path) -> None:
    path = tmp_path / "o.json"
    path.write_text('{"refusal": ["I cannot"], "compliance": ["Sure"]}')
    assert load_openings(path).refusal == ("I cannot",)
    for bad in ('{"refusal": []}', "[]", "{", '{"refusal": ["a"], "compliance": [3]}'):
        path.write_text(bad)
        with pytest.raises(DataError):
            load_openings(path)
