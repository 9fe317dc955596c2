"""What `gate` and `compare` share: reading two arms, judging them if asked, showing a table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from holdfast.core.errors import UsageError
from holdfast.core.registry import nearest

if TYPE_CHECKING:
    from rich.console import Console

    from holdfast.core.completions import Completions
    from holdfast.core.records import Comparison, Verdict

F = TypeVar("F", bound=Callable[..., Any])
_FILE = click.Path(path_type=Path)


def arm_options(function: F) -> F:
    """The options that name two arms and say how to read them."""
    options = (
        click.option("--base", type=_FILE, help="Completions of the base (JSONL)."),
        click.option("--candidate", type=_FILE, help="Completions of the candidate (JSONL)."),
        click.option(
            "--judge",
            "judges",
            multiple=True,
            metavar="[SUITE=]NAME",
            help="Judge whose labels count, run on the answers where the files lack them; a "
            "second one is asked for its opinion, and a disagreement is reported.",
        ),
        click.option("--audit", type=_FILE, help="Human labels of a sample of both arms."),
        click.option(
            "--looks", is_flag=True, help="Answers still come in: tests that hold at every look."
        ),
        click.option("--policy", type=_FILE, help="Policy (YAML); the shipped one by default."),
        click.option(
            "--kind",
            "kinds",
            multiple=True,
            metavar="[SUITE=]KIND",
            help="Kind of suite for rows that name none, such as harmful or benign.",
        ),
        click.option("--allow-identical", is_flag=True, help="Let both arms be the same."),
        click.option("--json", "as_json", is_flag=True, help="Print JSON."),
    )
    for option in reversed(options):
        function = option(function)
    return function


def by_suite(option: str, values: Sequence[str]) -> dict[str, str]:
    """`("a=harmful", "benign")` as `{"a": "harmful", "": "benign"}`; twice the same is an error."""
    found: dict[str, str] = {}
    for value in values:
        suite, _, name = value.rpartition("=")
        if not name or suite in found:
            what = f"{option} {value}"
            raise UsageError(what, expected=f"one {option} NAME, or SUITE=NAME once for each suite")
        found[suite] = name
    return found


def judges_of(values: Sequence[str]) -> tuple[dict[str, str], tuple[str, ...]]:
    """The deciding judge by suite, and the judges that are asked for a second opinion.

    The first `NAME` decides; those after it, and after a `SUITE=NAME`, are second opinions.
    """
    plain = [value for value in values if "=" not in value]
    first = by_suite("--judge", [*(v for v in values if "=" in v), *plain[:1]])
    if len(set(plain)) < len(plain):
        raise UsageError("--judge", got="a judge twice", expected="every judge once")
    return first, tuple(plain[1:])


def read_arms(
    base: Path,
    candidates: Sequence[Path],
    judges: Mapping[str, str],
    kinds: Mapping[str, str],
    further: Sequence[str] = (),
) -> list[Completions]:
    """The base and its candidates, labelled by every judge named in `judges` and `further`."""
    from holdfast.core.completions import load

    arms = [load(path) for path in (base, *candidates)]
    for arm in arms:
        suites: dict[str, list[dict[str, Any]]] = {}
        for row in arm.rows:
            suites.setdefault(row.get("suite", ""), []).append(row)
        for suite, rows in suites.items():
            first = judges.get(suite) or judges.get("", "")
            held = {judge for row in rows for judge in row.get("labels") or ()}
            for name in dict.fromkeys([first, *further]):
                if name and name not in held:
                    _label(rows, name, kinds.get(suite) or kinds.get("", ""), sorted(held))
    return arms


def _label(rows: list[dict[str, Any]], name: str, kind: str, held: list[str]) -> None:
    """Label `rows` in place with the judge called `name`, and fill in the kind that they lack."""
    from holdfast.evals.judges import JUDGES, label_row, make

    if name not in JUDGES.names():
        hint = nearest(name, [*held, *JUDGES.names()])
        raise UsageError(f"unknown judge '{name}'", next_step=hint)
    judge = make(name)
    for row in rows:
        if kind:
            row.setdefault("kind", kind)
        row["labels"] = {**(row.get("labels") or {}), name: label_row(judge, row)}


def show_verdict(verdict: Verdict) -> None:
    """Print a verdict: the table of comparisons, the findings, the word."""
    from rich.text import Text

    from holdfast.core.records import Outcome
    from holdfast.gate.words import one_line, word

    show_table(verdict.comparisons, title=verdict.arm)
    console = _console()
    colours = {"blocking": "red", "warning": "yellow", "information": "dim"}
    for found in verdict.findings:
        line = Text(f"{found.code} {found.title}: ", style=colours[found.severity])
        line.append(one_line(found.message), style="not bold default")
        console.print(line, soft_wrap=True)
    style = "bold green" if verdict.outcome is Outcome.PASS else "bold red"
    console.print(Text(f"{one_line(verdict.arm)}: {word(verdict)}", style=style))


def show_table(comparisons: Sequence[Comparison], title: str) -> None:
    """Print comparisons as a table; every text is escaped and free of control characters."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from holdfast.gate.words import HEADINGS, one_line, row

    table = Table(
        title=Text(one_line(title)), box=box.SIMPLE_HEAD, padding=0, collapse_padding=True
    )
    for heading in HEADINGS:
        table.add_column(heading, justify="left" if heading in ("metric", "suite") else "right")
    for c in comparisons:
        table.add_row(*map(Text, row(c)))
    _console().print(table)


def _console() -> Console:
    """A console that is wide enough for the table wherever the width is not a terminal's."""
    from rich.console import Console

    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=160)
