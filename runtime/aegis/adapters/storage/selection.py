"""A query as SQL: which of the stored records it means, in which order, from where on.

What it has to mean is said in core.matching. Values are bound; a field's name stands in the
statement, as it does in the index that a model may want for it.
"""

# ruff: noqa: S608 -- values are bound; names are quoted

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

from aegis.adapters.storage import values
from aegis.adapters.storage.tables import RECORDS
from aegis.core.matching import scalar
from aegis.core.query import (
    Condition,
    Every,
    Index,
    Kind,
    Not,
    Page,
    Query,
    Some,
    Term,
    encode_cursor,
)

Sql = tuple[str, tuple[Any, ...]]  # an expression and what is bound in it

_log = logging.getLogger("aegis.host")

_WIDTH = len(RECORDS.columns) + 2  # of a record's row
_COLUMNS = {"id": "id", "_created": "created", "_updated": "updated"}
_SIGNS = {"lt": "<", "le": "<=", "gt": ">", "ge": ">="}
_ESTIMATE = "INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES ('records', ?, ?)"
_FIELDS = "SELECT count(*) - 2 FROM pragma_index_info(?)"  # all but the model and the id
_MANY, _FEW = 1_000_000, 1_000  # records of a model, and of them with one value of a field
_LAST = "\U0010ffff"
# Microseconds since 1970. The fraction is added apart: SQLite's own has a millisecond's precision.
_TIME = (
    "(CAST(strftime('%s', substr({x}, 1, 19) ||"
    " substr({x}, CASE substr({x}, 20, 1) WHEN '.' THEN 27 ELSE 20 END)) AS INTEGER) * 1000000"
    " + CASE substr({x}, 20, 1) WHEN '.' THEN CAST(substr({x}, 21, 6) AS INTEGER) ELSE 0 END)"
)


def select(db: sqlite3.Connection, model: str, query: Query) -> Page:
    """The page of `model` that `query` means, read over `db`.

    OverflowError or UnicodeEncodeError when it compares with a value that SQLite cannot hold.
    """
    rows = db.execute(*statement(model, query)).fetchall()
    kept = rows[: query.limit]
    items = [values.record(row[:_WIDTH]) for row in kept]
    more = kept and len(rows) > query.limit
    after = (*kept[-1][_WIDTH:], items[-1].id) if more else None
    return Page(items=items, next=None if after is None else encode_cursor(after))


def count(db: sqlite3.Connection, model: str, where: tuple[Condition, ...]) -> int:
    """How many records of `model` there are for which all of `where` holds."""
    sql, bound = _where(model, where)
    return int(db.execute(f"SELECT count(*) FROM records WHERE {sql}", bound).fetchone()[0])


def index(db: sqlite3.Connection, component: str, indexes: Mapping[str, Sequence[Index]]) -> None:
    """Make the indexes of a component's models these: what is missing is made, others go."""
    wanted = dict(_index(model, one) for model, several in indexes.items() for one in several)
    first, end = f"query {component}.", f"query {component}/"  # `/` comes right after `.`
    found: dict[str, str] = dict(
        db.execute(
            "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND name >= ? AND name < ?",
            (first, end),
        )
    )
    for name, sql in found.items():
        if wanted.get(name) != sql:
            db.execute(f"DROP INDEX {_name(name)}")
    made = [
        name for name, sql in wanted.items() if found.get(name) != sql and _is_made(db, name, sql)
    ]
    if made:
        _estimate(db, made)


def drop(db: sqlite3.Connection, model: str = "") -> bool:
    """Do without the indexes of `model`, or of all, until its next deploy; whether there were any.

    For when a record is damaged: SQLite refuses to change or delete what an index cannot read.
    """
    first, end = (f"query {model} ", f"query {model}!") if model else ("query ", "query!")
    found = db.execute(
        "SELECT name FROM sqlite_master WHERE type = 'index' AND name >= ? AND name < ?",
        (first, end),
    ).fetchall()
    for (name,) in found:
        db.execute(f"DROP INDEX {_name(name)}")
        _log.error("the index %r is given up until its component is deployed again", name)
    return bool(found)


