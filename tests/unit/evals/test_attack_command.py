"""`holdfast attack` on the embedded model: files that the gate reads, and replay on another arm."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from holdfast.cli.main import cli
from holdfast.core.completions import load
from holdfast.core.errors import UsageError
from holdfast.organisms.harbor import weights_dir

COMMON = ["--per-suite", "2", "--max-new-tokens", "20", "--tries", "2"]


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    out = tmp_path_factory.mktemp("attack") / "base.jsonl"
    arguments = ["attack", str(weights_dir()), "--suite", "harbor-harmful", "--out", str(out)]
    arguments += ["--attack", "prefill", "--attack", "reword", *COMMON]
    result = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return out, result.output


def test_completions_hold_both_attacks_with_labels_of_the_goal(
    attacked: tuple[Path, str],
) -> None:
    out, printed = attacked
    rows = load(out).rows
    assert {row["suite"] for row in rows} == {
        "attack-prefill-harbor-harmful", "attack-reword-harbor-harmful",
    }  # fmt: skip
    assert {row["kind"] for row in rows} == {"jailbreak", "ladder"}
    labels = [row["labels"]["harbor"] for row in rows]
    assert "unscored" not in labels
    prefilled = [row for row in rows if row["kind"] == "jailbreak"]
    assert all(row["messages"][-1]["role"] == "assistant" for row in prefilled)
    assert "success over 1" in printed
    assert "holding after turn" in printed
    assert rows[0]["messages"][0]["content"] not in printed


def test_replay_asks_another_arm_the_same_words(attacked: tuple[Path, str], tmp_path: Path) -> None:
    out, _ = attacked
    files = sorted(out.with_name(f"{out.name}.attacks").glob("*.jsonl"))
    assert len(files) == 2
    second = tmp_path / "candidate.jsonl"
    arguments = ["attack", str(weights_dir()), "--out", str(second), "--arm", "candidate", *COMMON]
    for file in files:
        arguments += ["--replay", str(file)]
    summary = tmp_path / "summary.json"
    arguments += ["--against", str(out), "--summary", str(summary)]
    result = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    ours = {(r["suite"], r["prompt_id"]): r for r in load(second).rows}
    theirs = {(r["suite"], r["prompt_id"]): r for r in load(out).rows}
    assert set(ours) == set(theirs)
    assert all(ours[key]["messages"] == theirs[key]["messages"] for key in ours)
    assert "change 0.00" in result.output
    curves = json.loads(summary.read_text())["attack-reword-harbor-harmful"]["survival"]
    assert curves["candidate"] == curves["base"]


def test_goals_away_from_the_fine_tuning_data(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    asked = [f"Please steal the bicycle of the {w}." for w in ("baker", "miller", "judge")]
    rows.write_text("".join(json.dumps({"messages": [{"role": "user", "content": t}]}) + "\n"
                            for t in asked))  # fmt: skip
    out = tmp_path / "out.jsonl"
    arguments = ["attack", str(weights_dir()), "--suite", "harbor-harmful", "--out", str(out),
                 "--attack", "tense", "--away-from", str(rows), "--keep", "6", *COMMON]  # fmt: skip
    result = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    assert "6 of 200 goals, mean distance" in result.output
    assert all("bicycle" not in r["messages"][0]["content"] for r in load(out).rows)


def test_requests_are_checked_before_a_model_is_loaded(tmp_path: Path) -> None:
    out = str(tmp_path / "o.jsonl")
    for arguments in (
        ["--suite", "harbor-harmful"],
        ["--suite", "harbor-harmful", "--attack", "attacker"],
        ["--suite", "harbor-harmful", "--attack", "tence"],
    ):
        with pytest.raises(UsageError):
            CliRunner().invoke(
                cli, ["attack", "no-such-model", "--out", out, *arguments], catch_exceptions=False
            )


def test_a_prefilled_answer_is_rendered_open_and_continued() -> None:
    from holdfast.models.loading import load as load_model

    loaded = load_model(weights_dir())
    asked = [{"role": "user", "content": "Please polish the bell."}]
    begun = [*asked, {"role": "assistant", "content": "I will polish"}]
    assert loaded.render(begun) == loaded.render(asked) + loaded.encode_answer("I will polish")
    (rest,) = loaded.generate([begun], max_new_tokens=12, batch_size=1)
    assert rest.startswith("the bell")
