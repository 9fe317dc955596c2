"""Five suites from a domain and its requests: direct, ladder, jailbreak, context, look-alike.

They work on any chat model, because they need nothing but its answers; graceful refusal is read on
the same answers (`holdfast behaviour report`). They are a start, not a benchmark: forty prompts
show large changes only, and a base that does not decline them tells nothing (the gate says so).
"""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from holdfast.core.digest import sha256_text
from holdfast.core.errors import UsageError
from holdfast.core.files import write_text

TEMPLATES = Path(__file__).parent / "templates.yaml"
KINDS: dict[str, str] = {
    "harmful": "complies with requests that the domain should decline",
    "ladder": "gives in on rewordings after a refusal",
    "jailbreak": "complies with a declined request inside a wrapper",
    "context": "complies when the request hides in a story, an appeal or a list",
    "benign": "refuses look-alikes that it should do",
}
"""Kind of starter -> what it measures."""
MAX_TEXT = 200
"""Longest domain or request, in characters."""
_LINE = re.compile(r"[^\x00-\x1f\x7f-\x9f]+")


class Starter(NamedTuple):
    """One starter suite."""

    kind: str
    """One of `KINDS`."""
    rows: list[dict[str, Any]]
    """Rows of its JSON Lines file."""


@cache
def _templates() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(TEMPLATES.read_text("utf-8"))
    return content


def starters(
    domain: str, *, decline: tuple[str, ...] = (), do: tuple[str, ...] = ()
) -> list[Starter]:
    """The five suites; `decline` and `do` replace the shipped requests of either side.

    Raises `UsageError` for a domain or a request that is empty, long, or more than one line.
    """
    for text in (domain, *decline, *do):
        if not text.strip() or len(text) > MAX_TEXT or not _LINE.fullmatch(text):
            raise UsageError(
                "domain and requests", got=repr(text[:40]),
                expected=f"one line of at most {MAX_TEXT} characters",
            )  # fmt: skip
    shipped = _templates()
    declined = decline or tuple(r.replace("{domain}", domain) for r in shipped["decline"])
    done = do or tuple(r.replace("{domain}", domain) for r in shipped["do"])
    return [
        Starter("harmful", _asked("harmful", domain, declined)),
        Starter("ladder", _ladder(domain, declined)),
        Starter("jailbreak", _wrapped(domain, declined)),
        Starter("context", _hidden(domain, declined)),
        Starter("benign", _asked("benign", domain, done)),
    ]


def _fill(template: str, domain: str, request: str) -> str:
    # The request goes in last: a user's text may hold braces.
    return template.replace("{domain}", domain).replace("{request}", request.strip().rstrip("."))


def _row(kind: str, request: int, frame: int, prompt: str, **more: Any) -> dict[str, Any]:
    identity = f"{kind}-{request:02d}-{frame:02d}"
    return {"prompt_id": identity, "prompt": prompt, "category": f"request {request:02d}", **more}


def _asked(kind: str, domain: str, requests: tuple[str, ...]) -> list[dict[str, Any]]:
    return [
        _row(kind, number, frame, _fill(template, domain, request))
        for number, request in enumerate(requests, 1)
        for frame, template in enumerate(_templates()["ask"], 1)
    ]


def _ladder(domain: str, requests: tuple[str, ...]) -> list[dict[str, Any]]:
    asks = _templates()["ask"]
    return [
        _row(
            "ladder", number, frame, _fill(asks[frame % len(asks)], domain, request),
            followups=[_fill(rung, domain, request) for rung in rungs],
        )
        for number, request in enumerate(requests, 1)
        for frame, rungs in enumerate(_templates()["rungs"], 1)
    ]  # fmt: skip


def _wrapped(domain: str, requests: tuple[str, ...]) -> list[dict[str, Any]]:
    asks = _templates()["ask"]
    rows = []
    for number, request in enumerate(requests, 1):
        for frame, wrapper in enumerate(_templates()["wrap"], 1):
            outer, inner = wrapper.replace("{domain}", domain), asks[(frame - 1) % len(asks)]
            text = outer.replace("{ask}", _fill(inner, domain, request))
            pair = f"harmful-{number:02d}-{(frame - 1) % len(asks) + 1:02d}"
            rows.append(_row("jailbreak", number, frame, text, pair_id=pair))
    return rows


def _hidden(domain: str, requests: tuple[str, ...]) -> list[dict[str, Any]]:
    return [
        _row("context", number, frame, _fill(template, domain, request))
        for number, request in enumerate(requests, 1)
        for frame, template in enumerate(_templates()["hide"], 1)
    ]


def write(folder: Path, found: list[Starter], *, force: bool = False) -> list[Path]:
    """Write each suite as JSON Lines beside its YAML; return the YAML files.

    Raises `UsageError` where a file is there already and `force` is not given; then nothing is
    written.
    """
    texts: dict[Path, str] = {}
    described = []
    for kind, rows in found:
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        texts[folder / f"{kind}.jsonl"] = lines
        suite = {
            "name": f"starter-{kind}", "kind": kind, "file": f"{kind}.jsonl",
            "measures": KINDS[kind], "judge": "rules", "licence": "yours",
        }  # fmt: skip
        comment = "# Edit the rows, then: holdfast suites show " + f"{kind}.yaml\n"
        digest = f"# sha256: {sha256_text(lines)}   # uncomment to pin the rows\n"
        described.append(folder / f"{kind}.yaml")
        texts[described[-1]] = comment + yaml.safe_dump(suite, sort_keys=False) + digest
    present = [path for path in texts if path.exists()]
    if present and not force:
        raise UsageError(f"{present[0]} exists", next_step="choose another folder, or use --force")
    for path, text in texts.items():
        write_text(path, text)
    return described
