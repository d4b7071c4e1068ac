"""Which records a list means: equality filters, an order, a page."""

from __future__ import annotations

import base64
import binascii
from typing import Any

import msgspec

from aegis.core.errors import BadRequestError
from aegis.core.record import Record

MAX_LIMIT = 1000


class Term(msgspec.Struct, frozen=True):
    """One field of a query. `numeric` compares as a number (int, float, Decimal), else as text.

    `value` is a JSON scalar for a filter, unused in a sort; `descending` is for sorts.
    `path` is one of the model's fields, or `_created` / `_updated`, which every record has.
    """

    path: str
    value: str | int | float | bool | None = None
    numeric: bool = False
    descending: bool = False


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """Filters that must all hold, the order (the id breaks ties), and the page.

    `after` holds the sort values and the id of the last record of the page before.
    """

    where: tuple[Term, ...] = ()
    sort: tuple[Term, ...] = ()
    limit: int = 100
    after: tuple[Any, ...] | None = None


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """One page of records and the cursor of the next, None on the last page."""

    items: list[Record]
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
