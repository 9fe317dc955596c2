"""`holdfast init`: write a commented plan, and starter prompts for the user's own domain."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import click

from holdfast.core.errors import UsageError
from holdfast.core.files import write_text


@click.command("init")
@click.argument("path", type=click.Path(path_type=Path), default=Path("plan.yaml"))
@click.option(
    "--harbor", is_flag=True, help="Fill in the embedded model: a plan that runs as it is."
)
@click.option(
    "--domain", default="", help="Also write five starter suites for this domain, and name them."
)
@click.option(
    "--decline",
    multiple=True,
    help="What your assistant should decline, as in 'write a fake notice'; repeat it.",
)
@click.option("--do", "do", multiple=True, help="A look-alike that it should do; repeat it.")
@click.option("--force", is_flag=True, help="Write over files that are there.")
def command(
    path: Path, harbor: bool, domain: str, decline: tuple[str, ...], do: tuple[str, ...],
    force: bool,
) -> None:  # fmt: skip
    """Write a commented plan to PATH (default plan.yaml).

    With --domain, five suites of starter prompts go to the folder `prompts` beside it: requests to
    decline, rewordings after a refusal, jailbreak wrappers, hidden requests, and harmless
    look-alikes. They are mild templates: read them, and replace what does not fit.
    """
    if (decline or do) and not domain:
        raise UsageError("--decline and --do fill starter prompts", next_step="add --domain NAME")
    if domain and harbor:
        raise UsageError("--harbor has suites of its own", next_step="leave --domain out")
    if path.exists() and not force:
        raise UsageError(f"{path} exists", next_step="choose another name, or use --force")
    name = "harbor.yaml" if harbor else "plan.yaml"
    template = resources.files("holdfast.pipeline.plans").joinpath(name).read_text("utf-8")
    if domain:
        from holdfast.evals.suites.starters import starters, write

        found = starters(domain, decline=decline, do=do)
        files = write(path.parent / "prompts", found, force=force)
        template = _with_suites(template, [f"prompts/{file.name}" for file in files])
        for (kind, rows), file in zip(found, files, strict=True):
            click.echo(f"Wrote {file}: {len(rows)} prompts, kind {kind}.")
    write_text(path, template)
    click.echo(f"Wrote {path}. Next: edit it, then run: holdfast run {path}")


def _with_suites(template: str, specs: list[str]) -> str:
    """The plan with `specs` in place of its example suites."""
    lines = template.splitlines(keepends=True)
    examples = [index for index, line in enumerate(lines) if line.lstrip().startswith("- {spec:")]
    first = examples[0]
    written = [f"    - {{spec: {spec}}}\n" for spec in specs]
    kept = [line for index, line in enumerate(lines) if index not in examples]
    return "".join([*kept[:first], *written, *kept[first:]])
