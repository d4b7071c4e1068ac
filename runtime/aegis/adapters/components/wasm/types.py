"""The types that a description may say, in the words of JSON Schema, as Python has them."""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from types import NoneType
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec

from aegis.core.constraint import Meta, check_of
from aegis.core.errors import InvalidError, closest
from aegis.core.rule import encrypted, frozen, private, unique

DEEPEST = 16  # schemas in one another

_PLAIN: Mapping[str, Any] = {
    "string": str,
    "integer": int,
    "number": float,
    "boolean": bool,
    "null": NoneType,
    "array": list[Any],
    "object": dict[str, Any],
}
_FORMATS: Mapping[str, Any] = {
    "decimal": Decimal,
    "date-time": datetime,
    "date": date,
    "time": time,
    "duration": timedelta,
    "uuid": UUID,
    "byte": bytes,
}
_BOUNDS = {
    "minimum": "ge",
    "maximum": "le",
    "exclusiveMinimum": "gt",
    "exclusiveMaximum": "lt",
    "multipleOf": "multiple_of",
}
_LENGTHS = {"minLength": "min_length", "maxLength": "max_length"}
_COUNTS = {"minItems": "min_length", "maxItems": "max_length"}
_SIZES = {"minProperties": "min_length", "maxProperties": "max_length"}
_SAID = {"title": str, "description": str, "examples": list}
_OBJECT = ("properties", "required", "additionalProperties")
# What is a rule of a whole field, and not of its type.
MARKS: Mapping[str, msgspec.Meta] = {
    "private": private,
    "encrypted": encrypted,
    "frozen": frozen,
    "unique": unique,
}
CONDITIONS = ("frozen_when", "required_when")
RULES = (*MARKS, *CONDITIONS)

_WORDS: tuple[str, ...] = (
    *("type", "format", "enum", "default", "items", "pattern"),
    *(*_OBJECT, *_BOUNDS, *_LENGTHS, *_COUNTS, *_SIZES, *_SAID, *RULES),
)


