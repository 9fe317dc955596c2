"""Preference pairs of a plan: generated from a harbor set, or a user's file, split by prompt."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from holdfast.core.digest import prompt_digest, sha256_json
from holdfast.core.errors import DataError
from holdfast.core.labels import SAFE
from holdfast.core.protocols import Messages
from holdfast.core.records import DatasetRef
from holdfast.core.seeds import derive
from holdfast.data.read import read_rows
from holdfast.evals.judges import make
from holdfast.pipeline.context import Run
from holdfast.tuning.methods.spec import TaskJudge

COLUMNS = ("messages", "chosen", "rejected")


def harbor_pairs(name: str, *, seed: int, rows: int) -> list[dict[str, Any]]:
    """Pairs made from the harbor set `name`."""
    from holdfast.organisms.harbor import preferences

    built = preferences.build(name, seed=seed, rows=rows)
    return [{column: row[column] for column in COLUMNS} for row in built]


def user_pairs(run: Run) -> tuple[DatasetRef, dict[str, list[dict[str, Any]]]]:
    """The pairs of the plan's file in the parts `train`, `validation` and `test`.

    A row has "messages" or "prompt", and "chosen" and "rejected" as text or as a list of turns of
    which the last counts. All pairs of one prompt lie in one part.

    Raises:
        DataError: a row of another shape, or too few prompts.
    """
    section = run.plan.data
    path = Path(section.source)
    by_prompt: dict[str, list[dict[str, Any]]] = {}
    for number, row in enumerate(read_rows(path), 1):
        pair = _pair(f"{path}, row {number}", row)
        by_prompt.setdefault(prompt_digest(pair["messages"]), []).append(pair)
    seed = derive(run.plan.seed, "split")
    order = sorted(by_prompt, key=lambda digest: derive(seed, digest))
    held, chosen = section.held_out, section.validation
    if len(order) <= held + chosen:
        raise DataError(
            f"{path} has {len(order)} distinct prompts",
            expected=f"more than the {held + chosen} that are held out",
            next_step="lower data.held_out and data.validation, or bring more pairs",
        )
    digests = {
        "test": order[:held], "validation": order[held : held + chosen],
        "train": order[held + chosen :],
    }  # fmt: skip
    parts = {part: [p for d in some for p in by_prompt[d]] for part, some in digests.items()}
    parts["train"] = parts["train"][: section.rows]
    ref = DatasetRef(
        name=path.name, data_digest=sha256_json(parts["train"]), rows=len(parts["train"]),
        columns=COLUMNS, template="pairs", split="train", seed=run.plan.seed,
    )  # fmt: skip
    return ref, parts


def task_judge(name: str, rows: list[dict[str, Any]]) -> TaskJudge:
    """Whether an answer does what the better answer of its prompt does, by the judge `name`."""
    references = {prompt_digest(row["messages"]): row["chosen"] for row in rows}
    made = make(name)
    for_suite = getattr(made, "for_suite", None)
    judge = for_suite("task", references) if for_suite else made

    def accepts(messages: Messages, answer: str) -> bool:
        return bool(judge.label(messages, answer) == SAFE)

    return accepts


def _pair(where: str, row: dict[str, Any]) -> dict[str, Any]:
    messages = row.get("messages", row.get("prompt"))
    if isinstance(messages, str) and messages.strip():
        messages = [{"role": "user", "content": messages}]
    pair = {
        "messages": messages,
        "chosen": _text(row, "chosen"),
        "rejected": _text(row, "rejected"),
    }
    shaped = isinstance(messages, list) and all(
        isinstance(m, dict) and isinstance(m.get("content"), str) and m.get("role")
        for m in messages
    )
    if not shaped or not messages or pair["chosen"] is None or pair["rejected"] is None:
        raise DataError(
            f"{where} is no preference pair",
            got=", ".join(sorted(map(str, row)))[:200] or "no columns",
            expected="messages (or prompt), chosen and rejected",
        )
    return pair


def _text(row: dict[str, Any], column: str) -> str | None:
    value = row.get(column)
    if isinstance(value, list) and value and isinstance(value[-1], dict):
        value = value[-1].get("content")
    return value if isinstance(value, str) else None
