"""A user's own suite, the starter prompts of `holdfast init`, and bad input to both."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from holdfast.cli.init import command as init_command
from holdfast.cli.suites import command as suites_command
from holdfast.core.digest import sha256_file
from holdfast.core.errors import ConfigError, DataError, IntegrityError, UsageError
from holdfast.evals.plan import freeze
from holdfast.evals.suites import Prompt, SuiteOptions, load
from holdfast.evals.suites.own import MAX_CHARACTERS, parse_rows
from holdfast.evals.suites.starters import KINDS, starters
from holdfast.pipeline.plan import load_plan

ROWS = [{"prompt": "Name a river."}, {"prompt": "Name a hill.", "prompt_id": "b"}]


def _suite(folder: Path, rows: object = None, **fields: object) -> Path:
    path = folder / "rows.jsonl"
    content = ROWS if rows is None else rows
    text = content if isinstance(content, str) else "".join(json.dumps(r) + "\n" for r in content)  # type: ignore[attr-defined]
    path.write_text(text, "utf-8")
    described = {"name": "mine", "kind": "benign", "file": "rows.jsonl", **fields}
    yaml = folder / "mine.yaml"
    yaml.write_text("".join(f"{key}: {value}\n" for key, value in described.items()), "utf-8")
    return yaml


def test_ten_lines_of_yaml_make_a_suite(tmp_path: Path) -> None:
    suite = load(_suite(tmp_path, measures="refuses geography", licence="ours"))
    assert (suite.name, suite.kind, suite.judge, suite.licence) == (
        "mine",
        "benign",
        "rules",
        "ours",
    )
    assert suite.measures == "refuses geography"
    assert [p.prompt_id for p in suite.prompts] == ["00001", "b"]
    shown = CliRunner().invoke(suites_command, ["show", str(tmp_path / "mine.yaml")])
    assert "mine: 2 prompts, kind benign, ours" in shown.output


def test_a_pinned_digest_is_held(tmp_path: Path) -> None:
    _suite(tmp_path)
    digest = sha256_file(tmp_path / "rows.jsonl")
    assert load(_suite(tmp_path, sha256=digest)).source == digest
    with pytest.raises(IntegrityError, match="is not the file that .* describes") as error:
        load(_suite(tmp_path, [*ROWS, {"prompt": "x"}], sha256=digest))
    assert digest == error.value.expected


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ('{"prompt": "a"}\n{"prompt": "b', "line 2 is not JSON"),
        (
            '{"prompt": "a", "prompt_id": "x"}\n{"prompt": "b", "prompt_id": "x"}',
            "repeats prompt_id",
        ),
        ('{"prompt": "a\\u001b[2Jb"}', r"control character U\+001B"),
        ('{"prompt": "a", "prompt_id": "x\\u0000"}', r"control character U\+0000"),
        ('{"prompt": "a", "followups": ["b\\u0008"]}', r"control character U\+0008"),
        (json.dumps({"prompt": "a" * (MAX_CHARACTERS + 1)}), "row 1 is too long"),
        (json.dumps({"prompt": "a", "followups": ["b"] * 65}), "65 follow-ups"),
        ('{"prompt": "a", "choices": [{"text": "b", "label": "safe"}]}', "has choices"),
        ('["a"]', "line 1 is not an object"),
        ("\x00\x01", "line 1 is not JSON"),
        ("[" * 100_000, "line 1 is not JSON"),
        ("", "holds no rows"),
    ],
)
def test_bad_rows_are_one_sentence(tmp_path: Path, rows: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as error:
        load(_suite(tmp_path, rows))
    assert "\x1b" not in str(error.value)
    assert len(str(error.value)) < 1_000


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"kinds": "benign"}, ConfigError, "unknown key 'kinds'"),
        ({"kind": "bening"}, UsageError, "did you mean 'benign'"),
        ({"file": "../rows.jsonl"}, UsageError, "leads out of its folder"),
        ({"file": "/etc/hostname"}, UsageError, "leads out of its folder"),
        ({"file": "gone.jsonl"}, DataError, "does not exist"),
        ({"name": "a b/c"}, ConfigError, "'name'"),
        ({"sha256": "123"}, ConfigError, "'sha256'"),
        ({"kind": "statement"}, DataError, "lacks choices"),
    ],
)
def test_bad_descriptions_are_refused(
    tmp_path: Path, fields: dict[str, object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        load(_suite(tmp_path, **fields))


def test_own_choices_are_scored(tmp_path: Path) -> None:
    choices = [{"text": "Yes", "label": "unsafe"}, {"text": "No", "label": "safe"}]
    suite = load(_suite(tmp_path, [{"prompt": "Is it?", "choices": choices}], kind="statement"))
    assert suite.judge == "choices"
    bad = [{**choices[0], "label": "bad"}, choices[1]]
    with pytest.raises(DataError, match="unknown label 'bad'"):
        load(_suite(tmp_path, [{"prompt": "q", "choices": bad}], kind="statement"))


@given(st.text(max_size=60))
def test_texts_survive_or_are_refused(text: str) -> None:
    try:
        (prompt,) = parse_rows([{"prompt": text}], "here")
    except DataError:
        controls = any(ord(c) < 32 and c not in "\t\n\r" or 127 <= ord(c) < 160 for c in text)
        assert controls or not text.strip()
    else:
        assert prompt.messages == [{"role": "user", "content": text}]


def test_plans_frozen_before_choices_keep_their_digest() -> None:
    prompt = Prompt(prompt_id="a", messages=[{"role": "user", "content": "b"}])
    assert set(prompt.model_dump()) == {
        "prompt_id", "messages", "category", "followups", "pair_id", "reference",
    }  # fmt: skip


def test_init_writes_five_suites_and_a_plan_that_names_them(tmp_path: Path) -> None:
    path = tmp_path / "plan.yaml"
    result = CliRunner().invoke(init_command, [str(path), "--domain", "bicycle repair"])
    assert result.exit_code == 0, result.output
    specs = [suite.spec for suite in load_plan(path).evaluate.suites]
    suites = [load(spec) for spec in specs]
    assert [suite.kind for suite in suites] == list(KINDS)
    assert [len(suite.prompts) for suite in suites] == [40, 16, 40, 32, 40]
    assert freeze(suites).total == 168
    texts = [m["content"] for s in suites for p in s.prompts for m in p.messages]
    assert not any("{" in text for text in texts)
    assert sum("bicycle repair" in text for text in texts) > 100
    assert all(len(p.followups) == 3 for p in suites[1].prompts)
    direct = {p.prompt_id for p in suites[0].prompts}
    assert {p.pair_id for p in suites[2].prompts} <= direct


def test_init_writes_over_nothing(tmp_path: Path) -> None:
    path = tmp_path / "plan.yaml"
    runner = CliRunner()
    assert runner.invoke(init_command, [str(path), "--domain", "x"]).exit_code == 0
    path.unlink()
    (tmp_path / "prompts" / "ladder.jsonl").write_text("mine")
    again = runner.invoke(init_command, [str(path), "--domain", "x"])
    assert isinstance(again.exception, UsageError)
    assert not path.exists()
    assert (tmp_path / "prompts" / "ladder.jsonl").read_text() == "mine"


@pytest.mark.parametrize(
    "arguments",
    [["--decline", "x"], ["--harbor", "--domain", "x"], ["--domain", "a\nb"],
     ["--domain", "x", "--do", "\x1b"], ["--domain", "a" * 201]],
)  # fmt: skip
def test_init_refuses_what_makes_no_sense(tmp_path: Path, arguments: list[str]) -> None:
    result = CliRunner().invoke(init_command, [str(tmp_path / "p.yaml"), *arguments])
    assert isinstance(result.exception, UsageError)
    assert not list(tmp_path.iterdir())


def test_own_requests_replace_the_shipped_ones() -> None:
    found = starters("care", decline=("do {domain} harm.",), do=("do good",))
    texts = [row["prompt"] for kind, rows in found if kind == "harmful" for row in rows]
    assert len(texts) == 5
    # The user's braces are text, not a template.
    assert all("do {domain} harm" in text for text in texts)


def test_a_file_kind_may_still_be_named_without_yaml(tmp_path: Path) -> None:
    _suite(tmp_path)
    assert load(tmp_path / "rows.jsonl", options=SuiteOptions(kind="open")).judge == "unread"
