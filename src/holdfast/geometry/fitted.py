"""A fitted safety map: the record, its arrays, and the prompts it was fitted on."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

import safetensors.torch
from torch import Tensor

from holdfast.core.digest import sha256_file
from holdfast.core.errors import DataError, IntegrityError
from holdfast.core.files import write_bytes, write_jsonl
from holdfast.core.records import SafetyMap, Site
from holdfast.geometry.contrast import ContrastRow, digest, load_contrast

RECORD, ARRAYS, CONTRAST = "safety_map.json", "safety_map.safetensors", "contrast.jsonl"


@dataclass(frozen=True)
class FittedMap:
    """The safety map with everything that a drift measurement needs; the base is not among it."""

    record: SafetyMap
    """What readers see."""
    arrays: dict[str, Tensor]
    """By "kind@site": `direction` [d], `directions` [F, d], `subspace` [d, k] in float64;
    `activations` [n, d] of the base on all rows, in float32."""
    rows: tuple[ContrastRow, ...]
    """The contrast set, in the order of the activations."""

    @property
    def sites(self) -> list[Site]:
        """The chosen sites, best first."""
        chosen = [site for site in self.record.sites if site.chosen]
        return sorted(chosen, key=lambda site: site.bypass)

    @property
    def layers(self) -> list[int]:
        """Layers of the chosen sites, best first."""
        return [site.layer for site in self.sites]

    def array(self, kind: str, site: str) -> Tensor:
        """One of the arrays, such as `array("direction", "resid_post.2")`."""
        return self.arrays[f"{kind}@{site}"]

    def base_activations(self, site: str, indices: Sequence[int]) -> Tensor:
        """Base activations of some rows at `site`, [len(indices), d] float64."""
        return self.array("activations", site)[list(indices)].double()

    def save(self, folder: Path) -> str:
        """Write record, arrays and contrast set into `folder`; return the record's digest."""
        write_bytes(folder / ARRAYS, pack(self.arrays))
        write_jsonl(folder / CONTRAST, (asdict(row) for row in self.rows))
        return self.record.save(folder / RECORD)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read a map; a file that does not match the record is an `IntegrityError` naming it."""
        record = SafetyMap.load(folder / RECORD)
        arrays = folder / ARRAYS
        if not arrays.is_file() or sha256_file(arrays) != record.arrays:
            raise _broken(arrays)
        try:
            rows = load_contrast(folder / CONTRAST)
        except DataError as error:
            raise _broken(folder / CONTRAST) from error
        if digest(rows) != record.inputs.get("contrast"):
            raise _broken(folder / CONTRAST)
        return cls(record, safetensors.torch.load_file(arrays), tuple(rows))


def pack(arrays: dict[str, Tensor]) -> bytes:
    """The arrays as the bytes of a safetensors file, the same for the same content."""
    ordered = {name: arrays[name].contiguous() for name in sorted(arrays)}
    packed: bytes = safetensors.torch.save(ordered)
    return packed


def arrays_digest(arrays: dict[str, Tensor]) -> str:
    """SHA-256 of `pack(arrays)`, as the record names it."""
    return hashlib.sha256(pack(arrays)).hexdigest()


def _broken(path: Path) -> IntegrityError:
    return IntegrityError(
        f"{path} is missing or does not match its safety map", next_step="fit the map again"
    )
