"""The report shows which step repaired the run, what the others tried, and how often it asked."""

from __future__ import annotations

from pathlib import Path

from unit_repair_support import comparison

from holdfast.core.files import write_text
from holdfast.core.records import (
    FailureMode,
    Outcome,
    PairedTable,
    RepairAttempt,
    RepairRecord,
    RepairTrial,
)
from holdfast.repair import spending
from holdfast.report import html, summary
from holdfast.report.load import load

HOSTILE = "<script>alert(1)</script>"


def trial(name: str, *, chosen: bool = False, twin: bool = False) -> RepairTrial:
    return RepairTrial(
        name=name, settings={}, model_digest="d", rates={}, prompts=640, worst=0.007,
        worst_metric="context_blindness", task_success=0.99, chosen=chosen, front=chosen, twin=twin,
    )  # fmt: skip


def record(*, repaired: bool) -> RepairRecord:
    table = PairedTable(both=190, base_only=2, candidate_only=2, neither=6)
    first = RepairAttempt(
        arm="plain", method="scaling", position=1, cost=3200, state="gated",
        reason="the gate says FAIL", trials=(trial("scale 0.5", chosen=True),), ask=1, alpha=0.025,
        outcome=Outcome.FAIL, task_kept=comparison("task_success", table),
    )  # fmt: skip
    second = first.model_copy(
        update={
            "method": "revert", "position": 2, "ask": 2, "alpha": 0.0125, "repaired": repaired,
            "outcome": Outcome.PASS if repaired else Outcome.FAIL,
            "trials": (trial(HOSTILE, chosen=True), trial("random twin", twin=True)),
        }
    )  # fmt: skip
    made = RepairRecord(
        arm="plain", base="b", failed="f", attempts=(first, second), gates_asked=2, alpha=0.05,
        failures=(FailureMode(metric="weak_refusal", cause="c", pair="p", base_rate=0.0,
                              run_rate=0.9),),
        control=spending.sentence(0.05, 2), outcome=Outcome.PASS if repaired else Outcome.FAIL,
    )  # fmt: skip
    return made.model_copy(update={"method": "revert"}) if repaired else made


def page(folder: Path, made: RepairRecord) -> str:
    write_text(folder / "plan.json", "{}")
    made.save(folder / "repairs" / "plain" / "repair.json")
    run = load(folder)
    assert run.repairs == [made]
    return html.render(run)


def test_the_page_names_the_step_and_its_controls(tmp_path: Path):
    text = page(tmp_path, record(repaired=True))
    assert "plain was repaired by revert" in text
    assert "2 gates asked" in text
    assert "levels" in text or "at level 0.025, 0.0125" in text
    assert "random twin" in text
    assert "scale 0.5" in text
    assert HOSTILE not in text
    assert "&lt;script&gt;" in text


def test_the_page_says_that_no_step_passed(tmp_path: Path):
    text = page(tmp_path, record(repaired=False))
    assert "plain was not repaired: none of 2 steps passed the gate" in text


def test_the_summary_says_it_too(tmp_path: Path):
    page(tmp_path, record(repaired=True))
    lines = summary.what_happened(load(tmp_path))
    assert any("repaired by revert" in line and "at most 0.05" in line for line in lines)


def test_a_damaged_record_is_a_problem_and_not_a_crash(tmp_path: Path):
    page(tmp_path, record(repaired=True))
    (tmp_path / "repairs" / "plain" / "repair.json").write_text("{")
    run = load(tmp_path)
    assert run.repairs == []
    assert any("repair.json" in problem for problem in run.problems)
