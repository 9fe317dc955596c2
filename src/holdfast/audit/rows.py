"""The audit's files: every row with a reason, ranked; and the rows that were kept."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from holdfast.audit.flags import BLOCKING, QUARANTINE, Flags, codes_of
from holdfast.audit.source import Source
from holdfast.core.files import write_chunks

Floats = NDArray[np.float64]


def ranked(
    flags: Flags, total: int, sampled: NDArray[np.intp], combined: Floats,
    scores: dict[str, Floats],
) -> Iterator[bytes]:  # fmt: skip
    """A JSON line for every row that was flagged or scored, the most urgent first.

    `score` is the number of blocking codes plus the combined harm score where that is positive;
    the row's text is not repeated. `sampled` holds the indices of scored rows, `combined` and each
    of `scores` a value for every one of them.
    """
    masks = flags.masks(total)
    urgent = np.zeros(total)
    for bit in range(BLOCKING.bit_length()):
        if BLOCKING >> bit & 1:
            urgent += masks >> np.uint32(bit) & np.uint32(1)
    urgent[sampled] += np.maximum(combined, 0.0)
    shown = masks > 0
    shown[sampled] = True
    rows = np.flatnonzero(shown)
    place_of = {int(row): place for place, row in enumerate(sampled)}
    order = rows[np.lexsort((rows, -urgent[rows]))]
    for rank, row in enumerate(order.tolist(), 1):
        mask = int(masks[row])
        codes = codes_of(mask)
        place = place_of.get(row)
        line = {
            "row": row + 1, "rank": rank, "score": round(float(urgent[row]), 6),
            "quarantined": bool(mask & QUARANTINE), "codes": codes,
            "reasons": [flags.reason(code, row) for code in codes],
        }  # fmt: skip
        if place is not None and len(combined):
            line["combined"] = round(float(combined[place]), 6)
            line["scores"] = {name: round(float(v[place]), 6) for name, v in scores.items()}
        yield (json.dumps(line, ensure_ascii=False) + "\n").encode(errors="backslashreplace")


def quarantined(flags: Flags, total: int) -> NDArray[np.bool_]:
    """[total]: rows that are set aside for review."""
    return np.asarray(flags.masks(total) & np.uint32(QUARANTINE), dtype=bool)


def write_kept(source: Source, aside: NDArray[np.bool_], path: Path) -> int:
    """Write the rows that are not set aside as JSON Lines; return how many.

    An act of the user's: the audit itself removes nothing. Lines of a JSON Lines file are copied
    byte by byte.
    """
    kept = (line for line, out in zip(source.lines(), aside, strict=True) if not out)
    return write_chunks(path, kept)
