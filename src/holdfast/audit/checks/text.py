"""All checks of the text in one pass over the rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from random import Random

from holdfast.audit.checks.duplicates import Duplicates
from holdfast.audit.checks.language import Languages
from holdfast.audit.checks.leakage import Leakage, SuitePrompt
from holdfast.audit.checks.lengths import Lengths
from holdfast.audit.checks.personal import PersonalData
from holdfast.audit.checks.unicode import BrokenText, tokenizable
from holdfast.audit.codes import finding
from holdfast.audit.flags import Flags
from holdfast.audit.source import Row, Source
from holdfast.core.errors import DataError
from holdfast.core.protocols import Messages, Progress, no_progress
from holdfast.core.records import Finding
from holdfast.core.seeds import derive

_REPORT = 2000


@dataclass(frozen=True)
class TextReport:
    """What the text alone says."""

    rows: int
    """Rows of the file, readable or not."""
    findings: tuple[Finding, ...]
    """Findings by code."""
    flags: Flags
    """Rows by code."""
    languages: dict[str, int]
    """Rows by language."""
    lengths: dict[str, int]
    """Characters of a row: median, 99th percentile, longest."""
    sample: tuple[Row, ...]
    """A random sample of the rows that a model can read, in their order."""


def check_text(
    source: Source, *, prompts: Sequence[SuitePrompt] = (), sample: int = 0, seed: int = 0,
    context: int | None = None, count_tokens: Callable[[Messages, str], int] | None = None,
    expected_language: str = "", progress: Progress = no_progress,
) -> TextReport:  # fmt: skip
    """Read every row once and check its text.

    Memory: about 90 bytes a row while reading and 350 while duplicates are sought, whatever the
    length of a row, and the sample. Rows of the sample are drawn
    with equal chance (reservoir sampling, Vitter 1985, algorithm R) from those that have no fault,
    can be encoded and fit the context.

    Raises:
        DataError: the file is missing, empty, or holds no row that can be read.
    """
    flags = Flags()
    duplicates, languages = Duplicates(flags), Languages(flags, expected_language)
    leakage, personal, unicode = Leakage(flags, prompts), PersonalData(flags), BrokenText(flags)
    lengths = Lengths(flags, context=context, count_tokens=count_tokens)
    stream = Random(derive(seed, "audit", "sample"))
    kept: list[Row] = []
    able = read = total = 0
    for row in source:
        total += 1
        duplicates.see(row)
        languages.see(row)
        unicode.see(row)
        lengths.see(row)
        if row.fault:
            flags.add("AUDIT001", row.index, row.fault)
        else:
            read += 1
            leakage.see(row)
            personal.see(row)
            if _scorable(row, flags):
                able += 1
                _reservoir(kept, row, able, sample, stream)
        if total % _REPORT == 0:
            progress("read the rows", total, 0)
    if not read:
        raise DataError(
            f"none of the {total} rows of {source.path} can be read",
            got=flags.reason("AUDIT001", 0), expected="rows with a request and an answer",
        )  # fmt: skip
    progress("look for duplicates", total, total)
    found = chain(
        _faults(flags, total), duplicates.finish(source), leakage.finish(), languages.finish(),
        lengths.finish(), personal.finish(), unicode.finish(),
    )  # fmt: skip
    findings = tuple(sorted(found, key=lambda f: f.code))
    chosen = tuple(sorted(kept, key=lambda row: row.index))
    return TextReport(total, findings, flags, languages.counts, lengths.quantiles, chosen)


def _scorable(row: Row, flags: Flags) -> bool:
    cut = flags.rows("AUDIT010")
    return tokenizable(row.text) and not (cut and cut[-1] == row.index)


def _reservoir(kept: list[Row], row: Row, seen: int, size: int, stream: Random) -> None:
    if len(kept) < size:
        kept.append(row)
    elif size and (place := stream.randrange(seen)) < size:
        kept[place] = row


def _faults(flags: Flags, total: int) -> Iterator[Finding]:
    count = flags.count("AUDIT001")
    if count:
        first = flags.rows("AUDIT001")[0]
        yield finding(
            "AUDIT001",
            f"{count} of {total} rows cannot be read, the first is row {first + 1}: "
            f"{flags.reason('AUDIT001', first)}",
            value=count / total, threshold=0,
        )  # fmt: skip
