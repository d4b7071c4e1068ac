"""The datasource of JSON files: a document for each record, which people can read."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import itertools
import logging
import os
import shutil
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote
from zlib import crc32

import msgspec

from aegis.core.errors import CorruptError, StoreError
from aegis.core.matching import counted, gathered
from aegis.core.query import Condition, Index, Page, Query
from aegis.core.record import Record
from aegis.protocols import Datasource, Held, Write, Written

LOCKS = 64  # files that writers lock, so that one record has one writer among all processes
LONGEST = 200  # bytes of a file's name; an id can be longer

T = TypeVar("T")

_META = "_meta"
_log = logging.getLogger("aegis.host")


class _Meta(msgspec.Struct, frozen=True):
    """What stands beside the author's fields."""

    revision: int
    created: str
    updated: str
    write: str = ""


_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_encode = msgspec.json.Encoder().encode


class FilesDatasource(Datasource):
    """Keeps each record in `<directory>/<component>/<Model>/<id>.json` (see Datasource).

    A file is replaced whole, and durable before a write is told done. Several processes may write:
    whoever does locks one of the files in `.locks` first. Who edits a document by hand should count
    its revision up; what is no document any more is named, not served, and left where it is.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._told: set[Path] = set()

    async def open(self) -> None:
        """Make the directory, readable by nobody else. Raises StoreError."""

        def make() -> None:
            for directory in (self._directory, self._directory / ".locks"):
                directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._directory.chmod(0o700)

        await self._do(make)

    async def close(self) -> None:
        """Nothing is held open."""

    async def get(self, model: str, id: str) -> Record | None:
        """The record as last written. Raises CorruptError naming its file."""

        def read() -> Record | None:
            found = self._read(self._file(model, id), model, id)
            return None if found is None else found[0]

        return await self._do(read)

    async def list(self, model: str, query: Query) -> Page:
        """The page that `query` means, of all documents that can be read; it reads them all."""
        return await self._do(lambda: gathered(self._records(model), query))

    async def count(self, model: str, where: tuple[Condition, ...] = ()) -> int:
        """How many records there are for which all of `where` holds."""
        if where:
            return await self._do(lambda: counted(self._records(model), where))
        return await self._do(lambda: len(self._files(model)))

    async def scan(self, model: str) -> AsyncIterator[Record]:
        """All records of a model whose documents can be read."""
        records = self._records(model)
        while some := await self._do(lambda: [*itertools.islice(records, 256)]):
            for record in some:
                yield record

    async def index(self, component: str, indexes: Mapping[str, Sequence[Index]]) -> None:
        """Nothing to do: every query reads all documents of its model."""

    async def write(self, writes: Sequence[Write]) -> Sequence[Written]:
        """Do each of `writes`."""

        def write() -> Sequence[Written]:
            done = [self._write(one) for one in writes]
            for directory in {self._folder(one.model) for one in writes}:
                _sync(directory)
            return done

        return await self._do(write)

    async def clear(self, component: str) -> int:
        """Drop the records of a component, with its directory."""

        def clear() -> int:
            folder = self._directory / component
            dropped = sum(1 for file in folder.glob("*/*.json") if not file.name.startswith("."))
            shutil.rmtree(folder, ignore_errors=True)
            _sync(self._directory)
            return dropped

        return await self._do(clear)

    async def _do(self, work: Callable[[], T]) -> T:
        """What `work` gives, done in a thread. Raises StoreError naming the file."""
        try:
            return await asyncio.to_thread(work)
        except OSError as error:
            where = error.filename or self._directory
            raise StoreError(f"{where}: {error.strerror or error}") from error

    def _folder(self, model: str) -> Path:
        component, _, name = model.partition(".")
        return self._directory / component / name

    def _file(self, model: str, id: str) -> Path:
        """Where a record is. Quoted, an id has no `/`, and no `%` that two digits do not follow."""
        try:
            name = quote(id, safe="")
        except UnicodeEncodeError:  # half a surrogate pair: nothing stored has such an id
            name = "%~"
        if name.startswith("."):  # which are not records
            name = f"%2E{name[1:]}"
        if len(name) > LONGEST:
            name = f"%~{hashlib.sha256(id.encode()).hexdigest()}"
        return self._folder(model) / f"{name}.json"

    def _files(self, model: str) -> Sequence[Path]:
        try:
            with os.scandir(self._folder(model)) as found:
                return [
                    Path(entry.path)
                    for entry in found
                    if entry.name.endswith(".json") and not entry.name.startswith(".")
                ]
        except FileNotFoundError:
            return []

    def _records(self, model: str) -> Iterator[Record]:
        for file in self._files(model):
            try:
                found = self._read(file, model)
            except CorruptError as error:
                if file not in self._told:
                    self._told.add(file)
                    _log.error("%s", error)
                continue
            self._told.discard(file)
            if found is not None:
                yield found[0]

    def _read(self, file: Path, model: str, id: str | None = None) -> tuple[Record, str] | None:
        """The record in `file` and the key of the write that put it there."""
        try:
            text = file.read_bytes()
        except FileNotFoundError:
            return None
        try:
            fields = _FIELDS.decode(text)
            meta = msgspec.json.decode(fields.pop(_META), type=_Meta)
            named = msgspec.json.decode(fields["id"], type=str)
        except (msgspec.DecodeError, UnicodeDecodeError, KeyError, RecursionError) as error:
            raise _corrupt(file, error) from error
        if id not in (None, named) or self._file(model, named) != file:
            raise _corrupt(file, f"it is of {named!r}")
        record = Record(
            model=model,
            id=named,
            revision=meta.revision,
            created=meta.created,
            updated=meta.updated,
            doc=_encode(fields),
        )
        return record, meta.write

    def _write(self, write: Write) -> Written:
        file = self._file(write.model, write.id)
        for folder in (file.parent.parent, file.parent):
            if not folder.is_dir():
                folder.mkdir(mode=0o700, exist_ok=True)
                _sync(folder.parent)
        n = crc32(str(file).encode()) % LOCKS
        with _locked(self._directory / ".locks" / str(n)):
            try:
                record, key = self._read(file, write.model, write.id) or (None, "")
            except CorruptError as error:
                return error
            if (0 if record is None else record.revision) != write.expected:
                if key == write.key or (write.record is record is None):
                    return None
                return Held(record, key)
            if write.record is not None:
                _replace(file, _text(write.record, write.key), file.with_name(f".{n}.part"))
            else:
                file.unlink(missing_ok=True)
            return None


def _text(record: Record, key: str) -> bytes:
    meta = _Meta(record.revision, record.created, record.updated, key)
    return b'%b,"%b":%b}\n' % (record.doc[:-1], _META.encode(), _encode(meta))


def _replace(file: Path, text: bytes, part: Path) -> None:
    with open(part, "wb", opener=_private) as out:
        out.write(text)
        out.flush()
        os.fsync(out.fileno())
    part.replace(file)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, 0o600)


def _sync(directory: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        opened = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)


@contextlib.contextmanager
def _locked(file: Path) -> Generator[None]:
    opened = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(opened, fcntl.LOCK_EX)
        yield
    finally:
        os.close(opened)  # which unlocks it


def _corrupt(file: Path, why: object) -> CorruptError:
    return CorruptError(
        f"{file} is no document of a record: {why}",
        hint="mend it, restore it from a backup, or remove it",
    )
