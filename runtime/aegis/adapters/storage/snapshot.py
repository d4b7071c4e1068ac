"""One point of a data directory's database, to be read while a host goes on writing it."""

from __future__ import annotations

import sqlite3
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from aegis.adapters.storage import tables, values
from aegis.adapters.storage.exporting import header, write
from aegis.adapters.storage.lock import OwnerLock
from aegis.adapters.storage.log import lost_commits
from aegis.adapters.storage.table import checksum
from aegis.core.audit import Action
from aegis.core.errors import (
    ConflictError,
    CorruptError,
    NewerFormatError,
    OwnedError,
    StoreError,
)
from aegis.core.moving import Header, Progress
from aegis.core.record import Record
from aegis.protocols import NOTHING, Audits

NAME = "aegis.db"
FIRST_WITH_AUDITS = 5  # format
RESTORE = "restore the directory from a backup"


def export(
    directory: Path,
    target: Path,
    models: Sequence[str],
    told: Progress,
    more: Mapping[str, Sequence[Record]] = NOTHING,
) -> Header:
    """Write the records of `models` (all when none is named) as of one point to `target`.

    `more` are the records of models that are kept elsewhere. Raises ConflictError when `target`
    exists or such a model is not among `more`, NotFoundError, StoreError and its kinds.
    """
    with snapshot(directory) as db:
        header = header_of(db, models, more)
        write(target, header, records_of(db, header, more), told)
        return header


def audits(directory: Path, after: int | None, limit: int, action: Action | None) -> Audits:
    """Entries of the audit log of `directory`, in order (see protocols.Store).

    Raises StoreError and its kinds.
    """
    with snapshot(directory) as db:
        if format_of(db) < FIRST_WITH_AUDITS:
            return []
        return values.audits(db, after, limit, action)


@contextmanager
def snapshot(directory: Path) -> Generator[sqlite3.Connection]:
    """The database of `directory` as it is now; what is written meanwhile is not seen.

    Nobody is kept from writing: in WAL mode a reader waits for none and none waits for it. It may
    be a host's directory, of this process or another. Raises StoreError and its kinds.
    """
    path = directory / NAME
    if not path.is_file():
        raise StoreError(f"{directory} is no data directory: it has no {NAME}")
    try:
        _check_log(directory)
        uri = f"{path.resolve().as_uri()}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True, isolation_level=None)) as db:
            db.create_function("checksum", -1, checksum, deterministic=True)
            db.execute("BEGIN")
            (known,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
            (application,) = db.execute("PRAGMA application_id").fetchone()
            if not known or application != tables.APPLICATION:
                raise CorruptError(f"{path} is a database, but not one of Aegis")
            if format_of(db) > tables.FORMAT:
                raise NewerFormatError(
                    f"{path} has format {format_of(db)}, this Aegis reads up to {tables.FORMAT}",
                    hint="update aegis-kernel",
                )
            yield db
    except (sqlite3.Error, UnicodeDecodeError) as error:
        if isinstance(error, UnicodeDecodeError) or type(error) is sqlite3.DatabaseError:
            raise CorruptError(f"{path} is damaged: {error}", hint=RESTORE) from error
        raise StoreError(f"{path} cannot be read: {error}") from error


def _check_log(directory: Path) -> None:
    """Look at the log that a crash left, where nobody owns the directory. Raises CorruptError."""
    lock = OwnerLock(directory)
    try:
        released = lock.acquire()
    except OwnedError:  # its owner has looked, and writes on
        return
    try:
        if lost_commits(directory / NAME):
            raise CorruptError(
                f"the log {directory / NAME}-wal is damaged: what was committed last is not "
                "readable",
                hint=RESTORE,
            )
    finally:
        lock.release(clean=released)


def format_of(db: sqlite3.Connection) -> int:
    """The format that a database has."""
    (found,) = db.execute("PRAGMA user_version").fetchone()
    return int(found)


def seq_of(db: sqlite3.Connection) -> int:
    """The seq of the journal's last event, 0 when there is none."""
    (found,) = db.execute("SELECT max(seq) FROM events").fetchone()
    return int(found or 0)


def header_of(
    db: sqlite3.Connection, models: Sequence[str], more: Mapping[str, Sequence[Record]] = NOTHING
) -> Header:
    """What an export of `models` begins with, of all when none is named.

    Raises NotFoundError, and ConflictError for a model whose records are not here.
    """
    if format_of(db) != tables.FORMAT:
        raise StoreError(
            f"the database has format {format_of(db)}, and {tables.FORMAT} is read here",
            hint="let a host of this Aegis open it once",
        )
    counts = dict(db.execute("SELECT model, count(*) FROM records GROUP BY model").fetchall())
    rows = db.execute(f"{tables.SCHEMAS.select}").fetchall()
    schemas = {row[0]: tables.SCHEMAS.checked(row)[-1] for row in rows}
    counts |= {model: len(records) for model, records in more.items()}
    found = header(counts, schemas, models, seq_of(db))
    for model, datasource, _ in map(tables.PLACES.checked, db.execute(tables.PLACES.select)):
        if datasource and model in found.models and model not in more:
            raise ConflictError(
                f"{model} is kept in datasource {datasource!r}, not in this directory",
                hint="have its host export it (`host.export`), or name the other models",
            )
    return found


def records_of(
    db: sqlite3.Connection, header: Header, more: Mapping[str, Sequence[Record]] = NOTHING
) -> Iterator[Record]:
    """The records that an export holds, by model and id."""
    for model in header.models:
        if model in more:
            yield from more[model]
            continue
        rows = db.execute(f"{tables.RECORDS.select} WHERE model = ? ORDER BY id", (model,))
        yield from map(values.record, rows)
