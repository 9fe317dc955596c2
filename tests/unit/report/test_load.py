"""Loading: whole runs, partial runs, damaged and hostile files."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from holdfast.core.errors import UsageError
from holdfast.report import html, rates, summary
from holdfast.report.load import load
from holdfast.report.text import clean, number, p_value, percent, signed

PARTS = (
    "plan.json", "journal.jsonl", "run.json", "free_baselines.json", "map", "arms", "verdicts",
    "completions", "arms/plain/training.json", "arms/plain/drift", "completions/base.jsonl",
    "completions/base@epoch.jsonl", "verdicts/protected.json",
)  # fmt: skip


def test_whole_run(run_folder: Path) -> None:
    run = load(run_folder)
    assert list(run.arms) == ["plain", "protected"]
    assert run.problems == []
    assert summary.missing(run) == []
    assert list(run.arms["plain"].epochs) == [20, 40, 60]
    assert [r.step for r in run.arms["plain"].drifts] == [20, 40, 60]
    assert run.judges["harbor-harmful"] == "harbor"


@pytest.mark.parametrize("part", PARTS)
def test_every_part_may_be_missing(
    part: str, tmp_path: Path, build_run: Callable[[Path], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(html, "_figures", lambda run, key, found: [])  # drawn in test_html
    folder = build_run(tmp_path / "run")
    gone = folder / part
    if gone.is_dir():
        shutil.rmtree(gone)
    else:
        gone.unlink()
    run = load(folder)
    summary.what_happened(run)
    assert "not measured" in html.render(run).lower() or part in ("plan.json", "journal.jsonl")
    if part != "free_baselines.json":
        assert summary.missing(run)


@pytest.mark.parametrize("part", ["arms/plain/training.json", "verdicts/plain.json", "run.json"])
@pytest.mark.parametrize("content", ["", "{", "[]", '{"outcome": "pass"}', "[" * 100_000, "\x00"])
def test_damaged_records_are_problems_not_crashes(
    part: str, content: str, tmp_path: Path, build_run: Callable[[Path], Path]
) -> None:
    folder = build_run(tmp_path / "run")
    (folder / part).write_text(content, "utf-8")
    run = load(folder)
    if part != "run.json":
        assert any("plain" in problem or part in problem for problem in run.problems)
    if part == "verdicts/plain.json":
        assert summary.outcome_word(run.arms["plain"]) == "NOT MEASURED"
    summary.facts(run)


def test_edited_plan_and_journal_are_told(
    tmp_path: Path, build_run: Callable[[Path], Path]
) -> None:
    folder = build_run(tmp_path / "run")
    (folder / "plan.json").write_text('{"seed": 8}')
    assert any("plan.json" in problem for problem in load(folder).problems)
    journal = folder / "journal.jsonl"
    journal.write_text(journal.read_text().replace("run.opened", "run.closed"))
    assert any("journal.jsonl" in problem for problem in load(folder).problems)


def test_contradictions_are_told(tmp_path: Path, build_run: Callable[[Path], Path]) -> None:
    folder = build_run(tmp_path / "run")
    for path, changes in (
        ("arms/protected/training.json", {"protected_steps": 0}),
        ("verdicts/protected.json", {"candidate": "9" * 64, "comparisons": []}),
        ("map/safety_map.json", {"eligible": False}),
    ):
        content = json.loads((folder / path).read_text()) | changes
        (folder / path).write_text(json.dumps(content))
    told = " ".join(load(folder).problems)
    for words in ("never acted", "another model", "no comparison", "without safety"):
        assert words in told


def test_no_run(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no run"):
        load(tmp_path)
    with pytest.raises(UsageError, match="is no folder"):
        load(tmp_path / "absent")


def test_rates_count_unscored_apart() -> None:
    rows = [
        {"suite": "s", "kind": "harmful", "labels": {"j": label}}
        for label in ("unsafe", "refusal", "partial", "unscored")
    ]
    rows.append({"suite": "s", "kind": "harmful"})
    rows.append({"suite": "s", "kind": "harmful", "labels": {"j": "safe", "k": "unsafe"}})
    found = rates.measure(rows, {})
    assert (found[0].hits, found[0].scored, found[0].unscored) == (1, 3, 3)
    assert found[0].value == pytest.approx(1 / 3)
    with_judge = rates.measure(rows, {"s": "j"})[0]
    assert (with_judge.hits, with_judge.scored, with_judge.unscored) == (1, 4, 2)
    nothing = rates.measure([{"suite": "s", "kind": "task"}], {})[0]
    assert nothing.value is None
    assert (nothing.low, nothing.high) == (0.0, 1.0)


def test_clean_takes_acting_characters_out() -> None:
    assert clean("a\x1b[31mb\u202ec\ud800d\x00e\u200bf\n") == "a[31mbcdef\n"
    assert clean("x" * 1234 + "y", 1000) == "x" * 1000 + "… (235 more characters)"


def test_numbers() -> None:
    assert signed(-0.25, 2) == "\N{MINUS SIGN}0.25"
    assert signed(-0.0001, 2) == "0.00"
    assert number(1.5, 1) == "1.5"
    assert percent(None) == "not measured"
    assert p_value(0) == "<\N{NO-BREAK SPACE}0.001"
