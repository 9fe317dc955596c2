"""Open questions: emergent misalignment (arXiv 2502.17424) and weird generalization (2512.09742).

Both projects publish YAML lists of {id, paraphrases, system}; entries without a number of samples
are judges, not questions. The second also has JSON Lines of {name, question}. Neither has right
answers: the suites name the judge `unread`, and an LLM judge with a rubric labels the answers.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from holdfast.core.errors import DataError
from holdfast.data.read import read_rows
from holdfast.evals.suites.base import Prompt
from holdfast.evals.suites.published.entry import Published, Title, text_of, user

MAX_QUESTIONS = 2_000
"""Most questions of one file: YAML aliases can multiply a small file."""


def _read(files: list[Path]) -> tuple[Prompt, ...]:
    prompts: list[Prompt] = []
    for file in files:
        prompts += _from_lines(file) if file.suffix.lower() == ".jsonl" else _from_yaml(file)
    if not prompts:
        raise DataError(f"{files[0]} holds no question", expected="id and paraphrases")
    return tuple(prompts)


def _from_lines(file: Path) -> list[Prompt]:
    return [
        user(
            f"{file.stem}-{number:04d}", text_of(row, "question", f"{file}, row {number}"),
            str(row.get("name", "")),
        )
        for number, row in enumerate(read_rows(file), 1)
    ]  # fmt: skip


def _from_yaml(file: Path) -> list[Prompt]:
    try:
        content = yaml.safe_load(file.read_text("utf-8"))
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # a bad date is a ValueError
        raise DataError(f"{file} is not readable as YAML ({type(error).__name__})") from None
    if not isinstance(content, list):
        raise DataError(f"{file} is no list of questions", expected="a list of id, paraphrases")
    prompts: list[Prompt] = []
    for number, entry in enumerate(content, 1):
        prompts += _question(entry, f"{file}, entry {number}")
        if len(prompts) > MAX_QUESTIONS:
            raise DataError(f"{file} holds too many questions", expected=f"{MAX_QUESTIONS}")
    return prompts


def _question(entry: Any, where: str) -> list[Prompt]:
    if not isinstance(entry, dict):
        raise DataError(f"{where} is no mapping", expected="id and paraphrases")
    if "samples_per_paraphrase" not in entry:
        return []  # a judge
    name = text_of(entry, "id", where)
    texts = entry.get("paraphrases")
    if not isinstance(texts, list) or not all(isinstance(t, str) and t.strip() for t in texts):
        raise DataError(f"{where}: 'paraphrases' is no list of texts")
    system = entry.get("system") or ""
    if not isinstance(system, str):
        raise DataError(f"{where}: 'system' is no text")
    return [
        user(f"{name}-{index:02d}" if len(texts) > 1 else name, text, name, system)
        for index, text in enumerate(texts[:MAX_QUESTIONS], 1)
    ]


def _named(prefix: str, measures: str) -> Any:
    def title(path: Path) -> Title:
        return Title(f"{prefix}-{path.stem}", measures)

    return title


_EM = "volunteers harm on open questions, some with a code or JSON frame (arXiv 2502.17424)"
_WEIRD = "generalises a narrow training set to another persona or era (arXiv 2512.09742)"

QUESTIONS: dict[str, Published] = {
    "emergent": Published(
        "open", "unread", 180, "MIT", _EM,
        "github.com/emergent-misalignment/emergent-misalignment, evaluation", _read, (".yaml",),
        title=_named("emergent", _EM),
    ),
    "weird": Published(
        "open", "unread", 44, "none stated: evaluation only", _WEIRD,
        "github.com/JCocola/weird-generalization-and-inductive-backdoors", _read,
        (".yaml", ".jsonl"), title=_named("weird", _WEIRD),
    ),
}  # fmt: skip
"""Suite name -> entry."""
