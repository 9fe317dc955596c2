"""Completions as Inspect logs (format version 2, `.json`), one per suite, for its viewer."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from holdfast import __version__
from holdfast.core.completions import Completions
from holdfast.core.digest import sha256_text
from holdfast.core.files import write_text
from holdfast.core.protocols import Messages
from holdfast.interchange.rows import clean

_LETTERS = "23456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


def write(completions: Completions, folder: Path) -> list[Path]:
    """Write one log per suite into `folder`; return the files.

    Labels become string scores named by their judge; `unscored` stays a score of its own and is
    never a number. The model is the digest, so that two arms can be told apart in the viewer.
    """
    suites: dict[str, list[dict[str, Any]]] = {}
    for row in completions.rows:
        suites.setdefault(row.get("suite", "") or "completions", []).append(row)
    written = []
    for suite, rows in suites.items():
        name = re.sub(r"[^A-Za-z0-9.-]+", "-", suite)[:80] or "suite"
        path = folder / f"{name}_{completions.digest[:12]}.json"
        write_text(path, _dump(_log(suite, rows, completions)))
        written.append(path)
    return written


def _dump(log: dict[str, Any]) -> str:
    import json

    return json.dumps(log, ensure_ascii=False, indent=1) + "\n"


def _log(suite: str, rows: Sequence[dict[str, Any]], completions: Completions) -> dict[str, Any]:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    judges = sorted({judge for row in rows for judge in row.get("labels") or ()})
    identity = sha256_text(f"{suite} {completions.digest}")
    model = f"holdfast/{completions.model or 'unnamed'}"
    spec = {
        "eval_id": _short(identity, 0), "run_id": _short(identity, 1), "created": now,
        "task": suite, "task_id": _short(identity, 2), "task_version": 0, "task_attribs": {},
        "task_args": {}, "dataset": {"name": suite, "samples": len(rows), "shuffled": False},
        "model": model, "model_args": {}, "config": {"epochs": 1},
        "packages": {"holdfast": __version__},
        "metadata": {"completions_sha256": completions.digest, "arm": rows[0].get("arm", "")},
    }  # fmt: skip
    results = {
        "total_samples": len(rows), "completed_samples": sum("error" not in row for row in rows),
        "scores": [],
    }  # fmt: skip
    return {
        "version": 2, "status": "success", "eval": spec,
        "plan": {"name": "plan", "steps": [], "config": {}}, "results": results,
        "stats": {"started_at": now, "completed_at": now, "model_usage": {}},
        "samples": [_sample(row, model, judges) for row in rows],
    }  # fmt: skip


def _sample(row: dict[str, Any], model: str, judges: Sequence[str]) -> dict[str, Any]:
    messages: Messages = row.get("messages") or [
        {"role": "user", "content": str(row.get("prompt", ""))}
    ]
    prompt = [{"role": m["role"], "content": clean(m["content"])} for m in messages]
    answer = {
        "role": "assistant", "content": clean(row["response"]), "source": "generate",
        "model": model,
    }  # fmt: skip
    output: dict[str, Any] = {
        "model": model, "choices": [{"message": answer, "stop_reason": "stop"}],
    }  # fmt: skip
    if row.get("error"):
        output["error"] = clean(row["error"])
    labels = row.get("labels") or {}
    return {
        "id": row["prompt_id"], "epoch": row.get("sample", 0) + 1, "input": prompt,
        "target": str(row.get("reference") or ""), "messages": [*prompt, answer],
        "output": output,
        "scores": {
            judge: {"value": labels.get(judge, "unscored"), "answer": clean(row["response"])[:200]}
            for judge in judges
        },
        "metadata": {k: str(row[k]) for k in ("kind", "category", "turn") if row.get(k)},
        "store": {}, "events": [], "model_usage": {}, "attachments": {},
    }  # fmt: skip


def _short(identity: str, which: int) -> str:
    """22 letters as Inspect's own ids have, from the content: the same file, the same id."""
    value = int(sha256_text(f"{identity} {which}"), 16)
    letters = []
    for _ in range(22):
        value, digit = divmod(value, len(_LETTERS))
        letters.append(_LETTERS[digit])
    return "".join(letters)
