"""Several protections on one run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Self

from holdfast.core.config import Config
from holdfast.core.errors import UsageError
from holdfast.tuning.protections.base import Materials, Protection
from holdfast.tuning.protections.registry import PROTECTIONS


class Stack(Protection):
    """Protections that act together; the callback drives each part and counts its steps."""

    Config: ClassVar[type[Config]] = Config
    OFF: ClassVar[dict[str, Any]] = {}

    def __init__(self, parts: Sequence[Protection]) -> None:
        if not parts:
            raise UsageError("no protection is named", expected="one or more")
        self._parts = tuple(sorted(parts, key=lambda part: part.order))
        self.name = "+".join(part.name for part in self._parts)

    @classmethod
    def build(cls, config: Any, materials: Materials) -> Self:
        """Not made from settings of its own: see `make`."""
        raise UsageError("a stack has no settings", next_step="use protections.stack.make")

    @property
    def parts(self) -> tuple[Protection, ...]:
        """The single protections, in the order in which they act."""
        return self._parts

    @property
    def prepared(self) -> bool:
        """Whether every part has seen the base."""
        return all(part.prepared for part in self._parts)

    def settings(self) -> dict[str, Any]:
        """Settings of every part by its name."""
        return {part.name: part.settings() for part in self._parts}


def make(specs: Sequence[tuple[str, Config]], materials: Materials) -> Protection:
    """One protection from (name, settings) pairs: the thing itself, or a stack of several."""
    made = [PROTECTIONS.load(name).build(config, materials) for name, config in specs]
    return made[0] if len(made) == 1 else Stack(made)
