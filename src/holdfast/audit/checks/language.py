"""Which language a text is in, roughly: by script, and by its commonest words where it is Latin."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterator

from holdfast.audit.checks.words import words
from holdfast.audit.codes import finding
from holdfast.audit.flags import Flags
from holdfast.audit.source import Row
from holdfast.core.records import Finding

SHARE = 0.01
"""Share of rows in other languages that makes a finding."""
READ = 600
"""Characters of a row that are read."""
_STOPWORDS = {
    "en": "the of and to is in that it you for with this are be can how what i my on will not do",
    "de": "der die und das ist nicht ich zu den mit ein eine von es wie auf sie für kann im dem",
    "fr": "le la les et est des que une je pour dans pas vous qui sur avec ce du comment au",
    "es": "el los que de y las por una con para como es en un se mi del puedo está lo más",
    "it": "il di che e la per un una non con sono come mi della si le del posso questo gli più",
    "pt": "o de que e do da em um para com uma não os no se como por mais as meu você à",
    "nl": "de het een en van ik te dat niet is op voor met zijn die hoe aan je mijn kan er",
    "pl": "w i na się nie to jest z do że jak co mogę dla jego po czy tak ale mój",
    "sv": "och att det som en på är av för med till den inte har jag ett om hur min kan",
    "tr": "ve bir bu için ile de da ne nasıl mi gibi çok daha olarak ben var ama en kadar",
}
_CODES: dict[str, list[str]] = {}
for _code, _text in _STOPWORDS.items():
    for _word in set(_text.split()):
        _CODES.setdefault(_word, []).append(_code)
_SCRIPTS = {
    "CYRILLIC": "cyrillic", "GREEK": "el", "ARABIC": "arabic", "HEBREW": "he",
    "DEVANAGARI": "devanagari", "CJK": "cjk", "HIRAGANA": "ja", "KATAKANA": "ja",
    "HANGUL": "ko", "THAI": "th",
}  # fmt: skip


def language_of(text: str) -> str:
    """A language code, or a script where that is all that is seen; "" where it cannot be told."""
    sample = text[:READ]
    if not sample.isascii():
        scripts = Counter(_script(c) for c in sample if c.isalpha())
        script, count = scripts.most_common(1)[0] if scripts else ("", 0)
        if "ja" in scripts:
            return "ja"
        if script and script != "latin" and count * 2 > scripts.total():
            return script
    tokens = words(sample)
    votes: Counter[str] = Counter()
    for token in tokens:
        if token in _CODES:
            votes.update(_CODES[token])
    (best, most), (_, second) = [*votes.most_common(2), ("", 0), ("", 0)][:2]
    # Three common words at least, a tenth of the text, and a clear lead.
    return best if most >= 3 and most * 10 >= len(tokens) and most > second * 1.2 else ""


class Languages:
    """AUDIT005."""

    def __init__(self, flags: Flags, expected: str = "") -> None:
        self._flags, self._expected = flags, expected
        self._seen: Counter[str] = Counter()
        self._codes: list[str] = []
        self._places = bytearray()

    def see(self, row: Row) -> None:
        """Note the language of one row."""
        code = language_of(row.text)
        self._seen[code] += 1
        if code not in self._codes:
            self._codes.append(code)
        self._places.append(min(self._codes.index(code), 255))

    @property
    def counts(self) -> dict[str, int]:
        """Rows by language, the most frequent first; "unknown" where it could not be told."""
        return {code or "unknown": count for code, count in self._seen.most_common()}

    @property
    def main(self) -> str:
        """The language of most rows that could be told; "" where none could."""
        return next((code for code, _ in self._seen.most_common() if code), "")

    def finish(self) -> Iterator[Finding]:
        """A finding where rows differ, or where all differ from what the scores are made for."""
        main, total = self.main, self._seen.total()
        known = {code: count for code, count in self._seen.items() if code}
        other = sum(known.values()) - known.get(main, 0)
        if other >= max(1, SHARE * total):
            wanted = {i for i, code in enumerate(self._codes) if code and code != main}
            for row, place in enumerate(self._places):
                if place in wanted:
                    self._flags.add("AUDIT005", row, self._codes[place])
            listed = ", ".join(f"{code} {count}" for code, count in self.counts.items())
            yield finding(
                "AUDIT005", f"{other} of {total} rows are not in the main language ({listed})",
                value=other / total, threshold=SHARE,
            )  # fmt: skip
        if self._expected and main and main != self._expected:
            yield finding(
                "AUDIT005",
                f"the rows are in '{main}', and the anchors of the scores in '{self._expected}': "
                "read the scores as weak evidence",
            )


def _script(character: str) -> str:
    name = unicodedata.name(character, "").split(" ", 1)[0]
    return _SCRIPTS.get(name, "latin")
