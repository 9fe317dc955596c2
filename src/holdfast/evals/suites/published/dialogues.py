"""Conversations of several turns: CoSafe, psychosis-bench and VERA-MH.

CoSafe (arXiv 2406.17626) ends a dialogue with a question whose meaning hangs on what was said
before. `cosafe` keeps the authors' earlier answers, as their own evaluation does; `cosafe-ladder`
asks the model itself all three questions and stops at the first compliance. psychosis-bench
(arXiv 2509.10970) scripts twelve user turns per case. VERA-MH opens conversations as ten personas;
its own protocol goes on with a simulated user, which this suite does not have.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from holdfast.core.errors import DataError
from holdfast.data.template import check_messages
from holdfast.evals.suites.base import Prompt
from holdfast.evals.suites.published.entry import Published, Row, table, text_of

MAX_TURNS = 64
"""Most turns of one conversation."""


def _dialogues(files: list[Path]) -> list[tuple[str, str, list[dict[str, str]]]]:
    """(prompt id, category, messages up to the last of the user) of every CoSafe dialogue."""
    found = []
    for file in files:
        # Bytes split at line ends alone; text would split at U+2028 inside a message too.
        lines = file.read_bytes().splitlines()
        for number, line in enumerate((line for line in lines if line.strip()), 1):
            where = f"{file}, line {number}"
            try:
                messages = check_messages(json.loads(line), where)
            except (ValueError, RecursionError) as error:
                if isinstance(error, DataError):
                    raise
                raise DataError(f"{where} is not JSON", expected="a list of messages") from None
            while messages and messages[-1]["role"] != "user":
                messages.pop()
            if not 0 < len(messages) <= MAX_TURNS:
                raise DataError(f"{where} has {len(messages)} turns", expected=f"1 to {MAX_TURNS}")
            found.append((f"cosafe-{file.stem}-{number:03d}", file.stem, messages))
    return found


def _cosafe(files: list[Path]) -> tuple[Prompt, ...]:
    return tuple(
        Prompt(prompt_id=name, messages=messages, category=category)
        for name, category, messages in _dialogues(files)
    )


def _cosafe_ladder(files: list[Path]) -> tuple[Prompt, ...]:
    return tuple(
        _script(name, [m["content"] for m in messages if m["role"] == "user"], category)
        for name, category, messages in _dialogues(files)
    )


def _script(name: str, said: list[str], category: str) -> Prompt:
    first, *rest = said
    messages = [{"role": "user", "content": first}]
    return Prompt(prompt_id=name, messages=messages, followups=tuple(rest), category=category)


def _psychosis(files: list[Path]) -> tuple[Prompt, ...]:
    prompts: list[Prompt] = []
    for file in files:
        try:
            content: Any = json.loads(file.read_bytes())
        except (ValueError, RecursionError):
            raise DataError(
                f"{file} is not JSON", expected="the cases of psychosis-bench"
            ) from None
        cases = content.get("cases") if isinstance(content, dict) else None
        if not isinstance(cases, list) or not cases:
            raise DataError(f"{file} holds no cases", expected="the key 'cases'")
        prompts += [_case(case, f"{file}, case {n}") for n, case in enumerate(cases, 1)]
    return tuple(prompts)


def _case(case: Any, where: str) -> Prompt:
    said = case.get("prompts") if isinstance(case, dict) else None
    if not isinstance(said, list) or not all(isinstance(t, str) and t.strip() for t in said):
        raise DataError(f"{where}: 'prompts' is no list of texts")
    if not 0 < len(said) <= MAX_TURNS:
        raise DataError(f"{where} has {len(said)} turns", expected=f"1 to {MAX_TURNS}")
    condition = text_of(case, "condition", where)
    return _script(
        text_of(case, "id", where), said, f"{text_of(case, 'theme', where)}, {condition}"
    )


_PERSONA = ("Name", "Current Risk Level", "Sample Prompts")


def _persona(number: int, row: Row, file: Path) -> Prompt | None:
    if file.stem != "personas":
        return None
    where = f"{file}, row {number}"
    said = [part.strip() for part in text_of(row, "Sample Prompts", where).split(";")]
    risk = text_of(row, "Current Risk Level", where)
    return _script(f"vera-{text_of(row, 'Name', where)}", [s for s in said if s], f"risk {risk}")


def _vera(files: list[Path]) -> tuple[Prompt, ...]:
    personas = [file for file in files if file.stem == "personas"]
    if not personas:
        raise DataError(f"{files[0].parent} lacks personas.tsv", expected="the VERA-MH data folder")
    return table(_PERSONA, _persona)(personas)


_COSAFE = "github.com/ErxinYu/CoSafe-Dataset"
_NONE = "none stated: evaluation only"

DIALOGUES: dict[str, Published] = {
    "cosafe": Published(
        "jailbreak", "rules", 1300, _NONE,
        "answers a harmful question that hangs on two earlier turns (arXiv 2406.17626)",
        _COSAFE, _cosafe, (".json",),
    ),
    "cosafe-ladder": Published(
        "ladder", "rules", 1300, _NONE,
        "gives in within three turns of its own conversation (arXiv 2406.17626)",
        _COSAFE, _cosafe_ladder, (".json",), digests="cosafe",
    ),
    "psychosis-bench": Published(
        "crisis", "unread", 16, "MIT",
        "feeds delusions over twelve turns (arXiv 2509.10970)",
        "the authors' repository, psychosis-bench, version 3 of the cases", _psychosis, (".json",),
    ),
    "vera-mh": Published(
        "crisis", "unread", 10, "MIT with conditions",
        "answers to the openings of ten personas at some risk of suicide (arXiv 2510.15297); "
        "covers suicide risk only and is no clinical approval",
        "github.com/SpringCare/VERA-MH, data", _vera, (".tsv",),
    ),
}  # fmt: skip
"""Suite name -> entry."""
