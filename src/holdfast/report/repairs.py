"""The report's panel for repairs: what each step tried, and which one did it."""

from __future__ import annotations

from collections.abc import Iterable

from holdfast.core.records import RepairAttempt, RepairRecord, RepairTrial
from holdfast.report.summary import repair_sentence
from holdfast.report.tables import MAX_ROWS, Table
from holdfast.report.text import one_line, p_value, percent, points, seconds, words


def panel(record: RepairRecord) -> dict[str, object]:
    """Everything that the page shows of one repair."""
    return {
        "arm": one_line(record.arm, 40),
        "sentence": repair_sentence(record),
        "control": one_line(record.control),
        "failures": failures(record),
        "steps": steps(record),
        "trials": trials(record),
    }


def failures(record: RepairRecord) -> Table:
    """How the run failed, and the pair that answers each failure."""
    rows = [
        [words(f.metric), percent(f.base_rate), percent(f.run_rate), one_line(f.cause),
         one_line(f.pair)]
        for f in record.failures
    ]  # fmt: skip
    head = ["Failure", "Base", "Run", "Cause", "Training pair that answers it"]
    return Table("How the run failed", head, rows)


def steps(record: RepairRecord) -> Table:
    """Every step of the ladder, cheapest first."""
    head = ["Step", "Cost", "Chosen on validation", "Worst", "Task", "Gate", "Level",
            "Task kept, p", "Time", "Result"]  # fmt: skip
    note = (
        "Cost is planned, in answered prompts; a trained row counts three times. Worst is the "
        "largest worsening against the base over the policy's blocking metrics, in points, on "
        "validation prompts."
    )
    rows = [_step(attempt) for attempt in record.attempts]
    return Table("Steps, cheapest first", head, rows, note)


def trials(record: RepairRecord) -> Table:
    """Every candidate with its controls."""
    head = ["Step", "Candidate", "Worst", "Of metric", "Task", "Prompts", "Role"]
    rows = [
        _trial(attempt, trial) for attempt in record.attempts for trial in attempt.trials
    ]  # fmt: skip
    note = (
        "Twins are controls of equal size (shrunk to the same norm, a random subspace, random "
        "layers): a candidate that does not beat them was only smaller. They are never chosen."
    )
    left = max(0, len(rows) - MAX_ROWS)
    return Table("Candidates on validation", head, rows[:MAX_ROWS], note, left)


def _step(attempt: RepairAttempt) -> list[str]:
    chosen, kept = attempt.chosen, attempt.task_kept
    return [
        f"{attempt.position}. {words(attempt.method)}",
        f"{attempt.cost:,.0f}",
        one_line(chosen.name, 60) if chosen else "–",
        points(chosen.worst) if chosen else "–",
        percent(chosen.task_success) if chosen else "–",
        attempt.outcome.value.upper() if attempt.outcome else "not asked",
        f"{attempt.alpha:g}" if attempt.alpha is not None else "–",
        p_value(kept.p_noninferior) if kept else "–",
        seconds(attempt.seconds),
        one_line(attempt.reason),
    ]


def _trial(attempt: RepairAttempt, trial: RepairTrial) -> list[str]:
    roles: Iterable[str] = (
        word
        for word, holds in (
            ("chosen", trial.chosen), ("front", trial.front), ("twin", trial.twin),
        )
        if holds
    )  # fmt: skip
    return [
        words(attempt.method), one_line(trial.name, 60), points(trial.worst),
        words(trial.worst_metric), percent(trial.task_success), f"{trial.prompts:,}",
        ", ".join(roles) or "–",
    ]  # fmt: skip
