"""`holdfast quickstart`: the whole story on the embedded model."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("quickstart")
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs/quickstart"),
              show_default=True, help="Run folder.")  # fmt: skip
@click.option("--seed", default=0, show_default=True, help="Seed of data, training and evaluation.")
@click.option(
    "--base", type=click.Path(path_type=Path), help="Another harbor base than the shipped one."
)
@click.option("--json", "as_json", is_flag=True, help="Print the verdicts as JSON.")
def command(out: Path, seed: int, base: Path | None, as_json: bool) -> int:
    """Fine-tune the embedded model twice, plain and protected, and gate both.

    Exits with 0 when the story came out as told: plain FAIL, protected PASS. Otherwise with 1.
    """
    from holdfast.cli.progress import progress_bar
    from holdfast.cli.story import tell
    from holdfast.pipeline.quickstart import as_told, quickstart_plan
    from holdfast.pipeline.run import run

    plan = quickstart_plan(seed=seed, base=base)
    with progress_bar("quickstart") as progress:
        result = run(plan, out, vault=out / "vault", progress=progress)
    tell(result, as_json=as_json)
    return 0 if as_told(result) else 1
