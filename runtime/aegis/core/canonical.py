"""One text for all values that are equal, however they are written: what a value is known by."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec

from aegis.core.column import Column

HASH = "h"  # where in a sealed field the hash of its value stands

_encode = msgspec.json.Encoder(order="deterministic").encode


def canonical(column: Column, value: Any) -> bytes:
    """The text of a field's value as JSON has it: `1.50` is 1.5, and a time is one of UTC."""
    if column.shape == "one" and isinstance(value, str | int | float):
        if column.kind == "number" and not isinstance(value, bool):
            return _number(value)
        if column.kind == "time" and isinstance(value, str):
            return _time(value)
    return _encode(value)


def _number(value: str | float) -> bytes:
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        return _encode(value)
    # Not normalize(), which rounds to the precision of the context.
    sign, digits, exponent = number.as_tuple()
    if not isinstance(exponent, int):
        return _encode(value)
    text = "".join(map(str, digits)).lstrip("0")
    kept = text.rstrip("0")
    return b"%d %b %d" % (sign, kept.encode(), exponent + len(text) - len(kept)) if kept else b"0"


def _time(value: str) -> bytes:
    try:
        when = datetime.fromisoformat(value)
    except ValueError:
        return _encode(value)
    return (when if when.tzinfo is None else when.astimezone(UTC)).isoformat().encode()
