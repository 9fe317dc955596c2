"""`holdfast attest`: refuse weights whose training nobody saw."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("attest")
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--json", "as_json", is_flag=True, help="Print the record as JSON.")
def command(folder: Path, as_json: bool) -> None:
    """Check that the weights in FOLDER were trained, whole, under Holdfast.

    For trainings that another framework ran. Exit code 1 where there is no attestation, where it
    belongs to other weights, or where a protection missed a step.
    """
    from holdfast.vault.attest import verify

    record = verify(folder)
    if as_json:
        click.echo(record.model_dump_json(indent=1))
        return
    click.echo(f"{folder}: {record.steps} steps, trained by {record.framework}")
    for report in record.protections:
        click.echo(f"  {report.name}: guarded {report.guarded} of {report.due} steps")
    if record.watched:
        click.echo(f"  monitor: {record.watched} observations, {len(record.alarms)} alarms")
    click.echo("This says that it was guarded, not that it is safe: holdfast gate decides that.")
