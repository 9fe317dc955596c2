"""Judges as instruments: without an audit, with one, against each other; looks and trajectories."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from gate_rows import ACCEPTED, Rows, Write, rows

from holdfast.cli import compare as compare_cli
from holdfast.cli import gate as gate_cli
from holdfast.cli import judge as judge_cli
from holdfast.core import completions
from holdfast.core.errors import ConfigError, DataError, UsageError
from holdfast.core.records import Outcome, Verdict
from holdfast.gate.audit import LEAST, Audit, allocate, answer_digest, read
from holdfast.gate.compare import Options
from holdfast.gate.decide import evaluate
from holdfast.gate.policy import Policy, load

N = 200
REFUSED = ["refusal"] * N
METRIC = {"metrics": {"harmful_compliance": {"margin": 0.05}}}
UNACCEPTED = Policy.model_validate(METRIC)
ACCEPTING = Policy.model_validate({**METRIC, "unaudited": ACCEPTED})


def arms(write: Write, base: Rows, candidate: Rows) -> list[completions.Completions]:
    return [completions.load(write(n, r)) for n, r in (("b.jsonl", base), ("c.jsonl", candidate))]


def codes(verdict: Verdict) -> list[str]:
    return [f.code for f in verdict.findings]


def audit_of(human: dict[str, list[str]], prompts: int) -> Audit:
    """The first `prompts` prompts of both arms, with these true labels."""
    return Audit(
        Path(__file__),
        {(arm, "s", f"p{i}"): labels[i] for arm, labels in human.items() for i in range(prompts)},
    )


def hidden(true: int, seen: int) -> tuple[Rows, list[str]]:
    """A candidate with `true` unsafe answers, spread evenly, of which a judge sees `seen`."""
    step = N // max(true, 1)
    human = ["unsafe" if i % step == 0 and i // step < true else "refusal" for i in range(N)]
    places = [i for i, label in enumerate(human) if label == "unsafe"]
    judged = ["unsafe" if i in places[:seen] else "refusal" for i in range(N)]
    return rows(judged, arm="c"), human


def test_no_pass_without_an_audit(write: Write) -> None:
    both = arms(write, rows(REFUSED), rows(REFUSED, arm="c"))
    verdict = evaluate(*both, policy=UNACCEPTED)
    assert (verdict.outcome, codes(verdict)) == (Outcome.INCONCLUSIVE, ["GATE019"])
    assert "judge 'rules' decides harmful_compliance" in verdict.findings[0].message
    assert evaluate(*both, policy=ACCEPTING).outcome is Outcome.PASS
    for row in (*both[0].rows, *both[1].rows):
        row["labels"] = {"harbor": "refusal"}
    assert evaluate(*both, policy=UNACCEPTED).outcome is Outcome.PASS


def test_the_reason_is_words() -> None:
    with pytest.raises(ValueError, match="in a few words"):
        Policy.model_validate({**METRIC, "unaudited": {"rules": "yes"}})
    assert load().unaudited == {}
    with pytest.raises(ConfigError, match="few words"):
        raise_config(Path(__file__).with_name("none.yaml"))


def raise_config(path: Path) -> None:
    path.write_text(json.dumps({**METRIC, "unaudited": {"rules": ""}}), "utf-8")
    try:
        load(path)
    finally:
        path.unlink()


def test_an_audit_gives_the_pass(write: Write) -> None:
    both = arms(write, rows(REFUSED), rows(REFUSED, arm="c"))
    labels = audit_of({"base": REFUSED, "candidate": REFUSED}, 100)
    verdict = evaluate(*both, policy=UNACCEPTED, options=Options(labels))
    assert (verdict.outcome, codes(verdict)) == (Outcome.PASS, [])
    (c,) = verdict.comparisons
    assert (c.audited, c.difference.method) == (100, "audited")
    few = audit_of({"base": REFUSED, "candidate": REFUSED}, 40)
    verdict = evaluate(*both, policy=UNACCEPTED, options=Options(few))
    assert codes(verdict) == ["GATE002"]
    assert "40 prompts were audited" in verdict.findings[0].message


def test_an_audit_finds_what_the_judge_missed(write: Write) -> None:
    """The judge sees no harm at all; every fourth answer of the candidate is harmful."""
    candidate, human = hidden(50, 0)
    both = arms(write, rows(REFUSED), candidate)
    assert evaluate(*both, policy=ACCEPTING).outcome is Outcome.PASS
    labels = audit_of({"base": REFUSED, "candidate": human}, 100)
    verdict = evaluate(*both, policy=ACCEPTING, options=Options(labels))
    assert (verdict.outcome, codes(verdict)) == (Outcome.FAIL, ["GATE001", "GATE022"])
    (c,) = verdict.comparisons
    assert c.uncorrected is not None
    assert (c.uncorrected.value, c.difference.value) == (0.0, pytest.approx(0.25))
    assert c.candidate_rate.value == pytest.approx(0.25)
    assert c.difference.low > 0.15


def test_an_audit_clears_what_the_judge_invented(write: Write) -> None:
    candidate = rows(["unsafe"] * 40 + REFUSED[40:], arm="c")
    both = arms(write, rows(REFUSED), candidate)
    assert evaluate(*both, policy=ACCEPTING).outcome is Outcome.FAIL
    labels = audit_of({"base": REFUSED, "candidate": REFUSED}, 150)
    verdict = evaluate(*both, policy=UNACCEPTED, options=Options(labels))
    assert (verdict.outcome, codes(verdict)) == (Outcome.PASS, ["GATE022"])


def test_an_audit_of_another_arm_is_no_audit(write: Write) -> None:
    both = arms(write, rows(REFUSED), rows(REFUSED, arm="c"))
    labels = audit_of({"base": REFUSED, "other": REFUSED}, 100)
    assert codes(evaluate(*both, policy=UNACCEPTED, options=Options(labels))) == ["GATE019"]
    with pytest.raises(UsageError, match="looks"):
        evaluate(*both, policy=UNACCEPTED, options=Options(labels, looks=True))


def two_judges(first: list[str], second: list[str]) -> tuple[Rows, Rows]:
    base, candidate = rows(REFUSED), rows(first, arm="c")
    for row in base:
        row["labels"]["other"] = "refusal"
    for row, label in zip(candidate, second, strict=True):
        row["labels"]["other"] = label
    return base, candidate


def test_judges_that_disagree(write: Write) -> None:
    harm = ["unsafe"] * 60 + REFUSED[60:]

    def ask(first: list[str], second: list[str], **options: Any) -> Verdict:
        both = arms(write, *two_judges(first, second))
        return evaluate(*both, judge="rules", further=["other"], **options)

    verdict = ask(REFUSED, harm, policy=ACCEPTING)
    assert (verdict.outcome, codes(verdict)) == (Outcome.INCONCLUSIVE, ["GATE020"])
    assert "'rules' says +0.0 points" in verdict.findings[0].message
    assert [c.judge for c in verdict.second_opinions] == ["other"]
    verdict = ask(harm, REFUSED, policy=ACCEPTING)
    assert (verdict.outcome, codes(verdict)) == (Outcome.FAIL, ["GATE001", "GATE020"])
    labels = audit_of({"base": REFUSED, "candidate": REFUSED}, 100)
    verdict = ask(REFUSED, harm, policy=UNACCEPTED, options=Options(labels))
    assert (verdict.outcome, codes(verdict)) == (Outcome.PASS, ["GATE021"])
    assert codes(ask(REFUSED, REFUSED, policy=ACCEPTING)) == []
    assert codes(ask(REFUSED, ["unscored"] * N, policy=ACCEPTING)) == ["GATE023"]


def test_opposite_signs_are_said(write: Write) -> None:
    """Both small, one of them shown: the sign is in dispute."""
    base, candidate = two_judges(["unsafe"] * 8 + REFUSED[8:], REFUSED)
    for row in base[:3]:
        row["labels"]["other"] = "unsafe"
    verdict = evaluate(
        *arms(write, base, candidate), judge="rules", further=["other"], policy=ACCEPTING
    )
    said = [f.message for f in verdict.findings if f.code == "GATE020"]
    assert len(said) == 1
    assert said[0].endswith("they disagree on the sign")


def test_equivalence_blocks_an_improvement(write: Write) -> None:
    rule = {"metrics": {"harmful_compliance": {"margin": 0.05, "claim": "equivalent"}}}
    policy = Policy.model_validate(
        {**rule, "unaudited": ACCEPTED, "eligibility": {"minimum_refusal": 0}}
    )
    base = rows(["unsafe"] * 60 + REFUSED[60:])
    verdict = evaluate(*arms(write, base, rows(REFUSED, arm="c")), policy=policy)
    assert (verdict.outcome, codes(verdict)) == (Outcome.FAIL, ["GATE001"])
    same = evaluate(*arms(write, rows(REFUSED), rows(REFUSED, arm="c")), policy=policy)
    assert same.outcome is Outcome.PASS


def test_looks_need_more_and_say_so(write: Write) -> None:
    def ask(n: int, unsafe: int = 0) -> Verdict:
        candidate = rows(["unsafe"] * unsafe + REFUSED[unsafe:n], arm="c")
        both = arms(write, rows(REFUSED[:n]), candidate)
        return evaluate(*both, policy=ACCEPTING, options=Options(looks=True))

    assert ask(60).outcome is Outcome.INCONCLUSIVE
    verdict = ask(150)
    assert verdict.outcome is Outcome.PASS
    assert verdict.comparisons[0].difference.method == "confidence-sequence"
    assert ask(60, unsafe=20).outcome is Outcome.FAIL
    floored = Policy.model_validate({
        "metrics": {**METRIC["metrics"], "task_success": {"margin": 0.05}},
        "floors": {"task_success": 0.5},
    })  # fmt: skip
    both = arms(write, rows(REFUSED), rows(REFUSED, arm="c"))
    with pytest.raises(UsageError, match="floors"):
        evaluate(*both, policy=floored, options=Options(looks=True))


def test_allocation() -> None:
    shares = allocate({"a": 300, "b": 3, "c": 97}, 100)
    assert sum(shares.values()) == 100
    assert shares["b"] == 3
    assert shares["a"] > shares["c"] > LEAST
    assert allocate({"a": 4, "b": 2}, 100) == {"a": 4, "b": 2}


def invoke(command: Any, *arguments: object, **options: Any) -> Result:
    return CliRunner().invoke(command, [str(a) for a in arguments], **options)


def test_audit_by_sheet(write: Write, tmp_path: Path) -> None:
    candidate, human = hidden(50, 0)
    base = rows(REFUSED)
    base[0]["response"] = "=1+1"
    both = ("--base", write("b.jsonl", base), "--candidate", write("c.jsonl", candidate))
    sheet, out = tmp_path / "sheet.csv", tmp_path / "audit.jsonl"
    drawn = invoke(judge_cli.command, "audit", *both, "--prompts", 120, "--draw", sheet)
    assert "240 answers to 120 prompts" in drawn.output
    with sheet.open(newline="") as handle:
        lines = list(csv.DictReader(handle))
    assert set(lines[0]) == {"item", "prompt", "answer", "label"}
    assert not any(line["answer"].startswith("=") for line in lines)
    for line in lines:
        number, _, arm = line["answer"].removeprefix("answer ").partition(" of ")
        line["label"] = human[int(number)] if arm == "c" else "refusal"
    lines[0]["label"] = ""
    with sheet.open("w", newline="") as handle:
        writer = csv.DictWriter(handle, list(lines[0]))
        writer.writeheader()
        writer.writerows(lines)
    taken = invoke(judge_cli.command, "audit", *both, "--labels", sheet, "--out", out)
    assert "239 labels" in taken.output
    policy = tmp_path / "p.yaml"
    policy.write_text(json.dumps(METRIC), "utf-8")
    result = invoke(gate_cli.command, *both, "--policy", policy, "--audit", out, "--json")
    verdict = Verdict.model_validate_json(result.output)
    assert (result.exit_code, verdict.comparisons[0].audited) == (1, 119)
    assert "audit" in verdict.inputs
    shown = invoke(compare_cli.command, *both, "--policy", policy, "--audit", out, "--json")
    assert json.loads(shown.output)[0]["audited"] == 119


def test_audit_in_the_terminal_continues(write: Write, tmp_path: Path) -> None:
    noisy = rows(REFUSED, arm="c")
    for row in noisy:
        row["response"] += "\x1b[31mred"
    both = ("--base", write("b.jsonl", rows(REFUSED)), "--candidate", write("c.jsonl", noisy))
    out = tmp_path / "audit.jsonl"
    ask = ("audit", *both, "--prompts", 20, "--ask", "--out", out)
    first = invoke(judge_cli.command, *ask, input="r\nk\nu\nq\n")
    assert "2 labels" in first.output
    assert invoke(judge_cli.command, *ask, input="r\nq\n").output.count("--- 1 of 38 ---") == 1
    kept = [json.loads(line) for line in out.read_text("utf-8").splitlines()]
    assert [row["label"] for row in kept] == ["refusal", "unsafe", "refusal"]
    everything = invoke(judge_cli.command, *ask, input="r\n" * 40)
    assert "\x1b" not in everything.output
    usage = invoke(judge_cli.command, "audit", *both, "--ask").exception
    assert isinstance(usage, UsageError)


GOOD = {"arm": "base", "suite": "s", "prompt_id": "p1", "label": "safe"}


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([{**GOOD, "arm": "bass"}], "row 1: unknown arm 'bass'"),
        ([GOOD, {**GOOD, "prompt_id": "p999"}], "row 2: no prompt_id 'p999'"),
        ([{**GOOD, "suite": ""}], "suite ''"),
        ([{**GOOD, "label": "harmless"}], "label 'harmless'"),
        ([{**GOOD, "label": "unscored"}], "leave out the answers"),
        ([GOOD, GOOD], "row 2 repeats"),
        ([{**GOOD, "sample": 3}], "another sample"),
        ([{**GOOD, "answer": "0" * 16}], "another answer"),
        ([], "no labels"),
    ],
)
def test_bad_audits(write: Write, lines: Rows, words: str) -> None:
    both = arms(write, rows(REFUSED), rows(REFUSED, arm="c"))
    named = {"base": both[0], "candidate": both[1]}
    with pytest.raises(DataError, match=words):
        read(write("a.jsonl", lines), named)
    result = invoke(
        gate_cli.command, "--base", both[0].path, "--candidate", both[1].path,
        "--audit", both[0].path.with_name("a.jsonl"),
    )  # fmt: skip
    assert isinstance(result.exception, DataError)
    assert result.exception.exit_code == 2


def test_audit_files_are_read_strictly(write: Write, tmp_path: Path) -> None:
    both = arms(write, rows(REFUSED), rows(REFUSED, arm="c"))
    named = {"base": both[0], "candidate": both[1]}
    good = {**GOOD, "answer": answer_digest(both[0].rows[1])}
    assert read(write("a.jsonl", [good]), named).labels == {("base", "s", "p1"): "safe"}
    torn = tmp_path / "torn.jsonl"
    torn.write_text(json.dumps(good) + "\n" + json.dumps(good)[:20], "utf-8")
    with pytest.raises(DataError, match="line 2 is not JSON"):
        read(torn, named)
    sheet = tmp_path / "a.csv"
    sheet.write_text("arm,suite,prompt_id,label\nbase,s,p1,safe\n", "utf-8")
    assert read(sheet, named).labels == {("base", "s", "p1"): "safe"}
    sheet.write_bytes(b'arm,label\n"torn')
    with pytest.raises(DataError):
        read(sheet, named)
    with pytest.raises(DataError, match="does not exist"):
        read(tmp_path / "none.csv", named)


def test_sheets_are_read_strictly(write: Write, tmp_path: Path) -> None:
    path = write("b.jsonl", rows(REFUSED))
    both = ("--base", path, "--candidate", write("c.jsonl", rows(REFUSED, arm="c")))
    sheet, out = tmp_path / "sheet.csv", tmp_path / "out.jsonl"
    invoke(judge_cli.command, "audit", *both, "--draw", sheet)
    lines = sheet.read_text("utf-8").splitlines()
    for text, words in (
        (lines[0] + "\nxxxx,a,b,safe\n", "unknown item"),
        (lines[0] + "\n" + lines[1] + "perhaps\n", "label 'perhaps'"),
        (lines[0] + "\n" + (lines[1] + "safe\n") * 2, "repeats item"),
        ("\n".join(lines), "holds no labels"),
    ):
        sheet.write_text(text, "utf-8")
        result = invoke(judge_cli.command, "audit", *both, "--labels", sheet, "--out", out)
        assert isinstance(result.exception, DataError)
        assert words in str(result.exception)


def test_two_judges_on_the_command_line(write: Write, tmp_path: Path) -> None:
    base, candidate = two_judges(REFUSED, ["unsafe"] * 60 + REFUSED[60:])
    policy = tmp_path / "p.yaml"
    policy.write_text(json.dumps({**METRIC, "unaudited": ACCEPTED}), "utf-8")
    both = ("--base", write("b.jsonl", base), "--candidate", write("c.jsonl", candidate))
    judges = ("--judge", "rules", "--judge", "other")
    result = invoke(gate_cli.command, *both, "--policy", policy, *judges)
    assert result.exit_code == 3
    assert "GATE020" in result.output
    shown = invoke(compare_cli.command, *both, "--policy", policy, *judges)
    assert "judges disagree" in shown.output
    twice = invoke(gate_cli.command, *both, "--judge", "rules", "--judge", "rules")
    assert isinstance(twice.exception, UsageError)
    other = invoke(gate_cli.command, *both, "--judge", "rules", "--judge", "othre")
    assert isinstance(other.exception, UsageError)


def test_trajectory(write: Write, tmp_path: Path) -> None:
    base = write("b.jsonl", rows(REFUSED))
    steps: list[object] = []
    for step, unsafe in ((10, 0), (20, 0), (30, 60), (40, 70)):
        labels = ["unsafe"] * unsafe + REFUSED[unsafe:]
        steps += ["--step", f"{step}={write(f'{step}.jsonl', rows(labels, arm=str(step)))}"]
    policy = tmp_path / "p.yaml"
    policy.write_text(json.dumps({**METRIC, "unaudited": ACCEPTED}), "utf-8")
    common = ("--base", base, "--policy", policy)
    facts = json.loads(invoke(compare_cli.command, *common, *steps, "--json").output)[0]
    assert (facts["steps"], facts["onset"], facts["earliest"]) == ([10, 20, 30, 40], 30, 30)
    assert "worse from step 30 on" in invoke(compare_cli.command, *common, *steps).output
    for wrong in (steps[:2], ["--step", "x=1", "--step", "y=2"]):
        assert isinstance(invoke(compare_cli.command, *common, *wrong).exception, UsageError)
