"""Which records a list means: conditions, an order, a page (what they mean is in core.matching)."""

from __future__ import annotations

import base64
import binascii
from typing import Any, Literal

import msgspec

from aegis.core.errors import BadRequestError
from aegis.core.record import Record

MAX_LIMIT = 1000

Kind = Literal["text", "number", "time"]
Op = Literal["eq", "ne", "lt", "le", "gt", "ge", "in", "prefix", "contains", "has", "exists"]


class Term(msgspec.Struct, frozen=True):
    """One field of a query: what `op` says of it and `value`, or that it sorts.

    `path` is one of the model's fields (`address.city` is one inside another), or `_created` or
    `_updated`, which every record has. `kind` says what its values are compared as. `value` is a
    JSON scalar, of `in` a tuple of them, of `exists` a bool; `descending` is for sorts.
    """

    path: str
    value: Any = None
    kind: Kind = "text"
    descending: bool = False
    op: Op = "eq"


class Every(msgspec.Struct, frozen=True):
    """Holds when all of `parts` do."""

    parts: tuple[Condition, ...]


class Some(msgspec.Struct, frozen=True):
    """Holds when one of `parts` does at least."""

    parts: tuple[Condition, ...]


class Not(msgspec.Struct, frozen=True):
    """Holds when `part` does not."""

    part: Condition


Condition = Term | Every | Some | Not


# The fields that a model wants to be looked up and sorted by together, in their order.
Index = tuple[Term, ...]


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """Conditions that must all hold, the order (the id breaks ties), and the page.

    `after` holds the sort values and the id of the last record of the page before.
    """

    where: tuple[Condition, ...] = ()
    sort: tuple[Term, ...] = ()
    limit: int = 100
    after: tuple[Any, ...] | None = None


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """One page of records and the cursor of the next, None on the last page."""

    items: list[Record]
    next: str | None = None


class Found(list[Any]):
    """What a query found. `next` is the cursor of what follows, None when that is all."""

    next: str | None = None


def encode_cursor(position: tuple[Any, ...]) -> str:
    """An opaque, URL-safe cursor for the position after a record."""
    return base64.urlsafe_b64encode(msgspec.json.encode(position)).rstrip(b"=").decode()


def decode_cursor(cursor: str, width: int) -> tuple[Any, ...]:
    """The position a cursor stands for; `width` values are expected. Raises BadRequestError."""
    try:
        padded = cursor.encode() + b"=" * (-len(cursor) % 4)
        position = msgspec.json.decode(base64.urlsafe_b64decode(padded), type=list[Any])
    except (ValueError, binascii.Error, msgspec.DecodeError) as error:
        raise BadRequestError(
            "the cursor is not one of ours", hint="use `next` as given"
        ) from error
    if len(position) != width or any(isinstance(value, list | dict) for value in position):
        raise BadRequestError(
            "the cursor belongs to another query", hint="keep sort and filters between pages"
        )
    return tuple(position)


def read_cursor(cursor: str | None, sort: tuple[Term, ...]) -> tuple[Any, ...] | None:
    """`Query.after` of a cursor somebody hands back. Raises BadRequestError."""
    if cursor is None:
        return None
    position = decode_cursor(cursor, len(sort) + 1)
    if not isinstance(position[-1], str):
        raise BadRequestError("the cursor is not one of ours", hint="use `next` as given")
    return position
