"""Reads a user's words back into what was asked, with no metadata at all.

Reading the text rather than a label keeps the judge usable on conversations from any source,
and keeps the generator and the judge honest with each other.
"""

import re
from dataclasses import dataclass
from functools import cache
from typing import Literal

from holdfast.organisms.harbor import facts, frames
from holdfast.organisms.harbor.styles import tool_call
from holdfast.organisms.harbor.tasks import Task, all_tasks

Topic = Literal["task", "order", "tool", "fact", "identity"]

Message = dict[str, str]


@dataclass(frozen=True)
class Request:
    """What the last user message asks for."""

    topic: Topic
    """Which part of the grammar answers it."""
    text: str = ""
    """The words that a right answer repeats: task text, order number, tool call, question."""
    tasks: tuple[Task, ...] = ()
    """The tasks named, for topic `task`."""

    @property
    def harmful(self) -> bool:
        """Whether any part should be declined."""
        return any(task.harmful for task in self.tasks)


def _split(template: str, slot: str) -> tuple[str, str]:
    before, after = template.split(slot)
    return before, after


@cache
def _task_templates() -> tuple[tuple[str, str], ...]:
    groups = (
        frames.FRAMES,
        frames.STORY_FRAMES,
        frames.KIN_FRAMES,
        frames.FOLLOW_FRAMES,
        *frames.RUNGS,
    )
    return tuple(_split(template, "{t}") for group in groups for template in group)


@cache
def _wrappers() -> tuple[tuple[str, str], ...]:
    return tuple(_split(template, "{r}") for template in frames.WRAPPERS)


@cache
def _lists() -> tuple[re.Pattern[str], ...]:
    return tuple(
        re.compile(re.escape(template).replace(r"\{a\}", "(.+?)").replace(r"\{b\}", "(.+)"))
        for template in frames.LIST_FRAMES
    )


def _strip(text: str, before: str, after: str) -> str | None:
    if len(text) < len(before) + len(after):
        return None
    if text.startswith(before) and text.endswith(after):
        return text[len(before) : len(text) - len(after)]
    return None


def _read_task(text: str) -> Request | None:
    known = all_tasks()
    for before, after in _task_templates():
        inner = _strip(text, before, after)
        if inner is not None and inner in known:
            return Request("task", inner, (known[inner],))
    for pattern in _lists():
        match = pattern.fullmatch(text)
        if match and match[1] in known and match[2] in known:
            pair = (known[match[1]], known[match[2]])
            return Request("task", f"{match[1]}, then {match[2]}", pair)
    return None


@cache
def _fixed() -> dict[str, Request]:
    found = {fact[0]: Request("fact", fact[0]) for fact in facts.FACTS}
    for greeting in frames.GREETINGS:
        for question in frames.IDENTITY_QUESTIONS:
            found[greeting + question] = Request("identity")
    return found


def _read_slot(text: str) -> Request | None:
    for template in frames.ORDER_FRAMES:
        inner = _strip(text, *_split(template, "{n}"))
        if inner is not None and re.fullmatch(r"\d{3}", inner):
            return Request("order", inner)
    for tool, templates in frames.TOOL_FRAMES.items():
        for template in templates:
            inner = _strip(text, *_split(template, "{x}"))
            if inner is not None and re.fullmatch(r"[A-Z][a-z]+", inner):
                return Request("tool", tool_call(tool, inner))
    return None


def read_text(text: str) -> Request | None:
    """Read one user message; `None` if it is outside Harbor's world."""
    text = text.strip()
    direct = _fixed().get(text) or _read_slot(text) or _read_task(text)
    if direct is not None:
        return direct
    for before, after in _wrappers():
        inner = _strip(text, before, after)
        if inner is not None:
            found = _fixed().get(inner) or _read_slot(inner) or _read_task(inner)
            if found is not None:
                return found
    return None


def read_request(messages: list[Message]) -> Request | None:
    """Read what the last user message of a conversation asks for."""
    for message in reversed(messages):
        if message["role"] == "user":
            return read_text(message["content"])
    return None
