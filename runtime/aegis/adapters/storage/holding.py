"""Unique fields in the embedded store: which record holds which value."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from aegis.adapters.storage.table import Row, Table
from aegis.core.errors import DuplicateError
from aegis.core.rule import duplicate
from aegis.protocols import Commit, Holding, Release

UNIQUES = Table("uniques", "model field key", "id", doc=None)

HOLDER = f"{UNIQUES.select} WHERE model = ? AND field = ? AND key = ?"
# Who holds it already may say so again; when it is another, no row changes.
_HOLD = f"{UNIQUES.upsert} WHERE id = excluded.id"
_RELEASE = "DELETE FROM uniques WHERE model = ? AND field = ? AND key = ? AND id = ?"
_END = "DELETE FROM uniques WHERE model = ? AND field = ?"


class Holdings:
    """What a commit releases and holds, as rows."""

    __slots__ = ("_ends", "_held", "_released", "_rows")

    def __init__(self, released: Sequence[Release], held: Sequence[Holding]) -> None:
        self._ends = [(one.model, one.field) for one in released if one.key is None]
        self._released: list[Row] = [
            (one.model, one.field, one.key, one.id) for one in released if one.key is not None
        ]
        self._held = held
        self._rows = [UNIQUES.row(one.model, one.field, one.key, one.id) for one in held]

    @classmethod
    def of(cls, commit: Commit) -> Holdings | None:
        """Those of a commit, None when it has none."""
        if not (commit.held or commit.released):
            return None
        return cls(commit.released, list(commit.held))

    def store(self, db: sqlite3.Connection) -> None:
        """Write them, whole. Raises sqlite3.IntegrityError where another record holds a value."""
        db.executemany(_END, self._ends)
        db.executemany(_RELEASE, self._released)
        if self._rows and db.executemany(_HOLD, self._rows).rowcount != len(self._rows):
            raise sqlite3.IntegrityError("another record holds a unique value")

    def conflict(self, db: sqlite3.Connection) -> DuplicateError | None:
        """Which of the values another record holds, once nothing of this is stored."""
        free = set(self._released)
        seen: dict[tuple[str, str, str], str] = {}
        for one in self._held:
            key = (one.model, one.field, one.key)
            row = db.execute(HOLDER, key).fetchone()
            if row is not None and (row[:4] in free or key[:2] in self._ends):
                row = None
            held = None if row is None else str(row[3])
            if seen.setdefault(key, held or one.id) != one.id:
                return duplicate(one.model, one.field)
        return None
