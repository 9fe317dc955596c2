"""The zoo on disk: members that are finished, their streams, and who works on what.

`members.jsonl` has one line per finished member, `streams/<member>.npz` its streams. A member is
claimed through a lock that ends with the process, so several processes can fill one store and a
killed one leaves nothing behind.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from holdfast.core.errors import DataError
from holdfast.core.files import disk_faults, read_jsonl, write_bytes

MEMBERS, FAILURES = "members.jsonl", "failures.jsonl"


class ZooStore:
    """A folder with a zoo in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def members(self) -> list[dict[str, Any]]:
        """Records of the finished members, in the order of their ids."""
        path = self.folder / MEMBERS
        found = {row["member"]: row for row in read_jsonl(path)} if path.is_file() else {}
        return [found[name] for name in sorted(found)]

    def finished(self) -> set[str]:
        """Ids of members that are finished, or that cannot be trained."""
        failures = self.folder / FAILURES
        failed = read_jsonl(failures) if failures.is_file() else []
        return {row["member"] for row in [*self.members(), *failed]}

    def stream(self, member: str) -> dict[str, NDArray[Any]]:
        """Arrays of a member; see `docs/zoo.md` for their shapes.

        Raises:
            DataError: there is no such stream, or it is no plain archive of arrays.
        """
        path = self._stream(member)
        try:
            with np.load(path, allow_pickle=False) as archive:
                return {name: archive[name] for name in archive.files}
        except FileNotFoundError:
            raise DataError(f"the zoo has no streams of {member}", got=str(path)) from None
        except (ValueError, OSError) as error:
            raise DataError(f"{path} is no archive of arrays", got=str(error)[:80]) from None

    def add(self, record: dict[str, Any], streams: dict[str, NDArray[Any]]) -> None:
        """Keep a finished member: streams first, so that a record always has some."""
        packed = io.BytesIO()
        np.savez_compressed(packed, **streams)  # type: ignore[arg-type]  # the stub takes names for flags
        write_bytes(self._stream(str(record["member"])), packed.getvalue())
        self._append(MEMBERS, record)

    def fail(self, member: str, reason: str) -> None:
        """Note that a member cannot be trained."""
        self._append(FAILURES, {"member": member, "reason": reason})

    @contextlib.contextmanager
    def claim(self, member: str) -> Iterator[bool]:
        """Hold a member for this process; False where another one does."""
        path = self.folder / "claims" / f"{member}.lock"
        with disk_faults(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            handle = path.open("a")
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            handle.close()
            yield False
            return
        try:
            yield True
        finally:
            handle.close()

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Wait until no other process prepares the store."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / ".prepare.lock").open("a") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield

    def _stream(self, member: str) -> Path:
        if "/" in member or member.startswith("."):
            raise DataError("a member's id is a plain name", got=member[:60])
        return self.folder / "streams" / f"{member}.npz"

    def _append(self, name: str, row: dict[str, Any]) -> None:
        """One line in one write under a lock; a line that a kill cut off is closed first."""
        path = self.folder / name
        with disk_faults(path), path.open("ab+") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            _drop_torn(handle)
            handle.write((json.dumps(row) + "\n").encode())
            handle.flush()


def _drop_torn(handle: Any) -> None:
    """Cut an unfinished last line off."""
    size = handle.seek(0, 2)
    if not size:
        return
    handle.seek(max(0, size - 1))
    if handle.read(1) == b"\n":
        return
    handle.seek(0)
    whole = handle.read()
    handle.truncate(whole.rfind(b"\n") + 1)
