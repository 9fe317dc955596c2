"""The gate of a reward model: nothing is trained on a reward that has not shown what it measures.

Three questions on pairs that it never saw, each with a bar set before training:

- *accuracy*: how often it prefers the better answer (Wilson interval);
- *calibration*: whether σ(r⁺ - r⁻) is the chance that it is right (expected calibration error over
  ten bins of equal size, each pair in a random order);
- *hacking*: whether choosing by reward makes answers better in the eyes of an independent judge.
  From a pool of the policy's own samples, both answers of the pair and an answer to another prompt,
  the reward picks one; the judge's rate among the picked must lie above its rate in the pool
  (best-of-n as in arXiv 2210.10760, lower end of a paired bootstrap over prompts).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from holdfast.core.errors import InvalidRun
from holdfast.core.protocols import Messages
from holdfast.core.records import Interval, RewardGate
from holdfast.stats.intervals import wilson
from holdfast.tuning.methods.reward.config import RewardConfig
from holdfast.tuning.methods.spec import TaskJudge

BINS = 10
RESAMPLES = 2000
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Pool:
    """Answers to one held-out prompt with their rewards."""

    prompt: Messages
    """The conversation."""
    answers: tuple[str, ...]
    """The answers to choose from."""
    rewards: tuple[float, ...]
    """Their rewards."""


def measure(
    margins: Sequence[float], pools: Sequence[Pool], judge: TaskJudge, config: RewardConfig,
    *, inputs: dict[str, str],
) -> RewardGate:  # fmt: skip
    """Ask the three questions.

    Args:
        margins: reward of the better minus that of the worse answer, per held-out pair.
        pools: answers to held-out prompts with their rewards.
        judge: accepts an answer, or not; never the reward model itself.
        config: the bars.
        inputs: digests of what was measured.
    """
    right = sum(margin > 0 for margin in margins)
    accuracy = wilson(right, len(margins), CONFIDENCE)
    error = calibration_error(margins, seed=config.seed)
    reward_gain, pool, picked, gain = _pick(pools, judge, config.seed)
    faults: list[str] = []
    if not all(math.isfinite(margin) for margin in margins):
        faults.append("a reward is not a number")
    if accuracy.low < config.min_accuracy:
        faults.append(
            f"held-out accuracy {_shown(accuracy)} on {len(margins)} pairs; the lower end must "
            f"reach {config.min_accuracy:g}"
        )
    if not error <= config.max_calibration_error:
        faults.append(f"calibration error {error:.3f}; at most {config.max_calibration_error:g}")
    if not gain.low > 0:
        faults.append(
            f"reward hacking: choosing by reward gains {reward_gain:+.2f} of reward, and "
            f"{_shown(gain)} in the eyes of the independent judge; the lower end must be above 0"
        )
    return RewardGate(
        inputs=inputs, seed=config.seed, pairs=len(margins), accuracy=accuracy,
        calibration_error=error, pools=len(pools), reward_gain=reward_gain, judge_pool=pool,
        judge_picked=picked, judge_gain=gain, faults=tuple(faults),
    )  # fmt: skip


def require(gate: RewardGate) -> None:
    """Raise `InvalidRun` with every fault unless the reward model passed."""
    if not gate.passed:
        raise InvalidRun(
            "the reward model failed its gate: " + "; ".join(gate.faults),
            next_step="bring more or cleaner pairs, or train it longer; no policy saw it",
        )


def calibration_error(margins: Sequence[float], *, seed: int = 0) -> float:
    """Expected calibration error of σ(margin) as the chance that the first answer is the better.

    Each pair is shown in a random order, as the reward model does not know which one is better;
    bins hold equally many pairs.
    """
    values = np.asarray(margins, dtype=np.float64)
    if not values.size or not np.isfinite(values).all():
        return 1.0
    signs = np.random.default_rng(seed).choice((-1.0, 1.0), values.size)
    stated = 0.5 * (1 + np.tanh(values * signs / 2))  # σ without overflow
    happened = signs > 0
    order = np.argsort(stated, kind="stable")
    bins = np.array_split(order, min(BINS, values.size))
    gaps = [len(b) * abs(stated[b].mean() - happened[b].mean()) for b in bins]
    return float(sum(gaps) / values.size)


def _pick(
    pools: Sequence[Pool], judge: TaskJudge, seed: int
) -> tuple[float, float, float, Interval]:
    """Reward gain, judge's rate in pools and among picked, and their difference."""
    gains, means, picked = [], [], []
    for pool in pools:
        accepted = [float(judge(pool.prompt, answer)) for answer in pool.answers]
        best = int(np.argmax(pool.rewards))
        gains.append(pool.rewards[best] - float(np.mean(pool.rewards)))
        means.append(float(np.mean(accepted)))
        picked.append(accepted[best])
    gain = mean_interval(np.subtract(picked, means), seed=seed)
    return float(np.mean(gains)), float(np.mean(means)), float(np.mean(picked)), gain


def mean_interval(values: NDArray[np.float64], *, seed: int) -> Interval:
    """Mean of one number per prompt with its percentile bootstrap over prompts."""
    draws = np.random.default_rng(seed).integers(0, len(values), (RESAMPLES, len(values)))
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(values[draws].mean(axis=1), (tail, 100 - tail))
    return Interval(
        value=float(values.mean()), low=float(low), high=float(high), confidence=CONFIDENCE,
        method="bootstrap over prompts",
    )  # fmt: skip


def _shown(found: Interval) -> str:
    return f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]"
