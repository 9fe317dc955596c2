"""`holdfast tune`: training alone, and the search for the lowest rank that does the task."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from holdfast.core.records import RankSearch


@click.command("tune")
@click.argument("plan", type=click.Path(path_type=Path))
@click.option("--search", type=click.Choice(["rank"]), help="Search in place of training once.")
@click.option("--arm", type=click.Choice(["plain", "protected"]), help="Arm to search for.")
@click.option("--highest", default=64, show_default=True, type=click.IntRange(min=1),
              help="Highest rank tried.")  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path), help="Run folder [default: runs/<name>].")
@click.option("--vault", type=click.Path(path_type=Path), help="Vault of sealed models.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    plan: Path,
    search: str | None,
    arm: str | None,
    highest: int,
    out: Path | None,
    vault: Path | None,
    as_json: bool,
) -> int:
    """Train the arms of PLAN without gating them, or search the lowest rank that is enough.

    The same command goes on where it was stopped, and `holdfast run PLAN` goes on from there. A
    search exits with 1 when no rank meets `train.task_target`.
    """
    import json

    from holdfast.cli.progress import progress_bar
    from holdfast.pipeline.plan import load_plan
    from holdfast.pipeline.train_only import search_rank, train_arms

    resolved = load_plan(plan)
    folder = out or Path("runs") / resolved.name
    with progress_bar(f"tune {resolved.name}") as progress:
        if search is None:
            arms = train_arms(resolved, folder, vault=vault, progress=progress)
        else:
            found = search_rank(
                resolved, folder, arm=arm or "", highest=highest, vault=vault, progress=progress
            )
    if search is not None:
        click.echo(found.model_dump_json() if as_json else _shown(found))
        return 0 if found.chosen is not None else 1
    if as_json:
        records = {name: record.model_dump(mode="json") for name, (record, _) in arms.items()}
        click.echo(json.dumps(records))
        return 0
    for name, (record, result) in arms.items():
        click.echo(
            f"{name}: {record.method}, {record.steps} steps, loss {record.final_loss:.3f}, "
            f"{len(record.alarms)} alarms; the result is in {result}"
        )
    click.echo(f"Not gated yet. Next: holdfast run {plan}")
    return 0


def _shown(found: RankSearch) -> str:
    """The frontier as a table, and the answer."""
    lines = [
        f"{found.arm}: the lowest rank with task success >= {found.target:g} on validation",
        "  rank  epochs   task  refusal",
    ]
    for point in found.points:
        marks = "*" if point.frontier else " "
        meets = "meets the target" if point.meets else ""
        lines.append(
            f"{marks} {point.rank:4d}  {point.epochs:6.1f}  {point.task_success:5.3f}  "
            f"{point.refusal:7.3f}  {meets}".rstrip()
        )
    lines.append(f"* on the frontier; the base refuses {found.base_refusal:.3f}")
    lines.append(
        f"Lowest rank that is enough: {found.chosen}"
        if found.chosen is not None
        else "No rank met the target; train longer, raise --highest, or lower train.task_target"
    )
    return "\n".join(lines)
