"""Successive halving over ranks: which go on, which is the answer, what the plan must say."""

from __future__ import annotations

from importlib import resources
from itertools import pairwise

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.config import parse
from holdfast.core.errors import ConfigError
from holdfast.pipeline.plan import Plan
from holdfast.pipeline.search import _points, _Reading, ranks_up_to, rungs, survivors
from holdfast.tuning.methods.dpo.config import DPOConfig
from holdfast.tuning.methods.sft.config import SFTConfig


def shipped(name: str) -> dict[str, object]:
    text = resources.files("holdfast.pipeline.plans").joinpath(name).read_text("utf-8")
    content: dict[str, object] = yaml.safe_load(text)
    return content


def reading(rank: int, task: float, refusal: float = 1.0, epochs: float = 1.0) -> _Reading:
    return _Reading(rank, epochs, task, refusal)


def test_ranks_double_and_end_at_the_highest() -> None:
    assert ranks_up_to(1) == [1]
    assert ranks_up_to(8) == [1, 2, 4, 8]
    assert ranks_up_to(12) == [1, 2, 4, 8, 12]
    assert [rungs(n) for n in (1, 2, 3, 8)] == [[1], [1, 2], [1, 2, 3], [1, 2, 4, 8]]


def test_ranks_above_the_lowest_that_is_enough_are_dropped() -> None:
    readings = [reading(1, 0.2), reading(2, 0.95), reading(4, 0.97), reading(8, 0.99)]
    assert survivors(readings, 0.9) == [1, 2]


def test_of_those_that_miss_the_better_half_goes_on_and_the_lower_on_ties() -> None:
    readings = [reading(1, 0.1), reading(2, 0.5), reading(4, 0.5), reading(8, 0.4)]
    assert survivors(readings, 0.9) == [2, 4]
    assert survivors([reading(1, 0.3), reading(2, 0.3)], 0.9) == [1]


@given(
    st.lists(st.tuples(st.integers(1, 64), st.floats(0, 1)), min_size=1, unique_by=lambda t: t[0]),
    st.floats(0.01, 1),
)
def test_someone_always_goes_on_and_the_lowest_that_is_enough_is_never_lost(
    found: list[tuple[int, float]], target: float
) -> None:
    readings = [reading(rank, task) for rank, task in found]
    alive = survivors(readings, target)
    assert alive
    assert alive == sorted(set(alive))
    enough = [rank for rank, task in found if task >= target]
    if enough:
        assert max(alive) == min(enough)


def test_the_frontier_holds_what_nothing_beats() -> None:
    points = _points([reading(1, 0.5, 1.0), reading(2, 0.9, 0.8), reading(4, 0.8, 0.7)], 0.85)
    assert [(p.rank, p.frontier, p.meets) for p in points] == [
        (1, True, False), (2, True, True), (4, False, False),
    ]  # fmt: skip
    assert all(a.rank <= b.rank for a, b in pairwise(points))


def test_a_plan_without_a_method_fine_tunes_with_supervision_and_others_are_named() -> None:
    content = shipped("harbor.yaml")
    assert isinstance(parse(Plan, content, source="p").train, SFTConfig)
    content["train"] = {"method": "dpo", "beta": 0.2}
    assert isinstance(parse(Plan, content, source="p").train, DPOConfig)


def test_faults_in_a_method_name_keys_as_they_were_written() -> None:
    content = shipped("harbor.yaml")
    content["train"] = {"method": "dpo", "betta": 0.2, "rank": 0}
    with pytest.raises(ConfigError) as caught:
        parse(Plan, content, source="p")
    text = str(caught.value)
    assert "unknown key 'train.betta': did you mean 'beta'?" in text
    assert "'train.rank'" in text
    content["train"] = {"tuner": "qlora", "init": "pissa"}
    with pytest.raises(ConfigError, match=r"'train'.*init: pissa.*tuner: qlora"):
        parse(Plan, content, source="p")
