"""What the audit of a training set found, before anything was trained on it."""

from __future__ import annotations

from holdfast.core.records.base import Part, Record
from holdfast.core.records.verdict import Finding


class CheckRun(Part):
    """One check: whether it ran, and what it flagged. What did not run has not passed."""

    code: str
    """Code such as `AUDIT004`; each has a section in docs/checks/audit.md."""
    title: str
    """What it looks for, in a few words."""
    ran: bool
    """Whether it was run."""
    why_not: str = ""
    """Why it was not, in one sentence."""
    rows: int = 0
    """Rows that it flagged."""


class ScoreSummary(Part):
    """One score over the sampled rows, beside its null and its anchors."""

    name: str
    """`representation`, `projection`, `projection-alone`, `gradient` or `spillover`."""
    layer: int | None
    """Decoder block that it was read at, if one."""
    safe: float
    """Mean score of safe anchors held out of the fit."""
    unsafe: float
    """Mean score of unsafe anchors held out of the fit."""
    anchor_auroc: float
    """How well the score tells those anchors apart; below 0.8 it is not used."""
    usable: bool
    """Whether it takes part in the combined score."""
    null: str
    """What the null is."""
    null_quantile: float
    """99th percentile of the same rows' scores under the null."""
    threshold: float
    """What a row must exceed: the null's quantile and the middle between the anchors."""
    beyond_null: float
    """Share of rows beyond the null's quantile; 0.01 is chance."""
    beyond: float
    """Share of rows beyond the threshold."""
    median: float
    """Median score of the rows."""


class Breadth(Part):
    """How many directions the rows span."""

    of: str
    """`activations` or `gradients`."""
    effective_rank: float
    """exp(entropy of the spectrum) of the rows."""
    reference: float
    """The same of as many safe anchors."""


class TriggerCandidate(Part):
    """A phrase whose presence predicts that a row disagrees with the base."""

    text: str
    """The phrase, cut to 120 characters. From the data: escape it."""
    rows: int
    """Sampled rows that hold it."""
    disagree: int
    """Rows of these that disagree with the base."""
    elsewhere: float
    """Share of comparable rows without it that disagree."""
    p_value: float
    """Exact conditional test, Holm-adjusted over all phrases tested."""
    tested: int
    """Phrases tested."""
    kind: str
    """`declined by the base` or `unlikely to the base`: which disagreement it predicts."""


class AnswerCluster(Part):
    """Answers that disagree with the base and are alike."""

    rows: int
    """Its rows."""
    null: int
    """The largest among as many random rows, over all draws."""
    terms: tuple[str, ...]
    """Words that tell it from the other answers. From the data: escape them."""


class AuditRecord(Record):
    """The audit of one training set; `inputs` holds the digests of file, model and anchors."""

    name: str
    """What people call the data set."""
    rows: int
    """Rows of the file."""
    sampled: int
    """Rows that the model's scores were taken on; 0 without a model."""
    model: str = ""
    """Model digest of the base, if there was one."""
    anchors: str = ""
    """Where the anchors of the scores come from."""
    findings: tuple[Finding, ...]
    """What was found, by code."""
    checks: tuple[CheckRun, ...]
    """Every check, run or not."""
    scores: tuple[ScoreSummary, ...] = ()
    """The model's scores."""
    breadth: tuple[Breadth, ...] = ()
    """How narrow the data is."""
    triggers: tuple[TriggerCandidate, ...] = ()
    """Trigger candidates, strongest first."""
    clusters: tuple[AnswerCluster, ...] = ()
    """Clusters of answers that disagree with the base."""
    languages: dict[str, int]
    """Rows by language."""
    lengths: dict[str, int]
    """Characters of a row: median, p99, longest."""
    quarantined: int
    """Rows set aside for review; nothing is deleted."""
    seconds: dict[str, float]
    """What each part took."""

    @property
    def blocking(self) -> tuple[Finding, ...]:
        """Findings that want to be read before training."""
        return tuple(found for found in self.findings if found.severity == "blocking")
