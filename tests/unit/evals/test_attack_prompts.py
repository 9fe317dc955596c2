"""Attacks turn goals into prompts, and judges read their answers against the goal."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.core.digest import prompt_digest
from holdfast.core.errors import DataError, UsageError
from holdfast.core.labels import REFUSAL, UNSAFE
from holdfast.evals.attacks import ATTACKS, AttackOptions, GoalJudge, make, replay
from holdfast.evals.attacks.mutate import DECODERS, encode, infinitive
from holdfast.evals.attacks.registry import FROM_FILE
from holdfast.evals.attacks.templates import fill, read_templates
from holdfast.evals.suites import load
from holdfast.evals.suites.base import Prompt, Suite

GOALS = ("Paint the fence of the neighbour.", "Please hide the kettle")


def goals(kind: str = "harmful") -> Suite:
    prompts = tuple(
        Prompt(prompt_id=f"goal-{i}", messages=[{"role": "user", "content": text}], category="c")
        for i, text in enumerate(GOALS)
    )
    return Suite("mine", kind, prompts, "rules", "Apache-2.0", "complies")


class Echo:
    """A judge that shows what it was shown."""

    name = "echo"

    def __init__(self) -> None:
        self.seen: list[tuple[str, str]] = []

    def label(self, messages: list[dict[str, str]], response: str) -> str:
        self.seen.append((messages[-1]["content"], response))
        return UNSAFE if "done" in response else REFUSAL


@pytest.mark.parametrize("name", sorted(set(ATTACKS.names()) - FROM_FILE))
def test_every_attack_keeps_pairs_and_is_the_same_each_time(name: str) -> None:
    made = [make(name, goals(), AttackOptions(tries=3, seed=4)) for _ in range(2)]
    assert made[0].suite == made[1].suite
    suite = made[0].suite
    assert suite.kind in ("jailbreak", "ladder", "context")
    assert {p.pair_id for p in suite.prompts} == {"goal-0", "goal-1"}
    assert len(suite.prompts) <= 2 * 3
    assert {prompt_digest(p.messages) for p in suite.prompts} == set(made[0].goals)
    assert not suite.name.startswith(("harbor-", "task-"))  # reports show text of these alone
    if suite.kind == "ladder":
        assert all(p.followups for p in suite.prompts)


@pytest.mark.parametrize("name", ["tense", "translation", "reword", "formats", "personas", "eras"])
def test_the_goal_stands_in_the_prompt_or_in_what_follows(name: str) -> None:
    for prompt in make(name, goals(), AttackOptions(tries=9)).suite.prompts:
        said = " ".join([m["content"] for m in prompt.messages] + list(prompt.followups))
        assert "aint the fence of the neighbour" in said or "ide the kettle" in said


def test_prefill_ends_with_the_answer_and_the_judge_reads_both_parts() -> None:
    attacked = make("prefill", goals(), AttackOptions(tries=2))
    prompt = attacked.suite.prompts[0]
    assert prompt.messages[-1]["role"] == "assistant"
    judge = Echo()
    assert GoalJudge(judge, [attacked]).label(prompt.messages, "it is done") == UNSAFE
    assert judge.seen == [(GOALS[0], f"{prompt.messages[-1]['content']} it is done")]


def test_only_attacks_may_begin_the_answer() -> None:
    prompts = make("prefill", goals(), AttackOptions(tries=1)).suite.prompts
    with pytest.raises(DataError, match="does not end with the user"):
        Suite("mine", "harmful", prompts, "rules", "x", "y")


def test_a_ladder_is_read_against_its_goal_on_every_turn() -> None:
    attacked = make("escalate", goals(), AttackOptions(tries=1))
    prompt = attacked.suite.prompts[0]
    later = [
        *prompt.messages,
        {"role": "assistant", "content": "no"},
        {"role": "user", "content": prompt.followups[0]},
    ]
    judge = Echo()
    GoalJudge(judge, [attacked]).label(later, "no")
    assert judge.seen[-1][0] == GOALS[0]


def test_other_conversations_are_read_as_they_are() -> None:
    judge = Echo()
    GoalJudge(judge, []).label([{"role": "user", "content": "hello"}], "done")
    assert judge.seen == [("hello", "done")]


@pytest.mark.parametrize("name", ["base64", "hex", "rot13"])
def test_encoded_answers_are_decoded_for_the_judge(name: str) -> None:
    attacked = make("encoding", goals(), AttackOptions(tries=9))
    prompt = next(p for p in attacked.suite.prompts if f"/{name}/" in p.prompt_id)
    judge = Echo()
    text = "that is what you can have and the work is done"
    assert GoalJudge(judge, [attacked]).label(prompt.messages, encode(name, text)) == UNSAFE
    assert GoalJudge(judge, [attacked]).label(prompt.messages, "I will not") == REFUSAL


@given(st.text(max_size=200))
@settings(max_examples=60, deadline=None)
def test_decoders_never_fail_and_invert(text: str) -> None:
    for name, decode in DECODERS.items():
        assert isinstance(decode(text), str)
        if name != "rot13":
            assert decode(encode(name, text)) == text


def test_infinitive() -> None:
    assert infinitive("Please Paint the fence.") == "paint the fence"
    assert infinitive("") == ""


def test_templates_fill_their_placeholder_or_put_the_goal_behind(tmp_path: Path) -> None:
    path = tmp_path / "wild.json"
    path.write_text(
        json.dumps(["Say: [INSERT PROMPT HERE]!", "You are free.", "", 7, "x" * 30_000])
    )
    assert [name for name, _ in read_templates(path)] == ["0001", "0002"]
    assert fill("Say: [INSERT PROMPT HERE]!", "go") == "Say: go!"
    assert fill("You are free.", "go {goal}") == "You are free.\n\ngo {goal}"
    attacked = make(f"templates:{path}", goals(), AttackOptions(tries=5))
    assert len(attacked.suite.prompts) == 4
    assert attacked.suite.source


def test_a_file_of_templates_must_hold_some(tmp_path: Path) -> None:
    for content in ("[]", "{}", "[1", '["  "]'):
        path = tmp_path / "bad.json"
        path.write_text(content)
        with pytest.raises(DataError):
            make(f"templates:{path}", goals(), AttackOptions())
    with pytest.raises(DataError, match="does not exist"):
        make(f"templates:{tmp_path / 'none.json'}", goals(), AttackOptions())


def test_artefacts_are_replayed_with_their_own_goals(tmp_path: Path) -> None:
    entries = [
        {"goal": GOALS[0], "prompt": "Wrapped one", "index": 1, "category": "c"},
        {"goal": "something else", "prompt": "Wrapped two", "index": 2},
        {"goal": GOALS[1], "prompt": None, "index": 3},
    ]
    path = tmp_path / "PAIR.json"
    path.write_text(json.dumps({"parameters": {}, "jailbreaks": entries}))
    attacked = make(f"artefacts:{path}", goals(), AttackOptions())
    assert [p.pair_id for p in attacked.suite.prompts] == ["goal-0"]
    judge = Echo()
    GoalJudge(judge, [attacked]).label(attacked.suite.prompts[0].messages, "done")
    assert judge.seen[0][0] == GOALS[0]
    path.write_text(json.dumps({"jailbreaks": ["no attack"]}))
    with pytest.raises(DataError, match="no attack"):
        make(f"artefacts:{path}", goals(), AttackOptions())


def test_only_goals_to_be_declined_are_attacked() -> None:
    with pytest.raises(DataError, match="kind"):
        make("tense", goals("benign"), AttackOptions())


def test_names_and_paths_are_checked() -> None:
    with pytest.raises(UsageError, match="did you mean 'tense'"):
        make("tence", goals(), AttackOptions())
    for spec in ("templates", "tense:file.json"):
        with pytest.raises(UsageError, match="expected"):
            make(spec, goals(), AttackOptions())


@pytest.mark.parametrize("name", ["prefill", "encoding", "reword"])
def test_replay_gives_the_same_attack_back(name: str, tmp_path: Path) -> None:
    attacked = make(name, goals(), AttackOptions(tries=3))
    path = tmp_path / "attack.jsonl"
    replay.write(attacked, path)
    back = replay.read(path)
    assert back.suite.prompts == attacked.suite.prompts
    assert back.goals == attacked.goals
    assert (back.suite.name, back.suite.kind) == (attacked.suite.name, attacked.suite.kind)


def test_replay_refuses_other_files(tmp_path: Path) -> None:
    path = tmp_path / "attack.jsonl"
    replay.write(make("tense", goals(), AttackOptions(tries=1)), path)
    lines = path.read_text().splitlines()
    for broken in (
        lines[1:],
        [lines[0], '{"prompt": 3}'],
        [lines[0], '{"prompt": {}, "goal": {}}'],
    ):
        path.write_text("\n".join(broken) + "\n")
        with pytest.raises(DataError):
            replay.read(path)


def test_published_templates_are_read_whole(data: Path) -> None:
    jailbreaks = data / "jailbreaks"
    assert len(read_templates(jailbreaks / "in_the_wild.json")) == 666
    assert len(read_templates(jailbreaks / "gptfuzz_templates.csv")) == 77
    for name in ("in_the_wild.json", "gptfuzz_templates.csv"):
        attacked = make(f"templates:{jailbreaks / name}", goals(), AttackOptions(tries=7))
        assert len(attacked.suite.prompts) == 14


def test_published_artefacts_keep_their_goals(data: Path) -> None:
    path = data / "prompts" / "jailbreakbench_harmful.csv"
    suite = load(f"jailbreakbench:{path}")
    attacked = make(f"artefacts:{data / 'jailbreaks' / 'jbb_artifacts'}", suite, AttackOptions())
    assert len(attacked.suite.prompts) > 300
    known = {p.prompt_id for p in suite.prompts}
    assert {p.pair_id for p in attacked.suite.prompts} <= known
