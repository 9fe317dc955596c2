"""`holdfast bench`: measurements that compare methods and defences side by side."""

from __future__ import annotations

from pathlib import Path

import click


@click.group("bench")
def command() -> None:
    """Compare methods and defences on the embedded model."""


@command.command("methods")
@click.option("--seeds", default=5, show_default=True, type=click.IntRange(min=1))
@click.option("--method", "methods", multiple=True, help="Only this method; repeat for several.")
@click.option("--base", type=click.Path(path_type=Path), help="Another harbor base.")
@click.option("--data", default="identity-shift", show_default=True, help="Harbor set to learn.")
@click.option("--target", default=0.9, show_default=True, type=click.FloatRange(0, 1),
              help="Task success on validation at which methods are compared.")  # fmt: skip
@click.option("--whole-budget", is_flag=True,
              help="Compare after each method's whole budget of epochs instead.")  # fmt: skip
@click.option("--prompts", default=120, show_default=True, help="Test prompts of each suite.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs/bench/methods.jsonl"),
              show_default=True, help="One line per method and seed; resumable.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per method.")
def methods_command(
    seeds: int,
    methods: tuple[str, ...],
    base: Path | None,
    data: str,
    target: float,
    whole_budget: bool,
    prompts: int,
    out: Path,
    as_json: bool,
) -> None:
    """Train every method to the same task success and show the safety that each cost.

    Stop it anywhere and run the same command again: finished arms are kept.
    """
    import dataclasses
    import json

    from holdfast.cli.progress import progress_bar
    from holdfast.organisms import harbor
    from holdfast.pipeline import method_bench, method_table

    setting = method_bench.Setting(
        base or harbor.weights_dir(),
        data=data,
        target=None if whole_budget else target,
        prompts=prompts,
    )
    with progress_bar("bench methods") as progress:
        rows = method_bench.run(
            setting, out, seeds=range(seeds), methods=methods, progress=progress
        )
    made = method_table.lines(rows)
    if as_json:
        for line in made:
            found = dataclasses.asdict(line)
            for name in ("loss", "jailbreak"):
                interval = getattr(line, name)
                found[name] = interval.model_dump() if interval else None
            click.echo(json.dumps(found))
    else:
        click.echo(method_table.markdown(made))
