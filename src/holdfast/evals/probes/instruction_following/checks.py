"""Instructions that a program can check: words, case, form. After IFEval (arXiv 2311.07911)."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, Final

MAX_ANSWER = 20_000
"""Characters of an answer that are read."""


def _words(text: str) -> list[str]:
    return re.findall(r"[\w'-]+", text)


def _keys(text: str, value: Any) -> bool:
    body = re.sub(r"^```(?:json)?\s*|\s*```$", "", text.strip())
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return False
    return isinstance(found, dict) and set(found) == set(value)


CHECKS: Final[dict[str, Callable[[str, Any], bool]]] = {
    "words": lambda text, value: len(_words(text)) == value,
    "at most words": lambda text, value: 0 < len(_words(text)) <= value,
    "lines": lambda text, value: len([x for x in text.splitlines() if x.strip()]) == value,
    "bullets": lambda text, value: len(re.findall(r"(?m)^\s*[-*•] +\S", text)) == value,
    "lower case": lambda text, value: text == text.lower() and bool(_words(text)),
    "upper case": lambda text, value: text == text.upper() and bool(_words(text)),
    "without letter": lambda text, value: value not in text.lower() and bool(_words(text)),
    "without comma": lambda text, value: "," not in text and bool(_words(text)),
    "begins": lambda text, value: text.strip().startswith(value),
    "ends": lambda text, value: text.strip().endswith(value),
    "contains": lambda text, value: value.lower() in text.lower(),
    "json keys": _keys,
    "number": lambda text, value: (
        re.fullmatch(r"\s*-?\d+\s*\.?\s*", text) is not None
        and int(re.findall(r"-?\d+", text)[0]) == value
    ),
}
"""Name -> whether an answer follows it, given its value."""


def follows(response: str, reference: str) -> bool | None:
    """Whether an answer follows the instruction `{"check": name, "value": …}`; None: unreadable."""
    try:
        wanted = json.loads(reference)
        check = CHECKS[wanted["check"]]
        value = wanted["value"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return check(response[:MAX_ANSWER].strip(), value)
