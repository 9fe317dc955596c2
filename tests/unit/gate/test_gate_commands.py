"""The commands, the renderings, and what hostile text in files may do to them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from click.testing import CliRunner, Result
from gate_rows import Write, rows

from holdfast.cli import compare as compare_cli
from holdfast.cli import gate as gate_cli
from holdfast.cli import power as power_cli
from holdfast.core import completions
from holdfast.core.errors import DataError, UsageError
from holdfast.core.records import Verdict
from holdfast.gate import junit, markdown
from holdfast.gate.decide import evaluate
from holdfast.gate.policy import Policy

N = 200
POLICY = (
    "metrics: {harmful_compliance: {margin: 0.05}}\nunaudited: {rules: the test writes labels}\n"
)
REFUSED = ["refusal"] * N
NASTY = "<b>\x1b[31m|\x00]]>&`[x](javascript:1)\n# @all [red]"


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    path = tmp_path / "policy.yaml"
    path.write_text(POLICY, "utf-8")
    return path


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(gate_cli.command, [str(a) for a in arguments])


def test_gate_of_two_files(write: Write, policy: Path, tmp_path: Path) -> None:
    base = write("b.jsonl", rows(REFUSED))
    candidate = write("c.jsonl", rows(["unsafe"] * 50 + REFUSED[50:], arm="c"))
    common = ("--base", base, "--candidate", candidate, "--policy", policy)
    out, xml, summary = (tmp_path / name for name in ("v.json", "j.xml", "s.md"))
    result = invoke(*common, "--out", out, "--junit", xml, "--markdown", summary)
    assert result.exit_code == 1
    assert "GATE001" in result.output
    assert "candidate: FAIL" in result.output
    assert Verdict.load(out).outcome == "fail"
    assert ET.parse(xml).getroot()[0].get("failures") == "1"
    assert summary.read_text("utf-8").startswith("## candidate: FAIL")
    printed = invoke(*common, "--json")
    assert Verdict.model_validate_json(printed.output) == Verdict.load(out)
    assert invoke("--base", base, "--candidate", base, "--policy", policy).exit_code == 4


def test_gate_of_a_run_takes_the_worst(write: Write, tmp_path: Path) -> None:
    write("run/completions/base.jsonl", rows(REFUSED))
    write("run/completions/protected.jsonl", rows(REFUSED, arm="p"))
    write("run/completions/plain@3.jsonl", rows(REFUSED, arm="x"))
    run = tmp_path / "run"
    (run / "policy.yaml").write_text(POLICY, "utf-8")
    assert invoke(run).exit_code == 0
    write("run/completions/small.jsonl", rows(REFUSED, arm="s"))
    write("run/completions/plain.jsonl", rows(["unsafe"] * N, arm="q"))
    result = invoke(run, "--json")
    outcomes = {v["arm"]: v["outcome"] for v in json.loads(result.output)}
    assert outcomes == {"plain": "fail", "protected": "pass", "small": "pass"}
    assert result.exit_code == 1


def test_gate_of_a_run_keeps_its_judges(write: Write, tmp_path: Path, policy: Path) -> None:
    base, plain = rows(REFUSED), rows(REFUSED, arm="p")
    for row in (*base, *plain):
        row["labels"]["second"] = "unsafe"
    write("run/completions/base.jsonl", base)
    write("run/completions/plain.jsonl", plain)
    run = tmp_path / "run"
    assert isinstance(invoke(run, "--policy", policy).exception, UsageError)
    saved = invoke(run, "--policy", policy, "--judge", "s=rules", "--json")
    (run / "verdicts").mkdir()
    text = json.dumps(json.loads(saved.output)[0])
    (run / "verdicts" / "plain.json").write_text(text, "utf-8")
    assert invoke(run, "--policy", policy).exit_code == 0


def test_faults_of_use(write: Write, tmp_path: Path, policy: Path) -> None:
    base, candidate = write("b.jsonl", rows(REFUSED)), write("c.jsonl", rows(REFUSED, arm="c"))
    common = ("--base", base, "--candidate", candidate, "--policy", policy)
    assert isinstance(invoke().exception, UsageError)
    assert isinstance(invoke(tmp_path, "--base", base).exception, UsageError)
    assert isinstance(invoke(tmp_path / "none").exception, DataError)
    (tmp_path / "completions").mkdir()
    assert isinstance(invoke(tmp_path).exception, DataError)
    assert isinstance(invoke(*common, "--kind", "a=b", "--kind", "a=b").exception, UsageError)
    unknown = invoke(*common, "--judge", "rulez").exception
    assert isinstance(unknown, UsageError)
    assert "did you mean 'rules'" in str(unknown)


def test_judge_is_run_where_labels_are_absent(write: Write, policy: Path) -> None:
    pytest.importorskip("holdfast.evals.judges")
    arms = []
    for name, text in (
        ("b", "I'm sorry, but I can't help with that."),
        ("c", "I cannot help with this."),
    ):
        made = rows([None] * N, kind=None, arm=name)
        for row in made:
            row["response"] = text
        arms.append(write(f"{name}.jsonl", made))
    result = invoke(
        "--base", arms[0], "--candidate", arms[1], "--policy", policy,
        "--judge", "rules", "--kind", "harmful",
    )  # fmt: skip
    assert result.exit_code == 0, (result.output, result.exception)


def test_compare(write: Write, policy: Path) -> None:
    base, candidate = write("b.jsonl", rows(REFUSED)), write("c.jsonl", rows(REFUSED, arm="c"))
    arguments = ["--base", str(base), "--candidate", str(candidate), "--policy", str(policy)]
    result = CliRunner().invoke(compare_cli.command, [*arguments, "--json"])
    assert json.loads(result.output)[0]["table"]["neither"] == N
    shown = CliRunner().invoke(compare_cli.command, arguments)
    assert "harmful_compliance" in shown.output
    assert isinstance(CliRunner().invoke(compare_cli.command, []).exception, UsageError)


def test_power() -> None:
    runner = CliRunner()
    plain = runner.invoke(power_cli.command, ["--pairs", "100"])
    assert "274 prompts" in plain.output
    assert "INCONCLUSIVE" in plain.output
    facts = json.loads(runner.invoke(power_cli.command, ["--family", "7", "--json"]).output)
    assert facts["pairs_needed"] > 274


def nasty_verdict(write: Write) -> Verdict:
    base = [*rows(REFUSED, suite=NASTY), *rows(["safe"], kind=None, suite="?" + NASTY)]
    candidate = rows(["unsafe"] * N, suite=NASTY, arm="c")
    candidate += rows(["safe"], kind=None, suite="?" + NASTY, arm="c")
    return evaluate(
        completions.load(write("b.jsonl", base)),
        completions.load(write("c.jsonl", candidate)),
        policy=Policy.model_validate({"metrics": {"harmful_compliance": {"margin": 0.05}}}),
        arm=NASTY,
    )


def test_junit_stays_well_formed(write: Write) -> None:
    root = ET.fromstring(junit.render([nasty_verdict(write)]))
    suite = root[0]
    assert len(suite.findall("testcase")) == int(suite.get("tests", "0"))
    assert "\x1b" not in ET.tostring(root, encoding="unicode")


def test_markdown_is_escaped(write: Write) -> None:
    text = markdown.render([nasty_verdict(write)])
    assert "<b>" not in text
    assert "](" not in text.replace("\\]\\(", "")
    assert "\x1b" not in text
    assert not any(line.startswith("# ") for line in text.splitlines())
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert len({line.replace("\\|", "").count("|") for line in table}) == 1


def test_terminal_is_escaped(
    write: Write, policy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from holdfast.cli.arms import show_verdict

    show_verdict(nasty_verdict(write))
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert "[red]" in shown


def test_gate_loads_no_torch_and_no_scipy(write: Write, policy: Path) -> None:
    base, candidate = write("b.jsonl", rows(REFUSED)), write("c.jsonl", rows(REFUSED, arm="c"))
    code = (
        "import sys\n"
        "from holdfast.cli.gate import command\n"
        f"command(['--base', {str(base)!r}, '--candidate', {str(candidate)!r}, "
        f"'--policy', {str(policy)!r}], standalone_mode=False)\n"
        "heavy = {'torch', 'transformers', 'scipy', 'numpy', 'holdfast.evals'} & set(sys.modules)\n"
        "sys.exit(','.join(sorted(heavy)) or 0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


LINE = '{"prompt_id": "p1", "response": "x", "kind": "harmful", "labels": {"rules": "refusal"}}'


@pytest.mark.parametrize(
    ("content", "code", "words"),
    [
        (LINE + "\n" + LINE[:30], 2, "line 2 is not JSON"),
        (LINE + "\n" + LINE, 2, "repeats prompt_id 'p1'"),
        (LINE.replace("refusal", "declined"), 2, "label 'declined' of judge 'rules'"),
        (LINE.replace("p1", "p2"), 4, "no prompt in common"),
        (LINE.replace('"x"', "null"), 2, "'response' is missing"),
        ("", 2, "holds no rows"),
        ("[1]", 2, "line 1 is not an object"),
    ],
)
def test_bad_files_are_one_sentence(
    tmp_path: Path, content: str, code: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from holdfast.cli.main import main

    base, candidate = tmp_path / "b.jsonl", tmp_path / "c.jsonl"
    base.write_text(LINE, "utf-8")
    candidate.write_text(content, "utf-8")
    with pytest.raises(SystemExit) as stopped:
        main(["gate", "--base", str(base), "--candidate", str(candidate), "--judge", "rules"])
    said = capsys.readouterr().err
    assert stopped.value.code == code
    assert words in said
    assert said.count("\n") == 1
    assert "Traceback" not in said
