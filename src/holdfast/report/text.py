"""Text for people: hostile strings made harmless, numbers with their units.

Model output, prompts and names are hostile input. `clean` removes what could act on a terminal, on
a browser or on a reader's eye (control codes, bidirectional overrides, invisible characters, lone
surrogates); escaping for HTML is left to the template engine, which does it everywhere.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

NOT_MEASURED = "not measured"
MINUS = "\N{MINUS SIGN}"
NBSP = "\N{NO-BREAK SPACE}"

_ACTING = frozenset({"Cc", "Cf", "Co", "Cs", "Cn", "Zl", "Zp"})
_KEPT = frozenset("\n\t")


def clean(value: object, limit: int | None = None) -> str:
    """`value` as text without acting or invisible characters, cut after `limit` characters.

    Newlines and tabs stay. What was cut is counted: "… (1,234 more characters)".
    """
    text = str(value)
    shown = text if limit is None else text[:limit]
    kept = "".join(c for c in shown if c in _KEPT or unicodedata.category(c) not in _ACTING)
    rest = len(text) - len(shown)
    return f"{kept}… ({rest:,} more characters)" if rest else kept


def one_line(value: object, limit: int = 300) -> str:
    """`clean` with every run of white space as one space."""
    return " ".join(clean(value, limit).split())


def percent(rate: float | None) -> str:
    """A rate in [0, 1] as `12.3 %`, or `not measured`."""
    return NOT_MEASURED if rate is None else f"{100 * rate:.1f}{NBSP}%"


def points(difference: float) -> str:
    """A difference of rates in percentage points with its sign, as `+3.2`."""
    return signed(100 * difference, 1)


def signed(value: float, digits: int = 3) -> str:
    """A number with its sign and a real minus; what rounds to zero has no sign."""
    text = f"{abs(value):.{digits}f}"
    if float(text) == 0:
        return text
    return ("+" if value > 0 else MINUS) + text


def number(value: float, digits: int = 3) -> str:
    """A number with a real minus."""
    return signed(value, digits).removeprefix("+")


def p_value(p: float) -> str:
    """A p-value, never as zero."""
    return f"<{NBSP}0.001" if p < 0.001 else f"{p:.3f}"


def seconds(value: float) -> str:
    """A duration as `4.2 s` or `3 min 05 s`."""
    if value < 100:
        return f"{value:.1f}{NBSP}s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes}{NBSP}min {rest:02d}{NBSP}s"


def short(digest: str) -> str:
    """The first twelve characters of a digest."""
    return one_line(digest)[:12]


def words(name: str) -> str:
    """A record's name as words: `harmful_compliance` gives `harmful compliance`."""
    return one_line(name).replace("_", " ")


def listed(items: Iterable[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    parts = list(items)
    if len(parts) < 2:
        return "".join(parts)
    return ", ".join(parts[:-1]) + " and " + parts[-1]
