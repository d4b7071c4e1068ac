"""JSON schemas for people: what one asks in a few words, and what another asks beyond it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

Schema = Mapping[str, Any]

_LIMITS = ("minLength", "minItems", "minProperties", "maxLength", "maxItems", "maxProperties")
_WORDS = {
    "minimum": ">=",
    "exclusiveMinimum": ">",
    "maximum": "<=",
    "exclusiveMaximum": "<",
    "minLength": "length >=",
    "maxLength": "length <=",
    "minItems": "items >=",
    "maxItems": "items <=",
    "minProperties": "members >=",
    "maxProperties": "members <=",
    "multipleOf": "a multiple of",
    "pattern": "like",
}
DEPTH = 6  # of objects within objects that are told of


def bare(schema: Any) -> Any:
    """A schema without what does not change which data is valid: titles, descriptions, defaults."""
    if isinstance(schema, dict):
        return {
            key: bare(value)
            for key, value in schema.items()
            if key not in {"title", "description", "default", "examples"}
        }
    return [bare(item) for item in schema] if isinstance(schema, list) else schema


def inlined(schema: Any, definitions: Mapping[str, Any], seen: tuple[str, ...] = ()) -> Any:
    """A schema with its references replaced, so that two compare whatever names they use."""
    if isinstance(schema, dict):
        reference = schema.get("$ref")
        if isinstance(reference, str):
            name = reference.rsplit("/", 1)[-1]
            if name in seen:
                return {"$ref": name}
            return inlined(definitions.get(name, {}), definitions, (*seen, name))
        return {key: inlined(value, definitions, seen) for key, value in schema.items()}
    if isinstance(schema, list):
        return [inlined(item, definitions, seen) for item in schema]
    return schema


def properties(schema: Schema, definitions: Mapping[str, Any]) -> dict[str, Any]:
    """The schemas of an object's members, by name, each whole in itself."""
    return {name: inlined(one, definitions) for name, one in schema.get("properties", {}).items()}


def described(schema: Schema, depth: int = 0) -> str:
    """What a schema takes, in a few words: `string`, `number >= 0 or null`."""
    if depth > DEPTH:
        return "..."
    return " or ".join(dict.fromkeys(_described(one, depth) for one in _ways(schema))) or "nothing"


def _described(way: Schema, depth: int) -> str:
    if "enum" in way:
        return " | ".join(str(value) for value in way["enum"])
    if "const" in way:
        return str(way["const"])
    kind = _kind(way)
    if kind == "array" and isinstance(way.get("items"), dict):
        kind = f"list of {described(way['items'], depth + 1)}"
    elif kind == "object" and "properties" in way:
        kind = f"object of {', '.join(way['properties'])}"
    bounds = [f"{word} {way[key]}" for key, word in _WORDS.items() if key in way]
    return " ".join((kind, ", ".join(bounds))) if bounds else kind


def kinds(schema: Schema) -> frozenset[str]:
    """The kinds of value that a schema takes: `string`, `string (decimal)`, `null`, `anything`."""
    return frozenset(_kind(way) for way in _ways(schema))


def _ways(schema: Schema) -> Iterator[Schema]:
    """The alternatives of a schema, each of one type."""
    for key in ("anyOf", "oneOf"):
        if key in schema:
            for one in schema[key]:
                yield from _ways(one)
            return
    if isinstance(schema.get("type"), list):
        for kind in schema["type"]:
            yield {**schema, "type": kind}
        return
    yield schema


def _kind(way: Schema) -> str:
    kind = way.get("type")
    if kind is None:
        values = way.get("enum", [way["const"]] if "const" in way else [])
        names = {_JSON.get(type(value), "anything") for value in values}
        kind = names.pop() if len(names) == 1 else "anything"
    form = way.get("format") or way.get("contentEncoding")
    return f"{kind} ({form})" if form else str(kind)


_JSON = {str: "string", bool: "boolean", int: "integer", float: "number", type(None): "null"}


