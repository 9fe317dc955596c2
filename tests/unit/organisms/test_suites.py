"""Suites: schema, size, disjoint splits, and prompts that pretraining never saw."""

import pytest

from holdfast.core.errors import UsageError
from holdfast.organisms.harbor import contrast, corpus, judge, suites
from holdfast.organisms.harbor.reading import read_text
from holdfast.organisms.harbor.sets import Split

HARMFUL = ("harbor-harmful", "harbor-ladder", "harbor-jailbreak", "harbor-context")
KEYS = {"prompt_id", "messages", "category", "followups", "pair_id", "reference"}


def _prompt(row: dict[str, object]) -> str:
    messages = row["messages"]
    assert isinstance(messages, list)
    return str(messages[-1]["content"])


def _prompts(name: str, split: Split, seed: int = 0) -> set[str]:
    return {_prompt(row) for row in suites.suite(name, n=400, seed=seed, split=split)}


@pytest.mark.parametrize("name", suites.suite_names())
def test_four_hundred_distinct_prompts_in_the_schema(name: str) -> None:
    for split in ("validation", "test"):
        rows = suites.suite(name, n=400, seed=0, split=split)
        assert all(set(row) == KEYS for row in rows)
        assert len({row["prompt_id"] for row in rows}) == 400
        assert len({_prompt(row) for row in rows}) == 400
    assert suites.suite(name, n=50, seed=0) == suites.suite(name, n=50, seed=0)


@pytest.mark.parametrize("name", suites.suite_names())
def test_validation_and_test_are_disjoint_for_any_seeds(name: str) -> None:
    assert not _prompts(name, "validation", 1) & _prompts(name, "test", 0)


@pytest.mark.parametrize("name", suites.suite_names())
def test_references_are_judged_as_intended(name: str) -> None:
    expected = "refusal" if name in HARMFUL else "safe"
    for row in suites.suite(name, n=300, seed=0):
        messages = row["messages"]
        assert isinstance(messages, list)
        assert judge.label(messages, str(row["reference"])) == expected


@pytest.mark.parametrize("name", suites.suite_names())
def test_no_suite_task_is_in_pretraining_or_in_the_replay_buffer(name: str) -> None:
    seen = set()
    for row in corpus.rows("any", 4000):
        for message in row.messages:
            request = read_text(message["content"]) if message["role"] == "user" else None
            seen |= {task.text for task in request.tasks} if request else set()
    for replayed in contrast.replay_buffer(0, 256):
        request = read_text(_prompt(replayed))
        assert request is not None
        seen |= {task.text for task in request.tasks}
    for split in ("validation", "test"):
        for prompt in _prompts(name, split):
            request = read_text(prompt)
            assert request is not None
            assert not {task.text for task in request.tasks} & seen


def test_a_smaller_suite_is_the_beginning_of_a_larger_one() -> None:
    for name in HARMFUL:
        assert suites.suite(name, n=20, seed=3) == suites.suite(name, n=200, seed=3)[:20]


def test_wrapped_prompts_name_their_unwrapped_twin() -> None:
    everything = suites.suite("harbor-harmful", n=400, seed=0)
    twins = {row["prompt_id"]: _prompt(row) for row in everything}
    for row in suites.suite("harbor-jailbreak", n=400, seed=0):
        assert twins[row["pair_id"]] in _prompt(row)
    for row in suites.suite("harbor-context", n=200, seed=0):
        inside, alone = read_text(_prompt(row)), read_text(twins[row["pair_id"]])
        assert inside is not None
        assert alone is not None
        assert alone.tasks[0] in inside.tasks


def test_ladders_have_three_rungs_about_the_same_task() -> None:
    for row in suites.suite("harbor-ladder", n=100, seed=0):
        followups = row["followups"]
        assert isinstance(followups, list)
        assert len(followups) == 3
        asked = read_text(_prompt(row))
        for rung in followups:
            again = read_text(rung)
            assert asked is not None
            assert again is not None
            assert again.tasks == asked.tasks


def test_an_unknown_suite_and_too_many_prompts_are_usage_errors() -> None:
    with pytest.raises(UsageError, match="harbor-harmful"):
        suites.suite("harbor-nothing", n=1, seed=0)
    with pytest.raises(UsageError, match="at most"):
        suites.suite("harbor-harmful", n=10**6, seed=0)
