"""Alarms of the monitor: when, by which rule, and what and whom each of them blames."""

from __future__ import annotations

from holdfast.core.records import Alarm
from holdfast.report.load import Run
from holdfast.report.tables import MAX_ROWS, Table
from holdfast.report.text import number, one_line

NAMED = 5
"""Rows of an alarm that the table names."""
_HEAD = "Arm|Step|Rule|Value|Threshold|Action|What goes|Site|Streams blamed|Rows blamed (push)"


def table(run: Run) -> Table:
    """Every alarm of every arm."""
    rows = [
        [
            one_line(name, 40), str(a.step), one_line(a.rule, 120), number(a.value),
            number(a.threshold), one_line(a.action, 40), one_line(a.concept or "–", 60),
            one_line(a.site or "–", 40), _streams(a), _rows(a),
        ]
        for name, arm in run.arms.items()
        for a in (arm.training.alarms if arm.training else ())
    ]  # fmt: skip
    return Table(
        "Alarms of the monitor", _HEAD.split("|"), rows[:MAX_ROWS],
        left_out=max(0, len(rows) - MAX_ROWS),
    )  # fmt: skip


def _streams(alarm: Alarm) -> str:
    """What the streams that count for most added to the score."""
    most = sorted(alarm.streams.items(), key=lambda part: -part[1])[:3]
    told = ", ".join(f"{one_line(name, 40)} {number(part)}" for name, part in most if part > 0)
    return told or "–"


def _rows(alarm: Alarm) -> str:
    """The training rows that pushed most, the worst first, with the step of their batch."""
    told = [
        f"{row.row if row.row >= 0 else 'unknown'} at step {row.step} ({number(row.push)})"
        for row in alarm.rows[:NAMED]
    ]
    return ", ".join(told) or "–"
