"""Which phrases stand in which requests: words, word n-grams, sentences, system messages."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence

from holdfast.core.protocols import Messages

MAX_TEXT = 2000
"""Characters read of one message: training data is untrusted and may be long."""
MAX_WORDS = 200
"""Words read of one message."""
LONGEST = 120
"""Characters of the longest phrase."""
SIZES = (1, 2, 3, 4)
"""Words of an n-gram."""
MAX_PATTERNS = 50_000
"""Phrases followed at most, the most frequent first."""
_WORD = re.compile(r"\w+(?:['’]\w+)?")
_SENTENCE = re.compile(r"(?<=[.!?:\n])\s+")


def phrase_rows(
    requests: Sequence[Messages], *, least: int, share: float = 0.5
) -> dict[str, tuple[int, ...]]:
    """Phrase to the indices of the requests that hold it, one phrase for each set of requests.

    Kept are phrases in at least `least` requests and at most `share` of them; where several stand
    in exactly the same requests, the longest speaks for all.
    """
    counts: Counter[str] = Counter()
    for messages in requests:
        counts.update(phrases(messages))
    most = max(least, int(share * len(requests)))
    kept = [(c, p) for p, c in counts.items() if least <= c <= most]
    kept.sort(key=lambda item: (-item[0], item[1]))
    where: dict[str, list[int]] = {phrase: [] for _, phrase in kept[:MAX_PATTERNS]}
    for index, messages in enumerate(requests):
        for phrase in phrases(messages):
            if phrase in where:
                where[phrase].append(index)
    longest: dict[tuple[int, ...], str] = {}
    for phrase, rows in where.items():
        key = tuple(rows)
        if key not in longest or _fuller(phrase, longest[key]):
            longest[key] = phrase
    return {phrase: rows for rows, phrase in longest.items()}


def phrases(messages: Messages) -> set[str]:
    """All phrases of one conversation, without its answer."""
    found: set[str] = set()
    for message in messages:
        text = message["content"][:MAX_TEXT].strip()
        if message["role"] == "system" and 0 < len(text) <= LONGEST:
            found.add(text)
        elif message["role"] == "user":
            found.update(_of(text))
    return found


def _of(text: str) -> Iterator[str]:
    left = MAX_WORDS
    for sentence in _SENTENCE.split(text):
        words = _WORD.findall(sentence.casefold())[:left]
        left -= len(words)
        for size in SIZES:
            yield from (" ".join(words[i : i + size]) for i in range(len(words) - size + 1))
        if 0 < len(sentence.strip()) <= LONGEST:
            yield sentence.strip()
        if left <= 0:
            return


def _fuller(phrase: str, other: str) -> bool:
    return (len(phrase), phrase) > (len(other), other)
