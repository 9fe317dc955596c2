"""`holdfast map`: fit the safety map of a base model."""

from __future__ import annotations

from pathlib import Path

import click

_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command("map")
@click.argument("model")
@click.option("--contrast", required=True, type=_FILE, help="Contrast set, JSON Lines.")
@click.option("--openings", required=True, type=_FILE, help="Openings of both kinds, JSON.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder for the map.")
@click.option("--seed", default=0, show_default=True, help="Seed of floors and nulls.")
@click.option("--energy", default=0.9, show_default=True, 
              type=click.FloatRange(0, 1, min_open=True),
              help="Share of energy that the safety subspace holds.")  # fmt: skip
@click.option("-k", "size", type=click.IntRange(1), help="Fixed dimension of the subspace.")
@click.option("--max-kl", default=0.1, show_default=True, type=click.FloatRange(0, min_open=True),
              help="Largest side effect of ablation on harmless prompts, in nats.")  # fmt: skip
@click.option("--batch-size", default=32, show_default=True, type=click.IntRange(1))
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda … or auto.")
@click.option("--allow-ineligible", is_flag=True, help="Map a model without refusal all the same.")
@click.option("--json", "as_json", is_flag=True, help="Print the record as JSON.")
def command(
    model: str, contrast: Path, openings: Path, out: Path, seed: int, energy: float,
    size: int | None, max_kl: float, batch_size: int, device: str, allow_ineligible: bool,
    as_json: bool,
) -> None:  # fmt: skip
    """Map where MODEL (a folder or a hub name) keeps its safety."""
    from holdfast.cli.progress import progress_bar
    from holdfast.geometry.contrast import load_contrast, load_openings
    from holdfast.geometry.safety_map import SiteRules, fit
    from holdfast.models.loading import load

    rows, texts = load_contrast(contrast), load_openings(openings)
    loaded = load(model, device=device)
    with progress_bar("Mapping") as progress:
        fitted = fit(
            loaded, rows, texts, seed=seed, energy=energy, k=size, rules=SiteRules(max_kl=max_kl),
            batch_size=batch_size, allow_ineligible=allow_ineligible, progress=progress,
        )  # fmt: skip
    fitted.save(out)
    record = fitted.record
    if as_json:
        click.echo(record.model_dump_json(indent=1))
        return
    click.echo(f"{'site':14} {'bypass':>8} {'induce':>8} {'KL':>7} {'d-prime':>8}")
    for site in record.sites:
        mark = "*" if site.chosen else " "
        click.echo(
            f"{mark} {site.name:12} {site.bypass:8.2f} {site.induce:8.2f} {site.kl:7.3f} "
            f"{site.separation:8.2f}  {site.reason}"
        )
    click.echo(f"{'Eligible' if record.eligible else 'NOT ELIGIBLE'}: {record.eligibility}")
    click.echo(f"Wrote {out}. Next: holdfast drift --map {out} CANDIDATE")
