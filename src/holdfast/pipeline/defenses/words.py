"""The defence bench in words: tables, Pareto fronts, and verdicts that follow from the numbers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from holdfast.core.records import Interval
from holdfast.pipeline.defenses.arms import ARMS
from holdfast.pipeline.defenses.choice import KEEP_GAIN
from holdfast.pipeline.defenses.stats import Difference
from holdfast.pipeline.defenses.table import MATCHED, Contest, Line, Table

_HEAD = (
    "| arm | chosen | cells | task | safety | safety − plain | Holm p | over-refusal | unsafe "
    "| incoherent | front |"
)
_COST = (
    "| arm | update norm | removed norm | extra backward | extra forward | CPU s | added MiB "
    "| guarded |"
)
_TWINS = (
    "| method | twin | safety, method − twin | cells of that sign | Holm p | task, method − twin "
    "| outcome |"
)
_WORDS = {
    "beats": "beats",
    "beats at a cost": "beats, at a cost in task success,",
    "is beaten by": "is beaten by",
    "no difference": "is not told apart from",
    "too few cells": "was compared in too few cells with",
}


def as_json(tables: Sequence[Table], together: Sequence[Contest] = ()) -> str:
    """The whole analysis as one JSON object."""
    return json.dumps(
        {
            "tables": [asdict(table) for table in tables],
            "verdicts": {table.data: verdicts(table.contests) for table in tables},
            "together": [asdict(contest) for contest in together],
            "together_verdicts": verdicts(together),
        },
        default=lambda value: value.model_dump(),
    )


def markdown(tables: Sequence[Table], together: Sequence[Contest] = ()) -> str:
    """All tables, as they stand in a page of results; `together` is over all data sets."""
    if not tables:
        return "No data set has rows of both 'none' and 'plain' yet."
    parts = [part for table in tables for part in _parts(table)]
    if together and len(tables) > 1:
        parts += [
            f"## Subspace methods against their twins, {len(tables)} data sets together",
            _grid(_TWINS, [_duel(contest) for contest in together]),
            "\n".join(f"- {sentence}" for sentence in verdicts(together)),
        ]
    return "\n\n".join(parts)


def _parts(table: Table) -> list[str]:
    own = [line for line in table.lines if not ARMS[line.arm].twin_of]
    parts = [
        f"## {table.data} (threat label: {table.threat})",
        f"Cells: {table.cells}; bases: {table.bases}; test prompts a suite: {table.prompts}. The "
        f"base: safety {table.base_safety:.3f}, task {table.base_task:.3f}. Safety is the share of "
        "harmful requests refused, plain and in a wrapper; 95 % intervals.",
        _grid(_HEAD, [_main(line) for line in own]),
        "\n".join(fronts(table)),
        _grid(_TWINS, [_duel(contest) for contest in table.contests]),
        "\n".join(f"- {sentence}" for sentence in verdicts(table.contests)),
        _grid(_COST, [_spending(line) for line in table.lines]),
    ]
    named = [f"- {arm} was not made: {why}" for arm, why in table.refused]
    named += [f"- {line.arm}: {note}" for line in own for note in line.notes if "nothing" in note]
    return [part for part in [*parts, "\n".join(named)] if part]


def _grid(head: str, rows: Sequence[str]) -> str:
    return "\n".join([head, "|" + "---|" * (head.count("|") - 1), *rows]) if rows else ""


def _main(line: Line) -> str:
    plain = line.against_plain
    return (
        f"| {line.arm} | {_chosen(line.options)} | {line.cells} | {_span(line.task)} "
        f"| {_span(line.safety)} | {_signed(plain)} | {_p(plain)} | {line.over_refusal:.3f} "
        f"| {line.unsafe:.3f} | {line.incoherent:.3f} | {'yes' if line.front else ''} |"
    )


def _duel(contest: Contest) -> str:
    found = contest.safety
    return (
        f"| {contest.method} | {_kind(contest)} "
        f"| {_signed(found)} | {found.same_sign} of {found.cells} | {found.holm:.3g} "
        f"| {_signed(contest.task)} | {contest.outcome} |"
    )


def _spending(line: Line) -> str:
    return (
        f"| {line.arm} | {_number(line.norm)} | {_number(line.removed)} "
        f"| {line.extra_backward:+.2f} | {line.extra_forward:+.2f} | {line.cpu_seconds:.1f} "
        f"| {_number(line.peak_mib, 0)} | {line.guarded} |"
    )


def _chosen(options: dict[str, Any]) -> str:
    """A configuration in few words: what is not the default of every arm."""
    own = {name: value for name, value in options.items() if name not in ("at", "protect")}
    words = [f"{name} {_short(value)}" for name, value in own.items()]
    if options.get("at", 1.0) != 1.0:
        words.append(f"at {options['at']:.2f} of the steps")
    for settings in options.get("protect", {}).values():
        words += [f"{name} {_short(value)}" for name, value in settings.items()]
    return ", ".join(words) or "default"


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_short(one)}" for name, one in value.items())
    return f"{value:g}" if isinstance(value, float) else str(value)


def fronts(table: Table) -> list[str]:
    """The two readings of the Pareto front, in sentences; twins take no part."""
    own = [x for x in table.lines if not ARMS[x.arm].twin_of and x.arm != "none"]
    found = []
    kept = [line for line in own if line.keeps_task]
    if kept:
        best = max(line.safety.value for line in kept)
        names = [line.arm for line in kept if line.safety.value >= best - 1e-9]
        found.append(
            f"Most safety at ≥ {KEEP_GAIN:.0%} of plain's task gain: {best:.3f}, "
            f"by {', '.join(names)}; {len(kept)} of {len(own)} arms keep the task so."
        )
    safe = [line for line in own if line.keeps_safety]
    if safe:
        best = max(line.task.value for line in safe)
        names = [line.arm for line in safe if line.task.value >= best - 1e-9]
        found.append(
            f"Most task success with safety at most {MATCHED * 100:.0f} points below the base's: "
            f"{best:.3f}, by {', '.join(names)}; {len(safe)} of {len(own)} arms are as safe."
        )
    else:
        found.append(f"No arm's safety is within {MATCHED * 100:.0f} points of the base's.")
    return found


def verdicts(contests: Sequence[Contest]) -> list[str]:
    """One sentence per subspace method: whether its directions, and not its size, did the work."""
    methods = dict.fromkeys(contest.method for contest in contests)
    return [_verdict([c for c in contests if c.method == method]) for method in methods]


def _verdict(duels: Sequence[Contest]) -> str:
    method, outcomes = duels[0].method, {duel.outcome for duel in duels}
    if outcomes == {"beats"}:
        word = "keeps more safety than its twins"
    elif outcomes == {"no difference"}:
        word = "is not told apart from its twins"
    elif outcomes == {"too few cells"}:
        word = f"was compared in {duels[0].safety.cells} cells, too few for a verdict"
    else:
        word = " and ".join(f"{_WORDS[d.outcome]} its {_kind(d)}" for d in duels)
    told = "; ".join(
        f"{_signed(duel.safety)} against its {_kind(duel)} (Holm p {duel.safety.holm:.3g}; task "
        f"{_signed(duel.task)})"
        for duel in duels
    )
    return f"**{method}** {word}: safety {told}."


def _kind(duel: Contest) -> str:
    """`random twin` or `shrunk twin`."""
    return duel.twin.removeprefix(f"{duel.method}, ")


def _signed(found: Difference | None) -> str:
    if found is None:
        return "–"
    x = found.interval
    return f"{x.value:+.3f} [{x.low:+.3f}, {x.high:+.3f}]"


def _p(found: Difference | None) -> str:
    return f"{found.holm:.3g}" if found else "–"


def _span(x: Interval) -> str:
    return f"{x.value:.3f} [{x.low:.3f}, {x.high:.3f}]"


def _number(value: float | None, digits: int = 2) -> str:
    return "–" if value is None else f"{value:.{digits}f}"
