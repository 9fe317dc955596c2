"""The plan's `protect:` section: which protections guard the arm `protected`, resolved in full."""

from __future__ import annotations

from typing import Any

from pydantic import model_validator

from holdfast.core.config import Config, parse
from holdfast.core.errors import ConfigError, UsageError
from holdfast.tuning.protections.registry import config_of
from holdfast.tuning.protections.replay_kl.config import LARGEST

DEFAULT = "auto"


class ProtectSection(Config):
    """The protection of the arm `protected`.

    In a plan: `protect: auto`, or a `method` with its `options`, or several methods in a list with
    `options` by name. What is stored is resolved: a list, and every setting of each.
    """

    method: tuple[str, ...]
    """Protections by name; see docs/protections.md."""
    options: dict[str, dict[str, Any]]
    """Settings by protection."""
    scales: tuple[float, ...] = (1.0, 0.75, 0.5)
    """Adapter scales tried on validation: most refusals among those that keep the task."""

    @model_validator(mode="before")
    @classmethod
    def _resolve(cls, value: Any) -> Any:
        if isinstance(value, str):
            value = {"method": value}
        if not isinstance(value, dict):
            return value
        names = value.get("method", DEFAULT)
        names = [names] if isinstance(names, str) else list(names)
        given = value.get("options") or {}
        if not isinstance(given, dict):
            raise ValueError("options must be a mapping")
        if len(names) == 1 and not set(given) <= set(names):
            given = {names[0]: given}
        faults = [f"options name '{name}', which method does not" for name in set(given) - {*names}]
        options = {}
        for name in names:
            try:
                made = parse(config_of(name), given.get(name) or {}, source=f"options of {name}")
                options[name] = made.model_dump(mode="json")
            except ConfigError as error:
                faults += error.faults
            except UsageError as error:
                faults.append(str(error))
        if faults or not names:
            raise ValueError("; ".join(faults) or "method names no protection")
        return {**value, "method": tuple(names), "options": options}

    @property
    def specs(self) -> tuple[tuple[str, Config], ...]:
        """(name, settings) of every protection."""
        return tuple((n, config_of(n).model_validate(self.options[n])) for n in self.method)

    @property
    def buffer(self) -> int:
        """Prompts of the safety buffer that the largest of them wants; 0 where none is used."""
        wanted = [self.options[name].get("replay", self.options[name]) for name in self.method]
        return max(int(options.get("buffer", 0)) for options in wanted)

    @property
    def prompts(self) -> int:
        """Prompts that a long run may want; 0 where none is used."""
        return max(self.buffer, LARGEST) if self.buffer else 0
