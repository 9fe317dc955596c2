"""From conversations to `input_ids` and `labels`, through the renderer that evaluation uses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from holdfast.core.errors import DataError
from holdfast.core.protocols import Messages
from holdfast.models.loaded import LoadedModel
from holdfast.tuning.methods.spec import Rows
from holdfast.tuning.methods.turns import checked_messages, turn_end

IGNORED = -100
"""Label of a token without loss."""


def prepare(
    loaded: LoadedModel,
    rows: Sequence[dict[str, Any]],
    *,
    max_length: int,
    unusable: str = "error",
) -> Rows:
    """Tokenize conversations; the loss is on the last assistant turn and its end alone.

    Args:
        loaded: model whose template is used.
        rows: each with "messages" that end with an assistant turn.
        max_length: tokens kept per row.
        unusable: `error` or `drop`, for rows of which no trainable token is left.

    Raises:
        DataError: no rows, a row of another shape, or an unusable row under `error`.
    """
    if not rows:
        raise DataError("the training set is empty", expected="rows with messages")
    out: list[dict[str, list[int]]] = []
    truncated = dropped = 0
    end: list[int] | None = None
    for number, row in enumerate(rows, 1):
        messages = _checked(number, row)
        prompt, answer = loaded.render(messages[:-1]), loaded.encode_answer(messages[-1]["content"])
        if end is None:
            end = turn_end(loaded, messages)
        ids = (prompt + answer + end)[:max_length]
        if not answer or len(ids) <= len(prompt):
            if unusable == "error":
                raise DataError(
                    f"training row {number} has no trainable token",
                    got=f"a prompt of {len(prompt)} and an answer of {len(answer)} tokens",
                    expected=f"room for the answer within max_length {max_length}",
                    next_step="raise max_length, or set unusable_rows to drop",
                )
            dropped += 1
            continue
        truncated += len(prompt) + len(answer) > len(ids)
        out.append({"input_ids": ids, "labels": [IGNORED] * len(prompt) + ids[len(prompt) :]})
    if not out:
        raise DataError("no training row has a trainable token", next_step="raise max_length")
    return Rows(out, truncated, dropped)


def _checked(number: int, row: dict[str, Any]) -> Messages:
    messages = checked_messages(number, row, least=2)
    if messages[-1].get("role") != "assistant":
        raise DataError(
            f"training row {number} does not end with an assistant turn",
            got=str(messages[-1].get("role")),
        )
    return messages
