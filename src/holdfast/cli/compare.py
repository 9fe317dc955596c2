"""`holdfast compare`: the paired comparisons of two arms, without a decision."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from holdfast.cli.arms import arm_options, by_suite, judges_of, read_arms, show_table
from holdfast.core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from holdfast.gate.policy import Policy

_FILE = click.Path(path_type=Path)


@click.command("compare")
@arm_options
@click.option(
    "--step",
    "steps",
    multiple=True,
    metavar="N=FILE",
    help="Completions of a checkpoint, in place of --candidate; give two or more for a trajectory.",
)
def command(
    base: Path | None,
    candidate: Path | None,
    judges: tuple[str, ...],
    audit: Path | None,
    looks: bool,
    policy: Path | None,
    kinds: tuple[str, ...],
    allow_identical: bool,
    as_json: bool,
    steps: tuple[str, ...],
) -> None:
    """Compare two arms on the same prompts, metric by metric.

    Prints both rates, the paired difference with its interval, the p-values, and the worsening that
    this number of prompts could have detected. It decides nothing: see 'holdfast gate'. With
    --step it compares every checkpoint with the base: one band for all, and when it began.
    """
    from holdfast.gate.compare import Options, comparisons, refuse_invalid, second_opinions
    from holdfast.gate.instruments import disagreements
    from holdfast.gate.pairing import pair
    from holdfast.gate.policy import load
    from holdfast.gate.words import one_line

    if not base or bool(candidate) == bool(steps):
        raise UsageError(
            "compare", got="too little or too much",
            expected="--base FILE, and --candidate FILE or --step N=FILE --step N=FILE",
        )  # fmt: skip
    rules = load(policy)
    (named, further), of_kind = judges_of(judges), by_suite("--kind", kinds)
    if rules.judge:
        named.setdefault("", rules.judge)
    if not candidate:
        _trajectories(base, steps, named, of_kind, rules, as_json)
        return
    first, second = read_arms(base, [candidate], named, of_kind, further)
    pairing = pair(
        first, second, judge=named, further=further, policy=rules, kinds=of_kind,
        allow_identical=allow_identical,
    )  # fmt: skip
    refuse_invalid(pairing)
    inputs = {"base": first.digest, "candidate": second.digest}
    labels = None
    if audit:
        from holdfast.gate.audit import read

        labels = read(audit, {"base": first, "candidate": second})
    options = Options(audit=labels, looks=looks)
    made = comparisons(pairing, rules, inputs=inputs, options=options)
    others = second_opinions(pairing, rules, inputs=inputs, options=options)
    if as_json:
        click.echo("[" + ",\n".join(c.model_dump_json(indent=1) for c in [*made, *others]) + "]")
        return
    show_table(made, title="candidate minus base")
    for name in further:
        show_table([c for c in others if c.judge == name], title=f"by judge {name}")
    for found in disagreements(made, others, rules):
        click.echo(one_line(f"{found.title}: {found.message}"))


def _trajectories(
    base: Path,
    steps: Sequence[str],
    judges: Mapping[str, str],
    kinds: Mapping[str, str],
    rules: Policy,
    as_json: bool,
) -> None:
    from holdfast.gate.trajectory import render, trajectories

    files = by_suite("--step", steps)
    if not all(step.isdigit() for step in files) or len(files) < 2:
        raise UsageError(
            "--step", got=", ".join(steps), expected="two or more N=FILE with whole numbers N"
        )
    numbers = sorted(files, key=int)
    first, *others = read_arms(base, [Path(files[n]) for n in numbers], judges, kinds)
    found = trajectories(
        first, dict(zip(map(int, numbers), others, strict=True)), judge=judges, policy=rules,
        kinds=kinds,
    )  # fmt: skip
    if as_json:
        import json

        click.echo(json.dumps([t.facts() for t in found], indent=1))
    else:
        click.echo("\n".join(render(t) for t in found))
