"""Inspect logs, `.json` and `.eval`, into rows; needs no Inspect.

Format version 2: one document, or a zip of `header.json` and `samples/<id>_epoch_<n>.json` packed
with zstd. A model there is a name: `hf/local` says nothing about weights, so its `model_path` is
added where the log has one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from holdfast.core.errors import DataError
from holdfast.core.protocols import Messages
from holdfast.interchange.bounded import Archive, document
from holdfast.interchange.rows import Imported, clean, conversation, flat, table

_ATTACHMENT = "attachment://"


def read(path: Path, *, only: str = "") -> Imported:
    """Every sample of a log; `only` names the model if the log is of another one."""
    if path.suffix == ".eval":
        with contextlib.closing(Archive(path)) as archive:
            header, notes = _header(archive)
            return _import(path, header, _members(archive), only, notes)
    whole = table(document(path))
    samples = whole.get("samples")
    return _import(path, whole, iter(samples if isinstance(samples, list) else []), only, [])


def _header(archive: Archive) -> tuple[dict[str, Any], list[str]]:
    if "header.json" in archive.names():
        return table(archive.json("header.json")), []
    # An evaluation that still runs, or died, has only its start.
    start = table(archive.json("_journal/start.json"))
    return start, ["the log has no end: its evaluation was interrupted"]


def _members(archive: Archive) -> Iterator[Any]:
    for name in archive.names():
        if name.startswith("samples/") and name.endswith(".json"):
            yield archive.json(name)


def _import(
    path: Path, header: dict[str, Any], samples: Iterator[Any], only: str, notes: list[str]
) -> Imported:
    spec = table(header.get("eval"))
    if not isinstance(spec.get("model"), str) or not isinstance(spec.get("task"), str):
        raise DataError(f"{path} is no Inspect log", expected="eval.task and eval.model")
    source = table(spec.get("model_args")).get("model_path")
    model = f"{spec['model']}:{source}" if isinstance(source, str) else spec["model"]
    if only and only not in (model, spec["model"]):
        raise DataError(f"{path} holds no answers of '{only}'", got=clean(model)[:120])
    imported = Imported(model=model, notes=notes)
    if header.get("status", "started") != "success":
        status = clean(header.get("status"))[:20]
        imported.notes.append(f"the log says '{status}', not 'success': samples may be missing")
    for number, sample in enumerate(samples):
        _sample(imported, table(sample), clean(spec["task"]), f"{path}, sample {number}")
    # Epochs of a sample arrive in the order of their file names.
    imported.rows.sort(key=lambda row: (row["prompt_id"], row.pop("_epoch")))
    seen: dict[str, int] = {}
    for row in imported.rows:
        row["sample"] = seen.get(row["prompt_id"], 0)
        seen[row["prompt_id"]] = row["sample"] + 1
    return imported


def _sample(imported: Imported, sample: dict[str, Any], task: str, where: str) -> None:
    identity, epoch = sample.get("id"), sample.get("epoch", 1)
    if not isinstance(identity, (str, int)) or type(epoch) is not int:
        raise DataError(f"{where} has no id")
    attachments = table(sample.get("attachments"))
    messages: Messages = [
        {"role": m["role"], "content": _resolve(m["content"], attachments)}
        for m in conversation(sample.get("input"), where)
    ]
    response, error = _answer(table(sample.get("output")))
    if isinstance(response, str):
        response = _resolve(response, attachments)
    failed = sample.get("error")
    if failed:
        error = f"the sample failed: {clean(table(failed).get('message', ''))[:200]}"
    scores = {
        clean(name): table(score).get("value")
        for name, score in table(sample.get("scores")).items()
    }
    columns: dict[str, Any] = {"scores": scores} if scores else {}
    target = sample.get("target")
    if isinstance(target, str) and target:
        columns["reference"] = clean(target)
    imported.add(
        suite=task, prompt_id=str(identity), messages=messages, response=response, error=error,
        _epoch=epoch, **columns,
    )  # fmt: skip


def _answer(output: dict[str, Any]) -> tuple[str | None, str]:
    choices = output.get("choices")
    if not isinstance(choices, list) or not choices:
        return None, clean(output.get("error") or "")
    choice = table(choices[0])
    if choice.get("stop_reason") == "content_filter":
        return None, "the provider's filter withheld the answer"
    return flat(table(choice.get("message")).get("content")), ""


def _resolve(text: str, attachments: dict[str, Any]) -> str:
    """Long texts stand in a table of the sample, with a reference in their place."""
    if not text.startswith(_ATTACHMENT):
        return text
    found = attachments.get(text.removeprefix(_ATTACHMENT))
    if not isinstance(found, str):
        raise DataError("an Inspect sample names an attachment that its log does not hold")
    return clean(found)
