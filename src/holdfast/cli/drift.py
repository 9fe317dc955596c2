"""`holdfast drift`: measure a fine-tune against the safety map of its base."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("drift")
@click.argument("candidate")
@click.option("--map", "folder", required=True, type=click.Path(path_type=Path, file_okay=False),
              help="Folder written by 'holdfast map'.")  # fmt: skip
@click.option("--adapter", type=click.Path(path_type=Path), help="PEFT adapter on CANDIDATE.")
@click.option("--arm", default="candidate", show_default=True, help="Name of the arm.")
@click.option("--step", default=0, show_default=True, help="Optimizer step of the checkpoint.")
@click.option("--seed", default=0, show_default=True, help="Seed of bootstrap and nulls.")
@click.option("--resamples", default=500, show_default=True, type=click.IntRange(50, 10_000))
@click.option("--batch-size", default=32, show_default=True, type=click.IntRange(1))
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda … or auto.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="File for the record.")
@click.option("--json", "as_json", is_flag=True, help="Print the record as JSON.")
def command(
    candidate: str, folder: Path, adapter: Path | None, arm: str, step: int, seed: int,
    resamples: int, batch_size: int, device: str, out: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Measure how far CANDIDATE (a folder or a hub name) has drifted from the base of a map."""
    from holdfast.cli.progress import progress_bar
    from holdfast.geometry.drift import measure
    from holdfast.geometry.fitted import FittedMap
    from holdfast.models.loading import load

    fitted = FittedMap.load(folder)
    loaded = load(candidate, adapter=adapter, device=device)
    with progress_bar("Measuring drift") as progress:
        report = measure(
            fitted, loaded, arm=arm, step=step, seed=seed, resamples=resamples,
            batch_size=batch_size, progress=progress,
        )  # fmt: skip
    if out is not None:
        report.save(out)
    if as_json:
        click.echo(report.model_dump_json(indent=1))
        return
    heads = f"{'value':>7} {'95 % interval':>17} {'floor':>7} {'null':>7}"
    click.echo(f"{'drift':20} {'site':14} {heads}")
    for d in report.drifts:
        note = "" if d.distinguishable else "  not distinguishable"
        click.echo(
            f"{d.drift:20} {d.site:14} {d.value:7.3f} [{d.low:7.3f},{d.high:7.3f}] "
            f"{d.floor:7.3f} {d.null:7.3f}{note}"
        )
