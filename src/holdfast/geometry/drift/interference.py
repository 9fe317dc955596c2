"""Interference growth: do the safety features overlap more with the other features than before?"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from holdfast.geometry.drift.grams import Grams
from holdfast.tensors.gram import interference
from holdfast.tensors.projection import unit


def interference_growth(grams: Grams, safety: Sequence[int]) -> Tensor:
    """I₁ − I₀ [resamples]; positive is loss, zero for any rotation of all features together."""
    return interference(grams.after, safety) - interference(grams.before, safety)


def spillover(base_task: Tensor, candidate_task: Tensor, safety_directions: Tensor) -> float:
    """Mean of ⟨Δh_task, r̂ᵢ⟩ over the base's safety directions [s, d], in activation units.

    `base_task` and `candidate_task` [n, d] are activations of task prompts. First-order form of
    gradient spillover (Minegishi et al., arXiv 2605.00842): what training on the task pushes along
    the safety features. Sign: negative is a push away from harm being recognised.
    """
    moved = (candidate_task.double() - base_task.double()).mean(0)
    return float((unit(safety_directions) @ moved).mean())
