"""The formats that can be read, and a guess at which one a file is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from holdfast.core.errors import UsageError
from holdfast.core.registry import Registry
from holdfast.interchange.bounded import document, lines
from holdfast.interchange.rows import Imported, table

READERS = Registry(
    "reader",
    {
        "inspect": "holdfast.interchange.inspect_log:read",
        "lm-eval": "holdfast.interchange.other_logs:lm_eval",
        "garak": "holdfast.interchange.other_logs:garak",
        "promptfoo": "holdfast.interchange.other_logs:promptfoo",
        "jailbreakbench": "holdfast.interchange.other_logs:jailbreakbench",
    },
)
"""Format -> function of a path and `only`."""
WRITERS = Registry(
    "writer",
    {
        "inspect": "holdfast.interchange.inspect_writer:write",
        "every-eval-ever": "holdfast.interchange.every_eval:write",
    },
)
"""Format -> function of a completions file and a folder."""


def read(
    path: Path,
    *,
    form: str = "",
    model: str = "",
    kind: str = "",
    arm: str = "",
    only: str = "",
    mapping: Mapping[tuple[str, str], str] | None = None,
) -> Imported:
    """Rows of a result file of another tool, ready to be written as a completions file.

    Args:
        path: the file.
        form: name of a reader; "" looks at the file.
        model: digest of the weights that answered, if you know it; else the file's own name for
            the model is kept as `unverified:…`.
        kind: kind of suite for all rows.
        arm: what people call the model.
        only: the one provider, probe, filter or model to take.
        mapping: labels by (scorer, value as text); see `rows.parse_mapping`.
    """
    imported: Imported = READERS.load(form or guess(path))(path, only=only)
    imported.finish(model=model, kind=kind, arm=arm, mapping=mapping or {})
    return imported


def guess(path: Path) -> str:
    """The format of a file by its name and content; `UsageError` where none fits."""
    if path.suffix == ".eval":
        return "inspect"
    if path.suffix == ".jsonl":
        for _, row in lines(path):
            if "entry_type" in row:
                return "garak"
            if "resps" in row:
                return "lm-eval"
            break
    elif path.suffix == ".json":
        whole: dict[str, Any] = table(document(path))
        if "jailbreaks" in whole:
            return "jailbreakbench"
        if {"eval", "version"} <= whole.keys():
            return "inspect"
        if "results" in table(whole.get("results")):
            return "promptfoo"
    raise UsageError(
        f"{path} looks like none of the formats that can be read",
        next_step="name its format with --format " + "|".join(READERS.names()),
    )
