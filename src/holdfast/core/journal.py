"""An append-only, hash-chained journal: what happened, in order, and proof that none of it changed.

One JSON line per entry: `{"event", "hash", "payload", "prev", "seq", "time"}`. `hash` is the
SHA-256 of the canonical JSON of the other five, and `prev` is the hash of the line before, so an
edit, a removal or a swap anywhere but at the end breaks the chain. (Cutting whole entries off the
end leaves a valid chain; who must detect that keeps the last hash elsewhere, as the vault does.)

An entry counts once `append` has returned: the line, newline last, is then on disk. A last line
without its newline is the work of a process that died while writing: readers skip it, and the next
append cuts it off and says so in a `journal.repaired` entry. Every other fault is an
`IntegrityError` that names the line.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from holdfast.core.digest import canonical_json, sha256_json
from holdfast.core.errors import IntegrityError
from holdfast.core.files import disk_faults, fsync_dir

GENESIS = "0" * 64
REPAIRED = "journal.repaired"


@dataclass(frozen=True)
class Entry:
    """One line of the journal."""

    seq: int
    """Position, counted from 0."""
    time: str
    """UTC, ISO 8601, microseconds."""
    event: str
    """What happened, such as `run.opened`."""
    payload: dict[str, Any]
    """Its details: JSON values only."""
    prev: str
    """Hash of the entry before, or 64 zeros."""
    hash: str
    """SHA-256 of the canonical JSON of the fields above."""

    def line(self) -> bytes:
        """The entry as it stands in the file."""
        return canonical_json(asdict(self)).encode() + b"\n"


class Journal:
    """A journal file, shared safely by threads and processes of one machine (flock)."""

    def __init__(self, path: Path) -> None:
        """Open the journal at `path` and verify it; a missing file is an empty journal."""
        self.path = path
        self._threads = threading.RLock()
        self._entries: list[Entry] = []
        self._end = 0  # bytes of the file that are verified
        self.torn = 0
        """Bytes of a torn last line found at the last read, not part of the journal."""
        self.entries()

    def entries(self) -> list[Entry]:
        """Every entry, read up to now and verified."""
        with contextlib.suppress(FileNotFoundError), self._locked(os.O_RDONLY, fcntl.LOCK_SH) as fd:
            self._catch_up(fd)
            return list(self._entries)
        if self._end:
            raise IntegrityError(f"{self.path} is gone", next_step="restore it from a backup")
        return []

    def verify(self) -> int:
        """Read the whole file again and check every link; return the number of entries."""
        expected = self._end
        self._entries, self._end = [], 0
        found = len(self.entries())
        if self._end < expected:
            raise IntegrityError(f"{self.path} lost its last entries while it was open")
        return found

    def append(self, event: str, **payload: Any) -> Entry:
        """Add an entry and return it once it is on disk."""
        # Refused before the file is touched: NaN, or values that JSON does not have.
        canonical_json(payload)
        with disk_faults(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self._locked(os.O_RDWR | os.O_CREAT | os.O_APPEND, fcntl.LOCK_EX) as fd:
                self._catch_up(fd)
                if self.torn:
                    dropped = self.torn
                    os.ftruncate(fd, self._end)
                    self._write(fd, REPAIRED, {"dropped_bytes": dropped})
                return self._write(fd, event, payload)

    @contextlib.contextmanager
    def _locked(self, flags: int, lock: int) -> Iterator[int]:
        with self._threads:
            fd = os.open(self.path, flags | os.O_CLOEXEC, 0o644)
            try:
                fcntl.flock(fd, lock)
                yield fd
            finally:
                os.close(fd)

    def _write(self, fd: int, event: str, payload: dict[str, Any]) -> Entry:
        last = self._entries[-1] if self._entries else None
        entry = _sealed(
            seq=last.seq + 1 if last else 0,
            time=datetime.now(UTC).isoformat(timespec="microseconds"),
            event=event,
            payload=payload,
            prev=last.hash if last else GENESIS,
        )
        line = entry.line()
        try:
            rest = memoryview(line)
            while rest:  # a disk that fills up writes a part first, and fails at the next call
                rest = rest[os.write(fd, rest) :]
            os.fsync(fd)
        except OSError:
            os.ftruncate(fd, self._end)
            raise
        if not last:
            fsync_dir(self.path.parent)
        self._entries.append(entry)
        self._end += len(line)
        self.torn = 0
        return entry

    def _catch_up(self, fd: int) -> None:
        """Verify what was written since the last read, by this process or another."""
        size = os.fstat(fd).st_size
        if size < self._end:
            raise IntegrityError(f"{self.path} has shrunk", next_step="restore it from a backup")
        with os.fdopen(os.dup(fd), "rb") as handle:
            handle.seek(self._end)
            fresh = handle.read()
        complete, _, rest = fresh.rpartition(b"\n")
        self.torn = len(rest)
        if not complete and len(fresh) == len(rest):
            return
        for line in complete.split(b"\n"):
            self._entries.append(self._checked(line))
            self._end += len(line) + 1

    def _checked(self, line: bytes) -> Entry:
        number = len(self._entries) + 1
        prev = self._entries[-1].hash if self._entries else GENESIS
        try:
            fields = json.loads(line)
            entry = _sealed(
                seq=number - 1,
                time=fields["time"],
                event=fields["event"],
                payload=fields["payload"],
                prev=prev,
            )
            intact = entry.line() == line + b"\n"
        except (ValueError, KeyError, TypeError, RecursionError):
            intact = False
        if not intact:
            raise IntegrityError(
                f"{self.path}, line {number} was changed, or a line before it was removed",
                next_step="restore the file from a backup; nothing after this line can be trusted",
            )
        return entry


def _sealed(*, seq: int, time: str, event: str, payload: dict[str, Any], prev: str) -> Entry:
    body = {"seq": seq, "time": time, "event": event, "payload": payload, "prev": prev}
    # A round trip through JSON, so that tuples and number keys are what a reader will get back.
    frozen = json.loads(canonical_json(payload))
    return Entry(seq, time, event, frozen, prev, sha256_json(body))
