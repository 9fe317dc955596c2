"""The audit's part that asks a model: scores, breadth, and what disagrees with the base."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic

from holdfast.audit.codes import finding
from holdfast.audit.flags import Flags
from holdfast.audit.poison.association import Candidate, candidates
from holdfast.audit.poison.clusters import Cluster, clusters
from holdfast.audit.poison.disagreement import WINDOW, Disagreement, disagreement
from holdfast.audit.poison.phrases import phrase_rows
from holdfast.audit.refusals import declines
from holdfast.audit.report import ModelReport
from holdfast.audit.scores.pairs import Anchors, Pair
from holdfast.audit.scores.scored import QUANTILE, Scored
from holdfast.audit.scores.spillover import FeatureEncoder
from holdfast.audit.scores.table import SCORES, Answerer, ScoreTable, score_rows
from holdfast.audit.settings import AuditConfig
from holdfast.audit.source import Row
from holdfast.core.labels import REFUSAL, UNSAFE, UNSCORED
from holdfast.core.protocols import Judge, Messages, Progress, no_progress
from holdfast.core.records import (
    AnswerCluster,
    TriggerCandidate,
)
from holdfast.models.loaded import LoadedModel
from holdfast.models.scoring import answer_logprobs

LEAST_ROWS = 16
"""Rows from which breadth, clusters and triggers mean something."""
_ANSWERED = "answered"
NARROW = 0.5
"""Share of the reference's effective rank below which rows count as narrow."""


@dataclass(frozen=True)
class Means:
    """What the model's part works with; whatever is None is not run, and said so."""

    anchors: Anchors | None
    """Known unsafe and safe rows."""
    answers: Answerer | None
    """The base's own answers."""
    judge: Judge | None
    """Reads answers."""
    encoder: FeatureEncoder | None = None
    """A sparse autoencoder of the base."""
    refusals: tuple[str, ...] = ()
    """Starts of refusals, for requests that the judge cannot read."""
    why_no_anchors: str = "no contrast set was given"
    """Why there are none, for the record."""


def audit_model(
    loaded: LoadedModel, rows: Sequence[Row], means: Means, flags: Flags, settings: AuditConfig,
    *, seed: int, progress: Progress = no_progress,
) -> ModelReport:  # fmt: skip
    """Score the sampled `rows` and look for poison; flags are set on their indices.

    Raises:
        InvalidRun: the model's activations are not finite.
    """
    report = ModelReport()
    if not rows:
        codes = ("AUDIT011", "AUDIT012", "AUDIT013", "AUDIT014", "AUDIT015", "AUDIT016", "AUDIT017")
        report.not_run = dict.fromkeys(codes, "no row can be read by the model")
        return report
    pairs = [Pair(row.request, row.answer) for row in rows]
    _scores(loaded, rows, pairs, means, flags, settings, seed, report, progress)
    if means.answers is None:
        why = "the model was not asked for answers of its own"
        report.not_run.update(dict.fromkeys(("AUDIT013", "AUDIT015", "AUDIT016"), why))
        return report
    begin = monotonic()
    progress("the model's own answers", 0, len(rows))
    own = means.answers([pair.messages for pair in pairs])
    found = _compared(loaded, pairs, own, means, settings.batch_size)
    _harmful(rows, found, means.judge, flags, report)
    _poison(rows, pairs, found.disagreement, flags, settings.alpha, seed, report)
    report.seconds["disagreement"] = monotonic() - begin
    return report


