"""Conversations of training rows: their shape, and the tokens that end an answer."""

from __future__ import annotations

from typing import Any

from holdfast.core.errors import DataError
from holdfast.core.protocols import Messages
from holdfast.models.loaded import LoadedModel


def turn_end(loaded: LoadedModel, messages: Messages) -> list[int]:
    """Tokens that close an assistant turn: what the chat template writes there, else EOS.

    Found by rendering a conversation that ends with an assistant turn and taking what stands
    after its text.
    """
    tokenizer = loaded.tokenizer
    ids: list[int] = []
    if tokenizer.chat_template:
        text: str = tokenizer.apply_chat_template(messages, tokenize=False)
        content = messages[-1]["content"].strip()
        ids = loaded.encode_answer(text[text.rfind(content) + len(content) :]) if content else []
        # Up to the first token that ends generation: a newline after it is the next turn's.
        for index, token in enumerate(ids):
            if token in loaded.end_tokens:
                return ids[: index + 1]
    if tokenizer.eos_token_id is None:
        return ids
    return [int(tokenizer.eos_token_id)]


def checked_messages(number: int, row: dict[str, Any], *, least: int = 1) -> Messages:
    """The conversation of training row `number` with at least `least` turns, all of them text."""
    messages = row.get("messages")
    if not isinstance(messages, list) or len(messages) < least:
        raise DataError(
            f"training row {number} has no conversation",
            expected='{"messages": [{"role": "user", …}, {"role": "assistant", …}]}',
        )
    for message in messages:
        if not isinstance(message, dict) or not isinstance(message.get("content"), str):
            raise DataError(f"training row {number} has a message without text content")
    return messages
