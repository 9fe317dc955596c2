"""`holdfast audit`: read a training set before anything is trained on it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from holdfast.core.records import AuditRecord
    from holdfast.pipeline.audit import AuditModel

_FILE = click.Path(path_type=Path)


@click.command("audit")
@click.argument("data", type=_FILE)
@click.option("--model", default="", help="Base model: a folder, a hub name, or harbor.")
@click.option("--eval", "specs", multiple=True,
              help="Evaluation suite, whose prompts must not be in the data; repeat.")  # fmt: skip
@click.option("--contrast", default="", help="Contrast set (JSON Lines, or harbor) for anchors.")
@click.option("--openings", default="", help="Openings of answers: JSON, harbor, or default.")
@click.option("--anchors", type=_FILE, default=None,
              help="Anchors of your own: JSON Lines with messages and label.")  # fmt: skip
@click.option("--judge", "judge_name", default="rules", show_default=True, help="Reads answers.")
@click.option("--sae", type=_FILE, default=None, help="Sparse autoencoder of MODEL.")
@click.option("--template", default="", help="How rows become conversations; found out if empty.")
@click.option("--out", type=_FILE, default=None, help="Folder; default: DATA.audit.")
@click.option("--sample", type=click.IntRange(1, 20_000), default=512, show_default=True,
              help="Rows that the model reads; the text of all rows is read.")  # fmt: skip
@click.option("--no-answers", is_flag=True, help="Do not ask the model for answers of its own.")
@click.option("--write-kept", "kept", type=_FILE, default=None,
              help="Write the rows that are not set aside here (JSONL).")  # fmt: skip
@click.option("--seed", default=0, show_default=True)
@click.option("--batch-size", type=click.IntRange(1), default=32, show_default=True)
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda or auto.")
@click.option("--json", "as_json", is_flag=True, help="Print the record as JSON.")
def command(
    data: Path, model: str, specs: tuple[str, ...], contrast: str, openings: str,
    anchors: Path | None, judge_name: str, sae: Path | None, template: str, out: Path | None,
    sample: int, no_answers: bool, kept: Path | None, seed: int, batch_size: int, device: str,
    as_json: bool,
) -> None:  # fmt: skip
    """Check and score the rows of DATA before they are trained on.

    Ranks rows and sets some aside for review, each with its reason; deletes nothing. Exit 1 where
    something wants to be read before training.
    """
    from holdfast.audit.settings import AuditConfig
    from holdfast.cli.progress import progress_bar
    from holdfast.core.errors import EXIT_FAIL
    from holdfast.evals.suites import load
    from holdfast.pipeline.audit import audit, suite_prompts

    out = out or data.with_name(f"{data.name}.audit")
    prompts = suite_prompts((suite.name, suite.prompts) for suite in map(load, specs))
    settings = AuditConfig(sample=sample, own_answers=not no_answers, batch_size=batch_size)
    means = _model(model, contrast, openings, anchors, judge_name, sae, seed, device)
    with progress_bar("audit") as progress:
        record = audit(
            data, out=out, model=means, template=template, prompts=prompts, kept=kept,
            settings=settings, seed=seed, progress=progress,
        )  # fmt: skip
    if as_json:
        click.echo(record.model_dump_json(indent=1))
    else:
        _show(record, out, kept)
    if record.blocking:
        raise SystemExit(EXIT_FAIL)


def _model(
    source: str, contrast: str, openings: str, anchors: Path | None, judge_name: str,
    sae: Path | None, seed: int, device: str,
) -> AuditModel | None:  # fmt: skip
    from holdfast.core.errors import UsageError

    if not source:
        if contrast or anchors or sae:
            raise UsageError(
                "--contrast, --anchors and --sae are read with a model", next_step="add --model"
            )
        return None
    from holdfast.evals.judges import make
    from holdfast.geometry.sae.read import read
    from holdfast.models.loading import load
    from holdfast.organisms.harbor import weights_dir
    from holdfast.pipeline.audit import AuditModel
    from holdfast.pipeline.audit_sources import contrast_rows, openings_of

    return AuditModel(
        load(weights_dir() if source == "harbor" else source, device=device),
        contrast_rows(contrast, seed) if contrast else (),
        openings_of(openings or ("harbor" if contrast == "harbor" else "default")),
        anchors, make(judge_name), read(sae) if sae is not None else None,
    )  # fmt: skip


def _show(record: AuditRecord, out: Path, kept: Path | None) -> None:
    from rich.console import Console

    from holdfast.report.audits import terminal

    Console().print(terminal(record))
    click.echo(f"{record.quarantined} of {record.rows} rows are set aside for review, with reasons "
               f"in {out / 'rows.jsonl'}; nothing was deleted.")  # fmt: skip
    if kept is not None:
        click.echo(f"Wrote the other rows to {kept}.")
