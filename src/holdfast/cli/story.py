"""What `run` and `quickstart` say at the end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from holdfast.pipeline.run import RunResult


def tell(result: RunResult, *, as_json: bool) -> None:
    """Print the verdicts as JSON, or the summary of the run and where its report lies."""
    if as_json:
        verdicts = {arm: v.model_dump(mode="json") for arm, v in result.verdicts.items()}
        click.echo(json.dumps({"task_success": result.task_success, "verdicts": verdicts}))
        return
    from rich.console import Console

    from holdfast.report import terminal
    from holdfast.report.load import load

    terminal.show(load(result.folder), Console(highlight=False))
    click.echo(f"\nReport: {result.folder / Path('report.html')}")
