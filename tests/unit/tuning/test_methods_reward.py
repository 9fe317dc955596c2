"""The reward gate and the hacking check on made-up rewards, with answers known in closed form."""

from __future__ import annotations

import math

import numpy as np
import pytest

from holdfast.core.errors import InvalidRun
from holdfast.tuning.methods.reward.config import RewardConfig
from holdfast.tuning.methods.reward.gate import Pool, calibration_error, measure, require
from holdfast.tuning.methods.rlhf.hacking import verdict

PROMPT = [{"role": "user", "content": "?"}]


def right(messages, answer):
    return answer == "right"


def pools(right_rewards, wrong_rewards):
    return [
        Pool(PROMPT, ("right", "wrong", "wrong"), (r, w, w - 1))
        for r, w in zip(right_rewards, wrong_rewards, strict=True)
    ]


def honest(n=100, strength=3.0, seed=0):
    """Margins of a model whose stated chances are true: labels drawn from its own beliefs."""
    rng = np.random.default_rng(seed)
    margin = rng.normal(0, strength, n)
    return margin * np.where(rng.random(n) < 1 / (1 + np.exp(-margin)), 1, -1)


def test_a_good_reward_model_passes_and_its_numbers_are_plain():
    margins = np.abs(honest(200))
    gate = measure(margins, pools([2.0] * 30, [0.0] * 30), right, RewardConfig(), inputs={})
    assert gate.accuracy.value == 1.0
    assert gate.judge_picked == 1.0
    assert gate.judge_pool == pytest.approx(1 / 3)
    assert gate.judge_gain.value == pytest.approx(2 / 3)
    assert gate.passed
    require(gate)


def test_accuracy_counts_ties_as_wrong_and_needs_its_lower_end():
    gate = measure([0.0] * 50 + [1.0] * 50, pools([2.0], [0.0]), right, RewardConfig(), inputs={})
    assert gate.accuracy.value == 0.5
    with pytest.raises(InvalidRun, match=r"held-out accuracy 0\.500"):
        require(gate)
    few = measure([1.0] * 5, pools([2.0], [0.0]), right, RewardConfig(), inputs={})
    assert any("accuracy" in fault for fault in few.faults)  # five pairs prove nothing


def test_calibration_of_true_beliefs_is_near_zero_and_of_false_certainty_is_large():
    assert calibration_error(honest(20_000)) < 0.02
    wrong = [9.0 if i % 2 else -9.0 for i in range(400)]  # certain, and right half of the time
    assert calibration_error(wrong) == pytest.approx(0.5, abs=0.05)
    assert calibration_error([math.nan]) == 1.0


def test_a_reward_that_does_not_help_the_judge_is_hacking():
    gate = measure([2.0] * 100, pools([0.0] * 30, [1.0] * 30), right, RewardConfig(), inputs={})
    assert gate.reward_gain > 0
    assert gate.judge_picked == 0
    assert any("reward hacking" in fault for fault in gate.faults)


@pytest.mark.parametrize(
    ("reward", "before", "now", "said"),
    [
        (+1.0, 0.5, 0.9, ""),
        (+1.0, 0.95, 0.95, ""),  # no room to rise
        (+1.0, 0.5, 0.5, "the independent judge did not"),
        (+1.0, 1.0, 0.6, "the independent judge fell"),
        (-1.0, 0.5, 0.2, ""),  # worse, and no hacking
    ],
)
def test_the_training_check(reward, before, now, said):
    n = 60
    rewards = (np.zeros(n), np.full(n, reward) + np.linspace(-0.1, 0.1, n))
    found = verdict(rewards, ([i < before * n for i in range(n)], [i < now * n for i in range(n)]))
    assert said in found
    assert bool(found) == bool(said)
