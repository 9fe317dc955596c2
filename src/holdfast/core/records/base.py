"""The base of all records: frozen, strict, versioned, named by a digest of their content."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from holdfast import __version__
from holdfast.core.digest import sha256_json
from holdfast.core.errors import IntegrityError
from holdfast.core.files import write_text


class Part(BaseModel):
    """A piece of a record: frozen, unknown fields refused, NaN and infinity refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Record(Part):
    """An artefact on disk: what one part of Holdfast tells the others."""

    schema_version: int = 1
    """Version of this record's shape; readers refuse a version they do not know."""
    producer: str = f"holdfast {__version__}"
    """Program and version that wrote the record."""
    inputs: dict[str, str] = Field(default_factory=dict)
    """Digests of everything that the content depends on, by name."""
    seed: int | None = None
    """Seed of the random streams used, if any."""
    environment: dict[str, str] = Field(default_factory=dict)
    """Versions of the libraries and the device that produced the content."""

    def digest(self) -> str:
        """SHA-256 of the canonical JSON of the record."""
        return sha256_json(self.model_dump(mode="json"))

    def save(self, path: Path) -> str:
        """Write the record as JSON, atomically; return its digest."""
        write_text(path, self.model_dump_json(indent=1) + "\n")
        return self.digest()

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a record; anything but a well-formed record of this kind is an `IntegrityError`."""
        try:
            content: Any = json.loads(path.read_text("utf-8"))
            return cls.model_validate(content)
        except FileNotFoundError:
            raise IntegrityError(
                f"{path} is missing", next_step="run the command that produces it again"
            ) from None
        except (ValueError, ValidationError) as error:
            reason = str(error).splitlines()[0]
            raise IntegrityError(
                f"{path} is not a readable {cls.__name__} record ({reason})",
                next_step="run the command that produces it again",
            ) from None
