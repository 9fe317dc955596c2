"""Read a training set before it is trained on: wires model, judge, suites and anchors."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

import numpy as np

from holdfast.audit.checks.language import language_of
from holdfast.audit.checks.leakage import SuitePrompt
from holdfast.audit.checks.text import TextReport, check_text
from holdfast.audit.codes import CODES
from holdfast.audit.flags import Flags
from holdfast.audit.poison.phrases import phrases
from holdfast.audit.report import ModelReport
from holdfast.audit.rows import quarantined, ranked, write_kept
from holdfast.audit.settings import AuditConfig
from holdfast.audit.source import Source
from holdfast.core.digest import sha256_file, sha256_json
from holdfast.core.errors import DataError
from holdfast.core.files import write_chunks
from holdfast.core.protocols import Judge, Messages, Progress, no_progress
from holdfast.core.records import AuditRecord, CheckRun
from holdfast.evals.suites import Prompt
from holdfast.geometry.contrast import ContrastRow, Openings

if TYPE_CHECKING:
    from holdfast.audit.model import Means
    from holdfast.audit.scores.pairs import Anchors
    from holdfast.audit.scores.spillover import FeatureEncoder
    from holdfast.models.loaded import LoadedModel

RECORD, ROWS = "audit.json", "rows.jsonl"
_NEED_A_MODEL = (
    "AUDIT010", "AUDIT011", "AUDIT012", "AUDIT013", "AUDIT014", "AUDIT015", "AUDIT016", "AUDIT017",
)  # fmt: skip
"""Codes that need a model."""


@dataclass(frozen=True)
class AuditModel:
    """What the model's part of an audit reads; every part but the model may be left out."""

    loaded: LoadedModel
    """The base, before any training."""
    contrast: Sequence[ContrastRow] = ()
    """Contrast rows that anchors are made from."""
    openings: Openings | None = None
    """Starts of answers of both kinds."""
    anchors: Path | None = None
    """JSON Lines of anchors of the user's own."""
    judge: Judge | None = None
    """Reads answers; one that asks for a kind is told `harmful`."""
    encoder: FeatureEncoder | None = None
    """A sparse autoencoder of the base."""


def audit(
    path: Path, *, out: Path, model: AuditModel | None = None, template: str = "",
    prompts: Sequence[SuitePrompt] = (), kept: Path | None = None, name: str = "",
    settings: AuditConfig | None = None, seed: int = 0, progress: Progress = no_progress,
) -> AuditRecord:  # fmt: skip
    """Audit the training set in `path`; write `audit.json` and `rows.jsonl` into `out`.

    Args:
        path: .jsonl (streamed), .json, .csv or .tsv.
        out: Folder for record and rows.
        model: The base and what its scores need; None reads the text alone.
        template: How rows become conversations; found out where empty.
        prompts: Evaluation prompts that must not be in the data.
        kept: Also write the rows that were not set aside here, as JSON Lines.
        name: What people call the data set.
        settings: How much is read.
        seed: Of the sample and of all nulls.
        progress: Called during long work.

    Raises:
        DataError: the file is missing, empty, or holds no row that can be read.
    """
    settings = settings or AuditConfig()
    begin = monotonic()
    source = Source(path, template)
    text = _text(source, prompts, model, settings, seed, progress)
    seconds = {"text": monotonic() - begin}
    anchors: Anchors | None = None
    said = ModelReport(not_run=dict.fromkeys(_NEED_A_MODEL, "no model was given"))
    if model is not None:
        from holdfast.audit.model import audit_model

        means = _means(model, settings, seed, progress)
        anchors = means.anchors
        seconds["anchors"] = monotonic() - begin - seconds["text"]
        said = audit_model(
            model.loaded, text.sample, means, text.flags, settings, seed=seed, progress=progress
        )
        _spread(source, text, said, progress)
    if not prompts:
        said.not_run["AUDIT004"] = "no evaluation suite was named"
    record = _record(path, name, text, said, model, anchors, seconds | said.seconds, seed)
    _write(out, record, text, said)
    if kept is not None:
        write_kept(source, quarantined(text.flags, text.rows), kept)
    return record


def suite_prompts(suites: Iterable[tuple[str, Iterable[Prompt]]]) -> list[SuitePrompt]:
    """The last user message of every prompt of (suite name, prompts)."""
    found = []
    for suite, prompts in suites:
        for prompt in prompts:
            asked = [m["content"] for m in prompt.messages if m["role"] == "user"]
            if asked:
                found.append(SuitePrompt(suite, prompt.prompt_id, asked[-1]))
    return found


