"""Inner products of feature directions before and after, for any weighting of the prompts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from holdfast.tensors.gram import feature_gram


class Grams(NamedTuple):
    """Inner products of F directions, each [resamples, F, F]."""

    before: Tensor
    """Among the directions of the base."""
    after: Tensor
    """Among the directions of the candidate."""
    across: Tensor
    """Of the base's (rows) with the candidate's (columns)."""


@dataclass(frozen=True)
class PromptProducts:
    """Inner products of the activations of n prompts in base and candidate, each [n, n] float64."""

    before: Tensor
    """Base with base."""
    after: Tensor
    """Candidate with candidate."""
    across: Tensor
    """Base with candidate."""

    @classmethod
    def of(cls, base: Tensor, candidate: Tensor) -> PromptProducts:
        """From activations [n, d] of the same prompts in both models."""
        x, y = base.double(), candidate.double()
        return cls(x @ x.mT, y @ y.mT, x @ y.mT)

    @classmethod
    def alone(cls, base: Tensor) -> PromptProducts:
        """The base against itself, for halves of its own prompts."""
        products = base.double() @ base.double().mT
        return cls(products, products, products)

    def grams(self, base: Tensor, candidate: Tensor, groups: Sequence[Tensor]) -> Grams:
        """Grams of the directions with weights `base` and `candidate` [resamples, n]."""
        return Grams(
            feature_gram(self.before, base, base, groups),
            feature_gram(self.after, candidate, candidate, groups),
            feature_gram(self.across, base, candidate, groups),
        )
