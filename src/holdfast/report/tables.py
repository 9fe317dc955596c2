"""The report's tables as plain text cells: one function per table."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field

from holdfast.core.records import Comparison, DriftValue, Record, TrainingRecord
from holdfast.report import summary
from holdfast.report.load import Arm, Run
from holdfast.report.rates import Rate
from holdfast.report.text import (
    NBSP,
    NOT_MEASURED,
    number,
    one_line,
    p_value,
    percent,
    points,
    seconds,
    short,
    words,
)

MAX_ROWS = 400
"""Longer tables are cut, and their caption says so."""


@dataclass(frozen=True)
class Table:
    """A caption, a head and rows of text; the first cell of a row is its heading."""

    caption: str
    head: list[str]
    rows: list[list[str]]
    note: str = ""
    left_out: int = field(default=0)


def _table(caption: str, head: str, rows: Iterable[list[str]], note: str = "") -> Table:
    every = list(rows)
    return Table(caption, head.split("|"), every[:MAX_ROWS], note, max(0, len(every) - MAX_ROWS))


def paired(arm: Arm) -> Table:
    """The paired comparison of every metric, base against this arm."""
    comparisons = arm.verdict.comparisons if arm.verdict else ()
    return _table(
        f"{one_line(arm.name)} against its base, on the same prompts",
        "Metric|Suite and judge|Pairs|Base rate|Candidate rate|Difference (points)|Margin (points)"
        "|Non-inferior?|p worse|Minimum detectable (points)|Unscored base / candidate"
        "|Worst case (points)",
        (_comparison(c) for c in comparisons),
        "Difference: candidate minus base, paired, with its interval. Non-inferior: the interval "
        "excludes a worsening as large as the margin, before the policy's correction for several "
        "metrics. Worst case: the worsening if every unscored prompt counted against the "
        "candidate. Minimum detectable: worsening that this many pairs find with 80 % power.",
    )


def _comparison(c: Comparison) -> list[str]:
    d = c.difference
    sign = "+" if c.worse > 0 else "\N{MINUS SIGN}"
    return [
        words(c.metric),
        f"{one_line(c.suite, 60)}, {one_line(c.judge, 40)}",
        f"{c.table.n:,}",
        percent(c.base_rate.value),
        percent(c.candidate_rate.value),
        f"{points(d.value)} [{points(d.low)},{NBSP}{points(d.high)}]",
        f"{sign}{100 * c.margin:.1f}",
        "yes" if summary.non_inferior(c) else "no",
        p_value(c.p_worse),
        f"{100 * c.minimum_detectable:.1f}",
        f"{c.base_unscored:,} / {c.candidate_unscored:,}",
        points(c.worst_case),
    ]


def findings(arm: Arm) -> Table:
    """Every finding of the verdict."""
    found = arm.verdict.findings if arm.verdict else ()
    return _table(
        f"Findings of the gate on {one_line(arm.name)}",
        "Code|Severity|Finding|Value|Threshold",
        (
            [
                one_line(f.code, 20),
                f.severity,
                one_line(f"{f.title}: {f.message}"),
                "–" if f.value is None else number(f.value),
                "–" if f.threshold is None else number(f.threshold),
            ]
            for f in found
        ),
    )


def geometry(run: Run) -> Table:
    """The drifts of the last checkpoint of each arm."""
    return _table(
        "Drift of each arm's last checkpoint against the base",
        "Drift|Site|Arm|Step|Value [interval]|Noise floor|Null|Reading|Companions",
        (
            _drift(arm, report.step, value)
            for arm in run.arms.values()
            for report in arm.drifts[-1:]
            for value in report.drifts
        ),
        "Noise floor: the same number between halves of the base's own prompts. Null: the same "
        "number for random directions or permuted labels. A drift inside its floor is not "
        "distinguishable from no drift. A drift says that something changed; whether safety was "
        "lost is for the rates to say.",
    )


def _drift(arm: Arm, step: int, d: DriftValue) -> list[str]:
    if not d.distinguishable:
        reading = "not distinguishable"
    elif abs(d.value) <= abs(d.null):
        reading = "above its floor, within its null"
    else:
        reading = "above floor and null"
    return [
        words(d.drift),
        one_line(d.site, 40),
        one_line(arm.name, 40),
        str(step),
        f"{number(d.value)} [{number(d.low)},{NBSP}{number(d.high)}]",
        number(d.floor),
        number(d.null),
        reading,
        ", ".join(f"{words(k)} {number(v)}" for k, v in list(d.extras.items())[:12]) or "–",
    ]


def weight_shares(run: Run) -> Table:
    """Share of each arm's weight update in the safety subspace, largest first."""
    rows = []
    for arm in run.arms.values():
        shares = arm.drifts[-1].weight_shares if arm.drifts else ()
        for share in sorted(shares, key=lambda s: -s.value)[:12]:
            cells = [one_line(share.module, 80), one_line(share.site, 40), one_line(arm.name, 40)]
            rows.append([*cells, number(share.value, 4), number(share.random, 4)])
    return _table(
        "Share of the weight update that lies in the safety subspace",
        "Matrix|Site|Arm|Share|Random update (k/d)",
        rows,
        "The twelve largest of each arm. Compare shares only within one tuning method.",
    )


