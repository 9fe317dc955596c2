"""Content digests: the identity of everything that Holdfast compares, caches or seals."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_CHUNK = 1 << 20


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces; NaN and infinities are errors, not text."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def sha256_text(text: str) -> str:
    """Hex SHA-256 of the UTF-8 bytes of `text`."""
    return hashlib.sha256(text.encode()).hexdigest()


def sha256_json(value: Any) -> str:
    """Hex SHA-256 of the canonical JSON of `value`."""
    return sha256_text(canonical_json(value))


def sha256_file(path: Path) -> str:
    """Hex SHA-256 of a file, streamed in 1 MiB pieces."""
    hasher = hashlib.sha256()
    with path.open("rb") as handle:
        while chunk := handle.read(_CHUNK):
            hasher.update(chunk)
    return hasher.hexdigest()


def combine(parts: Mapping[str, str]) -> str:
    """One digest over named digests; the names are part of the identity."""
    return sha256_json(dict(parts))


def prompt_digest(messages: list[dict[str, str]]) -> str:
    """Identity of a conversation: roles and contents, nothing else."""
    return sha256_json([[m["role"], m["content"]] for m in messages])
