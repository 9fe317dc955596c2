"""Named random streams: one seed for a run, an independent stream for each use of chance."""

from __future__ import annotations

import hashlib


def derive(seed: int, *names: str | int) -> int:
    """A 31-bit seed for the stream called `names`; adding a stream never shifts another."""
    text = "/".join([str(seed), *map(str, names)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") & 0x7FFF_FFFF
