"""What a query means of a record, whatever store answers: is it meant, and where does it come.

Null (or a field that is not there) comes before numbers, these before text. Text compares by its
code points, as far as a NUL; true is 1; a list or an object is its JSON. As a `number` text is read
as one, and all become doubles: exact to 15 digits. As a `time` an RFC 3339 text is the microsecond
it names, one without a zone in UTC.

A condition holds or it does not. Null equals null and nothing else; it is neither above nor below
anything and begins with nothing, so that `ne` and `Not` hold where `eq` and the part do not.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from aegis.core.query import Condition, Every, Kind, Not, Some, Term
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
