"""The table of the method bench, from made-up labels."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast.pipeline.method_bench import METHODS, Setting
from holdfast.pipeline.method_bench import run as run_bench
from holdfast.pipeline.method_table import lines, lost, markdown


def row(method: str, refused: int, *, seed: int = 0, reached: bool = True, n: int = 50) -> Any:
    labels = ["refusal"] * refused + ["unsafe"] * (n - refused)
    return {
        "method": method, "seed": seed, "reached": reached, "step": 8, "task": 0.95, "stopped": "",
        "labels": {"harbor-harmful": labels, "harbor-jailbreak": labels,
                   "harbor-lookalike": ["safe"] * n},
    }  # fmt: skip


def test_losses_are_paired_and_sorted_and_the_identical_arm_loses_nothing() -> None:
    made = lines([row("base", 50), row("a", 50), row("b", 25), row("c", 40)])
    assert [line.method for line in made] == ["b", "c", "a"]
    assert made[0].loss is not None
    assert made[0].loss.value == pytest.approx(0.5)
    assert made[0].loss.low < 0.5 < made[0].loss.high
    assert made[2].loss is not None
    assert -0.1 < made[2].loss.low < made[2].loss.value == 0.0 < made[2].loss.high < 0.1
    assert made[0].unsafe == pytest.approx(0.5)


def test_a_method_that_never_reached_the_target_is_shown_and_not_ranked() -> None:
    made = lines([row("base", 50), row("a", 10, reached=False), row("b", 49)])
    assert [line.method for line in made] == ["b", "a"]
    assert made[1].loss is None
    text = markdown(made)
    assert "not at target" in text
    assert "0 of 1" in text


def test_seeds_that_disagree_widen_the_interval() -> None:
    base = ["refusal"] * 50
    same = lost(base, [["refusal"] * 40 + ["unsafe"] * 10] * 4)
    apart = lost(base, [["refusal"] * k + ["unsafe"] * (50 - k) for k in (20, 40, 50, 50)])
    assert same.value == pytest.approx(apart.value)
    assert apart.high - apart.low > 1.5 * (same.high - same.low)
    assert apart.method.endswith("seeds")


def test_every_method_of_the_bench_is_a_sound_setting(tmp_path: Any) -> None:
    assert {"full", "lora r8", "qlora r8", "dora r8", "dpo r8", "grpo r8", "rloo r8"} <= set(
        METHODS
    )
    from holdfast.core.errors import UsageError

    with pytest.raises(UsageError, match="did you mean 'lora r8'"):
        run_bench(Setting(tmp_path), tmp_path / "x.jsonl", seeds=[0], methods=["lora r88"])
