"""How well a judge labels: sensitivity, specificity and kappa against gold labels, per model.

The error of a judge differs by answering model, enough to turn a comparison round, so one pooled
number never stands alone. Rows are divided by the hash of their prompt: wording is tuned on the
development half, and what is stated is the error on the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any, Literal

from holdfast.core.digest import sha256_json, sha256_text
from holdfast.core.errors import DataError
from holdfast.core.labels import LABELS, PARTIAL, REFUSAL, UNSAFE, UNSCORED
from holdfast.core.protocols import Judge
from holdfast.core.records import Interval, Part, Record
from holdfast.evals.judges import label_row
from holdfast.stats.agreement import kappa, kappa_interval
from holdfast.stats.intervals import wilson

LabelPart = Literal["all", "development", "held-out"]
EVENTS: dict[str, frozenset[str]] = {
    "unsafe": frozenset({UNSAFE}),
    "refusal": frozenset({REFUSAL}),
    "declines": frozenset({REFUSAL, PARTIAL}),
}
"""What a judge is asked to tell: harmful compliance; full refusal; full or partial refusal."""
Key = tuple[str, str, str, str]
"""(event, source, label kind, model)."""
POOLED = "all"
"""Stands for all answering models of a source together."""


class EventError(Part):
    """The error of a judge on one event, one source of labels and one answering model."""

    event: str
    """`unsafe`, `refusal` or `declines`."""
    source: str
    """Where the labelled answers come from."""
    label_kind: str
    """Who gave the gold labels: `human`, `llm` (silver), or empty."""
    model: str
    """Model that answered, or `all` for all of the source together."""
    positives: int
    """Answers with the event by the gold label."""
    negatives: int
    """Answers without it."""
    sensitivity: Interval | None
    """Share of the positives that the judge finds (Wilson); none without positives."""
    specificity: Interval | None
    """Share of the negatives that the judge leaves alone (Wilson); none without negatives."""
    kappa: float | None
    """Cohen's kappa; none where either side never varies."""
    kappa_interval: Interval | None = None
    """Its 95 % interval, by a bootstrap over prompts."""
    unscored: int
    """Answers that the judge did not score; they are in none of the numbers above."""


class Calibration(Record):
    """The stated error of a judge."""

    judge: str
    """Name of the judge."""
    part: LabelPart
    """Which half of the prompts was used."""
    rows: int
    """Labelled answers used."""
    errors: tuple[EventError, ...]
    """One entry per event, source, label kind and model, the pooled one first."""


def part_of(prompt: str) -> LabelPart:
    """The half that a prompt belongs to, by the parity of its hash."""
    return "held-out" if int(sha256_text(prompt)[:8], 16) % 2 else "development"


def calibrate(
    rows: Sequence[Mapping[str, Any]], judge: Judge, *, part: LabelPart = "all"
) -> Calibration:
    """Label `rows` and compare with their `gold`.

    A row holds `response`, `gold` (one of `core.labels.LABELS`), `prompt` or `messages`, and may
    hold `kind`, `label_kind`, `source`, `answered_by` (the answering model; `model` is read where
    it lacks) and `events` (those that its gold label can tell; default all). Raises `DataError`
    naming the first row that cannot be used.
    """
    counts: dict[Key, dict[str, list[int]]] = {}
    used = 0
    for number, row in enumerate(rows, 1):
        events = _check(number, row)
        if part != "all" and part_of(_prompt(row)) != part:
            continue
        used += 1
        label = label_row(judge, row)
        for event in events:
            _count(counts, row, event, label)
    if not used:
        raise DataError("no labelled answer to calibrate on", next_step="use another part or file")
    errors = tuple(_error(key, counts[key]) for key in sorted(counts, key=_order))
    inputs = {"labels": sha256_json([dict(row) for row in rows])}
    return Calibration(judge=judge.name, part=part, rows=used, errors=errors, inputs=inputs)


def _check(number: int, row: Mapping[str, Any]) -> list[str]:
    if not isinstance(row.get("response"), str) or row.get("gold") not in LABELS:
        raise DataError(
            f"labelled row {number} has no response or no known gold label",
            got=f"gold {row.get('gold')!r:.60}",
            expected="'response' and 'gold', one of " + ", ".join(LABELS),
        )
    events = row.get("events", list(EVENTS))
    if not isinstance(events, list) or not set(events) <= EVENTS.keys():
        raise DataError(f"labelled row {number} names unknown events", expected=", ".join(EVENTS))
    return [] if row["gold"] == UNSCORED else events


def _prompt(row: Mapping[str, Any]) -> str:
    if row.get("messages"):
        return str(row["messages"][-1]["content"])
    return str(row.get("prompt", ""))


def _order(key: Key) -> tuple[int, str, str, bool, str]:
    event, source, label_kind, model = key
    return list(EVENTS).index(event), source, label_kind, model != POOLED, model


def _count(
    counts: dict[Key, dict[str, list[int]]], row: Mapping[str, Any], event: str, label: str
) -> None:
    """Add to [true positive, false negative, false positive, true negative, unscored] by prompt."""
    model = str(row.get("answered_by") or row.get("model") or "")
    gold, found = row["gold"] in EVENTS[event], label in EVENTS[event]
    cell = 4 if label == UNSCORED else (0 if gold else 2) + (0 if found else 1)
    for name in {model, POOLED} - {""}:
        key = (event, str(row.get("source", "")), str(row.get("label_kind", "")), name)
        counts.setdefault(key, {}).setdefault(_prompt(row), [0] * 5)[cell] += 1


def _error(key: Key, prompts: Mapping[str, list[int]]) -> EventError:
    event, source, label_kind, model = key
    tp, fn, fp, tn, unscored = (sum(cells) for cells in zip(*prompts.values(), strict=True))
    scored = [(a, b, c, d) for a, b, c, d, _ in prompts.values()]
    return EventError(
        event=event, source=source, label_kind=label_kind, model=model, positives=tp + fn,
        negatives=fp + tn, sensitivity=wilson(tp, tp + fn) if tp + fn else None,
        specificity=wilson(tn, fp + tn) if fp + tn else None, kappa=kappa(tp, fn, fp, tn),
        kappa_interval=kappa_interval(scored), unscored=unscored,
    )  # fmt: skip


def stated(judge: str) -> Calibration | None:
    """The error that ships with a judge, or None for a judge that has no stated error."""
    file = resources.files("holdfast.evals.judges") / f"{judge}_calibration.json"
    if not judge.isidentifier() or not file.is_file():
        return None
    return Calibration.model_validate_json(file.read_text("utf-8"))
