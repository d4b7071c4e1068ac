"""What a query means of a record, whatever store answers: is it meant, and where does it come.

Null (or a field that is not there) comes before numbers, these before text. Text compares by its
code points, as far as a NUL; true is 1; a list or an object is its JSON. As a `number` text is read
as one, and all become doubles: exact to 15 digits. As a `time` an RFC 3339 text is the microsecond
it names, one without a zone in UTC.

A condition holds or it does not. Null equals null and nothing else; it is neither above nor below
anything and begins with nothing, so that `ne` and `Not` hold where `eq` and the part do not.
"""

from __future__ import annotations

import bisect
import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cmp_to_key
from typing import Any

import msgspec

from aegis.core.query import (
    Condition,
    Every,
    Kind,
    Not,
    Page,
    Query,
    Some,
    Term,
    encode_cursor,
)
from aegis.core.record import Record

Position = tuple[Any, ...]  # the values of a query's sort, then the id
Scalar = str | int | float | None

_NUMBER = re.compile(r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ID = Term(path="id")
_COMPARE: Mapping[str, Callable[[Any, Any], bool]] = {
    "lt": operator.lt,
    "le": operator.le,
    "gt": operator.gt,
    "ge": operator.ge,
}


class Gathering:
    """Makes the page that a query means of records that come in any order; it keeps no others."""

    def __init__(self, query: Query) -> None:
        self._query = query
        self._key = cmp_to_key(self._compare)
        self._keys: list[Any] = []
        self._found: list[tuple[Position, Record]] = []

    def take(self, record: Record) -> None:
        """Look at one more record."""
        where, sort, after = self._query.where, self._query.sort, self._query.after
        data = data_of(record) if where or sort else {}
        if not all(holds(condition, data) for condition in where):
            return
        place = position(record, data, sort)
        if after is not None and compare(place, after, sort) <= 0:
            return
        key = self._key(place)
        if len(self._found) > self._query.limit and not key < self._keys[-1]:
            return
        at = bisect.bisect_right(self._keys, key)
        self._keys.insert(at, key)
        self._found.insert(at, (place, record))
        # One more than asked for, which tells that there is a next page.
        del self._keys[self._query.limit + 1 :], self._found[self._query.limit + 1 :]

    def _compare(self, one: Position, other: Position) -> int:
        return compare(one, other, self._query.sort)

    @property
    def is_full(self) -> bool:
        """Whether a record that comes after all those taken changes nothing any more."""
        return len(self._found) > self._query.limit

    def page(self) -> Page:
        """The page of all that was taken."""
        kept = self._found[: self._query.limit]
        more = kept and len(self._found) > self._query.limit
        return Page(
            items=[record for _, record in kept], next=encode_cursor(kept[-1][0]) if more else None
        )


def gathered(records: Iterable[Record], query: Query) -> Page:
    """The page of `records` that `query` means."""
    gathering = Gathering(query)
    for record in records:
        gathering.take(record)
    return gathering.page()


def counted(records: Iterable[Record], where: Sequence[Condition]) -> int:
    """How many of `records` there are for which all of `where` holds."""
    return sum(all(holds(one, data) for one in where) for data in map(data_of, records))


def data_of(record: Record) -> dict[str, Any]:
    """What the paths of a query lead to: the record's fields and its times."""
    columns = {"_created": record.created, "_updated": record.updated, "id": record.id}
    return {**msgspec.json.decode(record.doc), **columns}


def holds(condition: Condition, data: Mapping[str, Any]) -> bool:
    """Whether `condition` holds for the record with that `data`."""
    match condition:
        case Every(parts):
            return all(holds(part, data) for part in parts)
        case Some(parts):
            return any(holds(part, data) for part in parts)
        case Not(part):
            return not holds(part, data)
        case Term():
            return _term_holds(condition, _found(data, condition.path))


def position(record: Record, data: Mapping[str, Any], sort: Sequence[Term]) -> Position:
    """Where a record comes in the order `sort`, as a cursor holds it."""
    return (*(scalar(_found(data, term.path), term.kind) for term in sort), record.id)


def compare(one: Position, other: Position, sort: Sequence[Term]) -> int:
    """Below, at or above 0 as position `one` comes before, is, or comes after `other`."""
    for mine, its, term in zip(one, other, (*sort, _ID), strict=True):
        left, right = _rank(mine), _rank(its)
        if left != right:
            return -1 if (left < right) is not term.descending else 1
    return 0


def scalar(value: Any, kind: Kind) -> Scalar:
    """`value`, a JSON value, as it is compared: null, a number or text."""
    if isinstance(value, list | dict):
        value = msgspec.json.encode(value).decode()
    if value is None:
        return None
    if kind == "time":
        return _moment(value)
    if kind == "number":
        return _number(value)
    plain: Scalar = int(value) if isinstance(value, bool) else value
    return plain.partition("\0")[0] if isinstance(plain, str) else plain


def _number(value: Any) -> float:
    if isinstance(value, str):
        match = _NUMBER.match(value)
        return float(match[1]) if match else 0.0
    return float(value)


def _moment(value: Any) -> int | None:
    try:
        when = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return None
    when = when if when.tzinfo is not None else when.replace(tzinfo=UTC)
    return (when - _EPOCH) // timedelta(microseconds=1)


def _found(data: Any, path: str) -> Any:
    for name in path.split("."):
        data = data.get(name) if isinstance(data, dict) else None
    return data


def _term_holds(term: Term, found: Any) -> bool:
    if term.op == "exists":
        return (found is not None) is term.value
    if term.op == "has":
        values = found if isinstance(found, list) else []
        return any(_equal(term, scalar(value, term.kind), term.value) for value in values)
    value = scalar(found, term.kind)
    if term.op == "in":
        return any(_equal(term, value, one) for one in term.value)
    if term.op in ("eq", "ne"):
        return _equal(term, value, term.value) is (term.op == "eq")
    if value is None:
        return False
    if term.op == "prefix":
        return isinstance(value, str) and value.startswith(term.value)
    if term.op == "contains":
        return isinstance(value, str) and term.value in value
    wanted = scalar(term.value, term.kind)
    return wanted is not None and _COMPARE[term.op](_rank(value), _rank(wanted))


def _equal(term: Term, value: Scalar, other: Any) -> bool:
    return _rank(value) == _rank(scalar(other, term.kind))


def _rank(value: Scalar) -> tuple[int, Any]:
    """Null before numbers before text."""
    if value is None:
        return (0, 0)
    return (2, value) if isinstance(value, str) else (1, value)
