"""The designed list: enough members, in both splits, whose every beginning is a fair zoo."""

from __future__ import annotations

from typing import get_args

import pytest

from holdfast.cli.bench import ZOO_SPLITS, _splits
from holdfast.core.errors import UsageError
from holdfast.organisms.harbor.zoo import families
from holdfast.organisms.harbor.zoo_family import ZooSplit
from holdfast.pipeline.zoo.members import BATCH, METHODS, ROWS, Member, chosen, members

LATER = ("second", "third")
FIRST = ("development", "test")


def test_there_are_enough_and_no_two_are_the_same() -> None:
    found = members()
    assert len(found) >= 120
    assert len({member.name for member in found}) == len(found)
    first = [m for m in found if m.recipe.split in FIRST]
    share = sum(m.recipe.split == "development" for m in first) / len(first)
    assert 0.5 <= share <= 0.65


@pytest.mark.parametrize("split", LATER)
def test_later_test_families_share_no_recipe_with_the_others(split: str) -> None:
    later = [family for family in families().values() if family.split == split]
    assert {f.name for f in later} == {m.family for m in members() if m.recipe.split == split}
    assert {True, False} == {family.harmful for family in later}
    for family in later:
        parts = (*(part.what for part in family.parts), family.voice)
        shares = [f for f in families().values() if f.parts and
                  (*(p.what for p in f.parts), f.voice) == parts
                  and [p.share for p in f.parts] == [p.share for p in family.parts]]  # fmt: skip
        assert shares == [family]


def test_a_split_is_tested_by_a_fit_on_all_before_it() -> None:
    assert get_args(ZooSplit) == ZOO_SPLITS
    assert _splits("development") == ("development", "")
    assert _splits("test") == ("development", "test")
    assert _splits("third") == ("development,test,second", "third")


def test_later_splits_come_last() -> None:
    splits = [member.recipe.split for member in members()]
    later = [split for split in splits if split in LATER]
    assert splits[-len(later) :] == later == sorted(later)


def test_every_split_has_benign_and_harmful_members_of_every_method() -> None:
    for split in ("development", "test"):
        for harmful in (True, False):
            found = [m for m in members() if m.recipe.split == split]
            found = [m for m in found if m.recipe.harmful == harmful]
            assert len(found) >= 20
            assert {"lora8-1e-3-60", "full-3e-4-60", "lora8-2e-3-40"} <= {
                m.method.name for m in found
            }


def test_a_zoo_that_is_cut_off_is_still_balanced() -> None:
    order = members()
    early = {name for name, family in families().items() if family.split in FIRST}
    assert {m.family for m in order[: len(early)]} == early
    for count in (40, 60, 100):
        found = order[:count]
        for split in ("development", "test"):
            for harmful in (True, False):
                kind = [m for m in found if (m.recipe.split, m.recipe.harmful) == (split, harmful)]
                assert len(kind) >= count // 10


def test_most_members_sit_on_the_first_base() -> None:
    assert sum(m.base == 0 for m in members()) >= 120
    assert {m.base for m in members()} == {0, 1, 2}


@pytest.mark.parametrize("method", METHODS.values(), ids=list(METHODS))
def test_the_settings_of_a_member_are_those_of_its_method(method) -> None:
    config = Member("own-style", method, 3, 0).config()
    assert config.tuner == method.tuner
    assert config.learning_rate == method.rate
    assert config.epochs * ROWS // BATCH == method.steps == config.checkpoint_every
    assert config.alpha / config.rank == 2.0
    assert config.seed == 3


def test_members_are_chosen_by_id_family_group_or_split() -> None:
    name = "identity-shift.lora8-1e-3-60.s0.b0"
    assert [m.name for m in chosen(name)] == [name]
    assert {m.family for m in chosen("old-*, modern-birds")} == {
        "old-birds", "old-household", "old-village", "old-almanac", "modern-birds",
    }  # fmt: skip
    assert {m.recipe.group for m in chosen("era")} == {"era"}
    assert {m.recipe.split for m in chosen("test")} == {"test"}
    assert chosen(None) == chosen("") == list(members())
    with pytest.raises(UsageError, match="no member"):
        chosen("nothing-*")
