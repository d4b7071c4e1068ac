"""The datasource of one DuckDB file, for models that are few, large, or asked for by analysts.

One process has the file at a time: DuckDB locks it.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import duckdb

from aegis.adapters.storage.datasources.connection import Connection
from aegis.core.errors import AegisError, CorruptError, DatasourceError, OwnedError, StoreError
from aegis.core.matching import counted, gathered
from aegis.core.query import Condition, Index, Page, Query
from aegis.core.record import Record
from aegis.protocols import Datasource, Held, Write, Written

NAME = "records.duckdb"
PAGE = 500  # records read at once
TRIES = 20  # of a transaction that another connection was quicker than
PAUSE = 0.0002  # seconds before the second of them

T = TypeVar("T")

_TABLES = """
CREATE TABLE IF NOT EXISTS records (
    model VARCHAR, id VARCHAR, revision BIGINT, created VARCHAR, updated VARCHAR, doc BLOB,
    key VARCHAR, PRIMARY KEY (model, id))
"""
_COLUMNS = "model, id, revision, created, updated, doc"
_GET = f"SELECT {_COLUMNS}, key FROM records WHERE model = ? AND id = ?"  # noqa: S608 -- names of ours
_ALL = f"SELECT {_COLUMNS} FROM records WHERE model = ?"  # noqa: S608
_COUNT = "SELECT count(*) FROM records WHERE model = ?"
_PUT = "INSERT OR REPLACE INTO records VALUES (?, ?, ?, ?, ?, ?, ?)"
_DROP = "DELETE FROM records WHERE model = ? AND id = ?"
_CLEAR = "DELETE FROM records WHERE starts_with(model, ?)"


class DuckDatasource(Datasource):
    """Keeps records in `<directory>/records.duckdb` (see protocols.Datasource).

    A query reads all records of its model.
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / NAME
        self._db = Connection(self._connect, self._translated)

    async def open(self) -> None:
        """Take the file, made when it is missing. Raises OwnedError, StoreError, CorruptError."""
        await self._db.do(lambda _: None)

    async def close(self) -> None:
        """Let go of the file."""
        await self._db.close()

    async def get(self, model: str, id: str) -> Record | None:
        """The record as last written."""

        def get(db: duckdb.DuckDBPyConnection) -> Record | None:
            try:
                id.encode()
            except UnicodeEncodeError:  # half a surrogate pair: nothing stored has such an id
                return None
            found = _get(db, model, id)
            return None if found is None else found[0]

        return await self._db.do(get)

    async def list(self, model: str, query: Query) -> Page:
        """The page that `query` means."""
        return await self._db.do(lambda db: gathered(_all(db, model), query))

    async def count(self, model: str, where: tuple[Condition, ...] = ()) -> int:
        """How many records there are for which all of `where` holds."""

        def count(db: duckdb.DuckDBPyConnection) -> int:
            if where:
                return counted(_all(db, model), where)
            (found,) = db.execute(_COUNT, (model,)).fetchone() or (0,)
            return int(found)

        return await self._db.do(count)

    async def scan(self, model: str) -> AsyncIterator[Record]:
        """All records of a model."""
        for record in await self._db.do(lambda db: [*_all(db, model)]):
            yield record

    async def index(self, component: str, indexes: Mapping[str, Sequence[Index]]) -> None:
        """Nothing to do: every query reads all records of its model."""

    async def write(self, writes: Sequence[Write]) -> Sequence[Written]:
        """Do each of `writes`, all in one transaction."""
        return await self._db.do(
            lambda db: _within(db, lambda: [_write(db, one) for one in writes])
        )

    async def clear(self, component: str) -> int:
        """Drop the records of a component."""

        def clear(db: duckdb.DuckDBPyConnection) -> int:
            (dropped,) = db.execute(_CLEAR, (f"{component}.",)).fetchone() or (0,)
            return int(dropped)

        return await self._db.do(lambda db: _within(db, lambda: clear(db)))

    def _connect(self) -> duckdb.DuckDBPyConnection:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        db = duckdb.connect(str(self._path))
        try:
            self._path.chmod(0o600)  # DuckDB itself asks the umask
            db.execute(_TABLES)
        except BaseException:
            db.close()
            raise
        return db

    def _translated(self, error: Exception) -> AegisError | None:
        if isinstance(error, UnicodeEncodeError):
            return StoreError(f"no record can have that value: {error}")
        if not isinstance(error, duckdb.Error | OSError):
            return None
        said = str(error).partition("\n")[0]
        if "Could not set lock" in said:
            return OwnedError(
                f"{self._path} is open in another process",
                hint="one process has a DuckDB file at a time: close the other one",
            )
        if isinstance(error, duckdb.SerializationException) or "not a valid DuckDB" in said:
            return CorruptError(f"{self._path} is damaged: {said}", hint="restore it from a backup")
        if isinstance(error, duckdb.TransactionException):
            return DatasourceError(f"{self._path} is written by others all the time")
        return StoreError(f"{self._path}: {said}")


def _record(row: Sequence[Any]) -> Record:
    model, id, revision, created, updated, doc = row
    return Record(model=model, id=id, revision=revision, created=created, updated=updated, doc=doc)


def _get(db: duckdb.DuckDBPyConnection, model: str, id: str) -> tuple[Record, str] | None:
    row = db.execute(_GET, (model, id)).fetchone()
    return None if row is None else (_record(row[:-1]), row[-1])


def _all(db: duckdb.DuckDBPyConnection, model: str) -> Iterator[Record]:
    found = db.execute(_ALL, (model,))
    while rows := found.fetchmany(PAGE):
        yield from map(_record, rows)


def _within(db: duckdb.DuckDBPyConnection, change: Callable[[], T]) -> T:
    """What `change` gives, in a transaction; anew when another connection was quicker."""
    for left in reversed(range(TRIES)):
        db.execute("BEGIN TRANSACTION")
        try:
            found = change()
            db.execute("COMMIT")
        except (duckdb.TransactionException, duckdb.ConstraintException):
            _undo(db)
            if not left:
                raise
            # Each time longer, so that whoever is slow gets between the writes of who is quick.
            time.sleep(PAUSE * (TRIES - left))
        except BaseException:
            _undo(db)
            raise
        else:
            return found
    raise AssertionError("unreachable: the loop returns or raises")


def _undo(db: duckdb.DuckDBPyConnection) -> None:
    try:
        db.execute("ROLLBACK")
    except duckdb.Error:  # a commit that failed has ended the transaction
        return


def _write(db: duckdb.DuckDBPyConnection, write: Write) -> Written:
    record, key = _get(db, write.model, write.id) or (None, "")
    if (0 if record is None else record.revision) != write.expected:
        if key == write.key or (write.record is record is None):
            return None
        return Held(record, key)
    new = write.record
    if new is None:
        db.execute(_DROP, (write.model, write.id))
    else:
        row = (new.model, new.id, new.revision, new.created, new.updated, new.doc, write.key)
        db.execute(_PUT, row)
    return None
