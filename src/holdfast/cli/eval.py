"""`holdfast eval`: answers of one model to suites, with labels, as a completions file."""

from __future__ import annotations

from pathlib import Path

import click

_FILE = click.Path(path_type=Path)


@click.command("eval")
@click.argument("model")
@click.option("--suite", "specs", multiple=True, required=True, help="Suite; repeat for several.")
@click.option("--out", type=_FILE, required=True, help="Completions file to write (JSONL).")
@click.option("--judge", "judge_names", multiple=True, help="Judge; default: each suite's own.")
@click.option("--adapter", type=_FILE, default=None, help="PEFT adapter on MODEL.")
@click.option("--kind", default="", help="Kind of suites that are files of your own.")
@click.option(
    "--per-suite", type=click.IntRange(min=1), default=None, help="Prompts of each suite."
)
@click.option("--seed", default=0, show_default=True, help="Chooses the prompts.")
@click.option("--plan", "plan_file", type=_FILE, default=None, help="Write the prompt plan here.")
@click.option("--cache", type=_FILE, default=None, help="Answer cache; default: beside --out.")
@click.option("--max-new-tokens", type=click.IntRange(min=1), default=256, show_default=True)
@click.option("--batch-size", type=click.IntRange(min=1), default=16, show_default=True)
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda or auto.")
@click.option("--arm", default="base", show_default=True, help="What people call this model.")
def command(
    model: str,
    specs: tuple[str, ...],
    out: Path,
    judge_names: tuple[str, ...],
    adapter: Path | None,
    kind: str,
    per_suite: int | None,
    seed: int,
    plan_file: Path | None,
    cache: Path | None,
    max_new_tokens: int,
    batch_size: int,
    device: str,
    arm: str,
) -> None:
    """Evaluate MODEL on suites; a killed run continues with the same command."""
    from holdfast.cli.progress import progress_bar
    from holdfast.evals.judges import make
    from holdfast.evals.plan import freeze, within
    from holdfast.evals.runner import run
    from holdfast.evals.suites import SuiteOptions, load_all

    # All that can be wrong with the request comes to light before the model is loaded.
    suites = load_all(specs, {spec: SuiteOptions(kind=kind) for spec in specs})
    names = judge_names or tuple(dict.fromkeys(suite.judge for suite in suites))
    judges = {name: make(name) for name in names}
    from holdfast.models.loading import load

    loaded = load(model, adapter=adapter, device=device)
    fits = within(
        lambda messages: len(loaded.render(messages)),
        context=loaded.max_context, max_new_tokens=max_new_tokens,
    )  # fmt: skip
    plan = freeze(suites, per_suite=per_suite, seed=seed, fits=fits)
    if plan_file is not None:
        plan.save(plan_file)
    for suite in plan.suites:
        if suite.too_long:
            click.echo(
                f"{suite.name}: {suite.too_long} prompts exceed the context and are left out."
            )
    with progress_bar(f"evaluate {arm}") as progress:
        run(
            loaded, plan, judges, out=out, cache=cache or out.with_name(f"{out.name}.cache"),
            arm=arm, max_new_tokens=max_new_tokens, batch_size=batch_size, progress=progress,
        )  # fmt: skip
    click.echo(
        f"{plan.total} answers of {loaded.digest[:12]} to {len(suites)} suites are in {out}."
    )