def narrowed(before: Schema, after: Schema, depth: int = 0) -> Iterator[str]:
    """What `before` took and `after` does not, a few words each: `must be >= 1, was >= 0`.

    Both are bare and inlined. Nothing is said where one is not known to be narrower.
    """
    if depth > DEPTH or before == after:
        return
    old, new = {_kind(way): way for way in _ways(before)}, {_kind(way): way for way in _ways(after)}
    if "anything" in new:
        return
    lost = [kind for kind in old if kind not in new and not _covered(kind, new)]
    if lost and not set(old) & set(new):
        yield f"is {described(after)}, was {described(before)}"
        return
    yield from (f"takes no {kind} any more" for kind in lost)
    for kind, way in old.items():
        if kind in new:
            yield from _tightened(way, new[kind], depth)


def _covered(kind: str, new: Mapping[str, Schema]) -> bool:
    return kind == "integer" and "number" in new


def _tightened(old: Schema, new: Schema, depth: int) -> Iterator[str]:
    yield from _bounded(old, new, _above, ("minimum", "exclusiveMinimum"))
    yield from _bounded(old, new, _below, ("maximum", "exclusiveMaximum"))
    for key in _LIMITS:
        more: Callable[[Any, Any], bool] = _above if key.startswith("min") else _below
        if key in new and (key not in old or more(new[key], old[key])):
            yield f"must have {_WORDS[key]} {new[key]}{_was(old, key)}"
    for key in ("multipleOf", "pattern"):
        if key in new and new[key] != old.get(key):
            yield f"must be {_WORDS[key]} {new[key]}{_was(old, key)}"
    yield from _chosen(old, new)
    if isinstance(old.get("items"), dict) and isinstance(new.get("items"), dict):
        yield from (f"an item {said}" for said in narrowed(old["items"], new["items"], depth + 1))
    yield from _membered(old, new, depth)


def _above(one: Any, other: Any) -> bool:
    return bool(one > other)


def _below(one: Any, other: Any) -> bool:
    return bool(one < other)


def _bounded(
    old: Schema, new: Schema, beyond: Callable[[Any, Any], bool], keys: tuple[str, str]
) -> Iterator[str]:
    """The one bound of a number at one end, when it lies further in than it did."""
    inclusive, exclusive = keys
    was = next(((old[key], key == exclusive) for key in keys if key in old), None)
    key = next((key for key in (exclusive, inclusive) if key in new), None)
    if key is None:
        return
    now, strict = new[key], key == exclusive
    if was is None or beyond(now, was[0]) or (now == was[0] and strict and not was[1]):
        told = "" if was is None else f", was {_WORDS[exclusive if was[1] else inclusive]} {was[0]}"
        yield f"must be {_WORDS[key]} {now}{told}"


def _was(old: Schema, key: str) -> str:
    return f", was {_WORDS[key]} {old[key]}" if key in old else ""


def _chosen(old: Schema, new: Schema) -> Iterator[str]:
    """Values that are not among the allowed ones any more."""
    allowed = new.get("enum", [new["const"]] if "const" in new else None)
    if allowed is None:
        return
    before = old.get("enum", [old["const"]] if "const" in old else None)
    if before is None:
        yield f"takes only {', '.join(map(str, allowed))}"
        return
    gone = [value for value in before if value not in allowed]
    if gone:
        yield f"takes no {', '.join(map(str, gone))} any more"


def _membered(old: Schema, new: Schema, depth: int) -> Iterator[str]:
    """What is asked of the members of an object."""
    before, after = old.get("properties", {}), new.get("properties", {})
    for name in new.get("required", ()):
        if name not in old.get("required", ()) and after:
            yield f"needs {name}"
    for name, schema in after.items():
        if name in before:
            yield from (f"{name} {said}" for said in narrowed(before[name], schema, depth + 1))
    if new.get("additionalProperties") is False:
        yield from (f"takes no {name} any more" for name in before if name not in after)
