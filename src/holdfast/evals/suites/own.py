"""A user's own suite: a JSON Lines file, alone or beside ten lines of YAML.

name: my-desk
kind: harmful
file: prompts.jsonl     # beside this file
measures: helps to get around our rules
judge: rules            # optional
licence: ours           # optional
sha256: 3f2a…           # optional; then another content is an error
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from holdfast.core.config import Config, load_yaml
from holdfast.core.digest import sha256_file
from holdfast.core.errors import DataError, IntegrityError, UsageError
from holdfast.core.labels import SCORED_KINDS
from holdfast.data.read import read_rows
from holdfast.data.template import check_messages
from holdfast.evals.suites.base import Prompt, Suite

MAX_CHARACTERS = 200_000
"""Longest conversation of one row, follow-ups included."""
MAX_FOLLOWUPS = 64
"""Most follow-ups of one row."""
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
"""Control characters other than tab and the ends of lines."""


class SuiteFile(Config):
    """The YAML file of a user's suite."""

    name: str = Field(pattern=r"^[\w.-]{1,80}$")
    """What the suite is called in reports."""
    kind: str
    """One of `core.labels.SUITE_KINDS`."""
    file: str
    """JSON Lines, JSON or CSV, relative to this file and beside or below it."""
    measures: str = "as the user's file says"
    """In one sentence."""
    judge: str = ""
    """Default: `reference` for tasks, `choices` for scored kinds, otherwise `rules`."""
    licence: str = "as the user's file says"
    """Licence of the prompts."""
    sha256: str = Field(default="", pattern=r"^([0-9a-f]{64})?$")
    """Digest of `file`; empty asks for nothing."""


def default_judge(kind: str) -> str:
    """The judge of a user's rows where none is named."""
    if kind in SCORED_KINDS:
        return "choices"
    return {"task": "reference", "truth": "truth", "tools": "tools", "injection": "tools",
            "open": "unread", "crisis": "unread"}.get(kind, "rules")  # fmt: skip


def load_described(path: Path) -> Suite:
    """The suite that a YAML file describes.

    Raises `ConfigError` with every fault of the YAML, `IntegrityError` where the rows have another
    digest than it names, and what `parse_rows` raises.
    """
    described = load_yaml(SuiteFile, path)
    rows = (path.parent / described.file).resolve()
    if not rows.is_relative_to(path.parent.resolve()):
        raise UsageError(
            f"{path}: 'file' leads out of its folder", got=described.file,
            expected="a file beside it",
        )  # fmt: skip
    content = read_rows(rows)
    digest = sha256_file(rows)
    if described.sha256 and digest != described.sha256:
        raise IntegrityError(
            f"{rows} is not the file that {path} describes", got=f"SHA-256 {digest}",
            expected=described.sha256,
            next_step="restore the file, or write its new digest into 'sha256'",
        )  # fmt: skip
    return Suite(
        described.name, described.kind, parse_rows(content, str(rows)),
        described.judge or default_judge(described.kind), described.licence, described.measures,
        digest,
    )  # fmt: skip


def parse_rows(rows: Iterable[Mapping[str, Any]], where: str) -> tuple[Prompt, ...]:
    """Prompt rows as dictionaries to prompts; `prompt` may stand in place of `messages`.

    A row without `prompt_id` gets its number. Unknown columns are left aside: a user's file may
    carry more than we read. Raises `DataError` naming the row: a prompt that is missing, too long,
    or holds control characters, which could steer a terminal or split a record.
    """
    fields = set(Prompt.model_fields)
    prompts = []
    for number, row in enumerate(rows, 1):
        here = f"{where}, row {number}"
        content = {k: v for k, v in row.items() if k in fields and v is not None}
        if "messages" in content:
            content["messages"] = check_messages(content["messages"], here)
        elif isinstance(row.get("prompt"), str) and row["prompt"].strip():
            content["messages"] = [{"role": "user", "content": row["prompt"]}]
        else:
            raise DataError(f"{here} lacks a prompt", expected="'messages' or 'prompt'")
        content["prompt_id"] = str(content.get("prompt_id", f"{number:05d}"))
        try:
            prompt = Prompt.model_validate(content)
        except ValidationError as error:
            fault = error.errors()[0]
            raise DataError(f"{here}: '{fault['loc'][0]}' {fault['msg'].lower()}") from None
        _check_text(prompt, here)
        prompts.append(prompt)
    return tuple(prompts)


def _check_text(prompt: Prompt, here: str) -> None:
    texts = [message["content"] for message in prompt.messages] + list(prompt.followups)
    size = sum(map(len, texts))
    if size > MAX_CHARACTERS or len(prompt.followups) > MAX_FOLLOWUPS:
        raise DataError(
            f"{here} is too long", got=f"{size} characters, {len(prompt.followups)} follow-ups",
            expected=f"at most {MAX_CHARACTERS} and {MAX_FOLLOWUPS}",
        )  # fmt: skip
    for text in (prompt.prompt_id, prompt.category, *texts):
        found = _CONTROL.search(text)
        if found is not None:
            raise DataError(
                f"{here} holds the control character U+{ord(found[0]):04X}",
                next_step="remove it; tabs and line ends are fine",
            )
