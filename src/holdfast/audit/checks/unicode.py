"""Text that was broken on its way, and characters that a reader does not see but a model does."""

from __future__ import annotations

import re
from collections.abc import Iterator

from holdfast.audit.codes import finding
from holdfast.audit.flags import Flags
from holdfast.audit.source import Row
from holdfast.core.records import Finding

_SURROGATE = re.compile("[\ud800-\udfff]")
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufffe\uffff]")
_MOJIBAKE = re.compile("[\u00c3\u00c2][\u0080-\u00bf]|\u00e2\u20ac.")
"""UTF-8 that was read as Latin-1 or Windows-1252."""
_HIDDEN = re.compile("[\u200b\u2060\ufeff\u202a-\u202e\u2066-\u2069\U000e0000-\U000e007f]")
"""Zero-width, bidirectional overrides and tag characters. Joiners, which some scripts and emoji
need, are not among them."""


def broken(text: str) -> str:
    """How a text is broken, in a few words; "" where it is not."""
    if text.isascii():
        return "control characters" if _CONTROL.search(text) else ""
    if _SURROGATE.search(text):
        return "lone surrogates, which no tokenizer takes"
    if "\ufffd" in text:
        return "replacement characters"
    if _MOJIBAKE.search(text):
        return "text decoded with the wrong encoding"
    return "control characters" if _CONTROL.search(text) else ""


class BrokenText:
    """AUDIT008 and AUDIT009."""

    def __init__(self, flags: Flags) -> None:
        self._flags = flags

    def see(self, row: Row) -> None:
        """Look at one row."""
        text = row.text
        how = "bytes that are no UTF-8" if row.undecodable else broken(text)
        if how:
            self._flags.add("AUDIT008", row.index, how)
        if not text.isascii() and (hidden := _HIDDEN.findall(text)):
            self._flags.add("AUDIT009", row.index, f"{len(hidden)} of them")

    def finish(self) -> Iterator[Finding]:
        """One finding of each kind."""
        for code, what in (
            ("AUDIT008", "hold text that was broken on its way"),
            ("AUDIT009", "hold characters that a reader does not see and a model does"),
        ):
            count = self._flags.count(code)
            if count:
                yield finding(code, f"{count} rows {what}", value=count, threshold=0)


def tokenizable(text: str) -> bool:
    """Whether a text can be encoded at all."""
    return _SURROGATE.search(text) is None
