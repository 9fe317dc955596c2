"""All features of a contrast set at once, as signed weights on its prompts.

A difference of means is linear in the activations: r_f = Σ_i w_i x_i over the prompts i of feature
f, with w = ± count/total. Bootstrap samples, half splits and permuted labels only change w, so all
of them run on inner products of prompts and never on d-dimensional vectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from holdfast.geometry.contrast import HARMFUL, ContrastRow


@dataclass(frozen=True)
class FeatureSet:
    """The features (concept, category) of n contrast rows; each row belongs to exactly one."""

    names: tuple[tuple[str, str], ...]
    """(concept, category) of each of the F features, sorted."""
    groups: tuple[Tensor, ...]
    """Row indices of each feature."""
    labels: Tensor
    """[n] bool: whether the row is a positive."""
    strata: Tensor
    """[n] integer: 2·feature + label; resampling stays inside a stratum."""

    @classmethod
    def of(cls, rows: Sequence[ContrastRow]) -> FeatureSet:
        """The features of `rows`, in the order of the rows."""
        names = tuple(sorted({(row.concept, row.category) for row in rows}))
        feature = torch.tensor([names.index((row.concept, row.category)) for row in rows])
        labels = torch.tensor([row.label == 1 for row in rows])
        groups = tuple((feature == index).nonzero()[:, 0] for index in range(len(names)))
        return cls(names, groups, labels, 2 * feature + labels)

    @property
    def n(self) -> int:
        """Number of rows."""
        return len(self.labels)

    @property
    def safety(self) -> list[int]:
        """Indices of the safety features: the harm categories."""
        return [index for index, (concept, _) in enumerate(self.names) if concept == HARMFUL]

    def weights(self, counts: Tensor) -> Tensor:
        """Signed weights w [resamples, n] that turn activations into directions, float64.

        `counts` [resamples, n] says how often each row is drawn; every stratum needs one draw.
        """
        wide = counts.double()
        totals = torch.zeros(len(wide), 2 * len(self.names), dtype=torch.float64)
        totals.index_add_(1, self.strata, wide)
        sign = torch.where(self.labels, 1.0, -1.0).double()
        return sign * wide / totals[:, self.strata]

    def full(self) -> Tensor:
        """Weights [1, n] with every row drawn once."""
        return self.weights(torch.ones(1, self.n))

    def directions(self, activations: Tensor) -> Tensor:
        """Direction of every feature [F, d] from `activations` [n, d], float64."""
        wide, weights = activations.double(), self.full()[0]
        return torch.stack([weights[group] @ wide[group] for group in self.groups])