def _text(
    source: Source, prompts: Sequence[SuitePrompt], model: AuditModel | None,
    settings: AuditConfig, seed: int, progress: Progress,
) -> TextReport:  # fmt: skip
    if model is None:
        return check_text(source, prompts=prompts, seed=seed, progress=progress)
    loaded = model.loaded

    def count(request: Messages, answer: str) -> int:
        return len(loaded.render(request)) + len(loaded.encode_answer(answer))

    told = " ".join(row.messages[-1]["content"] for row in model.contrast[:40])
    return check_text(
        source, prompts=prompts, sample=settings.sample, seed=seed, context=loaded.max_context,
        count_tokens=count, expected_language=language_of(told), progress=progress,
    )  # fmt: skip


def _means(model: AuditModel, settings: AuditConfig, seed: int, progress: Progress) -> Means:
    """The judge told what it reads, and anchors where there is something to make them from."""
    from holdfast.audit.model import Means
    from holdfast.pipeline.audit_anchors import OwnAnswers, contrast_anchors, file_anchors

    bind = getattr(model.judge, "for_suite", None)
    judge = bind("harmful", {}) if bind is not None else model.judge
    answers = OwnAnswers(
        model.loaded, max_new_tokens=settings.max_new_tokens, batch_size=settings.batch_size
    )
    anchors, why = None, "no contrast set and no anchors were given"
    if settings.scores and model.openings is not None and (model.contrast or model.anchors):
        progress("anchors of the scores", 0, 0)
        try:
            if model.anchors is not None:
                anchors = file_anchors(
                    model.anchors, model.loaded, model.contrast, model.openings, seed=seed
                )
            else:
                anchors = contrast_anchors(
                    model.loaded, model.contrast, model.openings, seed=seed, answers=answers,
                    judge=judge,
                )  # fmt: skip
        except DataError as error:
            if model.anchors is not None:
                raise
            why = error.what
    own = answers if settings.own_answers else None
    refusals = model.openings.refusal if model.openings is not None else ()
    return Means(anchors, own, judge, model.encoder, refusals, why)


def _spread(source: Source, text: TextReport, said: ModelReport, progress: Progress) -> None:
    """Flag the rows outside the sample that hold a trigger candidate."""
    named = {candidate.text for candidate in said.triggers}
    if not named or len(text.sample) == text.rows:
        return
    sampled = {row.index for row in text.sample}
    for row in source:
        if row.index not in sampled and row.messages:
            for phrase in named & phrases(row.request):
                text.flags.add("AUDIT016", row.index, repr(phrase))
        if row.index % 10_000 == 0:
            progress("look for trigger candidates", row.index, text.rows)


def _record(
    path: Path, name: str, text: TextReport, said: ModelReport, model: AuditModel | None,
    anchors: Anchors | None, seconds: dict[str, float], seed: int,
) -> AuditRecord:  # fmt: skip
    inputs = {"data": sha256_file(path)}
    if anchors is not None:
        inputs["anchors"] = sha256_json([[list(p) for p in anchors.unsafe + anchors.safe]])
    findings = sorted((*text.findings, *said.findings), key=lambda f: (f.severity, f.code))
    return AuditRecord(
        name=name or path.stem, rows=text.rows,
        sampled=len(text.sample) if model is not None else 0,
        model=model.loaded.digest if model is not None else "",
        anchors=anchors.origin if anchors is not None else "", findings=tuple(findings),
        checks=tuple(_checks(text.flags, text.rows, said.not_run)), scores=tuple(said.scores),
        breadth=tuple(said.breadth), triggers=tuple(said.triggers), clusters=tuple(said.clusters),
        languages=text.languages, lengths=text.lengths,
        quarantined=int(quarantined(text.flags, text.rows).sum()), inputs=inputs, seed=seed,
        seconds={key: round(value, 3) for key, value in seconds.items()},
    )  # fmt: skip


def _checks(flags: Flags, total: int, not_run: dict[str, str]) -> Iterable[CheckRun]:
    masks = flags.masks(total)
    for place, (code, about) in enumerate(CODES.items()):
        rows = int((masks >> np.uint32(place) & np.uint32(1)).sum())
        yield CheckRun(
            code=code, title=about.title, ran=code not in not_run, why_not=not_run.get(code, ""),
            rows=rows,
        )  # fmt: skip


def _write(out: Path, record: AuditRecord, text: TextReport, said: ModelReport) -> None:
    sampled = np.array([row.index for row in text.sample], dtype=np.intp)
    table = said.table
    combined = table.combined.numpy() if table is not None else np.zeros(0)
    scores = {n: s.values.numpy() for n, s in table.scores.items()} if table is not None else {}
    if table is None:
        sampled = sampled[:0]
    write_chunks(out / ROWS, ranked(text.flags, text.rows, sampled, combined, scores))
    record.save(out / RECORD)
