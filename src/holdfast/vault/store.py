"""The vault: sealed models by digest, their lineage, and the refs that say which one is in use.

    root/
      models/<digest>/    files 0444 in a folder 0555; never opened for writing again
      verdicts/<digest>.json
      journal.jsonl       the truth about what was added, promoted and rolled back
      vault.sqlite        the index of the journal, see `holdfast.vault.database`

Models come in through a temporary folder beside their final place and are hashed there, after the
copy, so what is sealed is what was checked; a rename makes them visible. Work always starts from a
`snapshot`, which is a copy.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, select

from holdfast.core.errors import IntegrityError, UsageError
from holdfast.core.files import disk_faults, fsync_dir
from holdfast.core.records import ModelKind, ModelRef, Verdict
from holdfast.vault import database, sealing
from holdfast.vault import refs as naming
from holdfast.vault.manifest import describe_adapter, describe_model, parts
from holdfast.vault.sealing import Fault


@dataclass(frozen=True)
class Entry:
    """A model of the vault."""

    ref: ModelRef
    """Its identity."""
    path: Path
    """Its sealed folder."""
    added: str
    """When it was added: UTC, ISO 8601."""
    note: str
    """What the user said about it."""


def default_root() -> Path:
    """`$HOLDFAST_HOME/vault`, or `holdfast/vault` in the user's data folder."""
    if home := os.environ.get("HOLDFAST_HOME"):
        return Path(home) / "vault"
    data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(data) / "holdfast" / "vault"


class Vault:
    """A vault on this machine; any number of processes may use it at once."""

    def __init__(self, root: Path) -> None:
        """Open the vault in `root`, or create it; catches up with an interrupted change."""
        self.root = root
        with disk_faults(root):
            (root / "models").mkdir(parents=True, exist_ok=True)
            self._database = database.Database(root)

    def add(
        self,
        folder: Path,
        name: str,
        *,
        kind: ModelKind = "base",
        parents: Sequence[str] = (),
        note: str = "",
    ) -> ModelRef:
        """Seal a copy of the model in `folder`; content that is there already keeps its name.

        `parents` are names or digests in this vault: none for a base, the one model that it sits on
        for an adapter, at least one for what was merged or quantised. Raises what `describe`
        raises, and `UsageError` for a taken name or parents that do not fit.
        """
        naming.require_name(name, "model")
        ancestors = [self.get(parent).ref for parent in parents]
        _require_lineage(kind, ancestors)
        with sealing.staging(self.root / "models") as stage, disk_faults(self.root):
            sealing.copy(parts(folder), stage)
            ref = _identify(stage, name, kind, ancestors)
            self._require_free(name, ref)
            sealing.seal(stage, self._folder(ref.model_digest), ref)
        with self._database.changing() as (connection, record):
            known = self._require_free(name, ref, connection)
            if known is None:
                record(database.ADDED, record=ref.model_dump(mode="json"), note=note)
        return known or ref

    def list(self) -> Sequence[Entry]:
        """Every model, oldest first."""
        with self._database.reading() as connection:
            return self._entries(connection)

    def get(self, name_or_digest: str) -> Entry:
        """The model with this name, digest, digest prefix (8 characters or more), or ref."""
        with self._database.reading() as connection:
            return self._find(connection, name_or_digest)

    def path(self, digest: str) -> Path:
        """The sealed, read-only folder of a model."""
        return self.get(digest).path

    def snapshot(self, digest: str, to: Path) -> Path:
        """Copy a model to the new folder `to`, writable, and check the copy; return `to`.

        A folder that holds exactly this model already, as an interrupted run leaves it, is kept.
        """
        entry = self.get(digest)
        if to.exists() or to.is_symlink():
            if all(fault.problem == "writable" for fault in sealing.faults(to, entry.ref)):
                return to
            raise UsageError(f"{to} exists already", next_step="choose another folder")
        with disk_faults(to):
            to.parent.mkdir(parents=True, exist_ok=True)
            with sealing.staging(to.parent) as stage:
                copied = sealing.copy(sealing.files_of(entry.path, entry.ref), stage)
                for file, digest_now in copied.items():
                    if digest_now != entry.ref.components[file]:
                        raise _broken(entry, [Fault(file, "changed")])
                stage.rename(to)
                fsync_dir(to.parent)
        return to

    def verify(self, name_or_digest: str) -> Sequence[Fault]:
        """Hash a sealed model again; every file that differs from its seal, or nothing."""
        entry = self.get(name_or_digest)
        return sealing.faults(entry.path, entry.ref)

    def promote(self, ref: str, digest: str, verdict: Verdict) -> Entry:
        """Point `ref` at a model that `verdict` passed; doing so again changes nothing.

        Raises `RefusedError` unless the verdict is a PASS for exactly this digest against a base in
        this vault, and `IntegrityError` when the model or an ancestor no longer matches its seal.
        """
        naming.require_name(ref, "ref")
        entry = self.get(digest)
        naming.require_pass(entry.ref, verdict, {e.ref.model_digest for e in self.list()})
        self._require_intact(entry)
        evidence = self.root / "verdicts" / f"{verdict.digest()}.json"
        verdict.save(evidence)
        with self._database.changing() as (connection, record):
            current = naming.stack(self._moves(connection, ref))
            if not current or current[-1] != entry.ref.model_digest:
                record(
                    database.PROMOTED,
                    ref=ref,
                    digest=entry.ref.model_digest,
                    previous=current[-1] if current else "",
                    verdict=evidence.stem,
                )
        return entry

    def rollback(self, ref: str) -> Entry:
        """Point `ref` at the model that it named before the last promotion."""
        while True:
            target = self._previous(ref)
            self._require_intact(target)  # hashing takes long, so the write lock is not held
            with self._database.changing() as (connection, record):
                current = naming.stack(self._moves(connection, ref))
                if len(current) < 2 or current[-2] != target.ref.model_digest:
                    continue  # another process moved the ref meanwhile
                record(
                    database.ROLLED_BACK,
                    ref=ref,
                    digest=current[-2],
                    previous=current[-1],
                    verdict="",
                )
                return target

    def refs(self) -> dict[str, str]:
        """Digest that every ref names, by ref."""
        with self._database.reading() as connection:
            names = connection.execute(select(database.moves.c.ref).distinct()).scalars().all()
            return {name: naming.stack(self._moves(connection, name))[-1] for name in sorted(names)}

    def history(self, ref: str) -> Sequence[naming.Move]:
        """Every promotion and rollback of `ref`, oldest first."""
        with self._database.reading() as connection:
            return self._moves(connection, ref)

    def diff(self, a: str, b: str) -> sealing.Difference:
        """What differs between two models, by file and by tensor."""
        first, second = self.get(a), self.get(b)
        return sealing.difference(first.path, first.ref, second.path, second.ref)

    def _folder(self, digest: str) -> Path:
        return self.root / "models" / digest

    def _entries(self, connection: Connection) -> Sequence[Entry]:
        rows = connection.execute(
            select(database.models).order_by(database.models.c.added, database.models.c.name)
        )
        return [self._entry(row) for row in rows]

    def _entry(self, row: Any) -> Entry:
        ref = ModelRef.model_validate(json.loads(row.record))
        return Entry(ref, self._folder(row.digest), row.added, row.note)

    def _find(self, connection: Connection, wanted: str) -> Entry:
        entries = self._entries(connection)
        moves = self._moves(connection, wanted)
        matches = (
            [e for e in entries if wanted == e.ref.model_digest]
            or [e for e in entries if wanted == e.ref.name]
            or [e for e in entries if moves and e.ref.model_digest == naming.stack(moves)[-1]]
            or [e for e in entries if len(wanted) >= 8 and e.ref.model_digest.startswith(wanted)]
        )
        if len(matches) != 1:
            known = ", ".join(e.ref.name for e in entries[:20]) or "nothing yet"
            found = "is not" if not matches else "stands for more than one model"
            raise UsageError(
                f"'{wanted:.100}' {found} in the vault {self.root}", next_step=f"it holds: {known}"
            )
        return matches[0]

    def _moves(self, connection: Connection, ref: str) -> Sequence[naming.Move]:
        table = database.moves
        rows = connection.execute(select(table).where(table.c.ref == ref).order_by(table.c.seq))
        return [naming.Move(r.ref, r.event, r.digest, r.previous, r.verdict, r.time) for r in rows]

    def _previous(self, ref: str) -> Entry:
        with self._database.reading() as connection:
            current = naming.stack(self._moves(connection, ref))
            if len(current) < 2:
                raise UsageError(
                    f"'{ref:.100}' has no earlier model to return to",
                    got=f"{len(current)} in its history",
                    next_step="see 'holdfast models list'",
                )
            return self._find(connection, current[-2])

    def _require_free(
        self, name: str, ref: ModelRef, connection: Connection | None = None
    ) -> ModelRef | None:
        """The model of this content that is there already; a name that is taken is an error."""
        entries = self._entries(connection) if connection is not None else self.list()
        for known in (entry.ref for entry in entries):
            if known.model_digest == ref.model_digest:
                return known  # whatever it is called: a name is no part of the identity
        for known in (entry.ref for entry in entries):
            if known.name == name:
                raise UsageError(
                    f"the name '{name}' belongs to another model",
                    got=known.model_digest[:12],
                    next_step="choose another name",
                )
        return None

    def _require_intact(self, entry: Entry) -> None:
        """The model and all its ancestors match their seals."""
        for digest in (entry.ref.model_digest, *entry.ref.lineage):
            part = self.get(digest)
            if found := sealing.faults(part.path, part.ref):
                raise _broken(part, found)


