"""`holdfast behaviour`: oversight, sycophancy, stance, companionship, tools, graceful refusal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from holdfast.core.records import Interval

_FILE = click.Path(path_type=Path)


@click.group("behaviour")
def command() -> None:
    """Read what no single label shows: behaviour consistent with reacting to oversight, and more.

    Answers come from `holdfast eval --suite oversight:SPEC|sycophancy|stance|companionship|tools`.
    """


@command.command("plan")
@click.option("--gap", type=click.FloatRange(0, 1, min_open=True, max_open=True), default=0.05,
              show_default=True, help="Smallest gap that you want to see.")  # fmt: skip
@click.option("--reverse", type=click.FloatRange(0, 0.5), default=0.02, show_default=True,
              help="Share of prompts that differ the other way by chance.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def plan(gap: float, reverse: float, as_json: bool) -> None:
    """Say how many prompts a gap between two framings needs (80 % power, 5 % two-sided)."""
    from holdfast.evals.probes.oversight.framings import FRAMINGS
    from holdfast.evals.probes.oversight.report import prompts_needed

    needed = prompts_needed(gap, reverse)
    found = {"gap": gap, "reverse": reverse, "prompts": needed, "answers": needed * len(FRAMINGS)}
    if as_json:
        click.echo(json.dumps(found, indent=1))
        return
    click.echo(
        f"A gap of {gap:g} with {reverse:g} reverse discordance needs {needed} prompts, "
        f"{found['answers']} answers per arm under {len(FRAMINGS)} framings."
    )


@command.command("report")
@click.option("--candidate", type=_FILE, required=True, help="Completions of the fine-tune.")
@click.option("--base", type=_FILE, default=None, help="Completions of its base.")
@click.option("--judge", default="", help="Judge of the framed suites, where there are several.")
@click.option("--kappa", type=float, default=None, help="Agreement of that judge with people.")
@click.option("--realism", type=float, default=None,
              help="AUROC of the model telling these prompts from use.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def report(
    candidate: Path, base: Path | None, judge: str, kappa: float | None, realism: float | None,
    as_json: bool,
) -> None:  # fmt: skip
    """Print every reading that the completions files hold the answers for."""
    from holdfast.core.completions import load
    from holdfast.core.errors import DataError

    rows = load(candidate).rows
    base_rows = load(base).rows if base is not None else None
    found = _measure(rows, base_rows, judge, kappa, realism)
    if not found:
        raise DataError(
            f"{candidate} holds no answers to these suites",
            next_step="run holdfast eval --suite sycophancy, or another of: holdfast suites list",
        )
    if as_json:
        content = {name: record.model_dump(mode="json") for name, record in found.items()}
        click.echo(json.dumps(content, indent=1))
        return
    for name, record in found.items():
        click.echo(f"\n{name}")
        for line in _lines(record):
            click.echo(f"  {line}")


def _measure(
    rows: list[dict[str, Any]], base: list[dict[str, Any]] | None, judge: str,
    kappa: float | None, realism: float | None,
) -> dict[str, Any]:  # fmt: skip
    from holdfast.evals.judges.rules import HARMFUL_KINDS
    from holdfast.evals.probes.companionship import report as companionship
    from holdfast.evals.probes.graceful import report as graceful
    from holdfast.evals.probes.oversight import report as oversight
    from holdfast.evals.probes.oversight.framings import split_id
    from holdfast.evals.probes.stance import report as stance
    from holdfast.evals.probes.sycophancy import report as sycophancy
    from holdfast.evals.probes.tools import report as tools

    suites = list(dict.fromkeys(str(row.get("suite", "")) for row in rows))
    kinds = {row.get("kind") for row in rows}
    found: dict[str, Any] = {}
    for suite in suites:
        own = [row for row in rows if row.get("suite") == suite]
        if any(split_id(row["prompt_id"]) for row in own):
            found[suite] = oversight.measure(
                rows, base, suite=suite, judge=judge or _judge_of(own), kappa=kappa, realism=realism
            )
    for name, module in (
        ("sycophancy", sycophancy), ("stance", stance), ("companionship", companionship),
    ):  # fmt: skip
        if name in suites:
            found[name] = module.measure(rows, base)
    if any(kind in tools.COUNTED and row.get("reference") for row in rows
           for kind in [row.get("kind")] if "tools" in (row.get("labels") or {})):  # fmt: skip
        found["tools"] = tools.measure(rows, base)
    if base is not None:
        found.update(_shifts(rows, base, suites))
    if kinds & HARMFUL_KINDS:
        found["graceful refusal"] = graceful.measure(rows, base)
    return found


def _shifts(
    rows: list[dict[str, Any]], base: list[dict[str, Any]], suites: list[str]
) -> dict[str, Any]:
    """The early warnings: eras, personas, and the style of the answers to instructions."""
    from holdfast.evals.probes.eras import report as eras
    from holdfast.evals.probes.instruction_following import style
    from holdfast.evals.probes.personas import report as personas

    modules: tuple[tuple[str, Any], ...] = (("eras", eras), ("personas", personas))
    found = {name: module.measure(rows, base) for name, module in modules if name in suites}
    if "instructions" in suites:
        found["style"] = style.measure(rows, base)
    return found


def _judge_of(rows: list[dict[str, Any]]) -> str:
    from holdfast.core.errors import UsageError

    names = sorted({name for row in rows for name in (row.get("labels") or {})})
    if len(names) != 1:
        raise UsageError(
            f"the framed suite has labels of {len(names)} judges", next_step="choose with --judge"
        )
    return str(names[0])


def _lines(record: Any) -> list[str]:
    """The record as lines: intervals on one line each, the reading first."""
    content = dict(record)
    lines = [content.pop("reading")] if "reading" in content else []
    for name in ("schema_version", "producer", "inputs", "seed", "environment"):
        content.pop(name, None)
    for name, value in content.items():
        lines += _value(name.replace("_", " "), value)
    return lines


def _value(name: str, value: Any) -> list[str]:
    from pydantic import BaseModel

    from holdfast.core.records import Interval

    if value is None or value == ():
        return []
    if isinstance(value, Interval):
        return [f"{name}: {_interval(value)}"]
    if isinstance(value, BaseModel):
        return [line for key, inner in value for line in _value(f"{name} {key}", inner)]
    if isinstance(value, dict):
        return [line for key, inner in value.items() for line in _value(f"{name}, {key}", inner)]
    if isinstance(value, tuple):
        return [line for inner in value for line in _value(name, inner)]
    return [f"{name}: {value:.3g}" if isinstance(value, float) else f"{name}: {value}"]


def _interval(interval: Interval) -> str:
    return f"{interval.value:+.3f} ({interval.low:+.3f} to {interval.high:+.3f}, {interval.method})"
