"""`holdfast repair`: bring a failed run back, cheapest step first; the same command resumes it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from holdfast.core.records import RepairAttempt, RepairRecord


@click.command("repair")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--arm", default="", help="Arm to repair [default: the one that did not pass].")
@click.option("--method", "methods", multiple=True, help="Try this step only; may be repeated.")
@click.option("--unaligned", type=click.Path(path_type=Path),
              help="Unaligned sibling of the base, such as its pretrained checkpoint.")  # fmt: skip
@click.option("--vault", type=click.Path(path_type=Path), help="Vault of sealed models.")
@click.option("--json", "as_json", is_flag=True, help="Print the record as JSON.")
def command(
    run: Path, arm: str, methods: tuple[str, ...], unaligned: Path | None, vault: Path | None,
    as_json: bool,
) -> int:  # fmt: skip
    """Repair the failed arm of the finished RUN and gate the result.

    Steps are tried in order of cost: scaling, layer revert, Safe LoRA, safety vectors, short
    re-alignment on the run's own failures. Choices are made on validation prompts; the gate is
    asked at most once per step, and the first pass ends it. Exits with the gate's code: 0 if a
    step passed (or nothing had failed), else that of the arm's own verdict.
    """
    from holdfast.cli.progress import progress_bar
    from holdfast.pipeline.repair import repair

    with progress_bar(f"repair {run.name}") as progress:
        record = repair(
            run, arm=arm, methods=methods, unaligned=unaligned, vault=vault, progress=progress
        )
    if as_json:
        click.echo(json.dumps(None if record is None else record.model_dump(mode="json")))
    elif record is None:
        click.echo("Nothing to repair: the gate passed every arm.")
    else:
        _tell(run, record)
    return 0 if record is None else record.outcome.exit_code


def _tell(run: Path, record: RepairRecord) -> None:
    from holdfast.report.text import one_line, percent

    for mode in record.failures:
        click.echo(f"{mode.metric}: {percent(mode.base_rate)} -> {percent(mode.run_rate)}; "
                   f"{mode.cause}")  # fmt: skip
    click.echo("")
    for attempt in record.attempts:
        click.echo(f"{attempt.position}. {attempt.method}: {one_line(_line(attempt))}")
    click.echo(f"\n{record.control}")
    if record.method:
        click.echo(f"REPAIRED by {record.method}: {run / record.artefact}")
    else:
        click.echo(f"NOT REPAIRED: no step passed; '{record.arm}' stays {record.outcome.upper()}.")
    click.echo(f"Report: {run / 'report.html'}")


def _line(attempt: RepairAttempt) -> str:
    chosen = attempt.chosen
    best = f"{chosen.name}, worst {chosen.worst:+.3f} ({chosen.worst_metric}), " if chosen else ""
    task = f"task {chosen.task_success:.3f} on validation; " if chosen else ""
    return f"{best}{task}{attempt.reason}"