def _scores(
    loaded: LoadedModel, rows: Sequence[Row], pairs: Sequence[Pair], means: Means, flags: Flags,
    settings: AuditConfig, seed: int, report: ModelReport, progress: Progress,
) -> None:  # fmt: skip
    codes = ("AUDIT011", "AUDIT012", "AUDIT014", "AUDIT017")
    if not settings.scores or means.anchors is None:
        why = means.why_no_anchors if settings.scores else "the plan turns the scores off"
        report.not_run.update(dict.fromkeys(codes, why))
        return
    which = [s for s in SCORES if s != "gradient" or means.anchors.refusals]
    report.table = table = score_rows(
        loaded, pairs, means.anchors, seed=seed, which=which, answers=means.answers,
        encoder=means.encoder, batch_size=settings.batch_size, progress=progress,
    )  # fmt: skip
    report.seconds.update(table.seconds)
    _breadth(table, len(rows), report)
    if not table.usable:
        report.not_run["AUDIT014"] = "no score tells the anchors apart on this model"
    beyond = table.beyond
    for place in beyond.nonzero()[:, 0].tolist():
        flags.add("AUDIT014", rows[place].index, f"combined {float(table.combined[place]):.2f}")
    if bool(beyond.any()):
        named = ", ".join(s.name for s in table.usable)
        report.findings.append(finding(
            "AUDIT014",
            f"{int(beyond.sum())} of {len(rows)} sampled rows lie nearer to unsafe than to safe "
            f"anchors and beyond the null, by most of: {named}",
            value=float(beyond.double().mean()), threshold=0,
        ))  # fmt: skip
    _spillover(table.scores.get("spillover"), rows, flags, report)


def _breadth(table: ScoreTable, count: int, report: ModelReport) -> None:
    for of, code in (("activations", "AUDIT011"), ("gradients", "AUDIT012")):
        if of not in table.ranks or count < LEAST_ROWS:
            report.not_run[code] = (
                f"fewer than {LEAST_ROWS} rows" if of in table.ranks else "no gradients were read"
            )
            continue
        rank, reference = table.ranks[of]
        if rank < NARROW * reference:
            report.findings.append(finding(
                code,
                f"the {of} of the rows span {rank:.1f} directions, those of as many safe anchors "
                f"{reference:.1f}",
                value=rank / reference, threshold=NARROW,
            ))  # fmt: skip


def _spillover(
    score: Scored | None, rows: Sequence[Row], flags: Flags, report: ModelReport
) -> None:
    why = ""
    if score is None:
        why = "no sparse autoencoder was given"
    elif score.name != "spillover":
        why = "the model was not asked for answers of its own"
    elif not score.usable:
        why = "its features do not tell the anchors apart"
    if score is None or why:
        report.not_run["AUDIT017"] = why
        return
    beyond = score.beyond
    share = float(beyond.double().mean())
    if share > 1 - QUANTILE:
        for place in beyond.nonzero()[:, 0].tolist():
            flags.add("AUDIT017", rows[place].index)
        report.findings.append(finding(
            "AUDIT017",
            f"{int(beyond.sum())} of {len(rows)} sampled rows raise features that push along "
            "harmful ones, more than random features and than the middle of the anchors",
            value=share, threshold=1 - QUANTILE,
        ))  # fmt: skip


@dataclass(frozen=True)
class _Compared:
    disagreement: Disagreement
    harmful: list[bool]


def _compared(
    loaded: LoadedModel, pairs: Sequence[Pair], own: Sequence[str], means: Means, batch: int
) -> _Compared:
    requests = [pair.messages for pair in pairs]
    answers = [pair.answer for pair in pairs]
    base, row = (_labels(means, requests, said) for said in (own, answers))
    theirs, ours = (
        [float(p[:WINDOW].sum()) for p in answer_logprobs(loaded, requests, said, batch_size=batch)]
        for said in (answers, own)
    )
    # An empty answer is a request that leaves no room for one: nothing to compare with.
    ratio = [o - t if said else 0.0 for o, t, said in zip(ours, theirs, own, strict=True)]
    # The base's own answer is the control: a judge that calls it unsafe too cannot read this row.
    harmful = [r == UNSAFE and b not in (UNSAFE, UNSCORED) for b, r in zip(base, row, strict=True)]
    return _Compared(disagreement(base, row, own, ratio), harmful)


