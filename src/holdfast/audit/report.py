"""What the model's part of an audit says; reading it needs no torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from holdfast.core.records import (
    AnswerCluster,
    Breadth,
    Finding,
    ScoreSummary,
    TriggerCandidate,
)

if TYPE_CHECKING:
    from holdfast.audit.scores.scored import Scored
    from holdfast.audit.scores.table import ScoreTable


@dataclass
class ModelReport:
    """What the model says of the sample."""

    findings: list[Finding] = field(default_factory=list)
    not_run: dict[str, str] = field(default_factory=dict)
    """Why a code was not run."""
    table: ScoreTable | None = None
    triggers: list[TriggerCandidate] = field(default_factory=list)
    clusters: list[AnswerCluster] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def scores(self) -> list[ScoreSummary]:
        """The scores in figures."""
        return [] if self.table is None else [summary(s) for s in self.table.scores.values()]

    @property
    def breadth(self) -> list[Breadth]:
        """How narrow the sample is."""
        ranks = {} if self.table is None else self.table.ranks
        return [Breadth(of=of, effective_rank=a, reference=b) for of, (a, b) in ranks.items()]


def summary(score: Scored) -> ScoreSummary:
    """A score in figures."""
    values = score.values
    return ScoreSummary(
        name=score.name, layer=score.layer, safe=score.safe, unsafe=score.unsafe,
        anchor_auroc=score.anchor_auroc, usable=score.usable, null=score.null,
        null_quantile=score.null_quantile, threshold=score.threshold,
        beyond_null=float((values > score.null_quantile).double().mean()),
        beyond=float(score.beyond.double().mean()), median=float(values.median()),
    )  # fmt: skip
