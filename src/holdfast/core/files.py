"""Atomic writes and JSON Lines: nothing half-written is ever mistaken for finished work."""

from __future__ import annotations

import contextlib
import errno
import gc
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from holdfast.core.errors import DataError, EnvironmentFault


@contextlib.contextmanager
def disk_faults(path: Path) -> Iterator[None]:
    """Turn a full disk or a missing permission into one clear sentence."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise EnvironmentFault(
                f"the disk is full while writing {path}",
                next_step="free some space and run the same command again; finished work is kept",
            ) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise EnvironmentFault(
                f"no permission to write {path}", next_step="choose another folder"
            ) from error
        raise


def fsync_dir(folder: Path) -> None:
    """Make a rename in `folder` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_bytes(path: Path, content: bytes) -> None:
    """Write through a temporary file in the same folder, fsync, then rename over `path`."""
    write_chunks(path, (content,))


def write_chunks(path: Path, chunks: Iterable[bytes]) -> int:
    """`write_bytes` for content that comes piece by piece; return how many pieces came."""
    count = 0
    with disk_faults(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            with temporary.open("wb") as handle:
                for chunk in chunks:
                    handle.write(chunk)
                    count += 1
                handle.flush()
                os.fsync(handle.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        fsync_dir(path.parent)
    return count


def write_text(path: Path, text: str) -> None:
    """`write_bytes` for UTF-8 text."""
    write_bytes(path, text.encode())


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """All rows of a JSON Lines file; an unreadable line is named by its number."""
    if not path.is_file():
        raise DataError(f"{path} does not exist", next_step="check the path")
    rows: list[dict[str, Any]] = []
    decode = json.JSONDecoder().decode
    with path.open("rb") as handle, collector_paused():
        for number, line in enumerate(handle, 1):
            if line.isspace():
                continue
            try:
                row = decode(line.decode())
            except (ValueError, RecursionError) as error:
                raise DataError(
                    f"{path}, line {number} is not JSON", expected="one JSON object per line"
                ) from error
            if not isinstance(row, dict):
                raise DataError(
                    f"{path}, line {number} is not an object",
                    expected='a line like {"prompt_id": …}',
                )
            rows.append(row)
    return rows


@contextlib.contextmanager
def collector_paused() -> Iterator[None]:
    """Pause the cycle collector: rows of JSON hold no cycles, and scanning them costs as much."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def write_jsonl(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write rows as JSON Lines, atomically."""
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
