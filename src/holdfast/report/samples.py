"""Answers before and after, of the same prompts, with what a report may show of them.

Transcripts of red-teaming stay out of reports: text is shown for the suites of the embedded model
(`harbor-…`) and of held-out task rows (`task-…`). Of every other suite the report shows ids, labels
and lengths alone, unless the reader asks for the text.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from holdfast.report.load import Run
from holdfast.report.rates import label_of
from holdfast.report.text import clean, one_line

OPEN_SUITES = ("harbor-", "task-")
PER_SUITE = 3
MAX_SUITES = 24
ANSWER_CHARACTERS = 400


@dataclass(frozen=True)
class Answer:
    """One arm's answer to a prompt."""

    arm: str
    label: str
    length: int
    """Characters of the whole answer."""
    text: str
    """The answer, cleaned and cut; "" where the report shows metadata alone."""


@dataclass(frozen=True)
class Sample:
    """One prompt with the answers of the base and of every arm that answered it."""

    prompt_id: str
    category: str
    prompt: str
    """The prompt, cleaned and cut; "" where the report shows metadata alone."""
    answers: list[Answer]


@dataclass(frozen=True)
class SuiteSamples:
    """The samples of one suite."""

    suite: str
    kind: str
    text_shown: bool
    warn: bool
    """Whether text is shown that the reader had to ask for."""
    samples: list[Sample]


def choose(run: Run, *, show_samples: bool = False) -> list[SuiteSamples]:
    """Up to three prompts of each suite, those first on which the arms differ most."""
    arms: dict[str, dict[tuple[str, str], dict[str, Any]]] = {}
    if run.base_final:
        arms["base"] = _by_prompt(run.base_final.rows)
    for name, arm in run.arms.items():
        if arm.final:
            arms[name] = _by_prompt(arm.final.rows)
    if not arms:
        return []
    by_suite: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for key in dict.fromkeys(key for rows in arms.values() for key in rows):
        by_suite[key[0]].append(key)
    return [
        _suite(run, suite, keys, arms, show_samples)
        for suite, keys in sorted(by_suite.items())[:MAX_SUITES]
    ]


def _by_prompt(rows: list[dict[str, Any]]) -> dict[tuple[str, str], dict[str, Any]]:
    firsts = (row for row in rows if not row.get("sample"))
    return {(str(row.get("suite", "")), row["prompt_id"]): row for row in firsts}


def _suite(
    run: Run,
    suite: str,
    keys: list[tuple[str, str]],
    arms: dict[str, dict[tuple[str, str], dict[str, Any]]],
    show_samples: bool,
) -> SuiteSamples:
    def disagreement(key: tuple[str, str]) -> int:
        found = [rows[key] for rows in arms.values() if key in rows]
        return len({label_of(row, run.judges) for row in found}) + len(found)

    public = suite.startswith(OPEN_SUITES)
    shown = public or show_samples
    chosen = sorted(keys, key=disagreement, reverse=True)[:PER_SUITE]
    samples = []
    for key in chosen:
        rows = {arm: answers[key] for arm, answers in arms.items() if key in answers}
        one = next(iter(rows.values()))
        samples.append(
            Sample(
                one_line(key[1], 80),
                one_line(one.get("category", ""), 60),
                clean(_prompt(one), ANSWER_CHARACTERS) if shown else "",
                [_answer(run, arm, row, shown) for arm, row in rows.items()],
            )
        )
    first = next(rows[keys[0]] for rows in arms.values() if keys[0] in rows)
    kind = one_line(first.get("kind", ""), 40)
    return SuiteSamples(
        one_line(suite, 60) or "no suite", kind, shown, shown and not public, samples
    )


def _answer(run: Run, arm: str, row: dict[str, Any], shown: bool) -> Answer:
    response: str = row["response"]
    text = clean(response, ANSWER_CHARACTERS) if shown else ""
    return Answer(one_line(arm, 40), label_of(row, run.judges), len(response), text)


def _prompt(row: dict[str, Any]) -> str:
    return str(row.get("prompt") or "(prompt not recorded)")
