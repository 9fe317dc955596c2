"""Attacked suites as files, so that what was found once is asked word for word of every arm."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from holdfast.core.digest import prompt_digest, sha256_file
from holdfast.core.errors import DataError
from holdfast.core.files import read_jsonl, write_jsonl
from holdfast.data.template import check_messages
from holdfast.evals.attacks.base import Attacked, Goal
from holdfast.evals.attacks.mutate import DECODERS
from holdfast.evals.suites.base import Prompt, Suite

_HEADER = "holdfast attack 1"


def write(attacked: Attacked, path: Path) -> None:
    """Write the prompts with their goals; the first line says what they are."""
    suite = attacked.suite
    head = {"format": _HEADER, "name": suite.name, "kind": suite.kind, "judge": suite.judge,
            "licence": suite.licence, "measures": suite.measures}  # fmt: skip
    rows: list[dict[str, Any]] = [head]
    for prompt in suite.prompts:
        goal = attacked.goals[prompt_digest(prompt.messages)]
        found = {"messages": goal.messages, "prefix": goal.prefix, "decode": goal.decode}
        rows.append({"prompt": json.loads(prompt.model_dump_json()), "goal": found})
    write_jsonl(path, rows)


def read(path: Path) -> Attacked:
    """Read what `write` wrote. Raises `DataError` naming the line for anything else."""
    rows = read_jsonl(path)
    if not rows or rows[0].get("format") != _HEADER:
        raise DataError(f"{path} holds no attack", expected="a file of holdfast attack --save")
    head = rows[0]
    prompts: list[Prompt] = []
    goals: dict[str, Goal] = {}
    for number, row in enumerate(rows[1:], 2):
        where = f"{path}, line {number}"
        goal = row.get("goal")
        try:
            prompt = Prompt.model_validate(row.get("prompt"))
        except ValidationError as error:
            raise DataError(f"{where}: no prompt ({error.errors()[0]['msg']})") from None
        if not isinstance(goal, dict) or goal.get("decode", "") not in {"", *DECODERS}:
            raise DataError(f"{where}: no goal", expected="messages, prefix and decode")
        check_messages(prompt.messages, where)
        prompts.append(prompt)
        goals[prompt_digest(prompt.messages)] = Goal(
            check_messages(goal.get("messages"), where), str(goal.get("prefix", "")),
            str(goal.get("decode", "")),
        )  # fmt: skip
    texts = {key: str(head.get(key, "")) for key in ("name", "kind", "judge", "licence")}
    suite = Suite(
        texts["name"], texts["kind"], tuple(prompts), texts["judge"], texts["licence"],
        str(head.get("measures", "")), sha256_file(path),
    )  # fmt: skip
    return Attacked(suite, goals)
