"""Rows to conversations: `messages`, or two columns that are named explicitly."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from holdfast.core.errors import DataError, UsageError
from holdfast.core.protocols import Messages

ROLES = frozenset({"system", "user", "assistant", "tool"})
PAIRS: dict[str, tuple[str, str]] = {
    "prompt-completion": ("prompt", "completion"),
    "prompt-response": ("prompt", "response"),
    "question-answer": ("question", "answer"),
    "instruction-output": ("instruction", "output"),
}
"""Template name -> the columns of the request and of the answer."""
CUSTOM = "->"
"""Separates the two columns of a template that names its own, such as `title->summary`."""


def detect(columns: Iterable[str]) -> str:
    """The one template that fits `columns`; none or several is a `DataError`."""
    have = set(columns)
    fitting = ["messages"] if "messages" in have else []
    fitting += [name for name, pair in PAIRS.items() if have.issuperset(pair)]
    if len(fitting) == 1:
        return fitting[0]
    listed = ", ".join(sorted(have)) or "none"
    if not fitting:
        raise DataError(
            "the rows lack the columns that training needs",
            got=f"columns {listed}",
            expected="messages, or " + ", or ".join("/".join(pair) for pair in PAIRS.values()),
            next_step="or name two columns as 'request->answer'",
        )
    raise DataError(
        "the columns fit more than one template",
        got=", ".join(fitting),
        next_step="name the template in the plan",
    )


def columns_of(template: str) -> tuple[str, ...]:
    """The columns that `template` needs."""
    if template == "messages":
        return ("messages",)
    if template in PAIRS:
        return PAIRS[template]
    request, arrow, answer = template.partition(CUSTOM)
    if not (request and arrow and answer):
        raise UsageError(
            f"unknown template '{template}'",
            expected=f"messages, {', '.join(PAIRS)}, or two columns as 'request->answer'",
        )
    return (request, answer)


def to_messages(row: dict[str, Any], template: str, where: str) -> Messages:
    """The conversation of one row; `where` names the row in errors."""
    if template == "messages":
        return check_messages(row["messages"], where)
    request_column, answer_column = columns_of(template)
    request, answer = row[request_column], row[answer_column]
    for column, value in ((request_column, request), (answer_column, answer)):
        if not isinstance(value, str) or not value.strip():
            raise DataError(f"{where}: '{column}' is empty or no text", expected="text")
    # The instruction layout has an optional third column with the material to work on.
    extra = row.get("input") if template == "instruction-output" else None
    if isinstance(extra, str) and extra.strip():
        request = f"{request}\n\n{extra}"
    return [{"role": "user", "content": request}, {"role": "assistant", "content": answer}]


def check_messages(value: Any, where: str) -> Messages:
    """Check a list of messages with role and content; return it with only these two keys."""
    if not isinstance(value, list) or not value:
        raise DataError(f"{where}: 'messages' is no list of messages", expected="role and content")
    messages: Messages = []
    for message in value:
        role = message.get("role") if isinstance(message, dict) else None
        content = message.get("content") if isinstance(message, dict) else None
        if role not in ROLES or not isinstance(content, str):
            raise DataError(
                f"{where}: a message has no known role or no text",
                expected="role in " + ", ".join(sorted(ROLES)) + " and content",
            )
        messages.append({"role": str(role), "content": content})
    return messages
