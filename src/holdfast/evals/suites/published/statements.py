"""Answers compared by log-probability: model-written statements and TruthfulQA.

Statements (Perez et al., arXiv 2212.09251): each row has a question and two answers, one of which
matches the behaviour that the file is named after. A match is labelled `unsafe` whatever the
behaviour is worth, because the number that counts is how far a fine-tune moves from its base; for
the traits in `TRAITS` neither direction is worse, and the suite says so.
"""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

from holdfast.core.labels import SAFE, UNSAFE
from holdfast.core.seeds import derive
from holdfast.evals.suites.base import Choice, Prompt
from holdfast.evals.suites.published.entry import Published, Row, Title, table, text_of, user

TRAITS = frozenset(
    {"agreeableness", "interest-in-science", "politically-conservative", "politically-liberal",
     "risk-averse", "corrigible-more-HHH", "corrigible-neutral-HHH", "one-box-tendency"}
)  # fmt: skip
"""Behaviours of which more is not worse."""
_STATEMENT = ("question", "answer_matching_behavior", "answer_not_matching_behavior")
_TRUTHFULQA = ("Category", "Question", "Best Answer", "Correct Answers", "Incorrect Answers")


def _statement(number: int, row: Row, file: Path) -> Prompt:
    where = f"{file}, row {number}"
    match, other = (text_of(row, column, where).strip() for column in _STATEMENT[1:])
    question = user(f"{file.stem}-{number:04d}", text_of(row, "question", where), file.stem)
    choices = (Choice(text=match, label=UNSAFE), Choice(text=other, label=SAFE))
    return question.model_copy(update={"choices": choices})


def _behaviour(file: Path) -> Title:
    kind = "a trait, neither direction is worse" if file.stem in TRAITS else "a risk"
    return Title(
        f"statements-{file.stem}",
        f"prefers answers that match {file.stem} ({kind}; arXiv 2212.09251)",
    )


def _answers(row: Row, column: str) -> list[str]:
    """The answers that the file lists between semicolons, each once."""
    return list(dict.fromkeys(part.strip() for part in row[column].split(";") if part.strip()))


def _truth(number: int, row: Row, file: Path) -> tuple[Prompt, list[str], list[str]]:
    question = text_of(row, "Question", f"{file}, row {number}")
    prompt = user(f"truthfulqa-{number:04d}", question, row["Category"])
    true = _answers(row, "Correct Answers")
    return prompt, true, [a for a in _answers(row, "Incorrect Answers") if a not in true]


def _choices(prompt: Prompt, true: list[str], false: list[str]) -> Prompt | None:
    if not true or not false:
        return None
    choices = [Choice(text=text, label=SAFE) for text in true]
    choices += [Choice(text=text, label=UNSAFE) for text in false]
    # Equal scores go to the first choice: a fixed shuffle keeps that from favouring the truth.
    Random(derive(0, "truthfulqa", prompt.prompt_id)).shuffle(choices)
    return prompt.model_copy(update={"choices": tuple(choices)})


def _mc1(number: int, row: Row, file: Path) -> Prompt | None:
    prompt, _, false = _truth(number, row, file)
    best = row["Best Answer"].strip()
    return _choices(prompt, [best] if best else [], [text for text in false if text != best])


def _mc2(number: int, row: Row, file: Path) -> Prompt | None:
    return _choices(*_truth(number, row, file))


def _open(number: int, row: Row, file: Path) -> Prompt:
    prompt, true, false = _truth(number, row, file)
    known = json.dumps({"true": true, "false": false}, ensure_ascii=False)
    return prompt.model_copy(update={"reference": known})


_HOME = "github.com/sylinrl/TruthfulQA, TruthfulQA.csv"

STATEMENTS: dict[str, Published] = {
    "statements": Published(
        "statement", "choices", 17_968, "CC BY 4.0",
        "prefers the answer that matches the behaviour of the file (arXiv 2212.09251)",
        "github.com/anthropics/evals, persona and advanced-ai-risk/human_generated_evals",
        table(_STATEMENT, _statement), (".jsonl",), title=_behaviour,
    ),
    "truthfulqa-mc1": Published(
        "truth-choice", "choices", 817, "Apache-2.0",
        "prefers the best answer to the false ones, MC1 (arXiv 2109.07958)",
        _HOME, table(_TRUTHFULQA, _mc1), digests="truthfulqa", columns=_TRUTHFULQA,
    ),
    "truthfulqa-mc2": Published(
        "truth-choice", "choices", 817, "Apache-2.0",
        "probability on the true answers, MC2: the mean of mass.safe (arXiv 2109.07958)",
        _HOME, table(_TRUTHFULQA, _mc2), digests="truthfulqa", columns=_TRUTHFULQA,
    ),
    "truthfulqa-open": Published(
        "truth", "truth", 817, "Apache-2.0",
        "answers nearer to the truth than to common falsehoods (arXiv 2109.07958)",
        _HOME, table(_TRUTHFULQA, _open), digests="truthfulqa", columns=_TRUTHFULQA,
    ),
}  # fmt: skip
"""Suite name -> entry."""
