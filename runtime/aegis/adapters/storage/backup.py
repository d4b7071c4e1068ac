"""Copies a data directory while its host runs, and makes one of such a copy again."""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec

import aegis
from aegis.adapters.storage import tables
from aegis.adapters.storage.audit import audit_rows, audit_structure
from aegis.adapters.storage.exporting import full, now, settle
from aegis.adapters.storage.lock import NAME as LOCK
from aegis.adapters.storage.lock import owner
from aegis.adapters.storage.snapshot import (
    NAME,
    format_of,
    seq_of,
    snapshot,
)
from aegis.adapters.storage.table import checksum
from aegis.core.errors import ConflictError, CorruptError, NewerFormatError, StoreError
from aegis.core.moving import BACKUP, Manifest, Piece, Progress

MANIFEST = "manifest.json"
KEYS = "*.key"  # what is sealed in the database opens with these
PINS = "trust.json"  # whom the host trusts
PAGES = 256  # copied at once
CHUNK = 1 << 20


def back_up(directory: Path, target: Path, told: Progress) -> Manifest:
    """Copy the data of `directory`, as of one point, to the new directory `target`.

    A host may own it and go on. The copy is looked through before it counts: a row or page that is
    damaged is no backup. `told` hears of bytes. Raises ConflictError when `target` exists,
    CorruptError, StoreError.
    """
    with _made(target) as part:
        with snapshot(directory) as db:
            copied = part / NAME
            _create(copied, b"")
            with closing(sqlite3.connect(copied, isolation_level=None)) as copy:
                _copy(db, copy, told)
                seq, found = seq_of(copy), format_of(copy)
                _look_through(directory, copy, found)
            # After the database: what is sealed there opens with a key that was there before.
            for key in sorted([*directory.glob(KEYS), *directory.glob(PINS)]):
                with _opened(key) as read:
                    _create(part / key.name, read(-1))
        manifest = Manifest(
            format=BACKUP,
            version=aegis.__version__,
            made=now(),
            seq=seq,
            store=found,
            files={path.name: _piece(path) for path in sorted(part.iterdir())},
        )
        text = msgspec.json.format(msgspec.json.encode(manifest), indent=2)
        _create(part / MANIFEST, text + b"\n")
    return manifest


def restore(source: Path, target: Path, told: Progress) -> Manifest:
    """Make the new data directory `target` of the backup `source`, which stays as it is.

    Every file is compared with the manifest; `target` appears when all of it is there and durable.
    `told` hears of bytes. Raises ConflictError when `target` exists, OwnedError when a host runs on
    it, CorruptError naming the file that is not what was backed up, NewerFormatError.
    """
    if (target / LOCK).exists() and (owned := owner(target)) is not None:
        raise owned
    manifest = _read(source)
    done = 0
    with _made(target) as part:
        for name, piece in manifest.files.items():
            path = source / name
            file = os.open(part / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            sum, size = hashlib.sha256(), 0
            with _opened(path) as read, os.fdopen(file, "wb") as write:
                while chunk := read(CHUNK):
                    sum.update(chunk)
                    size += len(chunk)
                    write.write(chunk)
                    told(min(done + size, manifest.total), manifest.total)
                write.flush()
                os.fsync(write.fileno())
            done += size
            if Piece(size, sum.hexdigest()) != piece:
                raise CorruptError(
                    f"{path} is damaged: it is not what was backed up", hint="use another backup"
                )
    return manifest


@contextmanager
def _made(target: Path) -> Generator[Path]:
    """A directory to fill, private, which is `target` when it is whole, and else is gone."""
    if target.exists() or target.is_symlink():
        raise ConflictError(f"{target} exists already", hint="name a new directory")
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        part.mkdir(mode=0o700, parents=True)
        try:
            yield part
            settle(part)
            part.rename(target)
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise
        settle(target.parent)
    except OSError as error:
        raise full(target, error) from error


def _copy(db: sqlite3.Connection, copy: sqlite3.Connection, told: Progress) -> None:
    """All pages, as of the transaction that `db` is in: so a writer does not make it start anew."""
    (size,) = db.execute("PRAGMA page_size").fetchone()

    def tell(_status: int, remaining: int, total: int) -> None:
        told((total - remaining) * size, total * size)

    try:
        db.backup(copy, pages=PAGES, progress=tell)
    except sqlite3.Error as error:
        raise StoreError(f"the copy cannot be written: {error}") from error


def _look_through(directory: Path, copy: sqlite3.Connection, found: int) -> None:
    copy.create_function("checksum", -1, checksum, deterministic=True)
    wrong = audit_structure(copy, mend=False)
    if wrong is None and found == tables.FORMAT and not audit_rows(copy):
        wrong = "the log names the rows"
    if wrong is not None:
        raise CorruptError(
            f"{directory / NAME} is damaged: {wrong}; nothing was backed up",
            hint="restore an earlier backup, or end the host and copy the directory as it is",
        )


def _create(path: Path, data: bytes) -> None:
    """A new file, private to its owner, and durable."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(file, "wb") as out:
        out.write(data)
        out.flush()
        os.fsync(out.fileno())


def _piece(path: Path) -> Piece:
    with path.open("rb") as file:
        return Piece(path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest())


def _read(source: Path) -> Manifest:
    """The manifest of a backup, of which every file has a plain name."""
    path = source / MANIFEST
    try:
        manifest = msgspec.json.decode(path.read_bytes(), type=Manifest)
    except OSError as error:
        raise StoreError(
            f"{source} is no backup: {path.name} cannot be read ({error.strerror})"
        ) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CorruptError(f"{path} is damaged: {error}", hint="use another backup") from None
    if manifest.format > BACKUP or manifest.store > tables.FORMAT:
        raise NewerFormatError(
            f"{source} was made by Aegis {manifest.version}, which is newer than this one",
            hint="update aegis-kernel",
        )
    strange = [name for name in manifest.files if Path(name).name != name or name == ".."]
    if strange or NAME not in manifest.files:
        raise CorruptError(f"{path} is damaged: it names {strange or 'no database'}")
    return manifest


@contextmanager
def _opened(path: Path) -> Generator[Callable[[int], bytes]]:
    try:
        file = path.open("rb")
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror}") from error
    with file:
        yield file.read
