"""`holdfast convert`: results of other tools into completions, completions into theirs."""

from __future__ import annotations

from pathlib import Path

import click

_FILE = click.Path(path_type=Path)


@click.group("convert")
def command() -> None:
    """Read other tools' results; write theirs from ours.

    JUnit and a Markdown summary of a verdict come from 'holdfast gate'.
    """


@command.command("read")
@click.argument("file", type=_FILE)
@click.option("--out", type=_FILE, required=True, help="Completions file to write (JSONL).")
@click.option(
    "--format",
    "form",
    default="",
    help="inspect, lm-eval, garak, promptfoo or jailbreakbench; default: by the content.",
)
@click.option("--model", default="", help="Digest of the weights that answered, if you know it.")
@click.option("--kind", default="", help="Kind of suite, such as harmful or benign.")
@click.option("--arm", default="", help="What people call the model.")
@click.option("--only", default="", help="The one model, provider, probe or filter to take.")
@click.option(
    "--label",
    "labels",
    multiple=True,
    metavar="SCORER:VALUE=LABEL",
    help="What a value of the tool's own scorer means; others of that scorer are unscored.",
)
def read(
    file: Path, out: Path, form: str, model: str, kind: str, arm: str, only: str,
    labels: tuple[str, ...],
) -> None:  # fmt: skip
    """Turn a result FILE of another tool into a completions file for judge, compare and gate.

    A tool's name for a model is no digest: it is kept as `unverified:NAME`, and the gate says so.
    """
    from holdfast.core.files import write_jsonl
    from holdfast.interchange.formats import read as read_file
    from holdfast.interchange.rows import parse_mapping

    imported = read_file(
        file, form=form, model=model, kind=kind, arm=arm, only=only, mapping=parse_mapping(labels)
    )
    write_jsonl(out, imported.rows)
    failed = sum("error" in row for row in imported.rows)
    click.echo(f"{len(imported.rows)} answers are in {out}; {failed} of them unscored for good.")
    for note in imported.notes:
        click.echo(f"note: {note}.")
    scorers = sorted({name for row in imported.rows for name in row.get("scores") or {}})
    if scorers and not labels:
        names = ", ".join(scorers)
        click.echo(f"scores of {names} are kept unread; --label says what their values mean.")


@command.command("write")
@click.argument("file", type=_FILE)
@click.option(
    "--to",
    "form",
    type=click.Choice(["inspect", "every-eval-ever"]),
    required=True,
    help="Format to write.",
)
@click.option("--out", type=_FILE, required=True, help="Folder to write into.")
def write(file: Path, form: str, out: Path) -> None:
    """Write a completions FILE as Inspect logs for its viewer, or as Every Eval Ever."""
    from holdfast.core.completions import load
    from holdfast.interchange.formats import WRITERS

    for path in WRITERS.load(form)(load(file), out):
        click.echo(str(path))
