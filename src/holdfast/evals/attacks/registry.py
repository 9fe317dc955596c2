"""Attacks by name, as the command line asks for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from holdfast.core.errors import UsageError
from holdfast.core.registry import Registry
from holdfast.evals.attacks.base import Attacked, AttackOptions, attack
from holdfast.evals.suites.base import Suite

ATTACKS = Registry(
    "attack",
    {
        "templates": "holdfast.evals.attacks.templates:templates",
        "artefacts": "holdfast.evals.attacks.templates:artefacts",
        "prefill": "holdfast.evals.attacks.prefill:beginnings",
        "reword": "holdfast.evals.attacks.ladders:reword",
        "escalate": "holdfast.evals.attacks.ladders:escalate",
        "refer": "holdfast.evals.attacks.ladders:refer",
        "tense": "holdfast.evals.attacks.mutate:tenses",
        "encoding": "holdfast.evals.attacks.mutate:encodings",
        "translation": "holdfast.evals.attacks.mutate:translations",
        "eras": "holdfast.evals.probes.eras.dress:dressed",
        "personas": "holdfast.evals.probes.personas.dress:dressed",
        "formats": "holdfast.evals.probes.formats.dress:dressed",
    },
)
"""Name -> function from a goal to its tries; `FROM_FILE` take (suite, path, options)."""

FROM_FILE = frozenset({"templates", "artefacts"})
"""Attacks that read a file: `NAME:PATH`."""
KINDS = {
    "reword": "ladder", "escalate": "ladder", "refer": "ladder",
    "eras": "context", "personas": "context", "formats": "context",
}  # fmt: skip
"""Kinds other than `jailbreak`, which decide the metric."""


def make(spec: str, suite: Suite, options: AttackOptions) -> Attacked:
    """The attack `NAME`, or `NAME:PATH` for those that read a file, on a suite.

    Raises:
        UsageError: no such attack, or a path missing or given in vain.
    """
    name, _, path = spec.partition(":")
    found: Any = ATTACKS.load(name)
    if (name in FROM_FILE) != bool(path):
        expected = f"{name}:PATH" if name in FROM_FILE else name
        raise UsageError(f"attack '{spec}'", expected=expected)
    if path:
        attacked: Attacked = found(suite, Path(path), options)
        return attacked
    return attack(suite, name, found, options, kind=KINDS.get(name, "jailbreak"))
