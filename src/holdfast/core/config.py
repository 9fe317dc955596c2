"""Strict configuration: YAML into pydantic, every fault listed at once, unknown keys named."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from holdfast.core.errors import ConfigError, UsageError
from holdfast.core.registry import nearest


class Config(BaseModel):
    """A section of a configuration file: frozen, and an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


C = TypeVar("C", bound=BaseModel)


def parse(model: type[C], value: Any, *, source: str) -> C:
    """Validate `value` as `model`, or raise a `ConfigError` that lists all faults."""
    if not isinstance(value, dict):
        raise ConfigError(source, [f"the top level is {type(value).__name__}, not a mapping"])
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise ConfigError(source, [_explain(model, fault) for fault in error.errors()]) from None


def load_yaml(model: type[C], path: Path) -> C:
    """Read a YAML file (safe loader) and validate it as `model`."""
    if not path.is_file():
        raise UsageError(
            f"{path} does not exist", next_step="check the path, or run 'holdfast init'"
        )
    try:
        value = yaml.safe_load(path.read_text("utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(
            str(path), [f"not readable as YAML: {str(error).splitlines()[0]}"]
        ) from None
    return parse(model, value if value is not None else {}, source=str(path))


def _explain(model: type[BaseModel], fault: Any) -> str:
    where = [str(part) for part in fault["loc"]]
    dotted = ".".join(where) or "top level"
    if fault["type"] == "extra_forbidden":
        known = _fields_at(model, where[:-1])
        return (
            f"unknown key '{dotted}': {nearest(where[-1], known)}"
            if known
            else f"unknown key '{dotted}'"
        )
    if fault["type"] == "missing":
        return f"'{dotted}' is missing"
    return f"'{dotted}': {fault['msg'][0].lower()}{fault['msg'][1:]}, got {fault['input']!r:.80}"


def _fields_at(model: type[BaseModel], path: list[str]) -> list[str]:
    """Field names of the (nested) model that `path` leads to; empty when it cannot be told."""
    current: type[BaseModel] | None = model
    for part in path:
        if current is None or part not in current.model_fields:
            continue  # union tags and list indices are no fields
        annotation = current.model_fields[part].annotation
        candidates = [annotation, *getattr(annotation, "__args__", ())]
        nested = [c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)]
        current = nested[0] if nested else None
    return list(current.model_fields) if current else []
