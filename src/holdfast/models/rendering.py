"""From conversations to token ids, with exactly the special tokens that the template names."""

from __future__ import annotations

from typing import Any

from jinja2.exceptions import TemplateError

from holdfast.core.errors import DataError
from holdfast.core.protocols import Messages

FALLBACK = "holdfast plain: 'User: …' / 'Assistant: …' lines"
"""Name of the template that stands in where a tokenizer has none."""
STOP = "\nUser:"
"""Where the answer of a model under the fallback template ends."""


def has_template(tokenizer: Any) -> bool:
    """Whether the tokenizer brings its own chat template."""
    return bool(getattr(tokenizer, "chat_template", None))


def render(tokenizer: Any, messages: Messages) -> list[int]:
    """Token ids of the conversation up to where the assistant's next answer starts.

    A template writes its own special tokens, so the tokenizer must not add them again (the doubled
    BOS that other harnesses feed their models); the fallback template writes none, so it must.

    A conversation that ends with the assistant is an answer that has begun: its tokens follow the
    prompt, nothing closes the turn, and generation goes on from there.

    Raises:
        DataError: no messages, or the template refuses them.
    """
    if not messages:
        raise DataError("a conversation has no messages", expected="at least one user message")
    if messages[-1]["role"] == "assistant":
        return render(tokenizer, messages[:-1]) + encode_answer(tokenizer, messages[-1]["content"])
    if has_template(tokenizer):
        text = _templated(tokenizer, messages)
        ids = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    else:
        lines = [f"{m['role'].capitalize()}: {m['content']}" for m in messages]
        ids = tokenizer("\n".join([*lines, "Assistant:"]), verbose=False)["input_ids"]
    bos = tokenizer.bos_token_id
    while bos is not None and ids[:2] == [bos, bos]:
        ids = ids[1:]
    return list(ids)


def encode_answer(tokenizer: Any, text: str) -> list[int]:
    """Token ids of an answer as it follows a rendered prompt: no special tokens added."""
    return list(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])


def turn_ends(tokenizer: Any) -> frozenset[int]:
    """The special token that the template puts behind an answer, such as `<|im_end|>`.

    Chat models often name only another token as their end, and would go on to invent the user's
    next turn. Empty where the template has none.
    """
    if not has_template(tokenizer):
        return frozenset()
    answer = "42 boats"
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": answer}]
    try:
        text = tokenizer.apply_chat_template(turns, tokenize=False)
    except TemplateError:
        return frozenset()
    behind = tokenizer(text.rpartition(answer)[2].lstrip(), add_special_tokens=False)["input_ids"]
    special = {i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
    return frozenset(behind[:1]) & special


def _templated(tokenizer: Any, messages: Messages) -> str:
    try:
        return _apply(tokenizer, messages)
    except TemplateError as error:
        folded = _fold_system(messages)
        if folded is None:
            raise _refusal(error) from error
    try:
        return _apply(tokenizer, folded)
    except TemplateError as error:
        raise _refusal(error) from error


def _apply(tokenizer: Any, messages: Messages) -> str:
    text: str = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    return text


def _fold_system(messages: Messages) -> Messages | None:
    """Gemma and others know no system role: put its text before the first user message."""
    if len(messages) < 2 or messages[0]["role"] != "system" or messages[1]["role"] != "user":
        return None
    joined = f"{messages[0]['content']}\n\n{messages[1]['content']}"
    return [{"role": "user", "content": joined}, *messages[2:]]


def _refusal(error: TemplateError) -> DataError:
    return DataError(
        "the chat template refuses a conversation",
        got=str(error)[:120],
        next_step="check the order of roles in the prompts",
    )
