"""The VERA-MH rubric as a flow of questions: which one comes next, and what an answer weighs.

The rubric (arXiv 2510.15297) is a table whose rows are questions, each followed by its answers.
An answer may lead on to a named question, to the next row, or to the end; a question with a
severity says what is wrong, so that `Yes` counts against the chatbot. Holdfast reads the table from
the authors' file and leaves the asking to a judge; it claims no clinical validity for either.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from holdfast.core.errors import DataError
from holdfast.data.read import read_rows, require_columns

_COLUMNS = ("Question ID", "Dimension", "Severity", "Question", "Examples", "Answer", "GOTO")
_SEVERITY = {"red": "red", "yellow": "yellow", "yelow": "yellow", "": ""}
"""The authors' file misspells one of its two severities."""
YES, NO, END = "Yes", "No", "END"


@dataclass(frozen=True)
class Question:
    """One question to a judge about a whole conversation."""

    name: str
    """Its number in the authors' file."""
    dimension: str
    """What the question is about, such as the detection of risk."""
    severity: str
    """`red` or `yellow` where `Yes` counts against the chatbot; empty where it only branches."""
    text: str
    """The question, with the authors' examples."""
    answers: tuple[tuple[str, str], ...]
    """(answer, name of the question that it leads to); an empty name means the next question."""


@dataclass(frozen=True)
class Rating:
    """What one conversation got in one dimension."""

    dimension: str
    """Name of the dimension."""
    severity: str
    """`red`, `yellow`, or `clear` where nothing counted against the chatbot."""
    faults: tuple[str, ...]
    """Questions that counted against it."""


@dataclass(frozen=True)
class Rubric:
    """Questions in the authors' order."""

    questions: tuple[Question, ...]

    def follow(self, ask: Callable[[Question], str]) -> list[Rating]:
        """Walk the flow with a judge that answers each question; one rating per dimension asked.

        Raises `DataError` for an answer that the question does not offer: nothing is guessed.
        """
        place = {question.name: index for index, question in enumerate(self.questions)}
        asked: dict[str, list[tuple[str, str]]] = {}
        index: int | None = 0
        while index is not None and index < len(self.questions):
            question = self.questions[index]
            offered = dict(question.answers)
            answer = ask(question)
            if answer not in offered:
                raise DataError(
                    f"question {question.name} of the rubric has no answer '{answer[:40]}'",
                    expected=" or ".join(name[:40] for name in offered),
                )
            faults = asked.setdefault(question.dimension, [])
            if question.severity and answer == YES:
                faults.append((question.severity, question.name))
            target = offered[answer]
            index = index + 1 if not target else place.get(target)
        return [_rate(dimension, faults) for dimension, faults in asked.items()]


def _rate(dimension: str, faults: list[tuple[str, str]]) -> Rating:
    severities = {severity for severity, _ in faults}
    worst = "red" if "red" in severities else "yellow" if severities else "clear"
    return Rating(dimension, worst, tuple(name for _, name in faults))


def read_rubric(path: Path) -> Rubric:
    """Read the authors' `rubric.tsv`.

    Raises `DataError` for rows without a question before them, for a severity that is unknown, and
    for a jump to a question that is not there or does not lie ahead (a flow must end).
    """
    rows = read_rows(path)
    require_columns(path, rows, _COLUMNS)
    blocks: list[list[dict[str, Any]]] = []
    for number, row in enumerate(rows, 1):
        if row["Question ID"]:
            blocks.append([row])
        elif blocks:
            blocks[-1].append(row)
        else:
            raise DataError(f"{path}, row {number} belongs to no question")
    rubric = Rubric(tuple(_question(block, path) for block in blocks))
    _check_flow(rubric, path)
    return rubric


def _question(block: list[dict[str, Any]], path: Path) -> Question:
    head = block[0]
    severity = _SEVERITY.get(str(head["Severity"]).strip().lower())
    if severity is None:
        raise DataError(f"{path}: question {head['Question ID']} has an unknown severity")
    listed = [(row["Answer"].strip(), row["GOTO"].strip()) for row in block if row["Answer"]]
    text = head["Question"].strip()
    if head["Examples"].strip():
        text = f"{text}\n\n{head['Examples'].strip()}"
    # Later questions list no answers: Yes and No, and the flow goes on.
    answers = tuple(listed) or ((YES, ""), (NO, ""))
    return Question(head["Question ID"], head["Dimension"].strip(), severity, text, answers)


def _check_flow(rubric: Rubric, path: Path) -> None:
    place = {question.name: index for index, question in enumerate(rubric.questions)}
    for index, question in enumerate(rubric.questions):
        for _, target in question.answers:
            if target and target != END and place.get(target, -1) <= index:
                raise DataError(
                    f"{path}: question {question.name} leads to '{target}'",
                    expected="a later question or END",
                )
