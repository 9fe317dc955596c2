"""The run store: a folder per run that any crash leaves resumable.

`finish` journals a product (a record, a file or a folder) only when its bytes are on disk, and
`finished` says whether exactly this product, from exactly these inputs, is journaled and intact.
A pipeline asks before each piece of work, so that a run killed at any moment continues from the
last finished record: nothing finished is lost, nothing finished is done again.

    with RunStore.open(folder, plan.digest()) as store:
        if not store.finished("map.json", inputs):
            store.finish("map.json", fit(...), inputs)

One process at a time may hold a run open. Readers use `RunStore(folder)`, which takes no lock.
"""

from __future__ import annotations

import fcntl
import os
import stat
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from holdfast.core.digest import combine, sha256_file
from holdfast.core.errors import IntegrityError, UsageError
from holdfast.core.files import disk_faults, fsync_dir
from holdfast.core.journal import Entry, Journal

if TYPE_CHECKING:
    from holdfast.core.records.base import Record

R = TypeVar("R", bound="Record")

JOURNAL = "journal.jsonl"
LOCK = ".lock"
_OPENED, _RESUMED, _FINISHED = "run.opened", "run.resumed", "run.finished"


class RunStore:
    """The records of one run, and which of them are finished."""

    def __init__(self, folder: Path) -> None:
        """A run that exists, for reading; use `RunStore.open` to work on it."""
        self.folder = folder
        self.journal = Journal(folder / JOURNAL)
        self._lock: int | None = None

    @classmethod
    def open(cls, folder: Path, plan_digest: str) -> Self:
        """Create the run, or resume it; it stays locked until `close`.

        Raises `UsageError` when another process holds it or when it belongs to another plan, and
        `IntegrityError` when its journal was changed.
        """
        if folder.exists() and not folder.is_dir():
            raise UsageError(f"{folder} is no folder", next_step="choose another place")
        with disk_faults(folder):
            folder.mkdir(parents=True, exist_ok=True)
            lock = _acquire(folder)
        try:
            store = cls(folder)
            store._lock = lock
            store._register(plan_digest)
        except BaseException:
            os.close(lock)
            raise
        return store

    @property
    def plan_digest(self) -> str:
        """Digest of the plan that the run was created with, or "" before it was."""
        entries = self.journal.entries()
        return str(entries[0].payload.get("plan", "")) if entries else ""

    def close(self) -> None:
        """Give the run back; the kernel does so too when the process dies."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> Self:
        """The store itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()

    def path(self, name: str) -> Path:
        """Where `name` (relative, such as `plain/training.json`) lives in the run."""
        path = self.folder / name
        root = self.folder.resolve()
        inside = root if "\0" in name else path.resolve()
        if inside == root or not inside.is_relative_to(root):
            raise UsageError(f"{name!r} leads out of the run {self.folder}")
        return path

    def write(self, name: str, record: Record) -> Path:
        """Save a record atomically without calling it finished; return its path."""
        self._require_open()
        path = self.path(name)
        record.save(path)
        return path

    def finish(self, name: str, product: Path | Record, inputs: dict[str, str]) -> Path:
        """Journal that `name` is finished from `inputs`; return where it lies.

        `product` is a record, saved under `name`, or a file or folder inside the run that is
        written already; its bytes are flushed to disk and hashed before the entry is made.
        """
        self._require_open()
        if isinstance(product, Path):
            path = self.path(os.path.relpath(product.resolve(), self.folder.resolve()))
        else:
            path = self.write(name, product)
        with disk_faults(path):
            digest = _digest(path, flush=True)
        relative = path.relative_to(self.folder).as_posix()
        self.journal.append(_FINISHED, name=name, path=relative, digest=digest, inputs=inputs)
        return path

    def finished(self, name: str, inputs: dict[str, str]) -> bool:
        """Whether `name` was finished from exactly these inputs and its content is still intact."""
        entry = self._last(name)
        if entry is None or entry.payload["inputs"] != inputs:
            return False
        try:
            return bool(_digest(self.path(entry.payload["path"])) == entry.payload["digest"])
        except (IntegrityError, FileNotFoundError):
            return False

    def read(self, name: str, kind: type[R]) -> R:
        """Load a record; one that changed after it was finished is an `IntegrityError`."""
        entry = self._last(name)
        path = self.path(entry.payload["path"] if entry else name)
        if entry and path.exists() and _digest(path) != entry.payload["digest"]:
            raise IntegrityError(
                f"{path} was changed after it was finished",
                next_step="run the command that produces it again",
            )
        return kind.load(path)

    def _last(self, name: str) -> Entry | None:
        matching = (
            entry
            for entry in reversed(self.journal.entries())
            if entry.event == _FINISHED and entry.payload["name"] == name
        )
        return next(matching, None)

    def _register(self, plan_digest: str) -> None:
        details: dict[str, Any] = {"plan": plan_digest, "pid": os.getpid()}
        known = self.plan_digest
        if not self.journal.entries():
            self.journal.append(_OPENED, **details)
        elif known != plan_digest:
            raise UsageError(
                f"{self.folder} holds the run of another plan",
                got=f"plan {plan_digest[:12]}",
                expected=f"plan {known[:12]}",
                next_step="choose another folder, or run the plan it was started with",
            )
        else:
            self.journal.append(_RESUMED, **details)

    def _require_open(self) -> None:
        if self._lock is None:
            raise UsageError(f"the run {self.folder} is not open for writing")


def _acquire(folder: Path) -> int:
    """Take the run's lock without waiting; the descriptor holds it."""
    path = folder / LOCK
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(lock, 0)
        os.write(lock, str(os.getpid()).encode())
    except BlockingIOError:
        holder = os.read(lock, 32).decode("ascii", "replace") or "unknown"
        os.close(lock)
        raise UsageError(
            f"the run {folder} is in use by process {holder}",
            next_step="wait until it ends, or stop it; then run the same command again",
        ) from None
    except BaseException:
        os.close(lock)
        raise
    return lock


def _digest(path: Path, *, flush: bool = False) -> str:
    """Digest of a file, or of a folder's files by relative name; with `flush`, fsync them first."""
    if not path.is_dir():
        if flush:
            _flush(path)
        return sha256_file(path)
    parts: dict[str, str] = {}
    for child in sorted(path.rglob("*")):
        mode = child.lstat().st_mode
        if stat.S_ISLNK(mode) or not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise IntegrityError(f"{child} is no plain file", expected="files and folders only")
        if flush:
            _flush(child)
        if stat.S_ISREG(mode):
            parts[child.relative_to(path).as_posix()] = sha256_file(child)
    return combine(parts)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    fsync_dir(path.parent)
