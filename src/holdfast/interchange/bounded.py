"""Bounded reading: a hostile file costs an error, never the memory, the disk or another file."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from holdfast.core.errors import DataError, EnvironmentFault, IntegrityError

MAX_FILE = 2 << 30
"""Bytes of a file that is read line by line, and of all members of an archive unpacked."""
MAX_DOCUMENT = 256 << 20
"""Bytes of one JSON document."""
MAX_LINE = 64 << 20
"""Bytes of one line."""
MAX_MEMBER = 64 << 20
"""Bytes of one unpacked member of an archive."""
MAX_MEMBERS = 200_000
"""Members of an archive."""
MAX_TEXT = 1 << 20
"""Characters of one answer; a longer one counts as no answer."""
_STORED, _DEFLATED, _ZSTD = 0, 8, 93


def parse(text: bytes | str, where: str) -> Any:
    """JSON, or a `DataError` that says where."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise DataError(
            f"{where} is not complete JSON",
            next_step="let the program that writes it finish, or export it again",
        ) from None


def document(path: Path) -> Any:
    """The JSON document in a file."""
    _check_size(path, MAX_DOCUMENT)
    return parse(path.read_bytes(), str(path))


def lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line number and object of every line of a JSON Lines file; blank lines are skipped."""
    _check_size(path, MAX_FILE)
    with path.open("rb") as handle:
        number = 0
        while line := handle.readline(MAX_LINE + 1):
            number += 1
            if len(line) > MAX_LINE:
                raise DataError(f"{path}, line {number} is longer than {MAX_LINE >> 20} MiB")
            if line.isspace():
                continue
            row = parse(line, f"{path}, line {number}")
            if not isinstance(row, dict):
                raise DataError(f"{path}, line {number} is not an object")
            yield number, row


class Archive:
    """A zip file of JSON members, read member by member into memory and never unpacked to disk."""

    def __init__(self, path: Path) -> None:
        """Open `path` and check its directory: names, sizes, number, no duplicates, no secrets."""
        _check_size(path, MAX_FILE)
        self.path = path
        self._left = MAX_FILE
        try:
            self._zip = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
            raise DataError(
                f"{path} is no readable zip archive", next_step="copy or export it again"
            ) from None
        infos = self._zip.infolist()
        if len(infos) > MAX_MEMBERS:
            raise self._hostile(f"has {len(infos)} members")
        self._members: dict[str, zipfile.ZipInfo] = {}
        for info in infos:
            name = info.filename
            if name.startswith("/") or "\\" in name or ".." in name.split("/") or "\0" in name:
                raise self._hostile("has a member whose name leads out of it")
            if name in self._members:
                raise self._hostile("has two members of one name")
            if info.flag_bits & 1:
                raise self._hostile("has an encrypted member")
            self._members[name] = info

    def names(self) -> list[str]:
        """Names of the members, sorted."""
        return sorted(self._members)

    def json(self, name: str) -> Any:
        """The JSON document in the member `name`."""
        return parse(self._bytes(name), f"{self.path}, member {name[:120]}")

    def close(self) -> None:
        """Close the file."""
        self._zip.close()

    def _bytes(self, name: str) -> bytes:
        info = self._members.get(name)
        if info is None:
            raise DataError(f"{self.path} has no member '{name[:120]}'")
        limit = min(MAX_MEMBER, self._left)
        if info.file_size > limit:
            raise self._hostile(f"unpacks to more than {limit >> 20} MiB in one member")
        try:
            content = self._unpack(info, limit)
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, EOFError):
            raise DataError(
                f"{self.path}: a member cannot be unpacked", next_step="copy or export it again"
            ) from None
        if len(content) > limit:
            raise self._hostile("unpacks to more than its directory says")
        self._left -= len(content)
        return content

    def _unpack(self, info: zipfile.ZipInfo, limit: int) -> bytes:
        if info.compress_type != _ZSTD:
            with self._zip.open(info) as member:
                return member.read(limit + 1)
        return _unzstd(self._raw(info), limit)

    def _raw(self, info: zipfile.ZipInfo) -> bytes:
        """The packed bytes: the standard library of Python 3.11 does not know method 93."""
        with self.path.open("rb") as handle:
            handle.seek(info.header_offset)
            header = handle.read(30)
            if len(header) < 30 or header[:4] != b"PK\x03\x04":
                raise zipfile.BadZipFile
            skip = int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
            handle.seek(skip, 1)
            return handle.read(min(info.compress_size, MAX_MEMBER))

    def _hostile(self, what: str) -> IntegrityError:
        return IntegrityError(
            f"{self.path} {what}", next_step="do not trust this archive; export the log again"
        )


def _unzstd(packed: bytes, limit: int) -> bytes:
    try:
        import zstandard
    except ModuleNotFoundError:
        raise EnvironmentFault(
            "this log is compressed with zstd and the package 'zstandard' is missing",
            next_step="run: pip install 'holdfast[interchange]', or export the log as .json",
        ) from None
    try:
        with zstandard.ZstdDecompressor(max_window_size=1 << 27).stream_reader(packed) as reader:
            content: bytes = reader.read(limit + 1)
    except zstandard.ZstdError:
        raise ValueError("no zstd") from None
    return content


def _check_size(path: Path, limit: int) -> None:
    if not path.is_file():
        raise DataError(f"{path} is no file", next_step="check the path")
    size = path.stat().st_size
    if size > limit:
        raise DataError(
            f"{path} is too large", got=f"{size >> 20} MiB", expected=f"at most {limit >> 20} MiB"
        )
