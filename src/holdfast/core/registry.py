"""String registries: a name leads to "module:attribute", imported only when it is asked for."""

from __future__ import annotations

import difflib
import importlib
from importlib.metadata import entry_points
from typing import Any

from holdfast.core.errors import UsageError


def nearest(name: str, known: list[str]) -> str:
    """`did you mean …?` for the closest known name, or the list of what there is."""
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    if close:
        return f"did you mean '{close[0]}'?"
    return "known: " + ", ".join(sorted(known))


class Registry:
    """Built-in targets plus those of the entry-point group `holdfast.<kind>s`."""

    def __init__(self, kind: str, targets: dict[str, str]) -> None:
        self.kind = kind
        self._targets = dict(targets)

    def register(self, name: str, target: str) -> None:
        """Add "module:attribute" under `name`; registering a name twice is an error."""
        module, _, attribute = target.partition(":")
        if not module or not attribute:
            raise UsageError(f"{self.kind} '{name}'", got=target, expected="'module:attribute'")
        if name in self._targets:
            raise UsageError(f"{self.kind} '{name}' is registered already")
        self._targets[name] = target

    def targets(self) -> dict[str, str]:
        """Every known name with its target; built-in names win over plug-ins."""
        plugins = {p.name: p.value for p in entry_points(group=f"holdfast.{self.kind}s")}
        return {**plugins, **self._targets}

    def names(self) -> list[str]:
        """Sorted names."""
        return sorted(self.targets())

    def load(self, name: str) -> Any:
        """Import and return the attribute that `name` leads to."""
        targets = self.targets()
        if name not in targets:
            raise UsageError(
                f"unknown {self.kind} '{name}'", next_step=nearest(name, list(targets))
            )
        module, _, attribute = targets[name].partition(":")
        return getattr(importlib.import_module(module), attribute)