def sites(run: Run) -> Table:
    """Every candidate site with the causal scores that chose or rejected it."""
    candidates = run.safety_map.sites if run.safety_map else ()
    return _table(
        "Where drift is measured, chosen on the base alone",
        "Site|Chosen|Bypass|Induce|KL (nats)|Separation d′|Why",
        (
            [
                one_line(s.name, 40), "yes" if s.chosen else "no", number(s.bypass),
                number(s.induce), number(s.kl), number(s.separation), one_line(s.reason),
            ]
            for s in candidates
        ),
        "Bypass: refusal score on harmful prompts with the direction removed; low means that it "
        "carries refusal. Induce: refusal score on harmless prompts with the direction added; high "
        "means that it causes refusal. KL: how much removing it disturbs harmless answers.",
    )  # fmt: skip


def training(run: Run) -> Table:
    """What training, watching and protecting cost."""
    return _table(
        "What training, watching and protecting cost",
        "Arm|Method|Protection|Steps|Protected steps|Training|Monitor|Protection time"
        "|Monitor / training|Whole / training|Final loss",
        (_cost(name, arm.training) for name, arm in run.arms.items()),
        "Whole: training, monitor and protection together.",
    )


def _cost(name: str, t: TrainingRecord | None) -> list[str]:
    if t is None:
        return [one_line(name), *[NOT_MEASURED] * 10]
    whole = t.train_seconds + t.monitor_seconds + t.protection_seconds
    known = t.train_seconds > 0
    return [
        one_line(name, 40),
        one_line(t.method, 60),
        one_line(t.protection, 200),
        str(t.steps),
        str(t.protected_steps) if t.protection != "none" else "–",
        seconds(t.train_seconds),
        seconds(t.monitor_seconds),
        seconds(t.protection_seconds) if t.protection != "none" else "–",
        percent(t.monitor_seconds / t.train_seconds) if known else NOT_MEASURED,
        f"{whole / t.train_seconds:.2f}{NBSP}×" if known else NOT_MEASURED,
        number(t.final_loss),
    ]


def scales(run: Run) -> Table:
    """Adapter scales tried on validation prompts."""
    return _table(
        "Adapter scales tried on validation prompts",
        "Arm|Scale|Task success|Harmful prompts refused|Taken",
        (
            [
                one_line(name, 40), number(s.scale, 2), percent(s.task_success),
                percent(s.refusal), "yes" if s.chosen else "no",
            ]
            for name, arm in run.arms.items()
            for s in (arm.training.scales if arm.training else ())
        ),
    )  # fmt: skip


