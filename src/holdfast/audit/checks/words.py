"""Words and their n-grams, as several checks read them."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from functools import lru_cache

_WORD = re.compile(r"\w+")
MAX_WORDS = 2000
"""Words of a message that are read; a longer one is judged by its start."""
_MASK = 0xFFFF_FFFF


def words(text: str) -> list[str]:
    """The words of a text, without case and punctuation."""
    return _WORD.findall(text.casefold())[:MAX_WORDS]


def grams(tokens: Sequence[str], size: int) -> set[int]:
    """Hashes of the word n-grams of a text, 32 bits each; none where it is shorter than `size`."""
    hashes = [_hash(token) for token in tokens]
    rolled = hashes
    for shift in range(1, size):
        rolled = [
            (a * 0x0100_0193 ^ b) & _MASK for a, b in zip(rolled, hashes[shift:], strict=False)
        ]
    return set(rolled)


@lru_cache(maxsize=1 << 16)
def _hash(token: str) -> int:
    """The same for the same word in every process."""
    return zlib.crc32(token.encode(errors="surrogatepass"))
