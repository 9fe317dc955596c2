"""`holdfast status`: how far a run has come, from its journal alone."""

from __future__ import annotations

import json
from pathlib import Path

import click

from holdfast.core.errors import UsageError


@click.command("status")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(run: Path, as_json: bool) -> None:
    """Show how far RUN has come, and whether its journal is intact."""
    from holdfast.core.runstore import JOURNAL, RunStore

    if not (run / JOURNAL).is_file():
        raise UsageError(f"{run} is no run folder", expected=f"a folder with {JOURNAL}")
    journal = RunStore(run).journal
    journal.verify()
    finished = [e for e in journal.entries() if e.event == "run.finished"]
    latest = {e.payload["name"]: e for e in finished}
    if as_json:
        click.echo(json.dumps({name: e.time for name, e in latest.items()}, indent=1))
        return
    click.echo(f"{run}: journal intact, {len(latest)} finished")
    for name, entry in latest.items():
        click.echo(f"  {entry.time}  {name}")
    if "report.html" not in latest:
        click.echo("Not finished. The same run command continues it.")
