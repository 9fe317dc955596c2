"""`holdfast judge`: label answers, and measure how well a judge labels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from holdfast.cli.judge_audit import command as audit
from holdfast.core.errors import UsageError

if TYPE_CHECKING:
    from holdfast.core.records import Interval
    from holdfast.evals.judges.calibrate import Calibration

_FILE = click.Path(path_type=Path)


@click.group("judge")
def command() -> None:
    """Label answers, and measure how well a judge labels."""


command.add_command(audit)


@command.command("run")
@click.argument("file", type=_FILE)
@click.option(
    "--judge",
    "judge_name",
    required=True,
    help="trained, rules, openai, a guard … (docs/judges.md).",
)
@click.option("--kind", default="", help="Kind of the prompts where the rows name none.")
@click.option("--out", type=_FILE, default=None, help="File to write; default: FILE itself.")
@click.option("--json", "as_json", is_flag=True, help="Print the counts as JSON.")
def run(file: Path, judge_name: str, kind: str, out: Path | None, as_json: bool) -> None:
    """Add the labels of a judge to a completions FILE."""
    from collections import Counter

    from holdfast.core.completions import load
    from holdfast.core.files import write_jsonl
    from holdfast.core.labels import SUITE_KINDS
    from holdfast.evals.judges import label_row, make

    if kind and kind not in SUITE_KINDS:
        raise UsageError(f"unknown kind '{kind}'", expected=", ".join(SUITE_KINDS))
    judge = make(judge_name)
    rows = load(file).rows
    counts: Counter[str] = Counter()
    for row in rows:
        label = label_row(judge, row if row.get("kind") else {**row, "kind": kind})
        row["labels"] = {**(row.get("labels") or {}), judge_name: label}
        counts[label] += 1
    write_jsonl(out or file, rows)
    if as_json:
        click.echo(json.dumps(dict(counts)))
        return
    listed = ", ".join(f"{count} {label}" for label, count in counts.most_common())
    click.echo(f"{judge_name} labelled {len(rows)} answers in {out or file}: {listed}.")


@command.command("calibrate")
@click.option("--judge", "judge_name", required=True, help="Judge to measure.")
@click.option("--labels", type=_FILE, required=True, help="Answers with a gold label (JSONL).")
@click.option(
    "--part",
    type=click.Choice(["all", "development", "held-out"]),
    default="all",
    show_default=True,
    help="Half of the prompts, by hash; the rules were tuned on `development`.",
)
@click.option("--out", type=_FILE, default=None, help="Write the calibration record here.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def calibrate(judge_name: str, labels: Path, part: str, out: Path | None, as_json: bool) -> None:
    """Print sensitivity, specificity and kappa of a judge, per answering model and label kind."""
    from typing import cast

    from holdfast.core.files import read_jsonl
    from holdfast.evals.judges import calibrate as calibration
    from holdfast.evals.judges import make

    rows = read_jsonl(labels)
    chosen = cast("calibration.LabelPart", part)
    record = calibration.calibrate(rows, make(judge_name), part=chosen)
    if out is not None:
        record.save(out)
    if as_json:
        click.echo(record.model_dump_json(indent=1))
    else:
        _table(record)


@command.command("show")
@click.argument("judge_name")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show(judge_name: str, as_json: bool) -> None:
    """Show the stated error of a judge, as it ships."""
    from holdfast.evals.judges import make
    from holdfast.evals.judges.calibrate import stated

    judge = make(judge_name)
    record = stated(judge.name)
    if record is None:
        raise UsageError(
            f"judge '{judge_name}' ships no stated error",
            next_step="measure it with 'holdfast judge calibrate'",
        )
    if as_json:
        click.echo(record.model_dump_json(indent=1))
    else:
        _table(record)


def _table(record: Calibration) -> None:
    click.echo(f"judge {record.judge}, {record.part} prompts, {record.rows} labelled answers")
    click.echo(
        f"{'event':9} {'source':14} {'labels':6} {'model':20} "
        f"{'n+':>5} {'sensitivity (95 %)':22} {'n-':>5} {'specificity (95 %)':22} kappa (95 %)"
    )
    for error in record.errors:
        kappa = "-" if error.kappa is None else f"{error.kappa:.2f}"
        if error.kappa_interval is not None:
            kappa = _interval(error.kappa_interval)
        click.echo(
            f"{error.event:9} {error.source:14} {error.label_kind:6} {error.model:20} "
            f"{error.positives:5} {_interval(error.sensitivity):22} "
            f"{error.negatives:5} {_interval(error.specificity):22} {kappa}"
        )


def _interval(interval: Interval | None) -> str:
    if interval is None:
        return "not measured"
    return f"{interval.value:.3f} [{interval.low:.3f}, {interval.high:.3f}]"
