"""Tensors of a model folder: read one at a time, written whole or not at all."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from holdfast.core.errors import IntegrityError, UsageError
from holdfast.core.files import disk_faults, write_text

Factor = float | Tensor
"""A number, or a matrix [out, out] that acts on the output side of a weight [out, in]."""
ADAPTER = ("adapter_config.json", "adapter_model.safetensors")
_NUMBER = re.compile(r"\.(\d+)\.")


def layer_of(name: str) -> int | None:
    """Index of the decoder block that a tensor belongs to; None outside the blocks."""
    found = _NUMBER.search(name)
    return int(found[1]) if found else None


@dataclass(frozen=True)
class Tensors:
    """The tensors of a model folder, read one at a time."""

    files: dict[str, Path]
    """File of each tensor, by name."""

    @classmethod
    def open(cls, folder: Path) -> Tensors:
        """Index every safetensors file in `folder`."""
        files: dict[str, Path] = {}
        for path in sorted(folder.glob("*.safetensors")):
            try:
                with safe_open(str(path), framework="pt") as handle:
                    files.update(dict.fromkeys(handle.keys(), path))
            except SafetensorError as error:
                raise _corrupted(path, error) from error
        if not files:
            raise UsageError(f"{folder} holds no safetensors weights")
        return cls(files)

    def get(self, name: str) -> Tensor:
        """One tensor, as stored."""
        path = self.files[name]
        try:
            with safe_open(str(path), framework="pt") as handle:
                found: Tensor = handle.get_tensor(name)
        except SafetensorError as error:
            raise _corrupted(path, error) from error
        return found

    def shapes(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Names and shapes, read from the headers."""
        with ExitStack() as stack:
            opened = {
                path: stack.enter_context(safe_open(str(path), framework="pt"))
                for path in set(self.files.values())
            }
            for name, path in sorted(self.files.items()):
                yield name, tuple(opened[path].get_slice(name).get_shape())


def write_adapter(to: Path, config: dict[str, Any], tensors: dict[str, Tensor]) -> Path:
    """Write an adapter folder, whole or not at all."""
    draft = _draft(to)
    with disk_faults(to):
        save_file({k: v.contiguous() for k, v in tensors.items()}, str(draft / ADAPTER[1]),
                  metadata={"format": "pt"})  # fmt: skip
    write_text(draft / ADAPTER[0], json.dumps(config, indent=2, sort_keys=True) + "\n")
    draft.replace(to)
    return to


def write_full(like: Tensors, folder: Path, to: Path, value: Callable[[str], Tensor]) -> Path:
    """Write a model folder like `folder` with `value(name)` for every tensor, file by file."""
    draft = _draft(to)
    with disk_faults(to):
        for path in sorted(folder.iterdir()):
            if path.is_file() and path.suffix != ".safetensors":
                shutil.copy2(path, draft / path.name)
        for path in sorted(set(like.files.values())):
            names = [name for name, file in like.files.items() if file == path]
            save_file({name: value(name).contiguous() for name in names}, str(draft / path.name),
                      metadata={"format": "pt"})  # fmt: skip
        draft.replace(to)
    return to


def edited(base: Tensor, run: Tensor, factor: Factor) -> Tensor:
    """θ_base + L·(θ_run − θ_base) in the run's precision; factors 0 and 1 are exact copies."""
    if isinstance(factor, float | int):
        if factor == 1:
            return run
        if factor == 0:
            return base.to(run.dtype)
    return (base.float() + times(factor, run.float() - base.float())).to(run.dtype)


def times(factor: Factor, value: Tensor) -> Tensor:
    """L · `value` in the precision of `value`; a matrix product is taken in float64."""
    if isinstance(factor, Tensor):
        return (factor.double() @ value.double()).to(value.dtype)
    return value * factor


def _draft(to: Path) -> Path:
    draft = to.with_name(f".{to.name}.tmp")
    with disk_faults(to):
        shutil.rmtree(draft, ignore_errors=True)
        shutil.rmtree(to, ignore_errors=True)
        draft.mkdir(parents=True)
    return draft


def _corrupted(path: Path, error: Exception) -> IntegrityError:
    line = (str(error).strip().splitlines() or [type(error).__name__])[-1][:120]
    return IntegrityError(f"{path} is corrupted ({line})", next_step="train the arm again")
