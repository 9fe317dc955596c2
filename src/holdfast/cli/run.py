"""`holdfast run`: the whole story of a plan; the same command resumes it."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("run")
@click.argument("plan", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="Run folder [default: runs/<name>].")
@click.option("--vault", type=click.Path(path_type=Path), help="Vault of sealed models.")
@click.option("--json", "as_json", is_flag=True, help="Print the verdicts as JSON.")
def command(plan: Path, out: Path | None, vault: Path | None, as_json: bool) -> int:
    """Run PLAN: seal, map, fine-tune, evaluate, gate, report.

    Stop it anywhere, even with kill -9, and run the same command again: finished work is kept.
    The exit code is the worst verdict's.
    """
    from holdfast.cli.progress import progress_bar
    from holdfast.cli.story import tell
    from holdfast.pipeline.plan import load_plan
    from holdfast.pipeline.run import run

    resolved = load_plan(plan)
    folder = out or Path("runs") / resolved.name
    with progress_bar(resolved.name) as progress:
        result = run(resolved, folder, vault=vault, progress=progress)
    tell(result, as_json=as_json)
    return result.exit_code
