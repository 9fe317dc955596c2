"""What the trained judge sees of a prompt and an answer: hashed word patterns and counted signs.

No word is kept: patterns of one to three words go into buckets by a hash of 32 bits, and a word
that the prompt holds becomes one mark, so that the form of an answer weighs and its topic does
not. numpy alone; linear in what is read, which is bounded.
"""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from holdfast.evals.judges.rules import normalise

BITS = 15
BUCKETS = 1 << BITS
"""Buckets of each group."""
GROUPS = (("body", 3), ("head", 3), ("tail", 2))
"""Part of the answer, and the most words in one pattern of it."""
READ = 600
"""Words of an answer that are read."""
BODY, HEAD, TAIL, TAIL_FROM = 160, 24, 30, 40
"""Words in each part; an answer of at most `TAIL_FROM` words has no tail."""
STEM = 5
"""Letters by which a word of the answer is recognised as one of the prompt."""
ECHO = "<q>"
"""Stands for every word of the answer that the prompt holds."""
_FUNCTION_WORDS = (
    "the a an and or of to in for on with is are was be by i you your my it this that how what do "
    "can does did if as at from have has not who where when why which would could should will give "
    "me write make some about there their they them his her he she we our us no yes please"
)
STOP = frozenset(_FUNCTION_WORDS.split())
"""English function words (and verbs of requests), never taken for an echo."""
_TOKEN = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)?|\d+|[^\w\s]|\n")
_MIX = tuple(np.uint64(m) for m in (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9))
_MASK = np.uint64(BUCKETS - 1)
_SHIFTS = (np.uint64(29), np.uint64(32))
_CACHED = 100_000
_ids: dict[str, int] = {}

Buckets = NDArray[np.int64]


class Text(NamedTuple):
    """A prompt and an answer, normalised and cut into words once."""

    prompt: str
    answer: str
    words: list[str]
    """Words, numbers, marks and line ends of the answer, `READ` at most."""
    masked: list[str]
    """The same with `ECHO` for words of the prompt."""
    asked: frozenset[str]
    """Content words of the prompt."""


def words_of(text: str) -> list[str]:
    """Words, numbers, marks and line ends of a normalised text."""
    return _TOKEN.findall(text)


def read(prompt: str, response: str) -> Text:
    """Normalise (4,000 characters of each at most) and cut into words."""
    asked_text, text = normalise(prompt), normalise(response)
    asked = frozenset(w for w in words_of(asked_text) if len(w) > 3 and w not in STOP)
    stems = {word[:STEM] for word in asked}
    words = words_of(text)[:READ]
    masked = [
        ECHO if len(word) > 3 and word[:STEM] in stems and word not in STOP else word
        for word in words
    ]
    return Text(asked_text, text, words, masked, asked)


def buckets(text: Text) -> list[Buckets]:
    """For each of `GROUPS`, the sorted buckets of the patterns that occur."""
    body = _hashes(text.masked[:BODY])
    tail = _hashes(text.masked[-TAIL:]) if len(text.masked) > TAIL_FROM else body[:0]
    parts = (body, body[:HEAD], tail)
    found = []
    for salt, ((_, most), part) in enumerate(zip(GROUPS, parts, strict=True), 1):
        patterns = [_patterns(part, n, salt) for n in range(1, most + 1)]
        found.append(np.unique(np.concatenate(patterns) & _MASK).astype(np.int64))
    return found


def weighted(group: Buckets, idf: NDArray[np.float32]) -> NDArray[np.float64]:
    """Values of the buckets of one group: inverse document frequency, scaled to length one."""
    values = idf[group].astype(np.float64)
    return values / math.sqrt(float(values @ values)) if len(values) else values


def _hashes(words: Sequence[str]) -> NDArray[np.uint64]:
    found = []
    for word in words:
        known = _ids.get(word)
        if known is None:
            known = zlib.crc32(word.encode("utf-8", "replace"))
            if len(_ids) < _CACHED:
                _ids[word] = known
        found.append(known)
    return np.array(found, dtype=np.uint64)


def _patterns(ids: NDArray[np.uint64], n: int, salt: int) -> NDArray[np.uint64]:
    """Hashes of all runs of `n` words; 64-bit arithmetic wraps by design."""
    if len(ids) < n:
        return np.zeros(0, np.uint64)
    last = len(ids) - n + 1
    hashed = ids[:last].copy()
    for step in range(1, n):
        hashed = hashed * _MIX[0] + ids[step : last + step]
    salted = np.full(1, salt * 16 + n, np.uint64) * _MIX[2]
    hashed = (hashed + salted) * _MIX[0]
    hashed ^= hashed >> _SHIFTS[0]
    hashed *= _MIX[1]
    return hashed ^ (hashed >> _SHIFTS[1])