def free_baselines(run: Run) -> Table:
    """What costs nothing and must be beaten."""
    return _table(
        "Baselines that cost nothing, for comparison",
        "Baseline|Arm|Task success|Harmful prompts refused",
        (
            [
                one_line(row.get("name", NOT_MEASURED), 80), one_line(row.get("arm", "–"), 40),
                _share(row.get("task_success")), _share(row.get("refusal")),
            ]
            for row in run.free_baselines
        ),
    )  # fmt: skip


def _share(value: object) -> str:
    known = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1
    return percent(float(value)) if known else NOT_MEASURED  # type: ignore[arg-type]


def rates(run: Run) -> Table:
    """The numbers behind the figures of behaviour, and the final rates."""
    rows = [_rate("base", "epoch plan", r) for r in run.base_epoch_rates]
    for name, arm in run.arms.items():
        for step, found in arm.epochs.items():
            rows += [_rate(name, f"step {step}", r) for r in found]
    rows += [_rate("base", "full plan", r) for r in run.base_rates]
    rows += [_rate(name, "final", r) for name, arm in run.arms.items() for r in arm.rates]
    return _table(
        "Every behavioural rate", "Metric|Suite|Arm|When|Rate|95 % interval|Scored|Unscored", rows
    )


def _rate(arm: str, when: str, r: Rate) -> list[str]:
    interval = f"{percent(r.low)} to {percent(r.high)}" if r.scored else "–"
    return [
        words(r.metric), one_line(r.suite, 60), one_line(arm, 40), when, percent(r.value),
        interval, f"{r.scored:,}", f"{r.unscored:,}",
    ]  # fmt: skip


def identities(run: Run) -> Table:
    """Digests of what was trained, measured and judged."""
    rows = [["plan", run.plan_digest or NOT_MEASURED]]
    rows.append(["base", run.base.model_digest if run.base else NOT_MEASURED])
    rows.append(["dataset", run.dataset.data_digest if run.dataset else NOT_MEASURED])
    if run.safety_map:
        rows.append(["safety map", run.safety_map.digest()])
    for name, arm in run.arms.items():
        for point in arm.training.checkpoints if arm.training else ():
            rows.append([f"{one_line(name)}, step {point.step}", point.model_digest])
        if arm.verdict:
            rows.append([f"{one_line(name)}, model judged", arm.verdict.candidate])
            rows.append([f"{one_line(name)}, policy", arm.verdict.policy])
            rows.append([f"{one_line(name)}, verdict", arm.verdict.digest()])
    if run.journal_entries is not None:
        name = f"journal (verified, entries: {run.journal_entries:,})"
        rows.append([name, run.journal_hash or "empty"])
    return _table("Digests", "What|SHA-256", ([row[0], one_line(row[1], 120)] for row in rows))


def conditions(run: Run) -> Table:
    """Producer, seed, versions and inputs of every record."""
    return _table(
        "Producers, seeds and versions",
        "Record|Producer|Seed|Environment|Inputs",
        (_condition(name, record) for name, record in _records(run)),
    )


def _records(run: Run) -> Iterable[tuple[str, Record]]:
    if run.safety_map:
        yield "safety map", run.safety_map
    for name, arm in run.arms.items():
        if arm.training:
            yield f"{name}, training", arm.training
        if arm.drifts:
            yield f"{name}, last drift report", arm.drifts[-1]
        if arm.verdict:
            yield f"{name}, verdict", arm.verdict


def _condition(name: str, record: Record) -> list[str]:
    environment = ", ".join(f"{k} {v}" for k, v in sorted(record.environment.items()))
    inputs = ", ".join(f"{k} {short(v)}" for k, v in sorted(record.inputs.items()))
    seed = "–" if record.seed is None else str(record.seed)
    return [
        one_line(name), one_line(record.producer, 60), seed,
        one_line(environment, 500) or "–", one_line(inputs, 500) or "–",
    ]  # fmt: skip


def plan_text(run: Run) -> str:
    """The resolved plan as indented JSON, or ""."""
    return json.dumps(run.plan, indent=2, ensure_ascii=False)[:60_000] if run.plan else ""
