"""Exact duplicates by digest; near duplicates by MinHash, confirmed on the text itself.

MinHash signatures of word n-grams (Broder 1997) of 16 bits each (b-bit MinHash, Li and Koenig
2010), in bands that bring rows of high Jaccard similarity together.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from holdfast.audit.checks.words import grams
from holdfast.audit.codes import finding
from holdfast.audit.flags import Flags
from holdfast.audit.source import Row, Source
from holdfast.core.records import Finding

GRAM = 3
"""Words of a phrase."""
BANDS, DEPTH = 8, 4
"""Bands of the signature and hashes in a band: rows of Jaccard 0.8 meet with probability 0.985."""
NEAR = 0.8
"""Jaccard similarity of phrases from which a row nearly repeats another."""
_LIKELY = 0.65
"""The same as the signature estimates it: two standard errors lower."""
SHARE = 0.01
"""Share of rows from which duplicates make a finding."""
MOST_ROWS = 2_000_000
"""Rows whose signatures are kept: 64 bytes each."""
MOST_PAIRS = 100_000
"""Pairs that are confirmed on their text."""
_BATCH = 2048


class Duplicates:
    """AUDIT002 and AUDIT003."""

    def __init__(self, flags: Flags) -> None:
        self._flags = flags
        self._digests = array("Q")
        self._signatures: list[NDArray[np.uint16]] = []
        self._waiting: list[set[int]] = []
        stream = np.random.default_rng(20_000)
        self._a = stream.integers(0, 1 << 62, size=BANDS * DEPTH, dtype=np.uint64) * 2 + 1
        self._b = stream.integers(0, 1 << 63, size=BANDS * DEPTH, dtype=np.uint64)

    def see(self, row: Row) -> None:
        """Take in one row; rows that cannot be read count as different."""
        parts = [f"{m['role']}\x00{m['content']}\x01" for m in row.messages] or [str(row.index)]
        content = "".join(parts).encode(errors="surrogatepass")
        digest = hashlib.blake2b(content, digest_size=8).digest()
        self._digests.append(int.from_bytes(digest, "big"))
        if len(self._digests) <= MOST_ROWS:
            self._waiting.append(_phrases(row))
            if len(self._waiting) == _BATCH:
                self._sign()

    def finish(self, source: Source) -> Iterator[Finding]:
        """Flag the repeats, all but the first; at least `SHARE` of the rows is a finding."""
        digests = np.frombuffer(self._digests, dtype=np.uint64)
        unique, first, inverse = np.unique(digests, return_index=True, return_inverse=True)
        originals = first[inverse]
        repeats = np.flatnonzero(originals != np.arange(len(digests)))
        for row in repeats:
            self._flags.add("AUDIT002", int(row), f"row {int(originals[row]) + 1}")
        near = self._near(source, np.sort(first)) if len(unique) > 1 else 0
        total = len(digests)
        if len(repeats) >= max(1, SHARE * total):
            yield finding(
                "AUDIT002",
                f"{len(repeats)} of {total} rows repeat an earlier row exactly: "
                f"{len(unique)} are distinct",
                value=len(repeats) / total, threshold=SHARE,
            )  # fmt: skip
        if near >= max(1, SHARE * total):
            yield finding(
                "AUDIT003",
                f"{near} of {total} rows share at least {NEAR:.0%} of their {GRAM}-word phrases "
                "with an earlier row",
                value=near / total, threshold=SHARE,
            )  # fmt: skip

    def _sign(self) -> None:
        """Signatures [rows, BANDS * DEPTH] of the waiting rows."""
        sizes = [max(1, len(found)) for found in self._waiting]
        flat = np.fromiter(
            (value for found in self._waiting for value in (found or {0})), dtype=np.uint64
        )
        # Mixed first (as splitmix64 does): multiply-shift alone is regular on like input.
        flat = (flat ^ (flat >> np.uint64(16))) * np.uint64(0xBF58476D1CE4E5B9)
        flat = (flat ^ (flat >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        starts = np.concatenate(([0], np.cumsum(sizes)[:-1]))
        signature = np.empty((len(sizes), BANDS * DEPTH), dtype=np.uint16)
        for place in range(BANDS * DEPTH):
            hashed = (flat * self._a[place] + self._b[place]) >> np.uint64(32)
            signature[:, place] = np.minimum.reduceat(hashed, starts) & np.uint64(0xFFFF)
        self._signatures.append(signature)
        self._waiting.clear()

    def _near(self, source: Source, originals: NDArray[np.intp]) -> int:
        """Flag rows that nearly repeat an earlier one; how many there are."""
        if self._waiting:
            self._sign()
        signatures = np.concatenate(self._signatures)
        self._signatures = [signatures]
        pairs = _pairs(signatures, originals[originals < len(signatures)])
        taken: dict[int, int] = {}
        known: tuple[int, set[int]] = (-1, set())
        for first, second in pairs.tolist():
            if second in taken:
                continue
            rows = [i for i in (first, second) if i != known[0]]
            read = {row.index: _phrases(row) for row in source.at(rows)} | {known[0]: known[1]}
            one, other = read[first], read[second]
            known = (first, one)
            if len(one & other) >= NEAR * len(one | other) > 0:
                taken[second] = first
        for second in sorted(taken):
            self._flags.add("AUDIT003", second, f"row {taken[second] + 1}")
        return len(taken)


def _phrases(row: Row) -> set[int]:
    tokens = [token for message in row.words for token in message]
    return grams(tokens, min(GRAM, max(1, len(tokens))))


def _pairs(signatures: NDArray[np.uint16], rows: NDArray[np.intp]) -> NDArray[np.intp]:
    """Pairs (earlier, later) [m, 2] that share a band and look alike, the likeliest first."""
    found: list[NDArray[np.intp]] = []
    likeness: list[NDArray[np.float64]] = []
    keys = np.ascontiguousarray(signatures[rows]).view(np.uint64).reshape(len(rows), BANDS)
    for band in range(BANDS):
        order = np.lexsort((rows, keys[:, band]))
        values = keys[order, band]
        same = np.flatnonzero(values[1:] == values[:-1])
        both = np.stack([rows[order[same]], rows[order[same + 1]]], 1)
        for start in range(0, len(both), 1 << 18):  # bounded memory
            part = both[start : start + (1 << 18)]
            alike = (signatures[part[:, 0]] == signatures[part[:, 1]]).mean(1)
            found.append(part[alike >= _LIKELY])
            likeness.append(alike[alike >= _LIKELY])
    if not found:
        return np.empty((0, 2), dtype=np.intp)
    pairs, degree = np.concatenate(found), np.concatenate(likeness)
    unique, place = np.unique(pairs, axis=0, return_index=True)
    best = np.argsort(-degree[place], kind="stable")[:MOST_PAIRS]
    return unique[np.sort(best)]