class Types:
    """Makes types of schemas; what is wrong with one goes to `problems`, and it is Any then.

    The classes it makes of objects are of the module `module`.
    """

    def __init__(self, module: str, problems: list[str]) -> None:
        self._module = module
        self._problems = problems
        self._taken: set[str] = set()

    def field(self, where: str, schema: Any, *, ruled: bool = False) -> tuple[Any, Any]:
        """Type and default (msgspec.NODEFAULT without one) of what a schema describes.

        One that is `ruled` is a field of a model, which may be private, frozen and so on.
        """
        made = self.of(where, schema, ruled=ruled)
        if isinstance(schema, dict) and "default" in schema:
            return made, self._default(where, made, schema["default"])
        return made, msgspec.NODEFAULT

    def fields(self, where: str, schemas: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
        """Name, type and default (msgspec.NODEFAULT without one) of described fields."""
        for name, schema in schemas.items():
            yield name, *self.field(f"{where}.{name}", schema)

    def struct(self, where: str, schemas: Mapping[str, Any]) -> type[msgspec.Struct]:
        """A Struct of described fields, which takes no others."""
        return self._struct(where, [_item(*one) for one in self.fields(where, schemas)], more=False)

    def of(self, where: str, schema: Any, depth: int = 0, *, ruled: bool = False) -> Any:
        """The type that a schema means; see `field`."""
        if not isinstance(schema, dict):
            return self._wrong(where, f"{schema!r} is no schema: write an object")
        if depth > DEEPEST:
            return self._wrong(where, f"schemas are more than {DEEPEST} deep in one another")
        kinds = schema.get("type", [])
        kinds = kinds if isinstance(kinds, list) else [kinds]
        unknown = [one for one in kinds if not isinstance(one, str) or one not in _PLAIN]
        if unknown:
            return self._wrong(where, f"{unknown[0]!r} is no type: one of {', '.join(_PLAIN)}")
        used = {"type", "default", *_SAID}
        if ruled:
            used.update(RULES)
        if "enum" in schema:
            used.add("enum")
            made = self._enum(where, schema["enum"], kinds)
        else:
            made = self._any_of(where, kinds, schema, depth, used)
        self._unused(where, schema, used, kinds)
        try:
            return self._marked(where, made, schema)
        except (TypeError, ValueError) as error:
            return self._wrong(where, str(error))

    def _any_of(
        self,
        where: str,
        kinds: Sequence[str],
        schema: Mapping[str, Any],
        depth: int,
        used: set[str],
    ) -> Any:
        """What may be of several types, or of any where none is said."""
        if not kinds:
            return Any
        made: Any = None
        for n, kind in enumerate(kinds):
            one = self._one(where, kind, schema, depth, used)
            made = one if n == 0 else made | one
        return made

    def _unused(
        self, where: str, schema: Mapping[str, Any], used: set[str], kinds: Sequence[str]
    ) -> None:
        """Tell of what is said and means nothing: whoever wrote it meant something."""
        for word in schema:
            if word in used:
                continue
            if word not in _WORDS:
                hint = closest(word, _WORDS) or "leave it out"
                self._wrong(where, f"{word!r} is no word of a schema: {hint}")
            elif word in RULES:
                self._wrong(where, f"{word!r} is for a field of a model as a whole: leave it out")
            else:
                of = f"of {' or '.join(kinds)}" if kinds else "without a type"
                self._wrong(where, f"{word!r} says nothing {of}: leave it out")

    def _marked(self, where: str, made: Any, schema: Mapping[str, Any]) -> Any:
        """A type with what is said beside it: markers, and what people read."""
        for word, mark in MARKS.items():
            if word not in schema:
                continue
            if not isinstance(schema[word], bool):
                self._wrong(where, f"{word} is true or false, not {schema[word]!r}")
            elif schema[word]:
                made = Annotated[made, mark]
        told = {word: schema[word] for word in _SAID if word in schema}
        for word, value in told.items():
            if not isinstance(value, _SAID[word]):
                return self._wrong(where, f"{word} cannot be {value!r}")
        return Annotated[made, Meta(**told)] if told else made

    def _enum(self, where: str, values: Any, kinds: Sequence[str]) -> Any:
        if not isinstance(values, list) or not values:
            return self._wrong(where, "enum is a list of values")
        known = {"string": str, "integer": int, "null": NoneType}
        for value in values:
            if isinstance(value, bool) or not isinstance(value, str | int | None):
                return self._wrong(where, f"enum has texts and whole numbers, not {value!r}")
            if isinstance(value, int) and not -(1 << 63) <= value < 1 << 63:
                return self._wrong(where, f"enum has {value}, which is too large a number")
            if kinds and not any(isinstance(value, known.get(kind, ())) for kind in kinds):
                return self._wrong(where, f"enum has {value!r}, which is no {' or '.join(kinds)}")
        if "null" in kinds and None not in values:
            values = [*values, None]
        return Literal[tuple(values)]

    def _one(
        self, where: str, kind: str, schema: Mapping[str, Any], depth: int, used: set[str]
    ) -> Any:
        """One of the types that something may have; the words that it goes by are `used`."""
        made = _PLAIN[kind]
        names: dict[str, str] = {}
        if kind == "string":
            used.add("format")
            said = schema.get("format")
            if said is not None and (not isinstance(said, str) or said not in _FORMATS):
                hint = closest(str(said), _FORMATS) or f"one of {', '.join(_FORMATS)}"
                return self._wrong(where, f"format {said!r} is not known: {hint}")
            made = str if said is None else _FORMATS[said]
            if made in {str, bytes}:
                names |= _LENGTHS
            if made is str:
                names["pattern"] = "pattern"
        if kind in {"integer", "number"} or made is Decimal:
            names |= _BOUNDS
        if kind == "array":
            used.add("items")
            names |= _COUNTS
            if "items" in schema:
                made = list[self.of(f"{where}[]", schema["items"], depth + 1)]  # type: ignore[misc]  # made here
        if kind == "object":
            used.update(_OBJECT)
            made = self._object(where, schema, depth)
            if "properties" not in schema:
                names |= _SIZES
        used.update(names)
        meta = {ours: schema[word] for word, ours in names.items() if word in schema}
        problem = next((p for n, value in meta.items() if (p := _misfit(n, value))), None)
        if problem is not None:
            return self._wrong(where, problem)
        return Annotated[made, Meta(**meta)] if meta else made

    def _object(self, where: str, schema: Mapping[str, Any], depth: int) -> Any:
        properties = schema.get("properties")
        more = schema.get("additionalProperties", True)
        if not isinstance(more, bool | dict):
            return self._wrong(where, "additionalProperties is true, false or a schema")
        if properties is None:
            if "required" in schema or more is False:
                return self._wrong(where, "say its properties")
            if isinstance(more, dict):
                return dict[str, self.of(f"{where}.*", more, depth + 1)]  # type: ignore[misc]  # made here
            return dict[str, Any]
        if not isinstance(properties, dict):
            return self._wrong(where, "properties is an object of schemas")
        if isinstance(more, dict):
            return self._wrong(where, "additionalProperties is true or false beside properties")
        required = schema.get("required", list(properties))
        if not isinstance(required, list):
            return self._wrong(where, "required is a list of properties")
        for name in required:
            if name not in list(properties):
                hint = closest(str(name), properties) or "name one of its properties"
                return self._wrong(where, f"required names {name!r}, which is none: {hint}")
        items: list[Any] = []
        for name, one in properties.items():
            place = f"{where}.{name}"
            if not name.isidentifier() or keyword.iskeyword(name):
                self._wrong(place, f"{name!r} is no name: letters, digits and _, no word of Python")
                continue
            made = self.of(place, one, depth + 1)
            if isinstance(one, dict) and "default" in one:
                items.append(_item(name, made, self._default(place, made, one["default"])))
            elif name in required:
                items.append((name, made))
            else:
                items.append((name, made | None, None))
        return self._struct(where, items, more=more)

    def _struct(self, where: str, items: list[Any], *, more: bool) -> type[msgspec.Struct]:
        """A Struct under a name that no other one of the module has."""
        name = wanted = re.sub(r"\W+", "_", where).strip("_")
        number = 1
        while name in self._taken:
            number += 1
            name = f"{wanted}_{number}"
        self._taken.add(name)
        return msgspec.defstruct(
            name,
            items,
            kw_only=True,
            frozen=True,
            forbid_unknown_fields=not more,
            module=self._module,
        )

    def _default(self, where: str, made: Any, value: Any) -> Any:
        """A default as the type has it; of a list or an object a new one each time."""
        try:
            found = msgspec.convert(value, made)
            check = check_of(made)
            if check is not None:
                check(found)
        except (msgspec.ValidationError, InvalidError, TypeError, ArithmeticError) as error:
            self._wrong(where, f"its default does not fit: {error}")
            return msgspec.NODEFAULT
        if isinstance(found, list | dict | msgspec.Struct):
            return msgspec.field(default_factory=lambda: msgspec.convert(value, made))
        return found

    def _wrong(self, where: str, said: str) -> Any:
        self._problems.append(f"{where}: {said}")
        return Any


def _item(name: str, made: Any, default: Any) -> tuple[Any, ...]:
    return (name, made) if default is msgspec.NODEFAULT else (name, made, default)


def _misfit(name: str, value: Any) -> str | None:
    """What is wrong with a constraint, as the value that a schema gives it."""
    if name == "pattern":
        try:
            re.compile(value)
        except (TypeError, re.error) as error:
            return f"pattern {value!r} is none: {error}"
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return f"{value!r} is no bound: write a number"
    if name in {"min_length", "max_length"} and (not isinstance(value, int) or value < 0):
        return f"{value!r} is no length: write a whole number"
    if name == "multiple_of" and value <= 0:
        return f"{value!r} divides nothing: write a number above 0"
    return None
