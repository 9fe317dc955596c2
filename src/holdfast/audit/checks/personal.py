"""Personal data by its form: what has a checksum must pass it. Names are not looked for."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from ipaddress import AddressValueError, IPv4Address

from holdfast.audit.codes import finding
from holdfast.audit.flags import Flags
from holdfast.audit.source import Row
from holdfast.core.records import Finding

MAX_TEXT = 20_000
"""Characters of a row that are read."""
_MAIL = re.compile(r"\b[\w.+-]{1,64}@(?:[\w-]{1,63}\.){1,4}[a-zA-Z]{2,24}\b")
_PLACEHOLDER = re.compile(r"@(?:[\w-]+\.)*(?:example|test|invalid|localhost)(?:\.\w+)?$", re.I)
_PHONE = re.compile(
    r"(?<![\w.])(?:\+\d{1,3}[ .-]?)?(?:\(\d{1,4}\)[ .-]?)?\d{2,4}(?:[ .-]\d{2,4}){1,4}(?![\w.-])"
)
_SOLID_PHONE = re.compile(r"(?<!\w)\+\d{9,14}(?!\w)")
_CARD = re.compile(r"(?<!\d)\d(?:[ -]?\d){12,18}(?!\d)")
_IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{2,4}){3,8}\b")
_IP = re.compile(r"(?<![\d.])(?:\d{1,3}\.){3}\d{1,3}(?![\d.])")
_NUMBERS = re.compile(r"\d[\dA-Z .()-]{4}")
"""What all that follows has in it: a digit with four characters of a number behind it."""
_DATE = re.compile(r"\b(?:\d{4}[./-]\d{1,2}[./-]\d{1,2}|\d{1,2}[./-]\d{1,2}[./-]\d{4})\b")


def personal_data(text: str) -> Counter[str]:
    """Kinds of personal data in a text, with counts; the data itself is not kept."""
    found: Counter[str] = Counter()
    text = text[:MAX_TEXT]
    if "@" in text:
        mails = [m for m in _MAIL.findall(text) if not _PLACEHOLDER.search(m)]
        found["e-mail"] = len(mails)
    if not _NUMBERS.search(text):
        return +found
    found["IBAN"] = sum(_iban(m.group()) for m in _IBAN.finditer(text))
    rest = _IBAN.sub(" ", text)
    found["card number"] = sum(_luhn(m.group()) for m in _CARD.finditer(rest))
    rest = _CARD.sub(" ", rest)
    found["IP address"] = sum(_public(m.group()) for m in _IP.finditer(rest))
    rest = _DATE.sub(" x ", _IP.sub(" x ", rest))
    phones = {m.group() for m in _SOLID_PHONE.finditer(rest)}
    phones |= {m.group() for m in _PHONE.finditer(rest) if _phone(m.group())}
    found["phone number"] = len(phones)
    return +found


class PersonalData:
    """AUDIT007."""

    def __init__(self, flags: Flags) -> None:
        self._flags = flags
        self._rows: Counter[str] = Counter()

    def see(self, row: Row) -> None:
        """Look at one row; what is found is counted by kind and not quoted."""
        found = personal_data(row.text)
        if found:
            self._rows.update(found.keys())
            listed = ", ".join(f"{kind} x{count}" for kind, count in sorted(found.items()))
            self._flags.add("AUDIT007", row.index, listed)

    def finish(self) -> Iterator[Finding]:
        """One finding for all kinds."""
        count = self._flags.count("AUDIT007")
        if count:
            listed = ", ".join(f"{kind} in {n}" for kind, n in self._rows.most_common())
            yield finding("AUDIT007", f"{count} rows hold personal data ({listed})",
                          value=count, threshold=0)  # fmt: skip


def _luhn(text: str) -> bool:
    """Luhn's checksum (ISO/IEC 7812-1), of digits that are not all the same."""
    digits = [int(c) for c in text if c.isdigit()]
    doubled = [d if i % 2 == 0 else (2 * d - 9 if d > 4 else 2 * d) 
               for i, d in enumerate(reversed(digits))]  # fmt: skip
    return len(set(digits)) > 1 and sum(doubled) % 10 == 0


def _iban(text: str) -> bool:
    """The checksum of ISO 13616: 97 divides the rearranged number with remainder 1."""
    plain = text.replace(" ", "")
    if not 15 <= len(plain) <= 34:
        return False
    return int("".join(str(int(c, 36)) for c in plain[4:] + plain[:4])) % 97 == 1


def _public(text: str) -> bool:
    """Whether it is an address that stands for a machine on the internet."""
    try:
        return IPv4Address(text).is_global
    except AddressValueError:
        return False


def _phone(text: str) -> bool:
    return 9 <= sum(c.isdigit() for c in text) <= 15
