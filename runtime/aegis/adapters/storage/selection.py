"""A query as SQL: which of the stored records it means, in which order, from where on."""

# ruff: noqa: S608 -- values are bound; what statements are put together from are names of ours

from __future__ import annotations

import sqlite3
from typing import Any

from aegis.adapters.storage.tables import DOC
from aegis.core.query import Page, Query, Term, encode_cursor
from aegis.core.record import Record

_COLUMNS = {"id": "id", "_created": "created", "_updated": "updated"}


def _bound(value: Any) -> Any:
    """`value` as SQLite can compare it: JSON knows no bounds for whole numbers."""
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return float(value)
    return value


def _expression(term: Term) -> tuple[str, tuple[str, ...]]:
    """What `term` is about as SQL, and its parameters."""
    column = _COLUMNS.get(term.path)
    sql = column or "json_extract(doc, ?)"
    return f"CAST({sql} AS REAL)" if term.numeric else sql, () if column else (f'$."{term.path}"',)


def _filter(term: Term) -> tuple[str, tuple[Any, ...]]:
    sql, values = _expression(term)
    value = _bound(term.value)
    if term.numeric and value is not None:
        # As text, so that both sides become numbers by the same arithmetic.
        return f"{sql} = CAST(? AS REAL)", (*values, str(int(value) if value is True else value))
    return f"{sql} IS ?", (*values, value)


def _beyond(query: Query, after: tuple[Any, ...]) -> tuple[str, tuple[Any, ...]]:
    """The condition that a record comes after the position `after`; null is the least value."""
    sql = "id > ?"
    values: tuple[Any, ...] = (_bound(after[-1]),)
    for index in reversed(range(len(query.sort))):
        value = _bound(after[index])
        k = f"k{index}"
        later = (
            f"{k} < ? OR ({k} IS NULL AND ? IS NOT NULL)"
            if query.sort[index].descending
            else f"{k} > ? OR ({k} IS NOT NULL AND ? IS NULL)"
        )
        sql = f"{later} OR ({k} IS ? AND ({sql}))"
        values = (value, value, value, *values)
    return f"({sql})", values


def select(db: sqlite3.Connection, model: str, query: Query) -> Page:
    """The page of `model` that `query` means, read over `db`.

    OverflowError or UnicodeEncodeError when it compares with a value that SQLite cannot hold.
    """
    columns: list[str] = []
    order: list[str] = []
    values: list[Any] = []
    for index, term in enumerate(query.sort):
        sql, parameters = _expression(term)
        columns.append(f", {sql} AS k{index}")
        order.append(f"k{index} DESC" if term.descending else f"k{index}")
        values += parameters
    conditions = ["model = ?"]
    values.append(model)
    parts: list[tuple[str, tuple[Any, ...]]] = [_filter(term) for term in query.where]
    if query.after is not None:
        parts.append(_beyond(query, query.after))
    for sql, parameters in parts:
        conditions.append(sql)
        values += parameters
    rows = db.execute(
        f"SELECT id, revision, created, updated, {DOC}{''.join(columns)} FROM records "
        f"WHERE {' AND '.join(conditions)} ORDER BY {', '.join([*order, 'id'])} LIMIT ?",
        (*values, query.limit + 1),
    ).fetchall()
    kept = rows[: query.limit]
    items = [
        Record(model=model, id=row[0], revision=row[1], created=row[2], updated=row[3], doc=row[4])
        for row in kept
    ]
    more = kept and len(rows) > query.limit
    return Page(items=items, next=encode_cursor((*kept[-1][5:], kept[-1][0])) if more else None)
