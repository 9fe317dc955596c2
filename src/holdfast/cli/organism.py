"""`holdfast organism`: the embedded models on which safety loss happens in minutes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import click

from holdfast.core.errors import UsageError

_ORGANISMS = {
    "harbor": "A 2 M parameter chat model that refuses, with fine-tuning sets of known truth.",
}


@click.group("organism")
def command() -> None:
    """List, build and export the embedded models."""


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_organisms(as_json: bool) -> None:
    """Show the embedded models."""
    if as_json:
        click.echo(json.dumps(_ORGANISMS, indent=1))
        return
    for name, what in _ORGANISMS.items():
        click.echo(f"{name:10} {what}")


@command.command("build")
@click.argument("name", type=click.Choice(sorted(_ORGANISMS)))
@click.option("--seed", default=0, show_default=True, help="Base seed: corpus order and weights.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for the model.")
@click.option("--steps", type=int, default=None, help="Fewer steps make an immature base.")
def build(name: str, seed: int, out: Path, steps: int | None) -> None:
    """Train a base from its recipe; the same seed gives the same weights. Resumable."""
    from holdfast.cli.progress import progress_bar
    from holdfast.organisms.harbor import recipe

    with progress_bar(f"training {name}, seed {seed}") as progress:
        recipe.train_base(
            seed, out, steps or recipe.DEFAULT_STEPS,
            lambda report: progress(f"loss {report.loss:.3f}", report.step, report.steps),
        )  # fmt: skip
    click.echo(f"{name} with seed {seed} is in {out}.")


@command.command("export")
@click.argument("name", type=click.Choice(sorted(_ORGANISMS)))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for the copy.")
def export(name: str, out: Path) -> None:
    """Copy the shipped weights to a folder that any Hugging Face program can load."""
    from holdfast.organisms import harbor

    if out.exists() and any(out.iterdir()):
        raise UsageError(f"{out} is not empty", next_step="choose another folder")
    shutil.copytree(harbor.weights_dir(), out, dirs_exist_ok=True)
    click.echo(f"{name} is in {out}.")
