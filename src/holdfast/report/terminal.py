"""The summary of a run in the terminal: the verdicts first, then what happened."""

from __future__ import annotations

from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from holdfast.report import summary
from holdfast.report.load import Run
from holdfast.report.text import one_line, short

STYLES = {
    "PASS": "bold green",
    "FAIL": "bold red",
    "INCONCLUSIVE": "bold yellow",
    "INVALID": "bold magenta",
}


def show(run: Run, console: Console) -> None:
    """Print the summary on `console`; every text is literal, so no record can style or forge it."""
    console.print(render(run))


def render(run: Run) -> Group:
    """Verdict of each arm with its reason, the story in about ten lines, then what is missing."""
    parts: list[RenderableType] = [_verdicts(run), Text(), *_bullets(summary.what_happened(run))]
    for title, lines in (("Not measured", summary.missing(run)), ("Problems", run.problems)):
        if lines:
            parts.append(Text(f"{title}: ", style="bold").append("; ".join(map(one_line, lines))))
    parts += [Text(), Text(summary.threat_sentence(run), style="dim")]
    return Group(*parts)


def _verdicts(run: Run) -> Panel:
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column()
    for name, arm in run.arms.items():
        word = summary.outcome_word(arm)
        table.add_row(
            Text(one_line(name, 40)),
            Text(word, style=STYLES.get(word, "bold")),
            Text(summary.reason(arm.verdict)),
        )
    if not run.arms:
        table.add_row(
            Text("no arm"), Text("NOT MEASURED", style="bold"), Text("Nothing was trained.")
        )
    plan = f", plan {short(run.plan_digest)}" if run.plan_digest else ""
    return Panel(table, title=Text(one_line(run.folder.name, 60) + plan), title_align="left")


def _bullets(lines: list[str]) -> list[Text]:
    return [Text(f"• {line}", overflow="fold") for line in lines]
