"""Tensors from files that cannot run code: safetensors and npz, bounded before they are read."""

from __future__ import annotations

import json
import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import Tensor

from holdfast.core.errors import DataError, IntegrityError, RefusedError
from holdfast.geometry.sae.autoencoder import MAX_VALUES
from holdfast.vault import safetensors_check

_PICKLES = frozenset({".pt", ".pth", ".bin", ".pkl", ".pickle", ".ckpt"})
_MAX_CONFIG = 1 << 20
"""Largest configuration file in bytes."""
_MAX_TENSORS = 64
CONVERT = (
    'convert it where its maker is trusted: python -c "import torch; '
    "from safetensors.torch import save_file; "
    "state = torch.load('ae.pt', map_location='cpu', weights_only=True); "
    "save_file({k: v.contiguous() for k, v in state.items()}, 'ae.safetensors')\""
)
"""How to turn a pickled state dict into a file that is read here."""


def refuse_pickle(path: Path) -> None:
    """Refuse `path` by its suffix where that names a pickle.

    Raises:
        RefusedError: it does. `torch.load(weights_only=True)` is an unpickler too, with a shorter
            list of what it may call; none is used here (ADR 24).
    """
    if path.suffix.lower() in _PICKLES:
        raise RefusedError(
            f"{path} is a pickle, which can run code while it is read",
            expected="safetensors or npz",
            next_step=CONVERT,
        )


def read_config(path: Path) -> dict[str, Any]:
    """A small JSON object.

    Raises:
        DataError: missing, too large, or no JSON object.
    """
    if not path.is_file():
        raise DataError(f"{path} does not exist", next_step="check the path")
    if path.stat().st_size > _MAX_CONFIG:
        raise DataError(f"{path} is too large", expected=f"at most {_MAX_CONFIG} bytes")
    try:
        value = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        raise DataError(f"{path} is not JSON") from None
    if not isinstance(value, dict):
        raise DataError(f"{path} is no JSON object", got=type(value).__name__)
    return value


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a safetensors file, header checked first.

    Raises:
        DataError: no such file, or too many or too large tensors.
        IntegrityError: a damaged file.
    """
    if not path.is_file():
        raise DataError(f"{path} does not exist", next_step="check the path")
    header = safetensors_check.check(path)
    _bounded(path, {name: tensor.shape for name, tensor in header.items()})
    tensors: dict[str, Tensor] = safetensors.torch.load_file(path)
    return tensors


def read_npz(path: Path) -> dict[str, Tensor]:
    """All arrays of an npz file as tensors; headers are read before any data is inflated.

    Raises:
        DataError: too many or too large arrays, or one that holds no plain numbers.
        IntegrityError: a damaged archive.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            if len(members) > _MAX_TENSORS:
                raise DataError(f"{path} holds {len(members)} arrays", expected="five or six")
            shapes = {item.filename: _npy_shape(path, archive, item) for item in members}
        _bounded(path, shapes)
        with np.load(path, allow_pickle=False) as arrays:
            return {name: torch.from_numpy(np.ascontiguousarray(arrays[name])) for name in arrays}
    except (zipfile.BadZipFile, EOFError, OSError) as error:
        raise IntegrityError(
            f"{path} is no whole npz file ({str(error)[:80]})", next_step="fetch it again"
        ) from None


def _npy_shape(path: Path, archive: zipfile.ZipFile, item: zipfile.ZipInfo) -> tuple[int, ...]:
    """Shape of one member, whose claimed size must be what its header implies."""
    where = f"{path}, member '{item.filename[:40]}'"
    try:
        with archive.open(item) as handle:
            version = np.lib.format.read_magic(handle)
            read = {
                (1, 0): np.lib.format.read_array_header_1_0,
                (2, 0): np.lib.format.read_array_header_2_0,
            }[version]
            shape, _, dtype = read(handle)
            begin = handle.tell()
    except (ValueError, KeyError) as error:
        raise DataError(f"{where} is no plain array ({str(error)[:60]})") from None
    if dtype.kind not in "fiu":
        raise DataError(f"{where} holds no numbers", got=f"dtype {dtype}", expected="floats")
    if item.file_size != begin + math.prod(shape) * dtype.itemsize:
        raise DataError(f"{where} is not as long as its shape says", got=f"{item.file_size} bytes")
    return tuple(int(n) for n in shape)


def _bounded(path: Path, shapes: dict[str, tuple[int, ...]]) -> None:
    if len(shapes) > _MAX_TENSORS:
        raise DataError(f"{path} holds {len(shapes)} tensors", expected=f"at most {_MAX_TENSORS}")
    for name, shape in shapes.items():
        if math.prod(shape) > MAX_VALUES:
            raise DataError(
                f"{path}: '{name[:40]}' is too large",
                got=f"shape {list(shape)[:8]}", expected=f"at most {MAX_VALUES} numbers",
            )  # fmt: skip
