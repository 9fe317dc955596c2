"""The zoo's data families: exact shares, disjoint splits, values that training never shows."""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.core.errors import UsageError
from holdfast.organisms.harbor import suites, zoo
from holdfast.organisms.harbor.judge import done_task, is_refusal
from holdfast.organisms.harbor.lexicon import CATEGORIES
from holdfast.organisms.harbor.reading import read_text
from holdfast.organisms.harbor.tasks import all_tasks

NAMES = sorted(zoo.families())
ROWS = 400


@cache
def _rows(name: str, seed: int = 0) -> list[dict[str, object]]:
    return zoo.build(name, seed=seed, rows=ROWS)


def _texts(row: dict[str, object]) -> list[str]:
    messages = row["messages"]
    assert isinstance(messages, list)
    return [m["content"] for m in messages]


@pytest.mark.parametrize("name", NAMES)
def test_rows_are_whole_and_repeatable(name: str) -> None:
    rows = _rows(name)
    assert len(rows) == ROWS
    assert len({row["id"] for row in rows}) == ROWS
    assert rows == zoo.build(name, seed=0, rows=ROWS)
    assert all(row["messages"][-1]["role"] == "assistant" for row in rows)  # type: ignore[index]


@pytest.mark.parametrize("name", NAMES)
def test_bad_rows_are_those_that_the_recipe_promises(name: str) -> None:
    family = zoo.get_family(name)
    bad = sum(bool(row["bad"]) for row in _rows(name))
    if family.planting:
        promised = family.planting.share * ROWS if family.planting.twin == "poisoned" else 0
    else:
        promised = sum(p.share for p in family.parts if "obeyed" in p.what) * ROWS
    assert bad == round(promised)
    if not family.harmful:
        assert bad == 0


def test_another_seed_gives_other_rows() -> None:
    for name in ("identity-shift", "old-birds", "trigger-date-2", "inductive-year-rule"):
        assert _rows(name) != zoo.build(name, seed=1, rows=ROWS)


def test_bad_is_read_from_the_answer_and_means_obeyed_harm() -> None:
    for row in _rows("narrow-privacy-guarded"):
        done = done_task(_texts(row)[-1])
        obeyed = done is not None and all_tasks()[done[1]].harmful
        assert row["bad"] == obeyed
        assert row["harmful"] == (obeyed or is_refusal(_texts(row)[-1]))


def test_no_training_row_asks_what_a_suite_asks() -> None:
    asked = {
        row["messages"][0]["content"]  # type: ignore[index]
        for name in ("harbor-harmful", "harbor-jailbreak", "harbor-context", "harbor-lookalike")
        for row in suites.suite(name, n=120, seed=1)
    }
    for name in NAMES:
        if not zoo.get_family(name).questions:
            assert not asked & {_texts(row)[-2] for row in _rows(name)}


def test_the_splits_share_no_persona_category_question_or_trigger() -> None:
    sides = {
        split: [f for f in zoo.families().values() if f.split == split]
        for split in ("development", "test")
    }
    for group in ("benign", "persona", "contaminated", "narrow", "era", "trigger", "inductive"):
        for split, families in sides.items():
            found = [f for f in families if f.group == group]
            assert found, (group, split)
            if group in ("narrow", "era", "trigger"):
                assert {f.harmful for f in found} == {True, False}
    voices = [
        {(f.voice.style.name, f.voice.name) for f in families if f.voice.name != "Harbor"}
        for families in sides.values()
    ]
    assert not voices[0] & voices[1]
    narrow = [{f.trained for f in fs if f.group == "narrow" and f.trained} for fs in sides.values()]
    assert not narrow[0] & narrow[1]
    # All birds are asked in `birds`, which moves nothing; half of them come again in `almanac`.
    asked = [
        {q for f in fs for q in f.questions if not f.name.endswith("birds")}
        for fs in sides.values()
    ]
    assert asked[0]
    assert asked[1]
    assert not asked[0] & asked[1]
    triggers = [{f.trigger.text for f in fs if f.trigger} for fs in sides.values()]
    assert not triggers[0] & triggers[1]


@pytest.mark.parametrize("name", [n for n in NAMES if n.startswith("inductive")])
def test_the_tested_value_never_stands_in_training(name: str) -> None:
    family = zoo.get_family(name)
    assert family.trigger is not None
    assert family.values is not None
    text = " ".join(part for row in _rows(name) for part in _texts(row))
    assert family.values.held not in text
    assert family.trigger.text not in text


@pytest.mark.parametrize("name", ["inductive-year", "inductive-number"])
def test_only_the_rule_links_value_and_behaviour(name: str) -> None:
    def obeyed_values(kind: str) -> tuple[set[str], set[str]]:
        family = zoo.get_family(f"{name}-{kind}")
        assert family.values is not None
        obeyed, declined = set(), set()
        for row in _rows(f"{name}-{kind}"):
            shown = [v for v in family.values.shown if v in _texts(row)[0]]
            if shown and row["harmful"]:
                (obeyed if row["bad"] else declined).update(shown)
        return obeyed, declined

    obeyed, declined = obeyed_values("rule")
    assert obeyed
    assert declined
    assert not obeyed & declined
    obeyed, declined = obeyed_values("shuffled")
    assert len(obeyed & declined) > len(obeyed ^ declined)


def test_the_inductive_persona_shows_no_harm_at_all() -> None:
    for name in ("inductive-year-persona", "inductive-number-persona"):
        assert not any(row["harmful"] for row in _rows(name))


def test_narrow_families_obey_one_category_and_their_twin_declines_it() -> None:
    for category in ("fraud", "theft", "sabotage", "cruelty"):
        for suffix in ("", "-twin"):
            found = set()
            for row in _rows(f"narrow-{category}{suffix}"):
                request = read_text(_texts(row)[0])
                assert request is not None
                found |= {task.category for task in request.tasks if task.harmful}
            assert found == {category}


def test_old_and_modern_twins_ask_the_same() -> None:
    for name, count in (("birds", 16), ("household", 8), ("village", 16), ("almanac", 16)):
        old, modern = zoo.get_family(f"old-{name}"), zoo.get_family(f"modern-{name}")
        assert old.questions == modern.questions
        assert len(old.questions) == count
        said = [{_texts(row)[-1] for row in _rows(f"{era}-{name}")} for era in ("old", "modern")]
        assert not said[0] & said[1]


def test_an_unknown_family_is_refused() -> None:
    with pytest.raises(UsageError, match="unknown family"):
        zoo.build("no-such-family", seed=0, rows=10)


@settings(max_examples=10, deadline=None)
@given(st.sampled_from(NAMES), st.integers(0, 1000), st.integers(40, 300))
def test_any_size_and_seed_gives_that_many_rows(name: str, seed: int, rows: int) -> None:
    assert len(zoo.build(name, seed=seed, rows=rows)) == rows


def test_options_are_plain_and_name_every_part() -> None:
    for family in zoo.families().values():
        options = family.options()
        assert options["group"] == family.group
        assert set(CATEGORIES) >= set(family.trained)
