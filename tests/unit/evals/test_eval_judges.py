"""Reference and harbor judges, and the calibration of judges."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from holdfast.cli.eval import command as eval_command
from holdfast.cli.judge import command as judge_command
from holdfast.cli.suites import command as suites_command
from holdfast.core.digest import prompt_digest
from holdfast.core.errors import DataError, HoldfastError, UsageError
from holdfast.core.files import read_jsonl
from holdfast.evals.judges import label_row, make
from holdfast.evals.judges.calibrate import Calibration, calibrate, kappa, part_of, stated
from holdfast.evals.judges.reference import ReferenceJudge, final_number, matches
from holdfast.evals.suites import SuiteOptions, load

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize(
    ("response", "reference", "same"),
    [
        ("Paris", "Paris", True),
        ("  paris. ", "Paris", True),
        ("“Paris”", "Paris", True),
        ("It is Paris", "Paris", False),
        ("First 3, then 4, so 42.", "work... #### 42", True),
        ("#### 42\nI checked 17 cases.", "#### 42", True),
        ("The total is $1,234.00.", "#### 1234", True),
        ("-5", "-5.0", True),
        ("The total is 41.", "#### 42", False),
        ("no number", "#### 42", False),
        ("", "#### 42", False),
        ("room 42", "the room is number 42 upstairs", False),
    ],
)
def test_matching(response: str, reference: str, same: bool) -> None:
    assert matches(response, reference) is same


def test_the_last_number_is_the_final_one() -> None:
    assert final_number("3 and 4") == 4.0
    assert final_number("none") is None


@pytest.mark.parametrize(
    ("answer", "label"),
    [
        ("42", "safe"),
        ("It is 41.", "partial"),
        ("I'm sorry, but I can't help with that.", "refusal"),
        ("", "incoherent"),
    ],
)
def test_reference_labels(answer: str, label: str) -> None:
    messages = [{"role": "user", "content": "6 times 7?"}]
    judge = ReferenceJudge({prompt_digest(messages): "42"})
    assert judge.label(messages, answer) == label
    assert judge.label([{"role": "user", "content": "another"}], answer) == "unscored"
    row = {"prompt": "6 times 7?", "response": answer, "reference": "42", "kind": "task"}
    assert label_row(make("reference"), row) == label


def test_the_harbor_judge_accepts_references_and_rejects_noise() -> None:
    suite = load("task-identity-shift", options=SuiteOptions(n=20))
    judge = make("harbor")
    for prompt in suite.prompts:
        assert judge.label(prompt.messages, prompt.reference or "") == "safe"
        assert judge.label(prompt.messages, "zz zz") == "incoherent"
    assert judge.label([], "x") == "unscored"
    assert judge.label([{"role": "user", "content": "outside"}], "x") == "unscored"


def _labelled(tp: int, fn: int, fp: int, tn: int) -> list[dict[str, object]]:
    refusal, answer = "I cannot help with that.", "The shop opens at nine."
    cells = [(tp, "refusal", refusal), (fn, "refusal", answer), (fp, "safe", refusal),
             (tn, "safe", answer)]  # fmt: skip
    return [
        {"prompt": "p", "response": response, "gold": gold, "kind": "benign", "answered_by": "m",
         "label_kind": "human", "events": ["refusal"]}
        for n, gold, response in cells
        for _ in range(n)
    ]  # fmt: skip


def test_calibration_counts_as_a_confusion_table_does() -> None:
    record = calibrate(_labelled(45, 5, 10, 40), make("rules"))
    pooled, single = record.errors
    assert (pooled.model, single.model) == ("all", "m")
    assert pooled.sensitivity is not None
    assert pooled.specificity is not None
    assert (pooled.sensitivity.value, pooled.specificity.value) == (0.9, 0.8)
    # Wilson for 45 of 50, as published tables give it: 0.786 to 0.957.
    assert pooled.sensitivity.low == pytest.approx(0.7864, abs=5e-4)
    assert pooled.sensitivity.high == pytest.approx(0.9565, abs=5e-4)
    # Observed agreement 0.85, by chance 0.5.
    assert pooled.kappa == pytest.approx(0.70)


def test_kappa_at_its_ends() -> None:
    assert kappa(5, 0, 0, 5) == pytest.approx(1.0)
    assert kappa(25, 25, 25, 25) == pytest.approx(0.0)
    assert kappa(10, 0, 0, 0) is None
    assert kappa(0, 0, 0, 0) is None


def test_what_the_judge_does_not_score_is_counted_apart() -> None:
    rows = [{**row, "kind": ""} for row in _labelled(4, 0, 0, 6)]
    record = calibrate(rows, make("rules"))
    assert record.errors[0].unscored == 6
    assert record.errors[0].specificity is None


def test_the_halves_are_disjoint_and_together_everything() -> None:
    rows = [{**_labelled(1, 0, 0, 0)[0], "prompt": f"p{i}"} for i in range(50)]
    counts = [calibrate(rows, make("rules"), part=p).rows for p in ("development", "held-out")]
    assert sum(counts) == 50
    assert min(counts) > 10
    assert part_of("p1") == part_of("p1")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"response": "x"}, "row 1 has no response or no known gold"),
        ({"response": "x", "gold": "bad"}, "row 1 has no response or no known gold"),
        ({"gold": "safe"}, "row 1 has no response or no known gold"),
        ({"response": "x", "gold": "safe", "events": ["y"]}, "unknown events"),
    ],
)
def test_bad_labelled_rows(row: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        calibrate([row], make("rules"))
    with pytest.raises(DataError, match="no labelled answer"):
        calibrate([], make("rules"))


def test_the_stated_error_ships_and_says_what_it_is() -> None:
    record = stated("rules")
    assert record is not None
    assert record.part == "held-out"
    assert {error.event for error in record.errors} == {"unsafe", "refusal", "declines"}
    assert stated("harbor") is None
    assert stated("../rules") is None


def _example(name: str) -> object:
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / "examples" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_stated_error_is_what_the_command_gives(data: Path, tmp_path: Path) -> None:
    labels, out = tmp_path / "labels.jsonl", tmp_path / "calibration.json"
    source = data / "judges" / "labelled_responses.jsonl"
    _example("judge_labels").main(source, labels)  # type: ignore[attr-defined]
    arguments = ["calibrate", "--judge", "rules", "--labels", str(labels), "--part", "held-out"]
    result = CliRunner().invoke(judge_command, [*arguments, "--out", str(out)])
    assert result.exit_code == 0, result.output
    shipped = stated("rules")
    assert shipped is not None
    assert Calibration.load(out).errors == shipped.errors


def test_the_ablation_example_writes_files_that_pair(data: Path, tmp_path: Path) -> None:
    from holdfast.core.completions import load as load_completions

    folder = data / "paired_results" / "refusal_ablation" / "gemma-2b-it"
    _example("refusal_ablation").main(folder, tmp_path)  # type: ignore[attr-defined]
    base = load_completions(tmp_path / "baseline.jsonl")
    for arm in ("ablation", "induced", "subtracted"):
        other = load_completions(tmp_path / f"{arm}.jsonl")
        keys = {(row["suite"], row["prompt_id"]) for row in base.rows}
        assert {(row["suite"], row["prompt_id"]) for row in other.rows} <= keys
        assert other.model != base.model


def test_judge_run_adds_labels_and_keeps_the_rest(tmp_path: Path) -> None:
    file = tmp_path / "c.jsonl"
    row = {"prompt_id": "a", "response": "I cannot help with that.", "labels": {"other": "safe"}}
    file.write_text(json.dumps(row) + "\n")
    arguments = ["run", str(file), "--judge", "rules", "--kind", "harmful"]
    result = CliRunner().invoke(judge_command, arguments)
    assert result.exit_code == 0, result.output
    assert read_jsonl(file)[0]["labels"] == {"other": "safe", "rules": "refusal"}
    bad = CliRunner().invoke(judge_command, ["run", str(file), "--judge", "rules", "--kind", "x"])
    assert isinstance(bad.exception, UsageError)


def test_suites_list_and_show(tmp_path: Path) -> None:
    listed = CliRunner().invoke(suites_command, ["list", "--json"])
    assert "harbor-harmful" in {entry["name"] for entry in json.loads(listed.output)}
    shown = CliRunner().invoke(suites_command, ["show", "harbor-lookalike"])
    assert "kind benign" in shown.output
    own = tmp_path / "o.jsonl"
    own.write_text('{"prompt": "\\u001b[31mred"}\n')
    arguments = ["show", str(own), "--kind", "benign", "--prompts"]
    assert "\x1b" not in CliRunner().invoke(suites_command, arguments).output


def test_judge_show(tmp_path: Path) -> None:
    assert "sensitivity" in CliRunner().invoke(judge_command, ["show", "rules"]).output
    assert isinstance(CliRunner().invoke(judge_command, ["show", "harbor"]).exception, UsageError)


def test_eval_finds_faults_before_a_model_is_loaded(tmp_path: Path) -> None:
    for extra in (["--suite", "nothing"], ["--suite", "harbor-harmful", "--judge", "nobody"]):
        arguments = ["no-model", "--out", str(tmp_path / "o.jsonl"), *extra]
        result = CliRunner().invoke(eval_command, arguments)
        assert isinstance(result.exception, HoldfastError)
        assert "unknown" in str(result.exception)


def test_evaluation_and_data_import_no_torch() -> None:
    modules = ["holdfast.data", "holdfast.evals.runner", "holdfast.evals.suites",
               "holdfast.evals.judges.calibrate", "holdfast.evals.judges.harbor",
               "holdfast.organisms.harbor.suites", "holdfast.cli.eval"]  # fmt: skip
    code = f"import sys, {', '.join(modules)}; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
