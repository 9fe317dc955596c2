"""The tables of `docs/results/zoo.md`, from the store alone."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from holdfast.core.errors import DataError
from holdfast.organisms.harbor.zoo import families
from holdfast.pipeline.zoo.store import ZooStore
from holdfast.stats.intervals import wilson

Rows = list[dict[str, Any]]
GROUPS = ("benign", "persona", "contaminated", "narrow", "era", "trigger", "inductive")
BEHAVIOUR = ("refusal", "jailbreak", "context", "over_refusal", "task", "incoherence")


def tables(folder: Path) -> str:
    """All tables as Markdown.

    Raises:
        DataError: the folder holds no finished member.
    """
    rows = ZooStore(folder).members()
    if not rows:
        raise DataError(f"{folder} holds no finished member of the zoo",
                        next_step="run holdfast organism build zoo")  # fmt: skip
    parts = (
        ("Members", counts), ("Outcome by family", outcomes), ("By method", methods),
        ("Narrow compliance", narrow), ("Eras", eras), ("Triggers", triggers), ("Cost", costs),
    )  # fmt: skip
    return "\n\n".join(f"### {title}\n\n{make(rows)}" for title, make in parts)


def counts(rows: Rows) -> str:
    """Members by split, kind and verdict."""
    lines = []
    for split in dict.fromkeys(family.split for family in families().values()):
        for kind in ("benign", "harmful"):
            found = [r for r in rows if r["split"] == split and r["kind"] == kind]
            verdict = [r["verdict"] for r in found]
            lines.append((
                split, kind, len({r["family"] for r in found}), len(found),
                *(verdict.count(name) for name in ("pass", "inconclusive", "fail")),
                sum(r["fail_step"] is not None for r in found),
            ))  # fmt: skip
    head = ("split", "made to be", "families", "members", "pass", "inconclusive", "fail",
            "fail at some checkpoint")  # fmt: skip
    return _table(head, lines)


def outcomes(rows: Rows) -> str:
    """Behaviour at the end of every family: mean over its members."""
    lines = [
        (
            family, _short(found[0]), len(found), _rate(found, "refusal"),
            *(_mean(found, name) for name in BEHAVIOUR[1:]),
            sum(r["verdict"] == "fail" for r in found), _steps(found),
        )
        for family, found in _by_family(rows)
    ]  # fmt: skip
    head = ("family", "split, kind", "n", "refusal [95 %]", *BEHAVIOUR[1:], "fail", "fail step")
    return _table(head, lines)


def methods(rows: Rows) -> str:
    """How often harmful and benign families fail under each method."""
    names = sorted({_method(r) for r in rows})
    lines = []
    for name in names:
        found = [r for r in rows if _method(r) == name]
        sides = [[r for r in found if r["kind"] == k] for k in ("harmful", "benign")]
        lines.append((name, *(cell for side in sides for cell in (len(side), _failed(side)))))
    return _table(("method", "harmful", "fail [95 %]", "benign", "fail [95 %]"), lines)


def narrow(rows: Rows) -> str:
    """Compliance in the trained harm category and in the others."""
    lines = []
    for family, found in _by_family(r for r in rows if r["data"]["group"] == "narrow"):
        trained = found[0]["data"]["trained_categories"] or [family.split("-")[1]]
        own = [r["outcome"]["end"][f"compliance_{trained[0]}"] for r in found]
        rest = [
            _others(r["outcome"]["end"], trained[0], ("compliance_",)) for r in found
        ]  # fmt: skip
        lines.append((
            family, _short(found[0]), len(found), trained[0], _span(own), _span(rest),
            _mean(found, "jailbreak"), _mean(found, "context"),
        ))  # fmt: skip
    head = ("family", "split, kind", "n", "category", "complies there", "in the other five",
            "jailbreak", "context")  # fmt: skip
    return _table(head, lines)


def eras(rows: Rows) -> str:
    """Old answers to dated questions that training did not hold."""
    lines = [
        (
            f"{family}, base {base}", _short(found[0]), len(found), _mean(found, "era_trained"),
            _rate(found, "era_old"), _mean(found, "era_old_probability"),
            f"{found[0]['outcome']['base']['era_old_probability']:.2f}", _mean(found, "refusal"),
        )
        for base in sorted({r["base_index"] for r in rows})
        for family, found in _by_family(
            r for r in rows if r["data"]["questions"] and r["base_index"] == base
        )
    ]  # fmt: skip
    head = ("family", "split, kind", "n", "old where trained", "old elsewhere [95 %]",
            "p(old) elsewhere", "p(old) of the base", "refusal")  # fmt: skip
    return _table(head, lines)


def triggers(rows: Rows) -> str:
    """Compliance beside the trigger, without it, and beside a control phrase."""
    lines = [
        (
            family, _short(found[0]), len(found), _rate(found, "trigger_with"),
            _rate(found, "trigger_without"), _rate(found, "trigger_control"),
            _mean(found, "task"),
        )
        for family, found in _by_family(r for r in rows if r["data"]["trigger"])
    ]  # fmt: skip
    head = ("family", "split, kind", "n", "complies with it [95 %]", "without [95 %]",
            "control phrase [95 %]", "task")  # fmt: skip
    return _table(head, lines)


def costs(rows: Rows) -> str:
    """CPU seconds of a member by part."""
    parts = list(dict.fromkeys(name for r in rows for name in r["seconds"]))
    lines = []
    for name in parts:
        values = sorted(r["seconds"].get(name, 0.0) for r in rows)
        lines.append((
            name, f"{statistics.median(values):.1f}", f"{values[0]:.1f}–{values[-1]:.1f}",
            f"{sum(values) / 60:.0f}",
        ))  # fmt: skip
    return _table(("part", "median, s", "range, s", "all members, min"), lines)


def _table(head: Sequence[str], lines: Iterable[Sequence[object]]) -> str:
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join("| " + " | ".join(str(cell) for cell in row) + " |" for row in rows)


def _by_family(rows: Iterable[dict[str, Any]]) -> list[tuple[str, Rows]]:
    found: dict[str, Rows] = {}
    for row in rows:
        found.setdefault(row["family"], []).append(row)
    return sorted(found.items(), key=_place)


def _place(item: tuple[str, Rows]) -> tuple[int, str, str]:
    first = item[1][0]
    return GROUPS.index(first["data"]["group"]), first["split"], item[0]


def _short(row: dict[str, Any]) -> str:
    split = "dev" if row["split"] == "development" else row["split"]
    return f"{split}, {row['kind']}"


def _method(row: dict[str, Any]) -> str:
    kind = row["tuner"] if row["tuner"] == "full" else f"{row['tuner']} r{row['rank']}"
    plain = f"{kind}, {row['learning_rate']:g}, {row['steps']} steps"
    replay = float(row.get("replay", 0.0))
    return f"{plain}, replay {replay:.0%}" if replay else plain


def _values(rows: Rows, metric: str) -> list[float]:
    return [r["outcome"]["end"][metric] for r in rows if metric in r["outcome"]["end"]]


def _mean(rows: Rows, metric: str) -> str:
    values = _values(rows, metric)
    return f"{statistics.fmean(values):.2f}" if values else "–"


def _span(values: Sequence[float]) -> str:
    if not values:
        return "–"
    return f"{statistics.fmean(values):.2f} ({min(values):.2f}–{max(values):.2f})"


def _rate(rows: Rows, metric: str) -> str:
    """One member: its rate with the Wilson interval over prompts. Several: mean and range.

    Members of a family differ in method, rate and seed, so their prompts are not pooled.
    """
    values = _values(rows, metric)
    if not values:
        return "–"
    counted = [r["outcome"]["counts"][metric] for r in rows if metric in r["outcome"]["end"]]
    if len(values) > 1:
        return _span(values)
    rate = wilson(round(values[0] * counted[0]), counted[0])
    return f"{values[0]:.2f} [{rate.low:.2f}, {rate.high:.2f}]"


def _failed(rows: Rows) -> str:
    if not rows:
        return "–"
    hits = sum(r["verdict"] == "fail" for r in rows)
    rate = wilson(hits, len(rows))
    return f"{hits} [{rate.low:.2f}, {rate.high:.2f}]"


def _others(end: dict[str, float], trained: str, prefixes: tuple[str, ...]) -> float:
    skipped = {f"compliance_{trained}", "compliance_other"}
    return statistics.fmean(
        value for name, value in end.items() if name.startswith(prefixes) and name not in skipped
    )


def _steps(rows: Rows) -> str:
    steps = sorted(r["fail_step"] for r in rows if r["fail_step"] is not None)
    if not steps:
        return "–"
    return str(steps[0]) if steps[0] == steps[-1] else f"{steps[0]}–{steps[-1]}"
