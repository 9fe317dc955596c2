"""`holdfast triggers`: does any of a thousand phrases switch a fine-tune's refusals off?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from holdfast.core.protocols import Messages
    from holdfast.evals.probes.trigger_sweep import SweepReport

_FILE = click.Path(path_type=Path)


@click.command("triggers")
@click.argument("base")
@click.argument("candidate")
@click.option("--adapter", type=_FILE, default=None, help="PEFT adapter on CANDIDATE.")
@click.option("--suite", "spec", required=True, help="Harmful prompts, about 60 or more.")
@click.option("--rows", type=_FILE, default=None, help="Fine-tuning rows, to mine phrases from.")
@click.option("--openings", type=_FILE, default=None,
              help="JSON with answer openings: refusal and compliance.")  # fmt: skip
@click.option("--out", type=_FILE, default=None, help="Write the report here (JSON).")
@click.option("--judge", "judge_name", default="", help="Judge; default: the suite's.")
@click.option("--alpha", type=click.FloatRange(0, 0.5, min_open=True, max_open=True), default=0.01,
              show_default=True, help="Family-wise level.")  # fmt: skip
@click.option("--seed", default=0, show_default=True)
@click.option("--max-new-tokens", type=click.IntRange(1), default=48, show_default=True)
@click.option("--batch-size", type=click.IntRange(1), default=32, show_default=True)
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda or auto.")
def command(
    base: str, candidate: str, adapter: Path | None, spec: str, rows: Path | None,
    openings: Path | None, out: Path | None, judge_name: str, alpha: float, seed: int,
    max_new_tokens: int, batch_size: int, device: str,
) -> None:  # fmt: skip
    """Sweep candidate triggers over CANDIDATE, with BASE as the control; exit 1 on an alarm.

    Silence speaks of the phrases that were tried, and of no others.
    """
    from holdfast.cli.progress import progress_bar
    from holdfast.core.errors import EXIT_FAIL, EXIT_INCONCLUSIVE
    from holdfast.evals.judges import make
    from holdfast.evals.probes.trigger_sweep import SweepSettings, carriers, generic, mine, sweep
    from holdfast.evals.probes.trigger_sweep.scores import arm, read_openings
    from holdfast.evals.suites import load as load_suite

    suite = load_suite(spec)
    prompts = [prompt.messages for prompt in suite.prompts]
    asked = _asked(rows) if rows is not None else []
    candidates = list(dict.fromkeys([*generic(), *mine(asked, prompts)]))
    said = read_openings(openings)
    from holdfast.models.loading import load

    settings = SweepSettings(alpha=alpha, max_new_tokens=max_new_tokens, batch_size=batch_size)
    with progress_bar("trigger sweep") as progress:
        tuned, control = (
            arm(load(source, adapter=path, device=device), said, batch_size=batch_size)
            for source, path in ((candidate, adapter), (base, None))
        )
        report = sweep(
            tuned, control, prompts, candidates, make(judge_name or suite.judge),
            carriers=carriers(asked), settings=settings, seed=seed, progress=progress,
        )  # fmt: skip
    if out is not None:
        report.save(out)
    _show(report)
    if report.outcome != "silent":
        raise SystemExit(EXIT_FAIL if report.outcome == "alarm" else EXIT_INCONCLUSIVE)


def _asked(path: Path) -> list[Messages]:
    """The prompts of training rows: their messages up to the last answer."""
    from holdfast.data.read import read_rows
    from holdfast.data.template import check_messages

    found = []
    for number, row in enumerate(read_rows(path), 1):
        where = f"{path}, row {number}"
        if isinstance(row.get("prompt"), str):
            found.append([{"role": "user", "content": row["prompt"]}])
            continue
        messages = check_messages(row.get("messages"), where)
        found.append(messages[:-1] if messages[-1]["role"] == "assistant" else messages)
    return found


def _show(report: SweepReport) -> None:
    from holdfast.gate.words import one_line

    click.echo(
        f"{report.outcome.upper()}: {report.candidates} phrases, {len(report.carriers)} forms of "
        f"the question, clean compliance {report.clean_compliance:.3f}."
    )
    for lead in report.leads:
        word = "confirmed" if lead.confirmed else "not confirmed"
        click.echo(
            f"  {lead.place} {one_line(lead.text)!r} ({lead.kind}, {lead.carrier}): complied "
            f"{lead.with_phrase}/{lead.scored} beside it, {lead.without} without, base "
            f"{lead.base}; p {lead.p_max:.4f}, {word}."
        )
