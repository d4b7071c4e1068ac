"""A query as SQL: which of the stored records it means, in which order, from where on."""

# ruff: noqa: S608 -- values are bound; what statements are put together from are names of ours

from __future__ import annotations

import sqlite3
from typing import Any

from aegis.adapters.storage import values
from aegis.adapters.storage.tables import RECORDS
from aegis.core.query import Page, Query, Term, encode_cursor

_WIDTH = len(RECORDS.columns) + 2  # of a record's row
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
    bound: list[Any] = []
    for index, term in enumerate(query.sort):
        sql, parameters = _expression(term)
        columns.append(f", {sql} AS k{index}")
        order.append(f"k{index} DESC" if term.descending else f"k{index}")
        bound += parameters
    conditions = ["model = ?"]
    bound.append(model)
    parts: list[tuple[str, tuple[Any, ...]]] = [_filter(term) for term in query.where]
    if query.after is not None:
        parts.append(_beyond(query, query.after))
    for sql, parameters in parts:
        conditions.append(sql)
        bound += parameters
    rows = db.execute(
        f"SELECT {RECORDS.read()}{''.join(columns)} FROM records "
        f"WHERE {' AND '.join(conditions)} ORDER BY {', '.join([*order, 'id'])} LIMIT ?",
        (*bound, query.limit + 1),
    ).fetchall()
    kept = rows[: query.limit]
    items = [values.record(row[:_WIDTH]) for row in kept]
    more = kept and len(rows) > query.limit
    after = (*kept[-1][_WIDTH:], items[-1].id) if more else None
    return Page(items=items, next=None if after is None else encode_cursor(after))