def is_unreadable(error: BaseException) -> bool:
    """Whether a document that is no JSON any more led to `error`."""
    return isinstance(error, sqlite3.OperationalError) and "malformed JSON" in str(error)


def _is_made(db: sqlite3.Connection, name: str, sql: str) -> bool:
    try:
        db.execute(sql)
    except sqlite3.OperationalError as error:
        if not is_unreadable(error):
            raise
        _log.error("there is no index %r: a record of it is damaged", name)
        return False
    return True


def _estimate(db: sqlite3.Connection, names: Sequence[str]) -> None:
    """Tell the planner that models are large and that what was asked to be an index is a good one.

    What it would guess is ten records a model, which need no index. Figures counted now, when the
    component is new and has none, would say the same.
    """
    db.execute("ANALYZE sqlite_schema")  # makes the table of figures, and counts nothing
    db.execute("DELETE FROM sqlite_stat1 WHERE tbl = 'records' AND idx = 'records'")
    db.execute(_ESTIMATE, ("records", f"{_MANY} {_MANY} 1"))
    for name in names:
        (fields,) = db.execute(_FIELDS, (name,)).fetchone()
        each = (max(1, _FEW // 10**n) for n in range(fields))
        db.execute(_ESTIMATE, (name, " ".join(map(str, (_MANY, _MANY, *each, 1)))))
    db.execute("ANALYZE sqlite_schema")  # reads them


def statement(model: str, query: Query) -> Sql:
    """What reads the rows of a page, and one more if there is one."""
    keys = [_expression(term) for term in query.sort]
    columns = "".join(f", {sql} AS k{index}" for index, sql in enumerate(keys))
    order = [
        f"{sql} DESC" if term.descending else sql
        for sql, term in zip(keys, query.sort, strict=True)
    ]
    where, bound = _where(model, query.where)
    if query.after is not None:
        sql, beyond = _beyond(query, keys, query.after)
        where, bound = f"{where} AND {sql}", (*bound, *beyond)
    sql = (
        f"SELECT {RECORDS.read()}{columns} FROM records "
        f"WHERE {where} ORDER BY {', '.join([*order, 'id'])} LIMIT ?"
    )
    return sql, (*bound, query.limit + 1)


def _index(model: str, terms: Index) -> tuple[str, str]:
    """The name of an index and the statement that makes it.

    The model stands in it twice: only its records are in it, and the planner, who knows no
    figures, would take the table's own key for the narrower one.
    """
    spelled = ",".join(f"{'-' if term.descending else ''}{term.path}" for term in terms)
    keys = [f"{_expression(term)}{' DESC' if term.descending else ''}" for term in terms]
    name = f"query {model} {spelled}"
    return name, (
        f"CREATE INDEX {_name(name)} ON records ({', '.join(['model', *keys, 'id'])}) "
        f"WHERE model = {_text(model)}"
    )


def _name(name: str) -> str:
    return '"{}"'.format(name.replace('"', '""'))


def _text(text: str) -> str:
    return "'{}'".format(text.replace("'", "''"))


def _place(path: str) -> str:
    """Where in a document `path` leads, as a literal."""
    return _text("$" + "".join(f'."{name}"' for name in path.split(".")))


def _expression(term: Term) -> str:
    """What `term` is about, as it is compared."""
    x = _COLUMNS.get(term.path) or f"json_extract(doc, {_place(term.path)})"
    return _compared(x, term.kind)


def _compared(x: str, kind: Kind) -> str:
    if kind == "number":
        return f"CAST({x} AS REAL)"
    return _TIME.format(x=x) if kind == "time" else x


def _where(model: str, where: tuple[Condition, ...]) -> Sql:
    """The condition that a record is one of `model` for which all of `where` holds."""
    sql, bound = _joined(where, " AND ", "1")
    # As a literal, or an index of only this model's records would not be considered.
    return f"model = {_text(model)} AND {sql}", bound


def _condition(condition: Condition) -> Sql:
    """`condition` as SQL; where it does not hold that may be null as well as false."""
    match condition:
        case Every(parts):
            return _joined(parts, " AND ", "1")
        case Some(parts):
            return _joined(parts, " OR ", "0")
        case Not(part):
            sql, bound = _condition(part)
            return f"({sql} IS NOT TRUE)", bound
        case Term():
            return _term(condition)


def _joined(parts: tuple[Condition, ...], word: str, none: str) -> Sql:
    found = [_condition(part) for part in parts]
    sql = word.join(sql for sql, _ in found)
    return f"({sql or none})", tuple(value for _, bound in found for value in bound)


def _term(term: Term) -> Sql:
    x = _expression(term)
    if term.op == "exists":
        return f"({x} IS {'NOT ' if term.value else ''}NULL)", ()
    if term.op == "has":
        sql, bound = _equal(_compared("value", term.kind), term, term.value)
        return f"EXISTS (SELECT 1 FROM json_each(doc, {_place(term.path)}) WHERE {sql})", bound
    if term.op == "eq":
        return _equal(x, term, term.value)
    if term.op == "ne":
        sql, bound = _equal(x, term, term.value)
        return f"({sql} IS NOT TRUE)", bound
    if term.op == "in":
        given = [value for value in term.value if value is not None]
        marks = ", ".join(_mark(term) for _ in given)
        null = f" OR {x} IS NULL" if len(given) < len(term.value) else ""
        return f"({x} IN ({marks}){null})", tuple(_bound(value, term) for value in given)
    if term.op == "prefix":
        return _begins(x, term.value)
    if term.op == "contains":
        return f"(typeof({x}) = 'text' AND instr({x}, ?) > 0)", (term.value,)
    return f"({x} {_SIGNS[term.op]} {_mark(term)})", (_bound(term.value, term),)


def _equal(x: str, term: Term, value: Any) -> Sql:
    bound = _bound(value, term)
    return (f"({x} IS NULL)", ()) if bound is None else (f"({x} = {_mark(term)})", (bound,))


def _begins(x: str, prefix: str) -> Sql:
    """As a range, which an index has. Whatever is text is `''` or above."""
    kept = prefix.rstrip(_LAST)
    if not kept:
        return f"(typeof({x}) = 'text' AND {x} >= ?)", (prefix,)
    following = ord(kept[-1]) + 1
    end = kept[:-1] + chr(0xE000 if following == 0xD800 else following)
    return f"({x} >= ? AND {x} < ?)", (prefix, end)


def _mark(term: Term) -> str:
    # As text, so that both sides become numbers by the same arithmetic.
    return "CAST(? AS REAL)" if term.kind == "number" else "?"


def _bound(value: Any, term: Term) -> Any:
    """`value` as SQLite compares it with what `term` is about."""
    if term.kind == "number" and value is not None:
        return str(int(value)) if isinstance(value, bool) else str(value)
    return _held(scalar(value, term.kind))


def _held(value: Any) -> Any:
    """`value` as SQLite can hold it: JSON knows no bounds for whole numbers."""
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return float(value)
    return value


def _beyond(query: Query, keys: Sequence[str], after: tuple[Any, ...]) -> Sql:
    """The condition that a record comes after the position `after`; null is the least value."""
    sql = "id > ?"
    bound: tuple[Any, ...] = (_held(after[-1]),)
    for k, term, given in reversed(list(zip(keys, query.sort, after[:-1], strict=True))):
        value = _held(given)
        later = (
            f"{k} < ? OR ({k} IS NULL AND ? IS NOT NULL)"
            if term.descending
            else f"{k} > ? OR ({k} IS NOT NULL AND ? IS NULL)"
        )
        sql = f"{later} OR ({k} IS ? AND ({sql}))"
        bound = (value, value, value, *bound)
    first = _held(after[0])
    if query.sort and first is not None:
        # It follows from the rest, and unlike that an index can look it up. Null comes last there.
        if not query.sort[0].descending:
            return f"{keys[0]} >= ? AND ({sql})", (first, *bound)
        if query.sort[0].path in _COLUMNS:
            return f"{keys[0]} <= ? AND ({sql})", (first, *bound)
    return f"({sql})", bound
