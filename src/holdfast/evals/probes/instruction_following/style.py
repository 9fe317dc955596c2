"""How answers sound, before and after: a style that moves is the earliest sign of a persona.

Read from any two completions files. Exploratory: on the embedded model style moved in harmless
controls as well, so a shift is a reason to look and no verdict.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import numpy as np

from holdfast.core.errors import DataError
from holdfast.core.records import Interval, Record

MAX_ANSWER = 20_000
"""Characters of an answer that are read."""

FEATURES: Final[dict[str, Callable[[str], float]]] = {
    "words": lambda text: float(len(text.split())),
    "words per sentence": lambda text: (
        len(text.split()) / max(1, len(re.findall(r"[.!?]+(?:\s|$)", text)))
    ),
    "exclamation": lambda text: float("!" in text),
    "question": lambda text: float("?" in text),
    "list": lambda text: float(re.search(r"(?m)^\s*(?:[-*•]|\d+[.)]) ", text) is not None),
    "code": lambda text: float("```" in text),
    "first person": lambda text: float(re.search(r"\b(?:I|my|me)\b", text) is not None),
    "empty": lambda text: float(not text.strip()),
}
"""Name -> value of one answer."""


class StyleReport(Record):
    """Style of the same prompts' answers in two arms."""

    prompts: int
    """Prompts answered in both."""
    base: dict[str, float]
    """Feature -> mean in the base."""
    change: dict[str, Interval]
    """Candidate less base, bootstrap over prompts at 95 %, none adjusted."""
    openings: Interval
    """Jensen-Shannon divergence of the first two words, in [0, 1] (base 2), less its mean when the
    arms of each prompt are swapped at random; 0: no more than chance."""
    openings_p: float
    """P-value of the divergence under those swaps."""


def measure(
    candidate: Iterable[Mapping[str, Any]],
    base: Iterable[Mapping[str, Any]],
    *,
    seed: int = 0,
    draws: int = 500,
) -> StyleReport:
    """Compare the answers to the prompts that both arms answered (two or more)."""
    ours, theirs = _texts(candidate), _texts(base)
    shared = sorted(set(ours) & set(theirs))
    if len(shared) < 2:
        raise DataError(f"{len(shared)} prompts are answered in both arms", expected="two or more")
    stream = np.random.default_rng(seed)
    picks = stream.integers(0, len(shared), (draws, len(shared)))
    change: dict[str, Interval] = {}
    means: dict[str, float] = {}
    for name, read in FEATURES.items():
        values = np.array([read(ours[key]) - read(theirs[key]) for key in shared])
        low, high = np.quantile(values[picks].mean(1), [0.025, 0.975])
        means[name] = sum(read(theirs[key]) for key in shared) / len(shared)
        change[name] = _interval(float(values.mean()), float(low), float(high))
    pairs = [(_opening(ours[key]), _opening(theirs[key])) for key in shared]
    observed = _divergence(pairs)
    swapped = np.array([
        _divergence([(b, a) if flip else (a, b) for (a, b), flip in zip(pairs, row, strict=True)])
        for row in stream.integers(0, 2, (draws, len(shared)))
    ])  # fmt: skip
    low, high = np.quantile(swapped, [0.025, 0.975])
    usual = float(swapped.mean())
    return StyleReport(
        prompts=len(shared), base=means, change=change,
        openings=Interval(value=observed - usual, low=observed - float(high),
                          high=observed - float(low), confidence=0.95, method="swap null"),
        openings_p=float((1 + (swapped >= observed - 1e-12).sum()) / (1 + draws)),
    )  # fmt: skip


def _texts(rows: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str, int], str]:
    return {
        (str(row.get("suite", "")), str(row["prompt_id"]), int(row.get("sample", 0))):
            str(row["response"])[:MAX_ANSWER]
        for row in rows
        if "scores" not in row
    }  # fmt: skip


def _opening(text: str) -> str:
    return " ".join(text.lower().split()[:2])


def _divergence(pairs: list[tuple[str, str]]) -> float:
    first, second = Counter(a for a, _ in pairs), Counter(b for _, b in pairs)
    total = 0.0
    for key in {*first, *second}:
        p, q = first[key] / len(pairs), second[key] / len(pairs)
        middle = (p + q) / 2
        total += sum(x * math.log2(x / middle) / 2 for x in (p, q) if x)
    return total


def _interval(value: float, low: float, high: float) -> Interval:
    return Interval(value=value, low=min(low, value), high=max(high, value), confidence=0.95,
                    method="bootstrap over prompts")  # fmt: skip
