"""The datasource of one SQLite file of its own, which several processes may write."""

# ruff: noqa: S608 -- values are bound; what statements are put together from are names of ours

from __future__ import annotations

import os
import sqlite3
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from aegis.adapters.storage import selection, values
from aegis.adapters.storage.datasources.connection import Connection
from aegis.adapters.storage.table import checksum
from aegis.adapters.storage.tables import RECORDS
from aegis.core.errors import AegisError, BadRequestError, CorruptError, DatasourceError, StoreError
from aegis.core.query import Condition, Index, Page, Query
from aegis.core.record import Record
from aegis.protocols import Datasource, Held, Write, Written

NAME = "records.db"
BUSY = 5.0  # seconds that a write waits for another process's lock
PAGE = 500  # records of a scan that are read at once

T = TypeVar("T")

# The table of the host's own store, and the key of the write that put a record there.
_TABLES = """
CREATE TABLE IF NOT EXISTS records (
    model TEXT NOT NULL, id TEXT NOT NULL, revision INTEGER NOT NULL, created TEXT NOT NULL,
    updated TEXT NOT NULL, doc TEXT NOT NULL, sum INTEGER NOT NULL, key TEXT NOT NULL,
    PRIMARY KEY (model, id)) WITHOUT ROWID
"""
_GET = f"SELECT {RECORDS.read()}, key FROM records WHERE model = ? AND id = ?"
_SCAN = f"{RECORDS.select} WHERE model = ? AND id > ? ORDER BY id LIMIT ?"
_PUT = (
    "INSERT OR REPLACE INTO records (model, id, revision, created, updated, doc, sum, key) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
)
_DROP = "DELETE FROM records WHERE model = ? AND id = ?"
_CLEAR = "DELETE FROM records WHERE model >= ? AND model < ?"


class SqliteDatasource(Datasource):
    """Keeps records in `<directory>/records.db` with full sync (see protocols.Datasource)."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / NAME
        self._db = Connection(self._connect, self._translated)

    async def open(self) -> None:
        """Make the file when it is missing. Raises StoreError, CorruptError."""
        await self._db.do(lambda _: None)

    async def close(self) -> None:
        """Close the file."""
        await self._db.close()

    async def get(self, model: str, id: str) -> Record | None:
        """The record as last written; a damaged one has no document."""

        def get(db: sqlite3.Connection) -> Record | None:
            try:
                row = db.execute(_GET, (model, id)).fetchone()
            except UnicodeEncodeError:  # half a surrogate pair: nothing stored has such an id
                return None
            return None if row is None else values.record(row[:-1])

        return await self._db.do(get)

    async def list(self, model: str, query: Query) -> Page:
        """The page that `query` means."""
        return await self._db.do(lambda db: selection.select(db, model, query))

    async def count(self, model: str, where: tuple[Condition, ...] = ()) -> int:
        """How many records there are for which all of `where` holds."""
        return await self._db.do(lambda db: selection.count(db, model, where))

    async def scan(self, model: str) -> AsyncIterator[Record]:
        """All records of a model."""
        after = ""

        def page(db: sqlite3.Connection) -> Sequence[Record]:
            return [values.record(row) for row in db.execute(_SCAN, (model, after, PAGE))]

        while found := await self._db.do(page):
            for record in found:
                yield record
            after = found[-1].id

    async def index(self, component: str, indexes: Mapping[str, Sequence[Index]]) -> None:
        """Have these indexes, and no others."""
        await self._db.do(lambda db: _within(db, lambda: selection.index(db, component, indexes)))

    async def write(self, writes: Sequence[Write]) -> Sequence[Written]:
        """Do each of `writes`, all in one transaction."""
        return await self._db.do(
            lambda db: _within(db, lambda: [_write(db, one) for one in writes])
        )

    async def clear(self, component: str) -> int:
        """Drop the records of a component."""
        # Keys of models are `component.Model`, and `/` comes right after `.`.
        between = (f"{component}.", f"{component}/")
        return await self._db.do(
            lambda db: _within(db, lambda: db.execute(_CLEAR, between).rowcount)
        )

    def _connect(self) -> sqlite3.Connection:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        db = sqlite3.connect(
            self._path, timeout=BUSY, isolation_level=None, check_same_thread=False
        )
        try:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")
            db.create_function("checksum", -1, checksum, deterministic=True)
            db.execute(_TABLES)
        except BaseException:
            db.close()
            raise
        return db

    def _translated(self, error: Exception) -> AegisError | None:
        if isinstance(error, OverflowError | UnicodeEncodeError):
            return BadRequestError(f"no record can have that value: {error}")
        if not isinstance(error, sqlite3.Error | OSError):
            return None
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            return CorruptError(
                f"{self._path} is damaged: {error}", hint="restore it from a backup"
            )
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return DatasourceError(f"{self._path} is locked by another process")
        return StoreError(f"{self._path}: {error}")


def _within(db: sqlite3.Connection, change: Callable[[], T]) -> T:
    """What `change` gives, in a transaction that nobody else writes in."""
    db.execute("BEGIN IMMEDIATE")
    try:
        found = change()
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise
    return found


def _write(db: sqlite3.Connection, write: Write) -> Written:
    row: Any = db.execute(_GET, (write.model, write.id)).fetchone()
    record, key = (None, "") if row is None else (values.record(row[:-1]), row[-1])
    if (0 if record is None else record.revision) != write.expected:
        if key == write.key or (write.record is record is None):
            return None
        return Held(record, key)
    if write.record is None:
        db.execute(_DROP, (write.model, write.id))
        return None
    new = write.record
    row = RECORDS.row(new.model, new.id, new.revision, new.created, new.updated, doc=new.doc)
    try:
        db.execute(_PUT, (*row, write.key))
    except sqlite3.OperationalError as error:
        # An index that cannot read a damaged document must not keep it from being mended.
        if not (selection.is_unreadable(error) and selection.drop(db, write.model)):
            raise
        db.execute(_PUT, (*row, write.key))
    return None
