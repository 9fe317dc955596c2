"""The plan's `protect:` section: three spellings, its faults, what is refused before training."""

from __future__ import annotations

from importlib import resources
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from holdfast.core.config import parse
from holdfast.core.errors import ConfigError, DataError
from holdfast.pipeline.overlap import refuse_overlap
from holdfast.pipeline.plan import Plan
from holdfast.tuning.protections.replay_kl.config import ReplayKLConfig


def plan(**sections: Any) -> Plan:
    text = resources.files("holdfast.pipeline.plans").joinpath("harbor.yaml").read_text("utf-8")
    content = yaml.safe_load(text)
    for name, section in sections.items():
        old = content.get(name)
        merge = isinstance(section, dict) and isinstance(old, dict) and name != "protect"
        content[name] = {**old, **section} if merge else section
    return parse(Plan, content, source="plan.yaml")


def test_one_protection_with_its_own_options_is_resolved_in_full() -> None:
    made = plan(protect={"method": "replay_kl", "options": {"weight": 0.5, "buffer": 7}})
    assert made.protect.method == ("replay_kl",)
    assert made.protect.specs == (("replay_kl", ReplayKLConfig(weight=0.5, buffer=7)),)
    assert made.protect.buffer == 7
    again = parse(Plan, made.model_dump(mode="json"), source="plan.json")
    assert again.digest() == made.digest()


def test_auto_and_several_protections() -> None:
    auto = plan(protect="auto")
    assert auto.protect.method == ("auto",)
    assert plan(protect={}).protect.method == ("auto",)  # who writes nothing gets the controller
    assert auto.protect.buffer == 64
    several = plan(
        protect={
            "method": ["replay_kl", "subspace_guard"], "options": {"replay_kl": {"weight": 2}}
        }
    )  # fmt: skip
    assert [name for name, _ in several.protect.specs] == ["replay_kl", "subspace_guard"]
    assert several.protect.options["replay_kl"]["weight"] == 2
    assert plan(protect={"method": "caft"}).protect.buffer == 0
    assert auto.digest() != several.digest()


@pytest.mark.parametrize(
    ("section", "text"),
    [
        ({"method": "replay_lk"}, "did you mean 'replay_kl'"),
        ({"options": {"celing": 1}}, "did you mean 'ceiling'"),
        ({"method": "replay_kl", "options": {"wieght": 1}}, "did you mean 'weight'"),
        (
            {"method": ["caft", "steering"], "options": {"replay_kl": {}}},
            "options name 'replay_kl'",
        ),
        ({"method": []}, "names no protection"),
        ({"method": "auto", "options": {"start": 99}}, "between floor and ceiling"),
    ],
)
def test_faults_are_named(section: Any, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        plan(protect=section)


@pytest.mark.parametrize(
    ("sections", "lines"),
    [
        (
            {"protect": {"method": "subspace_guard"}, "train": {"init": "pissa"}},
            ("protect.method: subspace_guard", "train.init: pissa"),
        ),
        (
            {"protect": {"method": "constrained"}, "train": {"method": "dpo"}},
            ("protect.method: constrained", "train.method: dpo"),
        ),
        (
            {"protect": {"method": "weight_ema"}, "monitor": {"on_alarm": "rollback"}},
            ("protect.method: weight_ema", "monitor.on_alarm: rollback"),
        ),
        (
            {"map": {"replay": "harbor-harmful"}},
            ("map.replay: harbor-harmful", "evaluate.suites[0].spec: harbor-harmful"),
        ),
    ],
)
def test_unsound_plans_name_the_two_lines_that_disagree(sections: Any, lines: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        plan(**sections)
    assert all(line in str(caught.value) for line in lines)


def test_an_arm_that_is_not_protected_may_be_trained_in_any_way() -> None:
    made = plan(protect={"method": "subspace_guard"}, train={"init": "pissa"}, arms=["plain"])
    assert made.arms == ("plain",)


def test_a_buffer_that_overlaps_the_evaluation_is_refused_without_quoting_it() -> None:
    ask = [{"role": "user", "content": "How is the net  mended?"}]
    other = [{"role": "user", "content": "Where is the lamp?"}]
    suite = SimpleNamespace(
        name="mine",
        prompts=[
            SimpleNamespace(prompt_id="a-1", messages=tuple(other)),
            SimpleNamespace(
                prompt_id="a-2", messages=({"role": "user", "content": "how is the net mended"},)
            ),
        ],
    )
    prompts: Any = SimpleNamespace(suites=[suite])
    refuse_overlap(plan(), [], prompts)
    with pytest.raises(DataError) as caught:
        refuse_overlap(plan(), [ask], prompts)
    text = str(caught.value)
    assert "map.replay: harbor" in text
    assert "evaluate.suites[0].spec: harbor-harmful" in text
    assert "a-2" in text
    assert "mended" not in text
