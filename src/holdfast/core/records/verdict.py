"""Comparisons and verdicts: what the gate reads and what it says."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from holdfast.core.records.base import Part, Record


class Interval(Part):
    """An estimate with its interval."""

    value: float
    """Point estimate."""
    low: float
    """Lower end."""
    high: float
    """Upper end."""
    confidence: float
    """Two-sided confidence level, such as 0.95."""
    method: str
    """Name of the method: `wilson`, `tango`, `newcombe`, `bootstrap` …"""


class PairedTable(Part):
    """Counts of paired outcomes of one metric (a hit is the event that the metric counts)."""

    both: int
    """Prompts that are hits in both arms."""
    base_only: int
    """Hits of the base alone."""
    candidate_only: int
    """Hits of the candidate alone."""
    neither: int
    """Hits of neither."""

    @property
    def n(self) -> int:
        """Number of pairs."""
        return self.both + self.base_only + self.candidate_only + self.neither


class Comparison(Record):
    """One metric on one suite, base against candidate, on the same prompts."""

    metric: str
    """Name of the metric, see `holdfast.core.labels.METRICS`."""
    suite: str
    """Name of the suite."""
    judge: str
    """Judge whose labels were counted."""
    worse: int
    """+1 if a higher rate is worse, -1 if a lower one is."""
    table: PairedTable
    """Paired counts over prompts scored in both arms."""
    base_rate: Interval
    """Rate of the base over its scored prompts."""
    candidate_rate: Interval
    """Rate of the candidate over its scored prompts."""
    difference: Interval
    """Candidate minus base, paired; two-sided interval at 1 - 2 alpha."""
    margin: float
    """Largest worsening that the policy accepts."""
    alpha: float
    """One-sided level of the test."""
    p_noninferior: float
    """P-value of H0: the candidate is worse by the margin or more."""
    p_worse: float
    """P-value of H0: the candidate is not worse (one-sided exact McNemar, or what stands for it
    with several answers per prompt, an audit, or repeated looks)."""
    p_mcnemar: float
    """Two-sided p-value of H0: no change; exact McNemar in the plain case."""
    p_equivalent: float | None = None
    """P-value of H0: the rates differ by the margin or more, either way (two one-sided tests)."""
    minimum_detectable: float
    """Worsening that this number of pairs detects with 80 % power."""
    base_unscored: int
    """Prompts without a usable label in the base arm."""
    candidate_unscored: int
    """Prompts without a usable label in the candidate arm."""
    worst_case: float
    """Worsening if every unscored prompt counted against the candidate."""
    prompts: int | None = None
    """Independent prompts, where some have several answers; `table` then counts pairs of answers,
    and the rates and the difference give every prompt the same weight."""
    audited: int = 0
    """Prompts with human labels in both arms; where there are any, the rates and the difference
    are corrected by them."""
    uncorrected: Interval | None = None
    """The judge's own difference, where `difference` is corrected by an audit."""


Severity = Literal["blocking", "warning", "information"]


class Finding(Part):
    """One judgement with its code, number, threshold and evidence."""

    code: str
    """Stable code such as `GATE001`; each has a section in docs/checks."""
    severity: Severity
    """Whether it decides the verdict."""
    title: str
    """What it is, in a few words."""
    message: str
    """What was found, in one sentence."""
    metric: str = ""
    """Metric concerned, if any."""
    value: float | None = None
    """The number found."""
    threshold: float | None = None
    """The number it was held against."""


class Outcome(StrEnum):
    """The four words of a verdict."""

    PASS = "pass"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"
    INVALID = "invalid"

    @property
    def exit_code(self) -> int:
        """Exit code of the command that ends with this verdict."""
        return {"pass": 0, "fail": 1, "inconclusive": 3, "invalid": 4}[self.value]


Threat = Literal["accidental", "contaminated", "hostile"]


class Verdict(Record):
    """The gate's decision on one candidate."""

    outcome: Outcome
    """`pass`, `fail`, `inconclusive` or `invalid`."""
    base: str
    """Model digest of the base (or digest of its completions file)."""
    candidate: str
    """Model digest of the candidate (or digest of its completions file)."""
    arm: str = "candidate"
    """What people call the candidate: `plain`, `protected` …"""
    policy: str
    """Digest of the policy that was applied."""
    threat: Threat
    """Threat that the result speaks about; `hostile` is never claimed to be stopped."""
    findings: tuple[Finding, ...]
    """Everything that was found, blocking first."""
    comparisons: tuple[Comparison, ...]
    """The paired comparison of every metric that was measured."""
    second_opinions: tuple[Comparison, ...] = ()
    """The same comparisons by the further judges that were named; they decide nothing."""
