"""What a caller asks of a model's records, in words that an author or a cell writes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec


class Clause(msgspec.Struct, frozen=True):
    """Conditions and clauses of which all or any must hold, or not all may (`any_of` makes one).

    `fields` are values by field and operator: `total__ge`, or just `total`.
    """

    kind: Literal["all", "any", "not"]
    parts: tuple[Clause, ...] = ()
    fields: Mapping[str, Any] = {}


def all_of(*clauses: Clause, **fields: Any) -> Clause:
    """Asks for records of which all this is true, inside of `any_of` and `not_`."""
    return Clause("all", clauses, fields)


def any_of(*clauses: Clause, **fields: Any) -> Clause:
    """Asks for records of which any of this is true: `any_of(total__ge=100, status="NEW")`."""
    return Clause("any", clauses, fields)


def not_(*clauses: Clause, **fields: Any) -> Clause:
    """Asks for records of which not all of this is true: `not_(status="NEW")`."""
    return Clause("not", clauses, fields)