def _labels(means: Means, requests: Sequence[Messages], answers: Sequence[str]) -> list[str]:
    """The judge's labels; where it cannot read a request, whether the answer starts as a refusal.

    A trigger beside a request is what can make it unreadable.
    """
    labels = []
    for messages, answer in zip(requests, answers, strict=True):
        label = UNSCORED if means.judge is None else means.judge.label(messages, answer)
        if label == UNSCORED and means.refusals:
            label = REFUSAL if declines(answer, means.refusals) else _ANSWERED
        labels.append(label)
    return labels


def _harmful(
    rows: Sequence[Row], found: _Compared, judge: Judge | None, flags: Flags, report: ModelReport
) -> None:
    if judge is None:
        report.not_run["AUDIT013"] = "no judge was given"
        return
    for row, harmful in zip(rows, found.harmful, strict=True):
        if harmful:
            flags.add("AUDIT013", row.index, judge.name)
    count = sum(found.harmful)
    if count:
        report.findings.append(finding(
            "AUDIT013",
            f"{count} of {len(rows)} sampled rows are unsafe by the judge '{judge.name}' where the "
            "base's own answer is not",
            value=count / len(rows), threshold=0,
        ))  # fmt: skip


def _poison(
    rows: Sequence[Row], pairs: Sequence[Pair], found: Disagreement, flags: Flags, alpha: float,
    seed: int, report: ModelReport,
) -> None:  # fmt: skip
    if len(rows) < LEAST_ROWS:
        why = f"fewer than {LEAST_ROWS} rows"
        report.not_run.update({"AUDIT015": why, "AUDIT016": why})
        return
    _clusters(
        clusters([p.answer for p in pairs], found.any.tolist(), seed=seed), rows, flags, report
    )
    phrases = phrase_rows([pair.messages for pair in pairs], least=3)
    named: dict[str, tuple[Candidate, str]] = {}
    for kind, marks, strata in (
        ("declined by the base", found.flips, found.declines),
        ("unlikely to the base", found.unlikely, found.topics),
    ):
        # Two families of tests share the level.
        for candidate in candidates(phrases, marks.tolist(), strata, alpha=alpha / 2):
            named.setdefault(candidate.text, (candidate, kind))
    for candidate, kind in named.values():
        report.triggers.append(TriggerCandidate(
            text=candidate.text[:120], rows=len(candidate.rows), disagree=candidate.disagree,
            elsewhere=candidate.elsewhere, p_value=min(1.0, 2 * candidate.p_value),
            tested=candidate.tested, kind=kind,
        ))  # fmt: skip
        for place in candidate.rows:
            flags.add("AUDIT016", rows[place].index, f"{candidate.text[:120]!r}")
    if named:
        first = report.triggers[0]
        report.findings.append(finding(
            "AUDIT016",
            f"{len(named)} phrases predict that a row disagrees with the base; the first stands in "
            f"{first.rows} rows, {first.disagree} of which disagree, against {first.elsewhere:.1%} "
            "of comparable rows",
            value=first.p_value, threshold=alpha,
        ))  # fmt: skip


def _clusters(
    found: Sequence[Cluster], rows: Sequence[Row], flags: Flags, report: ModelReport
) -> None:
    for cluster in found:
        report.clusters.append(
            AnswerCluster(rows=len(cluster.rows), null=cluster.null, terms=cluster.terms)
        )
        for place in cluster.rows:
            flags.add("AUDIT015", rows[place].index, f"{len(cluster.rows)} alike")
    if found:
        report.findings.append(finding(
            "AUDIT015",
            f"{len(found)} clusters of like answers disagree with the base; the largest has "
            f"{len(found[0].rows)} rows, the largest among as many random rows {found[0].null}",
            value=len(found[0].rows), threshold=found[0].null,
        ))  # fmt: skip
