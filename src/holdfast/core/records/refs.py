"""Identity of models and data sets."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from holdfast.core.records.base import Record

ModelKind = Literal["base", "adapter", "merged", "quantised"]

UNVERIFIED = "unverified:"
"""Start of a model's identity where nobody has seen its weights: an endpoint, a foreign log."""


def unverified(name: str) -> str:
    """Identity of a model that is known by name only, such as `unverified:qwen@http://host/v1`."""
    return name if name.startswith(UNVERIFIED) else UNVERIFIED + name


def is_verified(model: str) -> bool:
    """Whether the identity `model` is a digest of content, not a name or nothing."""
    return bool(model) and not model.startswith(UNVERIFIED)


class ModelRef(Record):
    """A model by content: what was evaluated is what is named."""

    name: str
    """What people call it; no part of its identity."""
    model_digest: str
    """Digest over weights, adapter, tokenizer, chat template and generation config."""
    kind: ModelKind
    """`base`, `adapter` (on the base named in `lineage`), `merged` or `quantised`."""
    components: dict[str, str] = Field(default_factory=dict)
    """Digest of every file that takes part, by relative name."""
    lineage: tuple[str, ...] = ()
    """Model digests of the ancestors, nearest first."""


class DatasetRef(Record):
    """A data set by content."""

    name: str
    """What people call it."""
    data_digest: str
    """Digest over the rows in order."""
    rows: int
    """Number of rows."""
    columns: tuple[str, ...]
    """Columns that the rows have."""
    template: str
    """How rows became conversations: `messages`, `prompt-completion` or a field mapping."""
    split: str
    """`train`, `validation` or `test`."""
