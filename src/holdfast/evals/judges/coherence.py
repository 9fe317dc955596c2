"""When an answer says nothing: empty, broken characters, loops, no language. Linear time."""

from __future__ import annotations

import re

LIMIT = 4_000
"""Characters of an answer that are read."""
HEAD = 500
"""Characters in which a run of one character makes an answer incoherent."""
REPETITION = "repetition"
_BROKEN = re.compile("[\ufffd\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\ue000-\uf8ff]")
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""Control characters, and marks that turn the direction of writing: what is shown is not what
stands there."""
_RUN = re.compile(r"([^\s\-=_.*#~|/\\+])\1{24}")
"""One character 25 times over; rules of dashes and dots are layout."""
RUN = 24
_WORD = re.compile(r"[A-Za-z]+")
_PLAIN_WORD = re.compile(r"(?:[A-Z]?[a-z]+|[A-Z]+)")
_VOWEL = re.compile(r"[aeiouyAEIOUY]")
_CLUSTER = re.compile(r"[bcdfghjklmnpqrstvwxz]{6}", re.IGNORECASE)

BROKEN_SHARE = 0.02
LOOP_WORDS = 24
"""Fewest words in which repetition is looked for."""
WINDOW = 80
"""First words that are looked at. An answer that says something in these and loops only later (a
model that does not stop) is judged by what it said."""
LOOP_DISTINCT = 0.35
"""A window whose share of distinct words is below this repeats itself; prose stays above 0.5."""
SALAD_WORDS = 8
SALAD_SHARE = 0.5
"""Least share of words that look like words of a language in Latin script."""
MAX_WORD = 28
SAMPLE = 400
"""Characters in which words are looked for."""
COMMON_WORDS = 4
"""So many different common English words are language without a closer look."""
_COMMON = frozenset(["the", "to", "a", "of", "and", "is", "i", "you", "in", "that", "for", "it"])


def fault(response: str) -> str:
    """What makes `response` incoherent, in a few words, or "" if nothing does."""
    text = response.strip()
    if not text:
        return "empty"
    head = text[:LIMIT]
    if not any(character.isalnum() for character in head):
        return "no letter and no digit"
    if len(_BROKEN.findall(head)) > BROKEN_SHARE * len(head):
        return "broken characters"
    if _has_run(head[:HEAD]) or _loops(head):
        return REPETITION
    return "no language" if _is_salad(head) else ""


def _has_run(text: str) -> bool:
    # A run lies inside one word, and words of its length are rare: most texts are done here.
    return any(len(word) > RUN for word in text.split()) and _RUN.search(text) is not None


def _loops(text: str) -> bool:
    words = text.split(maxsplit=WINDOW)[:WINDOW]
    return len(words) >= LOOP_WORDS and len(set(words)) < LOOP_DISTINCT * len(words)


def _is_salad(text: str) -> bool:
    """Whether Latin-script text is letters without words; other scripts are left alone."""
    sample = text[:SAMPLE]
    if len(_COMMON.intersection(sample.lower().split())) >= COMMON_WORDS:
        return False
    letters = sum(character.isalpha() for character in sample)
    latin = _WORD.findall(sample)
    if sum(map(len, latin)) < 0.7 * letters or "```" in sample:
        return False
    counted = [word for word in latin if len(word) > 1]
    return len(counted) >= SALAD_WORDS and sum(map(_is_wordlike, counted)) < SALAD_SHARE * len(
        counted
    )


def _is_wordlike(word: str) -> bool:
    return (
        len(word) <= MAX_WORD
        and _PLAIN_WORD.fullmatch(word) is not None
        and _VOWEL.search(word) is not None
        and _CLUSTER.search(word) is None
    )
