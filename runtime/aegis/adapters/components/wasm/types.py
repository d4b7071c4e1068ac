"""The types that a description may say, in the words of JSON Schema, as Python has them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec

from aegis.core.constraint import Meta
from aegis.core.errors import closest
from aegis.core.rule import encrypted, frozen, private, unique

DEEPEST = 16  # schemas in one another

_PLAIN: Mapping[str, Any] = {
    "string": str,
    "integer": int,
    "number": float,
    "boolean": bool,
    "null": None,
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
_MARKS = {"private": private, "encrypted": encrypted, "frozen": frozen, "unique": unique}
_WORDS = frozenset(
    {"type", "format", "enum", "default", "items", "properties", "required", "description"}
    | {"additionalProperties", "pattern", "title"}
    | _BOUNDS.keys()
    | _LENGTHS.keys()
    | _COUNTS.keys()
    | _MARKS.keys()
)


class Types:
    """Makes types of schemas; what is wrong with one goes to `problems`, and it is Any then.

    The classes it makes of objects are of the module `module`.
    """

    def __init__(self, module: str, problems: list[str]) -> None:
        self._module = module
        self._problems = problems

    def fields(self, where: str, schemas: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
        """Name, type and default (msgspec.NODEFAULT without one) of described fields."""
        for name, schema in schemas.items():
            place = f"{where}.{name}"
            made = self.of(place, schema)
            default = msgspec.NODEFAULT
            if isinstance(schema, dict) and "default" in schema:
                default = self._default(place, made, schema["default"])
            yield name, made, default

    def struct(self, where: str, schemas: Mapping[str, Any], *, frozen: bool = True) -> type:
        """A Struct of described fields, which takes no others."""
        items: list[Any] = []
        for name, made, default in self.fields(where, schemas):
            items.append((name, made) if default is msgspec.NODEFAULT else (name, made, default))
        return msgspec.defstruct(
            re.sub(r"\W+", "_", where),
            items,
            kw_only=True,
            frozen=frozen,
            forbid_unknown_fields=True,
            module=self._module,
        )

    def of(self, where: str, schema: Any, depth: int = 0) -> Any:
        """The type that a schema means."""
        if not isinstance(schema, dict):
            return self._wrong(where, f"{schema!r} is no schema: write an object")
        if depth > DEEPEST:
            return self._wrong(where, f"schemas are more than {DEEPEST} deep in one another")
        for word in schema.keys() - _WORDS:
            self._wrong(
                where, f"{word!r} is no word of a schema: {closest(word, _WORDS) or 'leave it out'}"
            )
        kinds = schema.get("type", [])
        kinds = kinds if isinstance(kinds, list) else [kinds]
        unknown = [kind for kind in kinds if kind not in _PLAIN] if kinds else []
        if unknown or not all(isinstance(kind, str) for kind in kinds):
            return self._wrong(where, f"{unknown[0]!r} is no type: one of {', '.join(_PLAIN)}")
        if "enum" in schema:
            made = self._enum(where, schema["enum"])
        else:
            named = [kind for kind in kinds if kind != "null"]
            made = Any
            for n, kind in enumerate(named):
                one = self._one(where, kind, schema, depth)
                made = one if n == 0 else made | one
        if "null" in kinds and made is not Any:
            made = made | None
        marks = [mark for word, mark in _MARKS.items() if schema.get(word)]
        if schema.get("description"):
            marks.append(Meta(description=str(schema["description"])))
        for mark in marks:
            made = Annotated[made, mark]
        return made

    def _enum(self, where: str, values: Any) -> Any:
        if not isinstance(values, list) or not values:
            return self._wrong(where, "enum is a list of values")
        if not all(isinstance(value, str | int) or value is None for value in values):
            return self._wrong(where, "enum has texts and whole numbers")
        return Literal[tuple(values)]

    def _one(self, where: str, kind: str, schema: Mapping[str, Any], depth: int) -> Any:
        made = _PLAIN[kind]
        meta: dict[str, Any] = {}
        said = schema.get("format")
        if kind == "string":
            if said is not None:
                if said not in _FORMATS:
                    hint = closest(str(said), _FORMATS) or f"one of {', '.join(_FORMATS)}"
                    return self._wrong(where, f"format {said!r} is not known: {hint}")
                made = _FORMATS[said]
            meta |= {ours: schema[word] for word, ours in _LENGTHS.items() if word in schema}
            if "pattern" in schema:
                meta["pattern"] = schema["pattern"]
        if kind in {"integer", "number"} or made is Decimal:
            meta |= {ours: schema[word] for word, ours in _BOUNDS.items() if word in schema}
        if kind == "array":
            if "items" in schema:
                made = list[self.of(f"{where}[]", schema["items"], depth + 1)]  # type: ignore[misc]  # made here
            meta |= {ours: schema[word] for word, ours in _COUNTS.items() if word in schema}
        if kind == "object":
            made = self._object(where, schema, depth)
        if not meta:
            return made
        try:
            if "pattern" in meta:
                re.compile(meta["pattern"])
            return Annotated[made, Meta(**meta)]
        except (TypeError, ValueError, re.error) as error:
            return self._wrong(where, str(error))

    def _object(self, where: str, schema: Mapping[str, Any], depth: int) -> Any:
        properties = schema.get("properties")
        if properties is None:
            more = schema.get("additionalProperties", True)
            if isinstance(more, dict):
                return dict[str, self.of(f"{where}.*", more, depth + 1)]  # type: ignore[misc]  # made here
            return dict[str, Any]
        if not isinstance(properties, dict):
            return self._wrong(where, "properties is an object of schemas")
        required = schema.get("required", list(properties))
        items: list[Any] = []
        for name, one in properties.items():
            if not name.isidentifier():
                self._wrong(where, f"{name!r} is no name: letters, digits and _")
                continue
            made = self.of(f"{where}.{name}", one, depth + 1)
            if isinstance(one, dict) and "default" in one:
                items.append((name, made, self._default(f"{where}.{name}", made, one["default"])))
            elif name in required:
                items.append((name, made))
            else:
                items.append((name, made | None, None))
        try:
            return msgspec.defstruct(
                re.sub(r"\W+", "_", where).strip("_"),
                items,
                kw_only=True,
                frozen=True,
                module=self._module,
            )
        except (TypeError, ValueError) as error:
            return self._wrong(where, str(error))

    def _default(self, where: str, made: Any, value: Any) -> Any:
        """A default as the type has it; of a list or an object a new one each time."""
        try:
            found = msgspec.convert(value, made)
        except (msgspec.ValidationError, TypeError, InvalidOperation) as error:
            self._wrong(where, f"its default does not fit: {error}")
            return value
        if isinstance(found, list | dict):
            return msgspec.field(default_factory=lambda: msgspec.convert(value, made))
        return found

    def _wrong(self, where: str, said: str) -> Any:
        self._problems.append(f"{where}: {said}")
        return Any
