"""The vault's index: SQLite through SQLAlchemy, derived from the journal entry by entry.

The journal is the truth, and an entry on disk is the moment at which a change has happened. A
change runs inside one `BEGIN IMMEDIATE` transaction: catch up with the journal, check, append the
entry, apply it to the tables, commit. A process killed before the entry leaves nothing; one killed
after it leaves a journal that is ahead of the index, and whoever opens the vault next applies what
is missing. The index remembers sequence number and hash of the last entry that it holds, so a
journal that was cut or replaced is found as well. A lost index is rebuilt from the journal.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from sqlalchemy import (
    Column,
    Connection,
    Integer,
    MetaData,
    String,
    Table,
    create_engine,
    event,
    insert,
    select,
    update,
)  # fmt: skip
from sqlalchemy.exc import DatabaseError, OperationalError
from sqlalchemy.pool import NullPool

from holdfast.core.digest import canonical_json
from holdfast.core.errors import EnvironmentFault, IntegrityError
from holdfast.core.journal import Entry, Journal

ADDED, PROMOTED, ROLLED_BACK = "model.added", "ref.promoted", "ref.rolled_back"
_WAIT_SECONDS = 60

_schema = MetaData()
models = Table(
    "models", _schema,
    Column("digest", String(64), primary_key=True),
    Column("name", String(100), unique=True, nullable=False),
    Column("record", String, nullable=False),
    Column("added", String(32), nullable=False),
    Column("note", String, nullable=False),
)  # fmt: skip
moves = Table(
    "moves", _schema,
    Column("seq", Integer, primary_key=True),
    Column("ref", String(100), nullable=False, index=True),
    Column("event", String(32), nullable=False),
    Column("digest", String(64), nullable=False),
    Column("previous", String(64), nullable=False),
    Column("verdict", String(64), nullable=False),
    Column("time", String(32), nullable=False),
)  # fmt: skip
_state = Table(
    "state", _schema,
    Column("id", Integer, primary_key=True),
    Column("seq", Integer, nullable=False),
    Column("hash", String(64), nullable=False),
)  # fmt: skip

Record = Callable[..., Entry]
"""Called as record(event, **payload) in a transaction; the change has happened on return."""


class Database:
    """The index of one vault and the journal that it follows."""

    def __init__(self, root: Path) -> None:
        """Open, create or rebuild the index in `root`, and catch up with the journal."""
        self.path = root / "vault.sqlite"
        self.journal = Journal(root / "journal.jsonl")
        # No pool: a connection never outlives its use, and never crosses a fork.
        self._engine = create_engine(
            f"sqlite:///{self.path}",
            poolclass=NullPool,
            connect_args={"timeout": _WAIT_SECONDS, "isolation_level": None},
        )
        event.listen(self._engine, "connect", _on_connect)
        event.listen(self._engine, "begin", _on_begin)
        with self._transaction() as connection:
            _schema.create_all(connection)
            self._catch_up(connection)

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection on which every change up to now is visible."""
        with self._transaction() as connection:
            self._catch_up(connection)
            yield connection

    @contextlib.contextmanager
    def changing(self) -> Iterator[tuple[Connection, Record]]:
        """A connection that excludes every other writer, and the function that records a change."""
        with self._transaction() as connection:
            self._catch_up(connection)

            def record(what: str, **payload: object) -> Entry:
                entry = self.journal.append(what, **payload)
                self._catch_up(connection)
                return entry

            yield connection, record

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[Connection]:
        try:
            with self._engine.begin() as connection:
                yield connection
        except OperationalError as error:
            reason = str(error.orig)
            hint = "the disk is full" if "full" in reason else reason
            raise EnvironmentFault(
                f"the vault's index {self.path} cannot be used: {hint}",
                next_step="run the same command again when this is solved; nothing is lost",
            ) from error
        except DatabaseError as error:
            raise IntegrityError(
                f"the vault's index {self.path} is damaged ({error.orig})",
                next_step="delete this file; it is rebuilt from the journal",
            ) from error

    def _catch_up(self, connection: Connection) -> None:
        """Apply the journal entries that the index does not hold yet."""
        entries = self.journal.entries()
        known = connection.execute(select(_state.c.seq, _state.c.hash)).first()
        done = known.seq + 1 if known else 0
        if known and (len(entries) < done or entries[known.seq].hash != known.hash):
            raise IntegrityError(
                f"{self.journal.path} does not hold what the vault's index has seen",
                next_step="restore the journal from a backup",
            )
        for entry in entries[done:]:
            _apply(connection, entry)
        if entries[done:]:
            last = entries[-1]
            if known:
                connection.execute(update(_state).values(seq=last.seq, hash=last.hash))
            else:
                connection.execute(insert(_state).values(id=1, seq=last.seq, hash=last.hash))


def _apply(connection: Connection, entry: Entry) -> None:
    payload = entry.payload
    if entry.event == ADDED:
        record = payload["record"]
        connection.execute(
            insert(models).values(
                digest=record["model_digest"],
                name=record["name"],
                record=canonical_json(record),
                added=entry.time,
                note=payload["note"],
            )
        )
    elif entry.event in (PROMOTED, ROLLED_BACK):
        connection.execute(
            insert(moves).values(
                seq=entry.seq,
                ref=payload["ref"],
                event=entry.event,
                digest=payload["digest"],
                previous=payload["previous"],
                verdict=payload["verdict"],
                time=entry.time,
            )
        )


def _on_connect(connection: object, _record: object) -> None:
    cursor = connection.cursor()  # type: ignore[attr-defined]
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.close()


def _on_begin(connection: Connection) -> None:
    # Taking the write lock at once: two promotions queue up instead of failing half-way.
    connection.exec_driver_sql("BEGIN IMMEDIATE")
