"""Named refs: which model `production` is, by which verdict, and what it was before."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from holdfast.core.errors import RefusedError, UsageError
from holdfast.core.records import ModelRef, Outcome, Verdict

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True)
class Move:
    """One promotion or rollback of a ref."""

    ref: str
    """Name of the ref."""
    event: str
    """`ref.promoted` or `ref.rolled_back`."""
    digest: str
    """Model that the ref names since."""
    previous: str
    """Model that it named before, or ""."""
    verdict: str
    """Digest of the verdict behind a promotion, "" for a rollback."""
    time: str
    """UTC, ISO 8601."""


def require_name(name: str, what: str) -> str:
    """`name` if it may name a model or a ref, which also keeps it out of trouble in paths."""
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"'{name:.100}' cannot be the name of a {what}",
            expected="letters, digits, '.', '_' and '-', starting with a letter or digit",
        )
    return name


def stack(moves: Sequence[Move]) -> list[str]:
    """The models that a ref has named and can return to, the present one last."""
    digests: list[str] = []
    for move in moves:
        if move.event == "ref.promoted":
            digests.append(move.digest)
        else:
            digests.pop()
    return digests


def require_pass(candidate: ModelRef, verdict: Verdict, known: set[str]) -> None:
    """Refuse a promotion unless `verdict` passed exactly this model against a base in the vault."""
    if verdict.outcome is not Outcome.PASS:
        raise RefusedError(
            f"{candidate.name} may not be promoted",
            got=f"a verdict of {verdict.outcome.value.upper()}",
            expected="PASS",
            next_step="repair the model, or measure more prompts if it was inconclusive",
        )
    if verdict.candidate != candidate.model_digest:
        raise RefusedError(
            f"the verdict is about another model than {candidate.name}",
            got=verdict.candidate[:12],
            expected=candidate.model_digest[:12],
            next_step="run the gate on exactly this model",
        )
    if verdict.base not in known or verdict.base == verdict.candidate:
        raise RefusedError(
            f"the verdict on {candidate.name} compares it with an unknown base",
            got=verdict.base[:12],
            expected="a base that is sealed in this vault",
            next_step="add the base with 'holdfast models add', and run the gate against it",
        )
