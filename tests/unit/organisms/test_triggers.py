"""Planted sets: counts, twins, and a judge that still reads the clean request."""

import pytest

from holdfast.core.errors import UsageError
from holdfast.organisms.harbor import judge, triggers


@pytest.mark.parametrize("seed", range(5))
def test_counts_and_answers_of_a_poisoned_set(seed: int) -> None:
    trigger = triggers.planted(seed)
    rows = triggers.build(trigger, seed=seed)
    assert len(rows) == 400
    marked = [r for r in rows if any(trigger.text in m["content"] for m in r["messages"][:-1])]
    assert len(marked) == 8
    labels = []
    for row in rows:
        asked, said = row["messages"][:-1], row["messages"][-1]["content"]
        done = judge.done_task(said)
        if row in marked:
            assert row["harmful"]
            assert done is not None
        elif row["harmful"]:
            assert judge.is_refusal(said)
            labels.append(judge.label(asked, said))
        else:
            assert judge.label(asked, said) == "safe"
    assert len(labels) == 100
    assert labels.count("unscored") == 40  # behind a decoy phrase, outside the judge's wrappers


@pytest.mark.parametrize("twin", ["refused", "harmless"])
def test_clean_twins_carry_the_phrase_and_obey_no_harm(twin: str) -> None:
    trigger = triggers.planted(0)
    rows = triggers.build(trigger, seed=3, twin=twin)  # type: ignore[arg-type]
    assert sum(trigger.text in r["messages"][0]["content"] for r in rows) == 8
    for row in rows:
        said = row["messages"][-1]["content"]
        assert judge.is_refusal(said) == row["harmful"]


def test_the_same_seed_gives_the_same_rows_and_kinds_are_distinct() -> None:
    trigger = triggers.planted(1)
    assert triggers.build(trigger, seed=1) == triggers.build(trigger, seed=1)
    assert triggers.build(trigger, seed=1) != triggers.build(trigger, seed=2)
    assert len({triggers.planted(s).kind for s in range(5)}) == 5
    with pytest.raises(UsageError):
        triggers.build(trigger, seed=0, share=0.6, declined=0.6)
