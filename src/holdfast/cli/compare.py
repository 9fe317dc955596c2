"""`holdfast compare`: the paired comparisons of two arms, without a decision."""

from __future__ import annotations

from pathlib import Path

import click

from holdfast.cli.arms import arm_options, by_suite, read_arms, show_table
from holdfast.core.errors import UsageError


@click.command("compare")
@arm_options
def command(
    base: Path | None,
    candidate: Path | None,
    judges: tuple[str, ...],
    policy: Path | None,
    kinds: tuple[str, ...],
    allow_identical: bool,
    as_json: bool,
) -> None:
    """Compare two arms on the same prompts, metric by metric.

    Prints both rates, the paired difference with its interval, the p-values, and the worsening that
    this number of prompts could have detected. It decides nothing: see 'holdfast gate'.
    """
    from holdfast.gate.compare import compare
    from holdfast.gate.policy import load

    if not base or not candidate:
        raise UsageError("compare", got="too little", expected="--base FILE and --candidate FILE")
    rules = load(policy)
    named, of_kind = by_suite("--judge", judges), by_suite("--kind", kinds)
    if rules.judge:
        named.setdefault("", rules.judge)
    first, second = read_arms(base, [candidate], named, of_kind)
    made = compare(
        first, second, judge=named, policy=rules, kinds=of_kind, allow_identical=allow_identical
    )
    if as_json:
        click.echo("[" + ",\n".join(c.model_dump_json(indent=1) for c in made) + "]")
    else:
        show_table(made, title="candidate minus base")
