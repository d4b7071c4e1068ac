"""A table of the embedded store: its columns, and the checksum of each row against damage."""

# ruff: noqa: S608 -- what statements are put together from are names of ours

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any
from zlib import crc32

import msgspec

from aegis.core.errors import CorruptError

Row = tuple[Any, ...]

_encode = msgspec.json.Encoder().encode


def checksum(doc: bytes | None, *values: Any) -> int:
    """The CRC-32 of `values` as a compact JSON array and then of `doc`."""
    return crc32(doc or b"", crc32(_encode(values)))


@dataclass(frozen=True)
class Table:
    """Columns of which a row is made: `key`, `rest`, a document if there is one, and `sum`.

    SQLite keeps no checksums, and a flipped bit often leaves a valid value. `sum` covers all other
    columns, and whoever reads a row compares. A document that is no `blob` is TEXT, which every
    version of SQLite reads as JSON.
    """

    name: str
    key: str
    rest: str = ""
    doc: str | None = "doc"
    blob: bool = False

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """All columns before the document."""
        return tuple(f"{self.key} {self.rest}".split())

    def read(self, alias: str | None = None) -> str:
        """What to select so that a row can be `checked`; the document comes as bytes."""
        where = alias or self.name
        doc = f"CAST({where}.{self.doc} AS BLOB)" if self.doc else "x''"
        return ", ".join([*(f"{where}.{name}" for name in self.columns), doc, f"{where}.sum"])

    @cached_property
    def select(self) -> str:
        """The beginning of a statement that reads rows."""
        return f"SELECT {self.read()} FROM {self.name}"

    @cached_property
    def sum(self) -> str:
        """What `sum` must be, by the SQL function `checksum`."""
        doc = f"CAST({self.doc} AS BLOB)" if self.doc else "x''"
        return f"checksum({', '.join([doc, *self.columns])})"

    @cached_property
    def insert(self) -> str:
        """The statement that takes what `row` gives."""
        names = [*self.columns, *([self.doc] if self.doc else []), "sum"]
        return (
            f"INSERT INTO {self.name} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"
        )

    @cached_property
    def upsert(self) -> str:
        """The same, taking the place of what has that key."""
        names = [*self.rest.split(), *([self.doc] if self.doc else []), "sum"]
        changes = ", ".join(f"{name} = excluded.{name}" for name in names)
        keys = ", ".join(self.key.split())
        return f"{self.insert} ON CONFLICT ({keys}) DO UPDATE SET {changes}"

    def row(self, *values: Any, doc: bytes | None = None) -> Row:
        """A row to be stored: `values` of the columns, the document, their checksum."""
        if doc is None:
            return (*values, checksum(doc, *values))
        return (*values, doc if self.blob else doc.decode(), checksum(doc, *values))

    def checked(self, row: Row) -> Row:
        """A row as it was `read`, without its checksum. Raises CorruptError when that is wrong."""
        if checksum(row[-2], *row[:-2]) != row[-1]:
            key = ", ".join(map(repr, row[: len(self.key.split())]))
            raise self.damaged(key)
        return row[:-1]

    def damaged(self, key: str) -> CorruptError:
        """What to raise of the row `key`."""
        return CorruptError(
            f"the row {key} of {self.name} is damaged: it is not what was written",
            hint="restore the data directory from a backup",
        )
