"""From what other tools wrote to rows of a completions file, the same checks for all formats."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from holdfast.core.errors import DataError, UsageError
from holdfast.core.labels import LABELS, SUITE_KINDS, UNSCORED
from holdfast.core.protocols import Messages
from holdfast.core.records.refs import unverified
from holdfast.core.registry import nearest
from holdfast.interchange.bounded import MAX_TEXT

ROLES = ("system", "user", "assistant")


@dataclass
class Imported:
    """Rows that were read, and what the reader of them should know."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    """Rows of a completions file; what another tool scored is under `scores`, unread."""
    notes: list[str] = field(default_factory=list)
    """What was left out or cannot be known, one sentence each."""
    model: str = ""
    """What the file calls the model."""
    _samples: Counter[tuple[str, str]] = field(default_factory=Counter)

    def add(
        self,
        *,
        suite: str,
        prompt_id: str,
        messages: Messages,
        response: Any,
        error: str = "",
        **columns: Any,
    ) -> None:
        """Add one answer; what is no text, too long, or failed becomes an unscored row."""
        if not error and not isinstance(response, str):
            error = "the file holds no answer"
        elif not error and len(response) > MAX_TEXT:
            error = f"the answer is longer than {MAX_TEXT} characters"
        key = (suite, prompt_id)
        row = {
            "prompt_id": clean(prompt_id), "prompt": messages[-1]["content"] if messages else "",
            "messages": messages, "response": "" if error else clean(response),
            "sample": self._samples[key], "suite": clean(suite), **columns,
        }  # fmt: skip
        if error:
            row["error"] = clean(error)[:300]
        self._samples[key] += 1
        self.rows.append(row)

    def finish(
        self, *, model: str, kind: str, arm: str, mapping: Mapping[tuple[str, str], str]
    ) -> list[dict[str, Any]]:
        """Rows with the model's identity, the kind, the arm and the labels that `mapping` gives.

        `mapping` leads from (scorer, value as text) to a label; a scorer that it names labels every
        row, with `unscored` for values that it does not name.
        """
        if not self.rows:
            raise DataError("the file holds no answers", next_step="check the file and the format")
        if kind and kind not in SUITE_KINDS:
            raise UsageError(
                f"unknown suite kind '{kind}'", next_step=nearest(kind, list(SUITE_KINDS))
            )
        identity = model or unverified(clean(self.model) or "unnamed")
        scorers = sorted({scorer for scorer, _ in mapping})
        for row in self.rows:
            row["model"] = identity
            if arm:
                row["arm"] = arm
            if kind:
                row["kind"] = kind
            scores = row.get("scores") or {}
            labels = dict(row.get("labels") or {})
            for scorer in scorers:
                labels[scorer] = mapping.get((scorer, as_text(scores.get(scorer))), UNSCORED)
            if row.get("error"):
                labels = dict.fromkeys(labels, UNSCORED)
            if labels:
                row["labels"] = labels
        self._check_mapping(scorers)
        return self.rows

    def _check_mapping(self, scorers: Sequence[str]) -> None:
        known = {scorer for row in self.rows for scorer in row.get("scores") or {}}
        for scorer in scorers:
            if scorer not in known:
                raise UsageError(
                    f"no row has a score of '{scorer}'", next_step=nearest(scorer, sorted(known))
                )


def parse_mapping(values: Sequence[str]) -> dict[tuple[str, str], str]:
    """`("refusal:C=refusal", …)` as `{("refusal", "C"): "refusal"}`."""
    mapping: dict[tuple[str, str], str] = {}
    for value in values:
        left, _, label = value.rpartition("=")
        scorer, _, score = left.partition(":")
        if not scorer or not score or label not in LABELS:
            raise UsageError(
                f"--label {value}", expected="SCORER:VALUE=LABEL with one of " + ", ".join(LABELS)
            )
        mapping[(scorer, score)] = label
    return mapping


def as_text(value: Any) -> str:
    """A score as it is written on the command line: `1`, `0.5`, `true`, `C`."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value) if isinstance(value, (str, int, float)) else ""


def clean(text: Any) -> str:
    """Text that any file can be written with: lone surrogates of JSON are replaced."""
    return str(text).encode("utf-8", "replace").decode()


def conversation(value: Any, where: str) -> Messages:
    """A prompt as other tools write it, text or messages, as a conversation."""
    if isinstance(value, str):
        return [{"role": "user", "content": clean(value)}]
    if not isinstance(value, list) or not value:
        raise DataError(f"{where} holds no prompt that can be read")
    messages: Messages = []
    for entry in value:
        role = entry.get("role") if isinstance(entry, dict) else None
        text = flat(entry.get("content")) if isinstance(entry, dict) else None
        if role not in (*ROLES, "tool", "developer") or text is None:
            raise DataError(f"{where} holds a message that cannot be read")
        messages.append({"role": role, "content": clean(text)})
    return messages


def flat(content: Any) -> str | None:
    """Text of a message's content: text itself, or the text parts of a list; None if unreadable."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        parts = [
            part.get("text")
            for part in content
            if isinstance(part, dict) and part.get("type") == "text"
        ]
        return "\n".join(part for part in parts if isinstance(part, str))
    return None


def table(value: Any) -> dict[str, Any]:
    """`value` if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}
