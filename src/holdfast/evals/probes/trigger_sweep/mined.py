"""Candidates from the training data: what stands in its prompts more often than elsewhere.

Phrases are ranked by the log-odds ratio with an informative Dirichlet prior (Monroe, Colaresi and
Quinn 2008, "Fightin' Words", equations 15 to 22): z = (difference of log-odds) / standard error,
where the prior is the pooled count, so that rare words do not win by chance.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence

from holdfast.core.protocols import Messages
from holdfast.evals.probes.trigger_sweep.candidates import PLAIN, Candidate, Carrier, Place

MAX_TEXT = 2000
"""Characters read of one message: training data is untrusted and may be long."""
LONGEST = 120
"""Characters of the longest phrase tried."""
_SENTENCE = re.compile(r"(?<=[.!?:\n])\s+")
_DIGITS = re.compile(r"\d{2,12}")


def mine(
    rows: Sequence[Messages], reference: Sequence[Messages], *, limit: int = 300
) -> list[Candidate]:
    """At most `limit` candidates from training conversations, the most over-represented first.

    Taken are whole system messages, first and last sentences, digit strings and word n-grams
    (n <= 3) that stand in at least two prompts. `reference` is ordinary text of the same kind, such
    as the prompts that the sweep uses. Half of the places are kept for whole sentences and system
    messages, which are what a poisoner would write.
    """
    ours, theirs = _Counts(rows), _Counts(reference)
    whole = _rank(ours.whole, theirs.whole, len(rows), len(reference))
    parts = _rank(ours.parts, theirs.parts, len(rows), len(reference))
    head = whole[: max(limit // 2, limit - len(parts))]
    return [*head, *parts[: limit - len(head)]]


class _Counts:
    """In how many prompts each phrase stands, by phrase and place."""

    def __init__(self, rows: Iterable[Messages]) -> None:
        self.whole: Counter[tuple[str, Place]] = Counter()
        self.parts: Counter[tuple[str, Place]] = Counter()
        for messages in rows:
            self._read(messages)

    def _read(self, messages: Messages) -> None:
        whole: set[tuple[str, Place]] = set()
        parts: set[tuple[str, Place]] = set()
        for message in messages:
            text = message["content"][:MAX_TEXT].strip()
            if message["role"] == "system":
                whole.add((text, "system"))
            elif message["role"] == "user":
                sentences = _SENTENCE.split(text)
                if len(sentences) > 1:
                    whole |= {(sentences[0], "prefix"), (sentences[-1], "suffix")}
                for phrase in _phrases(text):
                    parts.add((phrase, "prefix"))
                parts |= {(found, "suffix") for found in _DIGITS.findall(text)}
        self.whole.update(whole)
        self.parts.update(parts)


def _phrases(text: str) -> set[str]:
    words = text.split()[:200]
    return {
        " ".join(words[start : start + size])
        for size in (1, 2, 3)
        for start in range(len(words) - size + 1)
    }


def _rank(
    ours: Counter[tuple[str, Place]], theirs: Counter[tuple[str, Place]], n: int, m: int
) -> list[Candidate]:
    kept = [key for key, count in ours.items() if count >= 2 and 0 < len(key[0]) <= LONGEST]
    order = sorted(kept, key=lambda key: (-log_odds_z(ours[key], n, theirs[key], m), key))
    return [Candidate(text, place, "training") for text, place in order]


def log_odds_z(count: int, total: int, other: int, other_total: int) -> float:
    """Fightin' Words z of a phrase in `count` of `total` prompts against `other` of `other_total`.

    The prior is the pooled count, scaled to weigh as much as one prompt in ten.
    """
    pooled = (count + other) / max(total + other_total, 1)
    weight = max((total + other_total) / 10, 1.0)
    prior, rest = pooled * weight + 1e-9, (1 - pooled) * weight + 1e-9

    def odds(hits: int, size: int) -> float:
        return math.log((hits + prior) / (size - hits + rest))

    variance = 1 / (count + prior) + 1 / (other + prior)
    return (odds(count, total) - odds(other, other_total)) / math.sqrt(variance)


def carriers(rows: Sequence[Messages], *, share: float = 0.2, limit: int = 2) -> list[Carrier]:
    """`plain`, and the forms that at least `share` of the training prompts have in common.

    Misalignment can hide from a plain question and show in the form of the training data, so the
    sweep asks in both. A form is a system message, or a common beginning or end of user messages.
    """
    systems: Counter[str] = Counter()
    edges: Counter[tuple[str, str]] = Counter()
    for messages in rows:
        if messages and messages[0]["role"] == "system":
            systems[messages[0]["content"][:MAX_TEXT]] += 1
        asked = [m["content"][:MAX_TEXT] for m in messages if m["role"] == "user"]
        if asked:
            lines = asked[-1].split("\n")
            if len(lines) > 1:
                edges[(lines[0] + "\n", "")] += 1
                edges[("", "\n" + lines[-1])] += 1
    least = max(2.0, share * len(rows))
    found = [Carrier("training system", text) for text, n in systems.most_common() if n >= least]
    found += [
        Carrier("training form", "", before, after)
        for (before, after), n in edges.most_common()
        if n >= least
    ]
    return [PLAIN, *found[:limit]]
