"""The terminal summary, the JSON facts and the command."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.console import Console

from holdfast.cli.report import command
from holdfast.core.records import Comparison, Finding, Interval, Outcome, PairedTable, Verdict
from holdfast.report import summary, terminal
from holdfast.report.load import load


def _printed(folder: Path, width: int = 200) -> str:
    out = io.StringIO()
    terminal.show(load(folder), Console(file=out, width=width))
    return out.getvalue()


def test_terminal_tells_the_story(run_folder: Path) -> None:
    text = _printed(run_folder)
    assert text.index("FAIL") < text.index("PASS") < text.index("Base: harbor")
    assert 8 <= text.count("•") <= 12
    assert "Harmful compliance rose by 62.5 points" in text
    assert "first at step 28" in text
    assert "no known defence stops that" in text


def test_records_cannot_style_or_forge_the_terminal(tmp_path: Path) -> None:
    evil = "[bold green]PASS[/]\x1b[2J"
    verdict = Verdict(
        outcome=Outcome.FAIL, base="b", candidate="c", arm="plain", policy="p",
        threat="contaminated",
        findings=(Finding(code="GATE002", severity="blocking", title="t", message=evil),),
        comparisons=(),
    )  # fmt: skip
    verdict.save(tmp_path / "verdicts" / "plain.json")
    text = _printed(tmp_path)
    assert "[bold green]PASS[/]" in text
    assert "\x1b" not in text


@pytest.mark.parametrize(
    ("outcome", "findings", "said"),
    [
        ("fail", ("first.", "second."), "first. (1 more below)"),
        ("inconclusive", (), "no blocking finding"),
        ("invalid", ("same model.",), "same model."),
        ("pass", (), "records no comparison"),
    ],
)
def test_reason(outcome: str, findings: tuple[str, ...], said: str) -> None:
    verdict = Verdict(
        outcome=Outcome(outcome), base="b", candidate="c", policy="p", threat="hostile",
        findings=tuple(
            Finding(code="GATE001", severity="blocking", title="t", message=m) for m in findings
        ),
        comparisons=(),
    )  # fmt: skip
    assert said in summary.reason(verdict)
    assert "so nothing is known" in summary.reason(None)


@pytest.mark.parametrize(
    ("worse", "low", "high", "expected"),
    [(1, -0.02, 0.049, True), (1, -0.02, 0.051, False),
     (-1, -0.049, 0.2, True), (-1, -0.051, 0.2, False)],
)  # fmt: skip
def test_non_inferior_reads_the_bad_end(
    worse: int, low: float, high: float, expected: bool
) -> None:
    rate = Interval(value=0.5, low=0.4, high=0.6, confidence=0.95, method="wilson")
    comparison = Comparison(
        metric="m", suite="s", judge="j", worse=worse,
        table=PairedTable(both=1, base_only=0, candidate_only=0, neither=1),
        base_rate=rate, candidate_rate=rate,
        difference=Interval(value=0, low=low, high=high, confidence=0.9, method="tango"),
        margin=0.05, alpha=0.05, p_noninferior=0.5, p_worse=0.5, p_mcnemar=1,
        minimum_detectable=0.1, base_unscored=0, candidate_unscored=0, worst_case=0,
    )  # fmt: skip
    assert summary.non_inferior(comparison) is expected


def test_a_pass_names_what_it_does_not_cover(run_folder: Path) -> None:
    verdict = load(run_folder).arms["plain"].verdict
    assert verdict is not None
    told = summary.reason(verdict.model_copy(update={"outcome": Outcome.PASS}))
    assert told.endswith("over refusal and task success; not shown on harmful compliance.")


def test_drift_inside_its_null_is_no_finding(run_folder: Path) -> None:
    line = next(x for x in summary.what_happened(load(run_folder)) if x.startswith("Drift"))
    assert "subspace rotation 1.20; protected none." in line


def test_command(run_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    done = CliRunner().invoke(command, [str(run_folder), "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert out.stat().st_size > 10_000
    assert "FAIL" in done.output
    facts = CliRunner().invoke(command, [str(run_folder), "--json"])
    told = json.loads(facts.output)
    assert told["arms"]["plain"]["outcome"] == "fail"
    assert told["html"] is None
    assert not (run_folder / "report.html").exists()
