"""Reading tool calls out of an answer: strictly, bounded, and without running anything.

Four forms are known: a JSON object between `<tool_call>` tags, a JSON object alone or in a fenced
block, an OpenAI message with `tool_calls`, and a call in words such as `call weather("Elmford")`
whose arguments are literals. What looks like a call and is not one of these is malformed.
"""

from __future__ import annotations

import ast
import json
import re
from dataclasses import dataclass
from typing import Any

LIMIT = 20_000
"""Characters of an answer that are read."""
MAX_CALLS = 32
"""Most calls of one answer."""
_TAGGED = re.compile(r"<tool_call>(.*?)(?:</tool_call>|\Z)", re.DOTALL)
_FENCED = re.compile(r"```(?:json|tool_call)?\s*\n(.*?)(?:```|\Z)", re.DOTALL)
_WORDS = re.compile(r"(?:\bcall\s+|^)([A-Za-z_]\w{0,63})\(([^()]{0,4000})\)", re.MULTILINE)
_LOOKS = re.compile(r'<tool_call|"tool_calls"|"arguments"\s*:|\bcall\s+[A-Za-z_]\w*\s*\(')


@dataclass(frozen=True)
class Call:
    """One call."""

    name: str
    """Name of the tool."""
    arguments: dict[str, Any]
    """By parameter name."""
    positional: tuple[Any, ...] = ()
    """Arguments without a name, which the tool's schema puts in order."""


@dataclass(frozen=True)
class Parsed:
    """What an answer holds."""

    calls: tuple[Call, ...]
    """The calls, in order."""
    malformed: bool
    """Whether something looks like a call and cannot be read."""


def parse(answer: str) -> Parsed:
    """The calls of an answer; never raises, whatever the answer is.

    Calls in JSON come first, in tags, in fences or alone; calls in words are read where there are
    none. Beyond `MAX_CALLS` the answer counts as malformed: what is not read must not pass.
    """
    text = answer[:LIMIT]
    tagged = [part.strip() for part in _TAGGED.findall(text)]
    fenced = [part.strip() for part in _FENCED.findall(text)]
    parts = [_from_json(part) for part in [*tagged, *fenced, text.strip()][: 2 * MAX_CALLS]]
    calls = [call for part in parts if part is not None for call in part]
    bad = any(part is None for part in parts[: len(tagged)])
    if not calls:
        worded = [_from_words(found[1], found[2]) for found in _WORDS.finditer(text)]
        calls = [call for call in worded if call is not None]
        bad = bad or (not calls and _LOOKS.search(text) is not None)
    return Parsed(tuple(calls[:MAX_CALLS]), bad or len(calls) > MAX_CALLS)


def _from_json(text: str) -> list[Call] | None:
    """The calls in a JSON text, or None where it is no call."""
    if not text.startswith(("{", "[")):
        return None
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if isinstance(content, dict) and isinstance(content.get("tool_calls"), list):
        content = content["tool_calls"]
    items = content if isinstance(content, list) else [content]
    calls = [_from_object(item) for item in items[: MAX_CALLS + 1]]
    known = [call for call in calls if call is not None]
    return known if known and len(known) == len(calls) else None


def _from_object(item: Any) -> Call | None:
    if isinstance(item, dict) and isinstance(item.get("function"), dict):
        item = item["function"]
    if not isinstance(item, dict) or not isinstance(item.get("name"), str):
        return None
    arguments = item.get("arguments", item.get("parameters", {}))
    if isinstance(arguments, str):  # OpenAI writes them as a JSON text
        try:
            arguments = json.loads(arguments)
        except (ValueError, RecursionError):
            return None
    return Call(item["name"][:64], arguments) if isinstance(arguments, dict) else None


def _from_words(name: str, inside: str) -> Call | None:
    """`f("x", n=3)`: parsed as an expression, of which only literals are taken."""
    try:
        tree = ast.parse(f"f({inside})", mode="eval").body
        if not isinstance(tree, ast.Call) or any(k.arg is None for k in tree.keywords):
            return None
        positional = tuple(ast.literal_eval(node) for node in tree.args)
        named = {str(k.arg): ast.literal_eval(k.value) for k in tree.keywords}
    except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
        return None
    return Call(name, named, positional)
