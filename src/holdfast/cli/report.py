"""`holdfast report RUN`: the summary in the terminal and the report as one HTML file."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("report")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="HTML file; default RUN/report.html.")
@click.option("--open", "open_it", is_flag=True, help="Open the HTML file in the browser.")
@click.option("--json", "as_json", is_flag=True, help="Print the facts as JSON, not as text.")
@click.option(
    "--show-samples", is_flag=True, help="Show answers of red-team suites, which may be harmful."
)
def command(run: Path, out: Path | None, open_it: bool, as_json: bool, show_samples: bool) -> None:
    """Show what a run found, and write its report as one HTML file that opens offline.

    With --json the file is written only where --out or --open asks for it.
    """
    from holdfast.report import load

    loaded = load.load(run)
    target = (out or run / "report.html") if out or open_it or not as_json else None
    if target:
        from holdfast.report import html

        html.write(loaded, target, show_samples=show_samples)
    if as_json:
        import json

        from holdfast.report import summary

        facts = summary.facts(loaded) | {"html": str(target) if target else None}
        click.echo(json.dumps(facts, indent=1))
    else:
        from rich.console import Console

        from holdfast.report import terminal

        terminal.show(loaded, Console(highlight=False))
        click.echo(f"\nReport: {target}")
    if open_it and target:
        click.launch(str(target.resolve()))
