"""Conditions on a record that a description says as data: which fields have which values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from aegis.adapters.components.wasm.types import Types
from aegis.core.errors import closest


class Conditions:
    """Makes tests of the conditions of one model; what is wrong with one goes to `problems`.

    A condition is an object: each of its fields must have the value that it says, or one of those
    in a list.
    """

    def __init__(self, fields: Mapping[str, Any], problems: list[str]) -> None:
        self._fields = fields
        self._problems = problems
        # A schema is told of where its field is made, and only there.
        self._types = Types("", [])

    def holds(self, where: str, said: Any) -> Callable[[Any], bool]:
        """Whether a condition is true of a record."""
        wanted: list[tuple[str, tuple[Any, ...]]] = []
        if not isinstance(said, Mapping) or not said:
            self._problems.append(f'{where}: {said!r} is no condition: write {{"field": value}}')
            said = {}
        for name, value in said.items():
            if name not in self._fields:
                hint = closest(name, self._fields) or "name a field of the model"
                self._problems.append(f"{where} names {name!r}, which is no field: {hint}")
                continue
            made = self._types.of(name, self._fields[name])
            try:
                wanted.append((name, _values(value, made)))
            except (msgspec.ValidationError, TypeError, ArithmeticError) as error:
                self._problems.append(f"{where}: {name!r} cannot be {value!r}: {error}")

        def holds(record: Any) -> bool:
            return all(getattr(record, name) in values for name, values in wanted)

        return holds


def _values(value: Any, made: Any) -> tuple[Any, ...]:
    """The values that a field may have; a list is several, where the field is none itself."""
    try:
        return (msgspec.convert(value, made),)
    except msgspec.ValidationError:
        if not isinstance(value, list):
            raise
    return tuple(msgspec.convert(one, made) for one in value)
