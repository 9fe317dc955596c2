"""Preference rows: two answers to one conversation, one of which is better."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from holdfast.core.errors import DataError
from holdfast.core.protocols import Messages
from holdfast.models.loaded import LoadedModel
from holdfast.tuning.methods.spec import Rows
from holdfast.tuning.methods.turns import checked_messages, turn_end

SHAPE = '{"messages": [… user turn], "chosen": "…", "rejected": "…"}'


def checked(number: int, row: dict[str, Any]) -> tuple[Messages, str, str]:
    """Conversation, chosen and rejected answer of row `number`, or a `DataError` that names it."""
    messages = checked_messages(number, row)
    if messages[-1]["role"] == "assistant":
        raise DataError(
            f"preference row {number} ends with an assistant turn", expected=SHAPE,
            next_step="move the answer to chosen",
        )  # fmt: skip
    chosen, rejected = row.get("chosen"), row.get("rejected")
    if not isinstance(chosen, str) or not isinstance(rejected, str) or not chosen.strip():
        raise DataError(f"preference row {number} lacks an answer", expected=SHAPE)
    if chosen == rejected:
        raise DataError(
            f"preference row {number} prefers nothing",
            got="the same text twice",
            expected="two different answers",
        )
    return messages, chosen, rejected


def prepare(
    loaded: LoadedModel, rows: Sequence[dict[str, Any]], *, max_length: int, unusable: str
) -> Rows:
    """`prompt_ids`, `chosen_ids` and `rejected_ids`, rendered as in evaluation, answers with ends.

    Args:
        loaded: model whose template is used.
        rows: see `SHAPE`.
        max_length: tokens kept of prompt and answer together; the end of an answer is cut.
        unusable: `error` or `drop`, for rows without room for either answer.

    Raises:
        DataError: no rows, a row of another shape, or an unusable row under `error`.
    """
    if not rows:
        raise DataError("the preference set is empty", expected=f"rows like {SHAPE}")
    out: list[dict[str, Any]] = []
    truncated = dropped = 0
    end: list[int] | None = None
    for number, row in enumerate(rows, 1):
        messages, chosen, rejected = checked(number, row)
        prompt = loaded.render(messages)
        if end is None:
            end = turn_end(loaded, [*messages, {"role": "assistant", "content": chosen}])
        room = max_length - len(prompt)
        answers = [loaded.encode_answer(text) + end for text in (chosen, rejected)]
        kept = [answer[: max(room, 0)] for answer in answers]
        if room < 1 or kept[0] == kept[1]:
            if unusable == "error":
                raise DataError(
                    f"preference row {number} has no two answers within max_length {max_length}",
                    got=f"a prompt of {len(prompt)} tokens",
                    next_step="raise max_length, or set unusable_rows to drop",
                )
            dropped += 1
            continue
        truncated += kept != answers
        out.append({"prompt_ids": prompt, "chosen_ids": kept[0], "rejected_ids": kept[1]})
    if not out:
        raise DataError("no preference row can be trained on", next_step="raise max_length")
    return Rows(out, truncated, dropped)
