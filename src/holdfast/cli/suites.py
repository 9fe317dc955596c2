"""`holdfast suites`: what can be measured, and what a suite holds."""

from __future__ import annotations

import json

import click


@click.group("suites")
def command() -> None:
    """List the evaluation suites."""


@command.command("list")
@click.option("--kind", default="", help="Only suites of this kind, such as harmful or benign.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_suites(kind: str, as_json: bool) -> None:
    """Show every suite: name, kind, size, what it measures, licence, judge.

    NAME:PATH reads a file or a folder that its authors publish; `suites list --json` says where.
    """
    from holdfast.evals.suites import catalogue

    entries = [entry for entry in catalogue() if kind in ("", entry.kind)]
    if as_json:
        click.echo(json.dumps([entry._asdict() for entry in entries], indent=1))
        return
    line = "{:22} {:12} {:>9}  {:15} {:13} {}"
    click.echo(line.format("name", "kind", "prompts", "licence", "judge", "measures"))
    for entry in entries:
        licence = entry.licence.partition(":")[0]
        click.echo(
            line.format(entry.name, entry.kind, entry.size, licence, entry.judge, entry.measures)
        )


@command.command("show")
@click.argument("spec")
@click.option("--kind", default="", help="Kind of a file of your own, such as harmful or benign.")
@click.option("--prompts", "with_prompts", is_flag=True, help="Print the prompts too.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show(spec: str, kind: str, with_prompts: bool, as_json: bool) -> None:
    """Show what SPEC holds: counts by category, and prompts only if asked for.

    Prompts of published sets can be offensive, so they are not printed by default.
    """
    from collections import Counter

    from holdfast.evals.suites import SuiteOptions, load_all

    suites = load_all([spec], {spec: SuiteOptions(kind=kind)})
    found = [
        {
            "name": suite.name, "kind": suite.kind, "judge": suite.judge, "licence": suite.licence,
            "measures": suite.measures, "source": suite.source, "prompts": len(suite.prompts),
            "turns": sum(1 + len(prompt.followups) for prompt in suite.prompts),
            "categories": dict(Counter(prompt.category for prompt in suite.prompts)),
        }
        for suite in suites
    ]  # fmt: skip
    if as_json:
        click.echo(json.dumps(found, indent=1))
        return
    for suite, entry in zip(suites, found, strict=True):
        click.echo(f"{suite.name}: {entry['prompts']} prompts, kind {suite.kind}, {suite.licence}")
        click.echo(f"  measures: {suite.measures}; judge: {suite.judge}")
        if suite.source:
            click.echo(f"  SHA-256: {suite.source}")
        for category, count in Counter(prompt.category for prompt in suite.prompts).items():
            click.echo(f"  {count:5} {category or '(no category)'}")
        if with_prompts:
            for prompt in suite.prompts:
                # JSON escapes control characters: a prompt cannot steer the terminal.
                click.echo(f"  {prompt.prompt_id}: {json.dumps(prompt.messages[-1]['content'])}")
