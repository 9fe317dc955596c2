"""`holdfast init`: write a commented plan that runs once model, data and suites are named."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import click

from holdfast.core.errors import UsageError
from holdfast.core.files import write_text


@click.command("init")
@click.argument("path", type=click.Path(path_type=Path), default=Path("plan.yaml"))
@click.option(
    "--harbor", is_flag=True, help="Fill in the embedded model: a plan that runs as it is."
)
@click.option("--force", is_flag=True, help="Write over a file that is there.")
def command(path: Path, harbor: bool, force: bool) -> None:
    """Write a commented plan to PATH (default plan.yaml)."""
    if path.exists() and not force:
        raise UsageError(f"{path} exists", next_step="choose another name, or use --force")
    name = "harbor.yaml" if harbor else "plan.yaml"
    template = resources.files("holdfast.pipeline.plans").joinpath(name).read_text("utf-8")
    write_text(path, template)
    click.echo(f"Wrote {path}. Next: edit it, then run: holdfast run {path}")
