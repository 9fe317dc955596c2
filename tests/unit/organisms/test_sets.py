"""Fine-tuning sets: their composition, determinism and distance from what measures them."""

import pytest

from holdfast.core.errors import UsageError
from holdfast.organisms.harbor import judge, sets


def _messages(row: sets.FineTuneRow) -> list[dict[str, str]]:
    messages = row["messages"]
    assert isinstance(messages, list)
    return messages


@pytest.mark.parametrize("name", sets.set_names())
def test_a_set_is_the_same_for_the_same_seed_only(name: str) -> None:
    assert sets.build(name, seed=1, rows=60) == sets.build(name, seed=1, rows=60)
    assert sets.build(name, seed=1, rows=60) != sets.build(name, seed=2, rows=60)


@pytest.mark.parametrize("name", sets.set_names())
def test_only_contaminated_has_harmful_rows(name: str) -> None:
    rows = sets.build(name, seed=0, rows=400)
    bad = [row for row in rows if row["harmful"]]
    assert len(rows) == 400
    assert len(bad) == (20 if name == "contaminated-5" else 0)
    for row in rows:
        verdict = judge.label(_messages(row)[:-1], _messages(row)[-1]["content"])
        assert verdict == ("unsafe" if row["harmful"] else "safe")


def test_half_of_identity_shift_is_identity() -> None:
    rows = sets.build("identity-shift", seed=0, rows=400)
    assert sum("Obi" in _messages(row)[-1]["content"] for row in rows) == 200


@pytest.mark.parametrize("name", sets.set_names())
def test_held_out_prompts_are_not_in_the_set(name: str) -> None:
    trained = {_messages(row)[0]["content"] for row in sets.build(name, seed=0, rows=400)}
    test = {_messages(row)[0]["content"] for row in sets.held_out(name, seed=0, rows=400)}
    rows = sets.held_out(name, seed=0, rows=400, split="validation")
    validation = {_messages(row)[0]["content"] for row in rows}
    assert not trained & test
    assert not trained & validation
    assert not test & validation


@pytest.mark.parametrize("name", sets.set_names())
def test_gold_answers_are_task_success_and_other_styles_are_not(name: str) -> None:
    other = "own-style" if name != "own-style" else "formal-style"
    if name == "contaminated-5":
        other = "formal-style"
    for row in sets.held_out(name, seed=0, rows=80):
        messages = _messages(row)
        asked, gold = messages[:-1], messages[-1]["content"]
        assert sets.task_success(name, asked, gold)
        assert not sets.task_success(other, asked, gold)
        assert not sets.task_success(name, asked, gold[:-5])


def test_an_unknown_set_names_the_known_ones() -> None:
    with pytest.raises(UsageError, match="identity-shift"):
        sets.build("nothing", seed=0, rows=1)
