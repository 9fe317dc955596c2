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
@click.argument("name", type=click.Choice([*sorted(_ORGANISMS), "zoo"]))
@click.option("--seed", default=0, show_default=True, help="Base seed: corpus order and weights.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder; runs/zoo for the zoo.")
@click.option("--steps", type=int, default=None, help="Fewer steps make an immature base.")
@click.option("--base", "bases", multiple=True, type=click.Path(path_type=Path, exists=True),
              help="Zoo: base 0, 1 and 2 in order; the shipped base where absent.")  # fmt: skip
@click.option("--sae", "saes", multiple=True, type=click.Path(path_type=Path, exists=True),
              help="Zoo: an SAE of each base, in order; the shipped base has its own.")  # fmt: skip
@click.option("--members", help="Zoo: ids, families, groups or splits, with * and ?.")
@click.option("--workers", type=click.IntRange(1, 64), default=1, show_default=True,
              help="Zoo: processes.")  # fmt: skip
@click.option("--minutes", type=float, default=float("inf"), show_default="all of it",
              help="Zoo: start no member after so long.")  # fmt: skip
@click.option("--table", is_flag=True, help="Zoo: print the tables of what is built, build none.")
def build(
    name: str, seed: int, out: Path | None, steps: int | None, bases: tuple[Path, ...],
    saes: tuple[Path, ...], members: str | None, workers: int, minutes: float, table: bool,
) -> None:  # fmt: skip
    """Train a base from its recipe, or the zoo: fine-tunes with known outcomes. Resumable."""
    if name == "zoo":
        _zoo(out or Path("runs/zoo"), bases, saes, members, workers, minutes, table)
        return
    if out is None:
        raise UsageError("no folder for the model", next_step="give --out")
    from holdfast.cli.progress import progress_bar
    from holdfast.organisms.harbor import recipe

    with progress_bar(f"training {name}, seed {seed}") as progress:
        recipe.train_base(
            seed, out, steps or recipe.DEFAULT_STEPS,
            lambda report: progress(f"loss {report.loss:.3f}", report.step, report.steps),
        )  # fmt: skip
    click.echo(f"{name} with seed {seed} is in {out}.")


def _zoo(
    out: Path, bases: tuple[Path, ...], saes: tuple[Path, ...], members: str | None, workers: int,
    minutes: float, table: bool,
) -> None:  # fmt: skip
    if table:
        from holdfast.pipeline.zoo.table import tables

        click.echo(tables(out))
        return
    from holdfast.cli.progress import progress_bar
    from holdfast.organisms.harbor import weights_dir
    from holdfast.pipeline.zoo import build as zoo

    with progress_bar("building the zoo") as progress:
        held = zoo.build(
            out, list(bases) or [weights_dir()], members=members, workers=workers,
            minutes=minutes, saes=saes, progress=progress,
        )  # fmt: skip
    click.echo(f"{held} of the members asked for are in {out}.")


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
