"""The query of a list route: filters typed by the model, an order, a page, the next one's link."""

from __future__ import annotations

import datetime
import decimal
import enum
import uuid
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode
from weakref import WeakKeyDictionary

import msgspec
from msgspec import inspect

from aegis.core.component import ENCODER, ModelSpec
from aegis.core.errors import BadRequestError, closest
from aegis.core.query import MAX_LIMIT, Query, Term, decode_cursor

DEFAULT_LIMIT = 100
MAX_SORT = 8
RESERVED = ("sort", "limit", "cursor", "token")
STAMPS = ("_created", "_updated")

_NUMBERS = (inspect.IntType, inspect.FloatType, inspect.DecimalType)
_TEXTS = (
    inspect.StrType,
    inspect.DateTimeType,
    inspect.DateType,
    inspect.TimeType,
    inspect.UUIDType,
    inspect.EnumType,
    inspect.LiteralType,
)
_SCALARS = (*_NUMBERS, *_TEXTS, inspect.BoolType)


class Column(msgspec.Struct, frozen=True):
    """A field that can be filtered and sorted by: how to read its text, how to compare it."""

    type: Any
    numeric: bool
    nullable: bool


_COLUMNS: WeakKeyDictionary[ModelSpec, Mapping[str, Column | None]] = WeakKeyDictionary()


def columns(spec: ModelSpec) -> Mapping[str, Column | None]:
    """The model's fields by name; None for one that is no scalar."""
    known = _COLUMNS.get(spec)
    if known is None:
        info = inspect.type_info(spec.cls)
        fields = info.fields if isinstance(info, inspect.StructType) else ()
        types = {item.encode_name: item.type for item in msgspec.structs.fields(spec.cls)}
        known = {item.encode_name: _column(item.type, types[item.encode_name]) for item in fields}
        known |= dict.fromkeys(STAMPS, Column(str, numeric=False, nullable=False))
        _COLUMNS[spec] = known
    return known


def _column(info: inspect.Type, annotation: Any) -> Column | None:
    info = _bare(info)
    members = [_bare(m) for m in info.types] if isinstance(info, inspect.UnionType) else [info]
    scalars = [m for m in members if not isinstance(m, inspect.NoneType)]
    if not scalars or not all(isinstance(m, _SCALARS) for m in scalars):
        return None
    return Column(
        annotation,
        numeric=all(isinstance(m, _NUMBERS) for m in scalars),
        nullable=len(scalars) < len(members),
    )


def _bare(info: inspect.Type) -> inspect.Type:
    """A type without the constraints and descriptions around it."""
    return info.type if isinstance(info, inspect.Metadata) else info


def read_query(spec: ModelSpec, parameters: list[tuple[str, str]]) -> Query:
    """What the list route's parameters mean. Raises BadRequestError naming the parameter."""
    given: dict[str, str] = {}
    for name, value in parameters:
        if name in given:
            raise BadRequestError(f"the parameter {name!r} is given twice", parameter=name)
        given[name] = value
    limit = _limit(given.pop("limit", None), DEFAULT_LIMIT)
    sort = tuple(_sort(spec, word) for word in given.pop("sort", "").split(",") if word)
    if len(sort) > MAX_SORT:
        raise BadRequestError(f"sort takes up to {MAX_SORT} fields", parameter="sort")
    cursor = given.pop("cursor", None)
    given.pop("token", None)
    return Query(
        where=tuple(_filter(spec, name, value) for name, value in given.items()),
        sort=sort,
        limit=limit,
        after=None if cursor is None else _position(cursor, len(sort) + 1),
    )


def next_link(path: str, parameters: list[tuple[str, str]], cursor: str) -> str:
    """The Link header's value for the following page; it carries no token."""
    kept = [(name, value) for name, value in parameters if name not in {"cursor", "token"}]
    return f'<{path}?{urlencode([*kept, ("cursor", cursor)], quote_via=quote)}>; rel="next"'


def read_number(parameters: Mapping[str, str], name: str, default: int, most: int) -> int:
    """A whole number from 0 to `most` among `parameters`. Raises BadRequestError."""
    text = parameters.get(name)
    if text is None:
        return default
    # isdigit() takes digits of all scripts, and int() refuses thousands of them.
    if not (text.isascii() and text.isdigit() and len(text) <= 18) or int(text) > most:
        raise BadRequestError(
            f"{name} must be a whole number from 0 to {most}, not {text[:40]!r}", parameter=name
        )
    return int(text)


def _position(cursor: str, width: int) -> tuple[Any, ...]:
    position = decode_cursor(cursor, width)
    if not isinstance(position[-1], str):
        raise BadRequestError("the cursor is not one of ours", hint="use `next` as given")
    return position


def _limit(text: str | None, default: int) -> int:
    limit = read_number({} if text is None else {"limit": text}, "limit", default, MAX_LIMIT)
    if limit == 0:
        raise BadRequestError(f"limit must be from 1 to {MAX_LIMIT}, not 0", parameter="limit")
    return limit


def _known(spec: ModelSpec, name: str, use: str) -> Column:
    known = columns(spec)
    if name not in known:
        raise BadRequestError(
            f"{spec.name} has no field {name!r} to {use} by",
            hint=closest(name, [*known, *RESERVED]),
            parameter=name,
        )
    column = known[name]
    if column is None:
        raise BadRequestError(
            f"{spec.name}.{name} is no single value, so nothing can {use} by it", parameter=name
        )
    return column


def _sort(spec: ModelSpec, word: str) -> Term:
    name = word.removeprefix("-")
    column = _known(spec, name, "sort")
    return Term(name, numeric=column.numeric, descending=word.startswith("-"))


def _filter(spec: ModelSpec, name: str, text: str) -> Term:
    column = _known(spec, name, "filter")
    if column.nullable and text == "null":
        return Term(name, None, column.numeric)
    try:
        value = msgspec.convert(text, column.type, strict=False)
    except msgspec.ValidationError as error:
        raise BadRequestError(f"{name}={text[:80]!r}: {error}", parameter=name) from error
    if isinstance(value, float | decimal.Decimal) and not decimal.Decimal(value).is_finite():
        raise BadRequestError(f"{name}={text[:80]!r}: not a finite number", parameter=name)
    return Term(name, _scalar(value), column.numeric)


def _scalar(value: Any) -> str | int | float | bool | None:
    """The value as it stands in a stored document."""
    if isinstance(value, enum.Enum | decimal.Decimal | datetime.date | datetime.time | uuid.UUID):
        stored: str | int | float | bool | None = msgspec.json.decode(ENCODER.encode(value))
        return stored
    scalar: str | int | float | bool | None = value
    return scalar