def _require_lineage(kind: ModelKind, ancestors: Sequence[ModelRef]) -> None:
    if kind == "base" and ancestors:
        raise UsageError("a base has no parents", next_step="choose the kind merged or adapter")
    if kind == "adapter" and (len(ancestors) != 1 or ancestors[0].kind == "adapter"):
        raise UsageError(
            "an adapter needs one parent, the full model that it sits on",
            got=", ".join(f"{a.name} ({a.kind})" for a in ancestors) or "none",
        )
    if kind in ("merged", "quantised") and not ancestors:
        raise UsageError(f"a {kind} model needs a parent", next_step="name what it was made from")


def _identify(stage: Path, name: str, kind: ModelKind, ancestors: Sequence[ModelRef]) -> ModelRef:
    """Describe what was copied; what is no part of the model is dropped from the copy."""
    if kind == "adapter":
        ref = describe_adapter(stage, ancestors[0], name=name)
    else:
        lineage = [d for a in ancestors for d in (a.model_digest, *a.lineage)]
        found = describe_model(stage, name=name)
        ref = found.model_copy(update={"kind": kind, "lineage": tuple(dict.fromkeys(lineage))})
    for path in stage.iterdir():
        if path.name not in ref.components:
            path.unlink()
    return ref


def _broken(entry: Entry, found: Sequence[Fault]) -> IntegrityError:
    listed = "; ".join(str(fault) for fault in found[:5])
    return IntegrityError(
        f"the sealed model {entry.ref.name} no longer matches its seal ({listed})",
        next_step="restore its folder from a backup, or add the model again",
    )
