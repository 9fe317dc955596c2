"""Strict reading of safetensors headers: a weight file is checked before anything maps it.

The format (huggingface/safetensors, "Format"): 8 bytes of little-endian header length N, N bytes of
JSON, then the data. The JSON maps a tensor name to dtype, shape and [begin, end) in the data, whose
ranges must cover the data without gap or overlap. The header is hostile input: its size is bounded
before it is read, and every number in it is checked against the file.
"""

from __future__ import annotations

import json
import math
import os
import struct
from pathlib import Path
from typing import Any, NamedTuple

from holdfast.core.errors import IntegrityError

MAX_HEADER = 100_000_000
"""Largest header in bytes; the reference implementation has the same limit."""
_MAX_RANK = 64
_MAX_DIM = 1 << 48
_BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8,
    "F8_E5M2FNUZ": 8, "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32,
    "F32": 32, "F64": 64, "I64": 64, "U64": 64, "C64": 64, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
}  # fmt: skip


class Tensor(NamedTuple):
    """Where one tensor lies."""

    dtype: str
    """Name in the format, such as `BF16`."""
    shape: tuple[int, ...]
    """Sizes."""
    begin: int
    """First byte, counted from the start of the file."""
    end: int
    """One past the last byte."""


def check(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file by name, or an `IntegrityError` that says what is wrong."""
    size = path.stat().st_size
    with path.open("rb") as handle:
        start = handle.read(8)
        if len(start) < 8:
            raise _fault(path, "is too short for a safetensors file", f"{size} bytes")
        (length,) = struct.unpack("<Q", start)
        if length > MAX_HEADER:
            raise _fault(path, f"claims a header of {length} bytes", f"at most {MAX_HEADER}")
        if length > size - 8:
            raise _fault(path, "is truncated inside its header", f"{length + 8} bytes at least")
        header = _parse(path, handle.read(length))
    offset = 8 + length
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise _fault(path, "has bad __metadata__", "names with texts")
    tensors = {name: _tensor(path, name, value, offset) for name, value in header.items()}
    _covers(path, tensors, offset, size)
    return tensors


def check_index(path: Path) -> None:
    """Check a `*.safetensors.index.json`: plain names of files beside it that fit."""
    if path.stat().st_size > MAX_HEADER:
        raise _fault(path, "is too large", f"at most {MAX_HEADER} bytes")
    mapping = _parse(path, path.read_bytes()).get("weight_map")
    if not isinstance(mapping, dict) or not mapping:
        raise _fault(path, "has no weight_map", "tensor names with their files")
    shards: dict[str, dict[str, Tensor]] = {}
    for tensor, name in mapping.items():
        if not isinstance(name, str) or not _plain_name(name):
            raise _fault(path, f"leads '{tensor}' to {name!r:.80}", "the name of a file beside it")
        if name not in shards:
            shard = path.parent / name
            if not shard.is_file():
                raise _fault(path, f"names {name}, which is missing", "every shard beside it")
            shards[name] = check(shard)
        if tensor not in shards[name]:
            raise _fault(path, f"looks for '{tensor}' in {name}, which lacks it", "a true index")


def _plain_name(name: str) -> bool:
    return name == os.path.basename(name) and name.endswith(".safetensors") and "\\" not in name


def _parse(path: Path, text: bytes) -> dict[str, Any]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise ValueError("a key stands twice")
        return found

    def no_constant(name: str) -> Any:
        raise ValueError(f"{name} is no JSON")

    try:
        value = json.loads(
            text.decode("utf-8"), object_pairs_hook=unique, parse_constant=no_constant
        )
    except (ValueError, RecursionError) as error:
        reason = str(error).splitlines()[0]
        raise _fault(path, f"has an unreadable header ({reason:.80})", "a JSON object") from None
    if not isinstance(value, dict):
        raise _fault(path, f"has a {type(value).__name__} as header", "a JSON object")
    return value


def _tensor(path: Path, name: str, value: Any, offset: int) -> Tensor:
    if not isinstance(value, dict) or set(value) != {"dtype", "shape", "data_offsets"}:
        raise _fault(path, f"describes tensor '{name:.80}' wrongly", "dtype, shape, data_offsets")
    dtype, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if not isinstance(dtype, str) or dtype not in _BITS:
        raise _fault(path, f"gives tensor '{name:.80}' the dtype {dtype!r:.40}", "a known dtype")
    if not _sizes(shape) or len(shape) > _MAX_RANK:
        raise _fault(path, f"gives tensor '{name:.80}' a bad shape", "a list of sizes")
    if not _sizes(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise _fault(path, f"gives tensor '{name:.80}' bad offsets", "[begin, end]")
    bits = math.prod(shape) * _BITS[dtype]
    if bits != 8 * (offsets[1] - offsets[0]):
        raise _fault(
            path,
            f"gives tensor '{name:.80}' {offsets[1] - offsets[0]} bytes",
            f"{bits / 8:g} bytes for {dtype} {list(shape)[:8]}",
        )
    return Tensor(dtype, tuple(shape), offset + offsets[0], offset + offsets[1])


def _sizes(value: Any) -> bool:
    return isinstance(value, list) and all(type(n) is int and 0 <= n < _MAX_DIM for n in value)


def _covers(path: Path, tensors: dict[str, Tensor], offset: int, size: int) -> None:
    """The ranges, in order, must tile the data exactly."""
    at = offset
    for name, tensor in sorted(tensors.items(), key=lambda item: (item[1].begin, item[1].end)):
        if tensor.begin < at:
            raise _fault(path, f"lets tensor '{name:.80}' overlap another", "separate ranges")
        if tensor.begin > at:
            raise _fault(path, f"leaves a gap before tensor '{name:.80}'", "ranges without gaps")
        at = tensor.end
    if at > size:
        raise _fault(path, "is truncated", f"{at} bytes, and there are {size}")
    if at < size:
        raise _fault(path, f"has {size - at} bytes that no tensor owns", "ranges without gaps")


def _fault(path: Path, what: str, expected: str) -> IntegrityError:
    return IntegrityError(
        f"{path} {what}", expected=expected, next_step="fetch or export the weights again"
    )
