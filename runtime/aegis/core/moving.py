"""Data on its way from one host to another: the lines of an export, the manifest of a backup."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from typing import Annotated, NamedTuple, TypeVar

import msgspec

from aegis.core.errors import InvalidError, NewerFormatError, TooLargeError
from aegis.core.record import Record

EXPORT = 1  # the format of an export
BACKUP = 1  # the format of a backup
MAX_LINE = 16 << 20  # bytes of a line that is read

# Told how much is done of how much (records or bytes), from whatever thread does it.
Progress = Callable[[int, int], object]
_AGAIN = "export it again"

T = TypeVar("T")


class Part(msgspec.Struct, frozen=True):
    """One model of an export: how many records, and the SHA-256 of the schema they have."""

    records: int
    schema: str | None = None


class Header(msgspec.Struct, frozen=True, kw_only=True, tag_field="aegis", tag="export"):
    """The first line of an export. All of it is as of the event `seq` of the journal.

    `models` are by key (`orders.Order`), `made` is RFC 3339, `version` that of Aegis.
    """

    format: int
    version: str
    made: str
    seq: int
    models: dict[str, Part]

    @property
    def total(self) -> int:
        """How many records there are."""
        return sum(part.records for part in self.models.values())


class Moved(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A line of an export: a record, whose `data` is the author's, with the id."""

    model: str
    id: str
    revision: Annotated[int, msgspec.Meta(ge=1, le=1 << 62)]
    created: str
    updated: str
    data: msgspec.Raw


class End(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The last line of an export: how many records came, and the SHA-256 of all lines before."""

    end: int
    sha256: str


class Line(NamedTuple):
    """A record as it came: the number of its line from 1, the text and what it says."""

    n: int
    text: bytes
    record: Moved


class Piece(msgspec.Struct, frozen=True):
    """One file of a backup: its size in bytes, and its SHA-256 in hex."""

    bytes: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True, tag_field="aegis", tag="backup"):
    """What a backup holds, by name of the file. All of it is as of the event `seq`.

    `store` is the format of the database, `made` is RFC 3339, `version` that of Aegis.
    """

    format: int
    version: str
    made: str
    seq: int
    store: int
    files: dict[str, Piece]

    @property
    def total(self) -> int:
        """Bytes of all files."""
        return sum(piece.bytes for piece in self.files.values())


def digest(schema: bytes | None) -> str | None:
    """What tells two stored schemas apart."""
    return None if schema is None else hashlib.sha256(schema).hexdigest()


def written(header: Header, records: Iterable[Record], told: Progress) -> Iterator[bytes]:
    """The lines of an export. Raises CorruptError naming a record that is damaged."""
    sum = hashlib.sha256()
    line = msgspec.json.encode(header) + b"\n"
    count, total = 0, header.total
    told(0, total)
    for record in records:
        sum.update(line)
        yield line
        line = _encoded(record.sound())
        count += 1
        if not count % 1000:
            told(count, total)
    sum.update(line)
    yield line
    told(count, total)
    yield msgspec.json.encode(End(count, sum.hexdigest())) + b"\n"


def _encoded(record: Record) -> bytes:
    moved = Moved(
        model=record.model,
        id=record.id,
        revision=record.revision,
        created=record.created,
        updated=record.updated,
        data=msgspec.Raw(record.doc),
    )
    return msgspec.json.encode(moved) + b"\n"


def read(lines: Iterator[bytes], *, edited: bool = False) -> tuple[Header, Iterator[Line]]:
    """The header of an export, and its records as they are asked for.

    Of an `edited` one the counts and the checksum may be wrong, and its last line be missing.
    Raises InvalidError naming the line, NewerFormatError, TooLargeError.
    """
    first = next(lines, b"")
    header = _decoded(Header, first, 1, "no export of Aegis")
    if header.format > EXPORT:
        raise NewerFormatError(
            f"the export has format {header.format}, this Aegis reads up to {EXPORT}",
            hint="update aegis-kernel",
        )
    return header, _records(header, first, lines, edited=edited)


def _records(
    header: Header, first: bytes, lines: Iterator[bytes], *, edited: bool
) -> Iterator[Line]:
    sum = hashlib.sha256(first)
    counts = dict.fromkeys(header.models, 0)
    n = 1
    end: End | None = None
    for n, text in enumerate(lines, 2):
        if len(text) > MAX_LINE:
            raise TooLargeError(f"line {n} has more than {MAX_LINE:,} bytes", line=n)
        if end is not None:
            raise InvalidError(f"line {n} comes after the last one", hint=_AGAIN, line=n)
        if text.startswith(b'{"end":'):
            end = _decoded(End, text, n, "damaged")
            continue
        sum.update(text)
        record = _decoded(Moved, text, n, "no record")
        if record.model not in counts:
            raise InvalidError(
                f"line {n} is of {record.model!r}, which the first line does not name", line=n
            )
        counts[record.model] += 1
        yield Line(n, text, record)
    if edited:
        return
    if end is None:
        raise InvalidError(f"it ends with line {n}: the rest is missing", hint=_AGAIN, line=n)
    wanted = {model: part.records for model, part in header.models.items()}
    if counts != wanted or end.sha256 != sum.hexdigest():
        raise InvalidError(
            "it is not what was written: lines are damaged, missing or changed",
            hint=f"{_AGAIN}, or say that it was edited",
        )


def _decoded(type: type[T], text: bytes, n: int, wrong: str) -> T:
    try:
        return msgspec.json.decode(text, type=type)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        cut = "" if text.endswith(b"\n") else ", and it is cut off"
        raise InvalidError(f"line {n} is {wrong}{cut}: {error}", line=n) from None
