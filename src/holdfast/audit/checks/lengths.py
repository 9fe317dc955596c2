"""How long rows are, and whether they fit the model's context."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator

import numpy as np

from holdfast.audit.codes import finding
from holdfast.audit.flags import Flags
from holdfast.audit.source import Row
from holdfast.core.protocols import Messages
from holdfast.core.records import Finding

TOP = 0.01
"""The longest rows that are looked at."""
HALF = 0.5
"""Share of all text that they must not hold."""
LEAST_ROWS = 100
"""Rows from which a share of the longest means something."""
OVERHEAD = 64
"""Tokens that a chat template adds at most, and per message again a quarter of it."""


class Lengths:
    """AUDIT006 and AUDIT010."""

    def __init__(
        self, flags: Flags, *, context: int | None = None,
        count_tokens: Callable[[Messages, str], int] | None = None,
    ) -> None:  # fmt: skip
        self._flags = flags
        self._context, self._count = context, count_tokens
        self._characters = array("I")

    def see(self, row: Row) -> None:
        """Note the length of one row; only one that could exceed the context is tokenised."""
        text = row.text
        self._characters.append(min(len(text), 0xFFFF_FFFF))
        if self._context is None or self._count is None or not row.messages:
            return
        # A byte-level or a word-piece token is at least one byte long.
        bound = len(text.encode(errors="replace")) + OVERHEAD + len(row.messages) * OVERHEAD // 4
        if bound <= self._context:
            return
        tokens = self._count(row.request, row.answer)
        if tokens > self._context:
            self._flags.add("AUDIT010", row.index, f"{tokens} tokens, {self._context} fit")

    @property
    def quantiles(self) -> dict[str, int]:
        """Characters of a row: median, 99th percentile and longest."""
        values = np.frombuffer(self._characters, dtype=np.uint32)
        middle, high, most = np.quantile(values, [0.5, 0.99, 1.0])
        return {"median": int(middle), "p99": int(high), "longest": int(most)}

    def finish(self) -> Iterator[Finding]:
        """Findings on rows that are cut off, and on few rows that hold most of the text."""
        total = len(self._characters)
        cut = self._flags.count("AUDIT010")
        if cut:
            yield finding(
                "AUDIT010",
                f"{cut} of {total} rows are longer than the model's context of {self._context} "
                "tokens: their answers would be cut off, and no score reads them",
                value=cut / total, threshold=0,
            )  # fmt: skip
        values = np.frombuffer(self._characters, dtype=np.uint32).astype(np.int64)
        count = int(TOP * total)
        if total < LEAST_ROWS or not values.sum():
            return
        longest = np.argsort(-values, kind="stable")[:count]
        share = float(values[longest].sum() / values.sum())
        if share > HALF:
            for row in sorted(int(i) for i in longest):
                self._flags.add("AUDIT006", row, f"{int(values[row])} characters")
            yield finding(
                "AUDIT006", f"the longest {count} of {total} rows hold {share:.0%} of the text",
                value=share, threshold=HALF,
            )  # fmt: skip
