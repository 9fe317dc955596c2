"""`holdfast forecast`: what a plan's training will do to safety, before it is trained."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from holdfast.core.records import Forecast

_FILE = click.Path(path_type=Path)


@click.command("forecast")
@click.argument("plan", type=_FILE)
@click.option("--out", type=_FILE, help="Run folder, which `run` goes on from [runs/<name>].")
@click.option("--vary", multiple=True, metavar="NAME=A,B",
              help="Also forecast these values of rank, learning_rate, epochs or replay; repeat: "
              "every combination.")  # fmt: skip
@click.option("--tradeoff", is_flag=True, help="Vary rank, rate and replay over a usual grid.")
@click.option("--margin", default=0.05, show_default=True, type=click.FloatRange(0, 1),
              help="Loss of refusals that you accept: settings whose interval stays below it are "
              "marked.")  # fmt: skip
@click.option("--forecaster", default="", help="Fitted forecaster of your own [shipped].")
@click.option("--vault", type=_FILE, help="Vault of sealed models.")
@click.option("--json", "as_json", is_flag=True, help="Print the record as JSON.")
def command(
    plan: Path, out: Path | None, vary: tuple[str, ...], tradeoff: bool, margin: float,
    forecaster: str, vault: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Forecast what fine-tuning as PLAN says does to safety; nothing is trained but a canary.

    Reads the rows, tries a few steps and undoes them. `holdfast run` goes on from the same folder.
    """
    from holdfast.cli.progress import progress_bar
    from holdfast.pipeline.forecast.make import GRID
    from holdfast.pipeline.forecast.plan import forecast_plan, parse_vary
    from holdfast.pipeline.plan import load_plan

    resolved = load_plan(plan)
    wanted = {**(GRID if tradeoff else {}), **parse_vary(vary)}
    folder = out or Path("runs") / resolved.name
    with progress_bar("forecast") as progress:
        found = forecast_plan(
            resolved, folder, forecaster=forecaster, vary=wanted, vault=vault, progress=progress
        )
    if as_json:
        click.echo(found.model_dump_json(indent=1))
    else:
        _show(found, margin, folder)


def _show(found: Forecast, margin: float, folder: Path) -> None:
    from rich.console import Console

    from holdfast.report.forecasts import terminal

    console = Console()
    for part in terminal(found, margin=margin):
        console.print(part)
    click.echo(f"Written to {folder / 'forecast.json'}; holdfast run goes on from there.")
