"""`holdfast bench`: measurements that compare methods and defences side by side."""

from __future__ import annotations

from pathlib import Path

import click

ZOO_SPLITS = ("development", "test", "second", "third")
"""Of the zoo, in the order in which they were looked at (`zoo_family.ZooSplit`)."""


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


@command.command("monitors")
@click.option("--zoo", type=click.Path(path_type=Path), default=Path("runs/zoo"),
              show_default=True, help="Folder of the zoo.")  # fmt: skip
@click.option("--split", type=click.Choice(ZOO_SPLITS), default="test",
              show_default=True, help="development: each family by a fit without it, test families "
              "stay unread. Otherwise: fitted on all splits before it.")  # fmt: skip
@click.option("--false-alarms", default=0.05, show_default=True,
              type=click.FloatRange(0, 1, min_open=True, max_open=True),
              help="Accepted share of benign runs with an alarm.")  # fmt: skip
@click.option("--detector", default="level", show_default=True,
              type=click.Choice(["level", "cusum", "e-process"]),
              help="Statistic that reads every stream.")  # fmt: skip
@click.option("--freeze", type=click.Path(path_type=Path, dir_okay=False),
              help="Write the combined monitor, fitted on development runs.")  # fmt: skip
@click.option("--figure", type=click.Path(path_type=Path, dir_okay=False),
              help="Write the picture of warning against lead time, as SVG.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per monitor.")
def monitors_command(
    zoo: Path,
    split: str,
    false_alarms: float,
    detector: str,
    freeze: Path | None,
    figure: Path | None,
    as_json: bool,
) -> None:
    """Show how early and how specifically every monitor warns, on fine-tunes of the zoo.

    Beside each: random directions, a few greedy answers, and the behaviour itself.
    """
    import json

    from holdfast.cli.progress import progress_bar
    from holdfast.pipeline.monitor_bench import bench as monitor_bench
    from holdfast.pipeline.monitor_bench import scores as monitor_scores
    from holdfast.pipeline.monitor_bench import table as monitor_table
    from holdfast.pipeline.monitor_bench import zoo as monitor_zoo

    with progress_bar("bench monitors") as progress:
        known, asked = _splits(split)
        development = monitor_zoo.load(zoo, split=known, progress=progress)
        test = (
            monitor_zoo.load(zoo, split=asked, known=known, progress=progress) if asked else []
        )  # fmt: skip
        made = monitor_bench.run_all(
            development, test, detector_name=detector, false_alarms=false_alarms, progress=progress
        )
        found = monitor_scores.lines(made, test or development)
    if freeze:
        monitor_bench.freeze(development, detector_name=detector).save(freeze)
    if figure:
        monitor_table.figure(found, figure, title=f"{split} families, {false_alarms:.0%} per run")
    if as_json:
        for line in found:
            click.echo(json.dumps(line.plain()))
    else:
        benign = sum(run.group == "benign" for run in development)
        click.echo(monitor_table.markdown(found, calibrated=benign, false_alarms=false_alarms))


def _splits(split: str) -> tuple[str, str]:
    """(splits to fit on, split to test on) of the zoo; "" for none."""
    before = ZOO_SPLITS[: ZOO_SPLITS.index(split)]
    return (",".join(before), split) if before else (split, "")


@command.command("forecast")
@click.option("--zoo", type=click.Path(path_type=Path), default=Path("runs/zoo"),
              show_default=True, help="Folder of the zoo.")  # fmt: skip
@click.option("--base", "bases", multiple=True, type=click.Path(path_type=Path),
              help="The bases of the zoo's build, in its order [the shipped one].")  # fmt: skip
@click.option("--split", type=click.Choice(ZOO_SPLITS), default="test",
              show_default=True, help="development: each family by a fit without it, test families "
              "stay unread. Otherwise: fitted on all splits before it.")  # fmt: skip
@click.option("--fit", "fitted", type=click.Path(path_type=Path, dir_okay=False),
              help="Write the forecaster, fitted on development families.")  # fmt: skip
@click.option("--figure", type=click.Path(path_type=Path, dir_okay=False),
              help="Write the picture of forecast against outcome, as SVG.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line.")
