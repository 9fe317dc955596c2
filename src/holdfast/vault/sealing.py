"""Sealed folders: copying in and out, making them read-only, and finding what has changed."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import stat
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from holdfast.core.digest import sha256_file
from holdfast.core.files import fsync_dir
from holdfast.core.records import ModelRef
from holdfast.vault.manifest import identity
from holdfast.vault.safetensors_check import Tensor, check

_CHUNK = 1 << 20
_STAGE = ".staging-"


@dataclass(frozen=True)
class Fault:
    """One way in which a sealed folder differs from its seal."""

    file: str
    """Name of the file, or "." for the folder."""
    problem: str
    """`changed`, `missing`, `unknown`, `no plain file` or `writable`."""

    def __str__(self) -> str:
        return f"{self.file}: {self.problem}"


@dataclass(frozen=True)
class Difference:
    """What differs between two models, a and b; names in alphabetical order."""

    same: tuple[str, ...]
    """Files with equal content."""
    changed: tuple[str, ...]
    """Files in both whose content differs."""
    only_a: tuple[str, ...]
    """Files of a alone."""
    only_b: tuple[str, ...]
    """Files of b alone."""
    tensors_changed: tuple[str, ...]
    """Tensors in both with another dtype, shape or content."""
    tensors_only_a: tuple[str, ...]
    """Tensors of a alone."""
    tensors_only_b: tuple[str, ...]
    """Tensors of b alone."""


@contextlib.contextmanager
def staging(parent: Path) -> Iterator[Path]:
    """A temporary folder in `parent`, removed in the end unless it was renamed.

    Its creator holds a lock on it, which dies with the process, so what a killed process left is
    told from what another one is working on, and removed by the next caller.
    """
    guard = os.open(parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(guard, fcntl.LOCK_EX)
        for left in parent.glob(f"{_STAGE}*"):
            _remove_if_abandoned(left)
        stage = parent / f"{_STAGE}{uuid.uuid4().hex}"
        stage.mkdir()
        held = os.open(stage, os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(held, fcntl.LOCK_EX)
    finally:
        os.close(guard)
    try:
        yield stage
    finally:
        shutil.rmtree(stage, ignore_errors=True)
        os.close(held)


def _remove_if_abandoned(stage: Path) -> None:
    with contextlib.suppress(OSError):  # gone already, or in use
        held = os.open(stage, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            stage.chmod(0o700)  # it may have been sealed already
            shutil.rmtree(stage, ignore_errors=True)
        finally:
            os.close(held)


def copy(files: Mapping[str, Path], to: Path) -> dict[str, str]:
    """Copy files into the folder `to` and flush them to disk; return their digests as read."""
    digests: dict[str, str] = {}
    for name, path in files.items():
        hasher = hashlib.sha256()
        with path.open("rb") as source, (to / name).open("xb") as target:
            while chunk := source.read(_CHUNK):
                hasher.update(chunk)
                target.write(chunk)
            target.flush()
            os.fsync(target.fileno())
        digests[name] = hasher.hexdigest()
    fsync_dir(to)
    return digests


def seal(stage: Path, final: Path, ref: ModelRef) -> None:
    """Make a checked folder read-only and move it to its place.

    A folder that is there already stays if it is intact. A damaged one is replaced: the content
    that its name promises is in `stage`.
    """
    for path in stage.iterdir():
        path.chmod(0o444)
    parent = os.open(final.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(parent, fcntl.LOCK_EX)
        if final.exists() and faults(final, ref):
            final.chmod(0o755)
            final.rename(final.parent / f"{_STAGE}damaged-{uuid.uuid4().hex}")
        if not final.exists():
            stage.chmod(0o555)  # a rename inside one folder needs no right to write in it
            stage.rename(final)
        os.fsync(parent)
    finally:
        os.close(parent)


def files_of(folder: Path, ref: ModelRef) -> dict[str, Path]:
    """The sealed files of a model by name."""
    return {name: folder / name for name in ref.components}


def faults(folder: Path, ref: ModelRef) -> list[Fault]:
    """Everything in which a sealed folder differs from its record; empty if nothing does."""
    base = ref.lineage[0] if ref.kind == "adapter" else ""
    if identity(ref.components, base) != ref.model_digest:
        return [Fault(".", "changed: its record and its digest disagree")]
    if not folder.is_dir() or folder.is_symlink():
        return [Fault(".", "missing")]
    found = [] if not folder.stat().st_mode & 0o222 else [Fault(".", "writable")]
    present = {path.name for path in folder.iterdir()}
    found += [Fault(name, "unknown") for name in sorted(present - set(ref.components))]
    for name, digest in sorted(ref.components.items()):
        path = folder / name
        if name not in present:
            found.append(Fault(name, "missing"))
            continue
        mode = path.lstat().st_mode
        if not stat.S_ISREG(mode):
            found.append(Fault(name, "no plain file"))
        elif sha256_file(path) != digest:
            found.append(Fault(name, "changed"))
        elif mode & 0o222:
            found.append(Fault(name, "writable"))
    return found


def difference(a: Path, ref_a: ModelRef, b: Path, ref_b: ModelRef) -> Difference:
    """Compare two sealed models by the digests of their files and of their tensors' bytes."""
    files_a, files_b = ref_a.components, ref_b.components
    shared = sorted(set(files_a) & set(files_b))
    changed = [name for name in shared if files_a[name] != files_b[name]]
    tensors_a, tensors_b = _tensors(a, files_a), _tensors(b, files_b)
    both = sorted(set(tensors_a) & set(tensors_b))
    return Difference(
        same=tuple(name for name in shared if name not in changed),
        changed=tuple(changed),
        only_a=tuple(sorted(set(files_a) - set(files_b))),
        only_b=tuple(sorted(set(files_b) - set(files_a))),
        tensors_changed=tuple(n for n in both if not _equal(tensors_a[n], tensors_b[n])),
        tensors_only_a=tuple(sorted(set(tensors_a) - set(tensors_b))),
        tensors_only_b=tuple(sorted(set(tensors_b) - set(tensors_a))),
    )


def _tensors(folder: Path, files: Mapping[str, str]) -> dict[str, tuple[Path, Tensor]]:
    weights = [folder / name for name in sorted(files) if name.endswith(".safetensors")]
    return {name: (path, tensor) for path in weights for name, tensor in check(path).items()}


def _equal(first: tuple[Path, Tensor], second: tuple[Path, Tensor]) -> bool:
    (path_a, a), (path_b, b) = first, second
    if (a.dtype, a.shape) != (b.dtype, b.shape):
        return False
    with path_a.open("rb") as left, path_b.open("rb") as right:
        left.seek(a.begin)
        right.seek(b.begin)
        rest = a.end - a.begin
        while rest:
            size = min(rest, _CHUNK)
            piece = left.read(size)
            if not piece or piece != right.read(size):
                return False
            rest -= len(piece)
    return True
