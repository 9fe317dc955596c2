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
    if fault["type"] == "extra_forbidden":
        keys, known = _walk(model, where[:-1])
        where = [*keys, where[-1]]
    else:
        where, known = _walk(model, where)
    dotted = ".".join(where) or "top level"
    if fault["type"] == "extra_forbidden":
        return (
            f"unknown key '{dotted}': {nearest(where[-1], known)}"
            if known
            else f"unknown key '{dotted}'"
        )
    if fault["type"] == "missing":
        return f"'{dotted}' is missing"
    return f"'{dotted}': {fault['msg'][0].lower()}{fault['msg'][1:]}, got {fault['input']!r:.80}"


def _walk(model: type[BaseModel], path: list[str]) -> tuple[list[str], list[str]]:
    """The keys that a person wrote of `path`, and the field names of the model it leads to.

    Where a section is one of several models, pydantic puts the tag of the one taken into the path;
    no fields are known where a value is no model.
    """
    current: list[type[BaseModel]] = [model]
    written: list[str] = []
    for part in path:
        holder = next((c for c in current if part in c.model_fields), None)
        if holder is None:
            tagged = [c for c in current if any(f.default == part for f in c.model_fields.values())]
            current = tagged or current
            if not tagged:
                written.append(part)  # an index
            continue
        written.append(part)
        annotation = holder.model_fields[part].annotation
        candidates = [annotation, *getattr(annotation, "__args__", ())]
        current = [c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)]
    return written, sorted({name for c in current for name in c.model_fields})
