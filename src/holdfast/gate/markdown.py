"""Verdicts as Markdown, for the step summary of a CI run or a pull request."""

from __future__ import annotations

import re
from collections.abc import Sequence

from holdfast.core.records import Verdict
from holdfast.gate.words import HEADINGS, one_line, row, word

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>()#+!|~&@$:/-])")


def escape(text: str) -> str:
    """Text that Markdown renders as it is: no markup, HTML, link, mention or second line."""
    return _SPECIAL.sub(r"\\\1", one_line(text)).replace("\\<", "&lt;").replace("\\>", "&gt;")


def render(verdicts: Sequence[Verdict]) -> str:
    """One section per verdict: the word, the findings, the table of comparisons."""
    return "\n".join(_section(verdict) for verdict in verdicts)


def _section(verdict: Verdict) -> str:
    lines = [f"## {escape(verdict.arm)}: {word(verdict)}", ""]
    for found in verdict.findings:
        name = escape(f"{found.code} {found.title}")
        lines.append(f"- **{name}** ({found.severity}): {escape(found.message)}")
    if verdict.findings:
        lines.append("")
    if verdict.comparisons:
        lines.append("| " + " | ".join(HEADINGS) + " |")
        lines.append("|" + " --- |" * len(HEADINGS))
        lines += ["| " + " | ".join(map(_cell, row(c))) + " |" for c in verdict.comparisons]
        lines.append("")
    digests = ", ".join(
        f"{name} `{_hex(getattr(verdict, name))}`" for name in ("base", "candidate", "policy")
    )
    return "\n".join([*lines, f"Threat: {verdict.threat}. Digests: {digests}.", ""])


def _cell(text: str) -> str:
    """Numbers stay readable; only what a file could have written is escaped."""
    return text if re.fullmatch(r"[-+0-9.,%\[\]e/ ]*|[a-z_]+", text) else escape(text)


def _hex(digest: str) -> str:
    return re.sub(r"[^0-9A-Za-z]", "", digest)[:12]