def forecast_command(
    zoo: Path,
    bases: tuple[Path, ...],
    split: str,
    fitted: Path | None,
    figure: Path | None,
    as_json: bool,
) -> None:
    """Forecast fine-tunes of the zoo from before their training, and compare with what came.

    Beside it: random directions, words of the rows, losses, and the mean. Signals are read once
    and kept in the zoo; stop it anywhere and run it again.
    """
    import dataclasses
    import json

    from holdfast.cli.progress import progress_bar
    from holdfast.organisms import harbor
    from holdfast.pipeline.forecast import bench, table
    from holdfast.pipeline.forecast import zoo as forecast_zoo

    folders = list(bases) or [harbor.weights_dir()]
    with progress_bar("bench forecast") as progress:
        known, asked = _splits(split)
        development = forecast_zoo.cases(zoo, folders, split=known, progress=progress)
        test = forecast_zoo.cases(zoo, folders, split=asked, progress=progress) if asked else []
        result = bench.run(development, test)
    if fitted:
        bench.fit(development).save(fitted)
    if figure:
        table.figure(
            result, test or development, figure, metric="harmful_compliance",
            title=f"Harmful compliance, {split} families",
        )  # fmt: skip
    if as_json:
        for score in result.scores:
            click.echo(json.dumps(dataclasses.asdict(score)))
    else:
        click.echo(table.markdown(result))


@command.command("defenses")
@click.option("--base", "bases", multiple=True, type=click.Path(path_type=Path),
              help="A harbor base; repeat for several. Default: the shipped one.")  # fmt: skip
@click.option("--cell", "cells", multiple=True, metavar="BASE:SEED",
              help="Report this base (0 is the first --base) with this seed; repeat for several. "
              "Default: --seeds cells, shared evenly among the bases.")  # fmt: skip
@click.option("--seeds", default=5, show_default=True, type=click.IntRange(min=1))
@click.option("--data", multiple=True, default=("identity-shift", "contaminated-5", "obey-style"),
              show_default=True, help="Harbor set to learn; repeat for several.")  # fmt: skip
@click.option("--arm", "arms", multiple=True,
              help="Only this arm, with what it is compared with; repeat for several.")  # fmt: skip
@click.option("--prompts", default=60, show_default=True, type=click.IntRange(min=2),
              help="Test prompts of each suite.")  # fmt: skip
@click.option("--validation", default=40, show_default=True, type=click.IntRange(min=2),
              help="Validation prompts of each suite, to choose configurations on.")  # fmt: skip
@click.option("--rows", default=400, show_default=True, type=click.IntRange(min=20),
              help="Training rows.")  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs/bench/defenses.jsonl"),
              show_default=True, help="One line per arm and cell; resumable.")  # fmt: skip
@click.option("--table", is_flag=True, help="Only read what is there; train nothing.")
@click.option("--figures", type=click.Path(path_type=Path), help="Folder to draw figures into.")
@click.option("--json", "as_json", is_flag=True, help="Print the analysis as one JSON object.")
def defenses_command(
    bases: tuple[Path, ...],
    cells: tuple[str, ...],
    seeds: int,
    data: tuple[str, ...],
    arms: tuple[str, ...],
    prompts: int,
    validation: int,
    rows: int,
    out: Path,
    table: bool,
    figures: Path | None,
    as_json: bool,
) -> None:
    """Train, protect and repair side by side, with twins of equal size for subspace methods.

    Stop it anywhere and run the same command again: finished arms are kept.
    """
    from holdfast.cli.progress import progress_bar
    from holdfast.organisms import harbor
    from holdfast.pipeline.defenses import bench as defense_bench
    from holdfast.pipeline.defenses import words as defense_bench_words
    from holdfast.pipeline.defenses.figures import write
    from holdfast.pipeline.defenses.table import analyse, contests

    folders = bases or (harbor.weights_dir(),)
    setting = defense_bench.Setting(
        folders,
        tuple(map(_cell, cells)) or defense_bench.rotating(seeds, len(folders)),
        data=data, prompts=prompts, validation=validation, rows=rows,
    )  # fmt: skip
    if table:
        found = defense_bench.read(setting, out)
    else:
        with progress_bar("bench defenses") as progress:
            found = defense_bench.run(setting, out, arms=arms, progress=progress)
    analysis = analyse(found)
    if figures is not None:
        for path in write(analysis, figures):
            click.echo(f"drew {path}", err=True)
    told = defense_bench_words.as_json if as_json else defense_bench_words.markdown
    click.echo(told(analysis, contests(found)))


def _cell(text: str) -> tuple[int, int]:
    """`BASE:SEED` as two numbers."""
    base, colon, seed = text.partition(":")
    if not (colon and base.isdecimal() and seed.isdecimal()):
        raise click.BadParameter(f"'{text}' is not BASE:SEED, such as 0:1", param_hint="--cell")
    return int(base), int(seed)
