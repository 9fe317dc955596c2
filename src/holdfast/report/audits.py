"""The audit of the training data, for the terminal and for the page."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table as RichTable
from rich.text import Text

from holdfast.core.records import AuditRecord
from holdfast.report.tables import Table
from holdfast.report.text import number, one_line, p_value, percent

_STYLES = {"blocking": "bold red", "warning": "yellow", "information": "dim"}


def panel(record: AuditRecord) -> dict[str, object]:
    """Everything that the page shows of one audit."""
    return {
        "sentence": sentence(record),
        "not_run": not_run(record),
        "tables": [
            found for found in (findings(record), scores(record), triggers(record)) if found.rows
        ],
    }


def sentence(record: AuditRecord) -> str:
    """The audit in one sentence."""
    read = f"{record.rows:,} rows of {one_line(record.name, 60)} were read before training"
    if record.sampled:
        read += f", {record.sampled:,} of them by the model"
    blocking = len(record.blocking)
    count = len(record.findings)
    said = f"{count} finding{'s' if count > 1 else ''}" if count else "no finding"
    if blocking:
        said += f", {blocking} of which want to be read before training"
    return f"{read}: {said}; {record.quarantined:,} rows are set aside for review, none is deleted."


def not_run(record: AuditRecord) -> list[str]:
    """Checks that were not run, each with its reason."""
    return [
        f"{check.code} {check.title}: {one_line(check.why_not, 160)}"
        for check in record.checks
        if not check.ran
    ]


def findings(record: AuditRecord) -> Table:
    """What was found."""
    rows = [
        [found.code, found.severity, found.title, one_line(found.message, 400)]
        for found in record.findings
    ]
    return Table("What the audit found", ["Code", "Severity", "Finding", "What"], rows)


def scores(record: AuditRecord) -> Table:
    """The model's scores beside their nulls."""
    head = ["Score", "Layer", "AUROC on anchors", "Safe", "Unsafe", "Null, 99 %", "Beyond null",
            "Beyond threshold"]  # fmt: skip
    rows = [
        [one_line(s.name, 40) + ("" if s.usable else " (not used)"),
         "–" if s.layer is None else str(s.layer), number(s.anchor_auroc), number(s.safe),
         number(s.unsafe), number(s.null_quantile), percent(s.beyond_null), percent(s.beyond)]
        for s in record.scores
    ]  # fmt: skip
    note = (
        "Scores of the sampled rows. Safe and unsafe: means of anchors held out of the fit. By "
        "chance 1 % of the rows lie beyond the null; the threshold is the null or the middle of "
        "the anchors, whichever is higher."
    )
    return Table("Harm scores of the rows", head, rows, note)


def triggers(record: AuditRecord) -> Table:
    """Trigger candidates."""
    head = ["Phrase", "Rows", "Disagree with the base", "Elsewhere", "p, Holm", "Kind"]
    rows = [
        [one_line(t.text, 120), str(t.rows), str(t.disagree), percent(t.elsewhere),
         p_value(t.p_value), t.kind]
        for t in record.triggers
    ]  # fmt: skip
    note = "Phrases whose presence predicts, among comparable rows, that the base would not say so."
    return Table("Trigger candidates", head, rows, note)


def terminal(record: AuditRecord) -> Group:
    """The audit for a terminal; every text is literal, so no row can style or forge it."""
    parts: list[RenderableType] = [Text(sentence(record))]
    grid = RichTable.grid(padding=(0, 2))
    for found in record.findings:
        grid.add_row(
            Text(found.code, style=_STYLES[found.severity]), Text(found.title),
            Text(one_line(found.message, 400)),
        )  # fmt: skip
    if record.findings:
        parts.append(grid)
    for table in (scores(record), triggers(record)):
        if table.rows:
            parts.append(_rich(table))
    missing = not_run(record)
    if missing:
        parts.append(Text("Not run: " + "; ".join(missing), style="dim"))
    return Group(*parts)


def _rich(table: Table) -> RichTable:
    shown = RichTable(title=table.caption, title_justify="left", box=None, padding=(0, 1))
    for head in table.head:
        shown.add_column(Text(head))
    for row in table.rows:
        shown.add_row(*map(Text, row))
    return shown
