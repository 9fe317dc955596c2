"""Which rows were flagged, by what, and why: four bytes a flag, details for the first thousands."""

from __future__ import annotations

from array import array
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from holdfast.audit.codes import CODES

MOST_DETAILS = 5_000
"""Details kept of each code; later rows get the code's own reason."""


class Flags:
    """Rows by code."""

    def __init__(self) -> None:
        self._rows: dict[str, array[int]] = {code: array("I") for code in CODES}
        self._details: dict[tuple[str, int], str] = {}

    def add(self, code: str, row: int, detail: str = "") -> None:
        """Flag a row, at most once for each code in a run of calls; `detail` follows the reason."""
        rows = self._rows[code]
        if rows and rows[-1] == row:
            return
        if detail and len(rows) < MOST_DETAILS:
            self._details[code, row] = detail
        rows.append(row)

    def rows(self, code: str) -> array[int]:
        """Rows of one code, in the order in which they were flagged."""
        return self._rows[code]

    def count(self, code: str) -> int:
        """Number of rows of one code."""
        return len(self._rows[code])

    def reason(self, code: str, row: int) -> str:
        """Why a row has a code, in a few words."""
        detail = self._details.get((code, row), "")
        return f"{CODES[code].reason} ({detail})" if detail else CODES[code].reason

    def masks(self, total: int) -> NDArray[np.uint32]:
        """[total]: the codes of every row as bits, in the order of `CODES`."""
        found = np.zeros(total, dtype=np.uint32)
        for place, rows in enumerate(self._rows.values()):
            found[np.frombuffer(rows, dtype=np.uint32)] |= np.uint32(1 << place)
        return found


def codes_of(mask: int) -> list[str]:
    """The codes of a row's bits."""
    return [code for place, code in enumerate(CODES) if mask >> place & 1]


def mask_of(codes: Iterable[str]) -> int:
    """The bits of some codes."""
    wanted = set(codes)
    return sum(1 << place for place, code in enumerate(CODES) if code in wanted)


QUARANTINE = mask_of(code for code, about in CODES.items() if about.quarantine)
"""Bits of the codes that set a row aside."""
BLOCKING = mask_of(code for code, about in CODES.items() if about.severity == "blocking")
"""Bits of the codes that want to be read before training."""
