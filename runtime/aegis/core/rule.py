"""Rules on the fields of a model: the markers in their annotations, read once and judged on writes.

A marker stands in `Annotated` and travels as extra data of the field's type, as bounds do.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Annotated, Any, get_args, get_origin
from weakref import WeakKeyDictionary

import msgspec
from msgspec import inspect

from aegis.core.column import Column, columns_of
from aegis.core.errors import DuplicateError, FrozenError, InvalidError
from aegis.core.query import Index
from aegis.core.serializer import shape_of

Test = Callable[[Any], object]

private = msgspec.Meta(extra={"private": True})
"""The field never leaves the host, and is sealed where it is stored.

Callers may send it; they never get it, and cannot ask for it. Component code reads it.
"""
encrypted = msgspec.Meta(extra={"encrypted": True})
"""The field is sealed where it is stored; callers get it."""
frozen = msgspec.Meta(extra={"frozen": True})
"""The field is set when the record is created, and never again."""
unique = msgspec.Meta(extra={"unique": True})
"""No two records of the model have the same value in the field; None is no value."""


def frozen_when(test: Test) -> msgspec.Meta:
    """The field cannot be changed while `test` is true of the record as it is stored."""
    return msgspec.Meta(extra={"frozen_when": test})


def required_when(test: Test) -> msgspec.Meta:
    """The field must not be None while `test` is true of the record as it would be stored."""
    return msgspec.Meta(extra={"required_when": test})


def derived(reckon: Callable[[Any], Any]) -> msgspec.Meta:
    """The field is what `reckon` makes of the record when that is written; nobody else sets it.

    `reckon` sees the derived fields before it in the class; the field needs a default.
    """
    return msgspec.Meta(extra={"derived": reckon})


_MARKERS = frozenset(
    {"private", "encrypted", "frozen", "frozen_when", "required_when", "derived", "unique"}
)
_NONE: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, kw_only=True)
class Rules:
    """The rules of one model, each by the names of its fields.

    `sealed` are the private and encrypted ones, with the kind of value that each holds.
    """

    model: str
    private: frozenset[str] = frozenset()
    sealed: Mapping[str, Column] = field(default_factory=lambda: _NONE)
    frozen: tuple[str, ...] = ()
    frozen_when: Mapping[str, Test] = field(default_factory=lambda: _NONE)
    required_when: Mapping[str, Test] = field(default_factory=lambda: _NONE)
    derived: Mapping[str, Callable[[Any], Any]] = field(default_factory=lambda: _NONE)
    unique: Mapping[str, Column] = field(default_factory=lambda: _NONE)

    def document(self) -> dict[str, list[str]]:
        """What of it is stored with the model's schema, because stored records go by it."""
        found = {"sealed": sorted(self.sealed), "unique": sorted(self.unique)}
        return {rule: names for rule, names in found.items() if names}

    def unsaid(self, message: str) -> str:
        """What msgspec says of data, without the value where that is of a sealed field."""
        what, at, path = message.rpartition(" - at `$.")
        if at and re.split(r"[.\[`]", path, maxsplit=1)[0] in self.sealed:
            return f"Expected another value{at}{path}"
        return f"{what}{at}{path}"

    def compared(self, was: Any, now: Any) -> tuple[Any, Any]:
        """Two records in the clear, as JSON has them, to be shown side by side.

        Of what is private they only tell whether it is the same.
        """
        if was is None or now is None:
            return self._public(was), self._public(now)
        was, now = dict(was), dict(now)
        for name in self.private:
            same = was.get(name) == now.get(name)
            was[name], now[name] = ("private", "private" if same else "private, another")
        return was, now

    def _public(self, data: Any) -> Any:
        return data and {name: value for name, value in data.items() if name not in self.private}

    def settled(self, old: Any, new: Any) -> Any:
        """`new` with its derived fields, if it may take the place of `old` (None: it is created).

        Raises FrozenError or InvalidError with the `field`.
        """
        for name, reckon in self.derived.items():
            found = self._asked("derived", name, reckon, new)
            new = msgspec.structs.replace(new, **{name: found})
        if old is not None:
            self._hold(old, new)
        for name, test in self.required_when.items():
            if getattr(new, name) is None and self._asked("required_when", name, test, new):
                raise InvalidError(
                    f"{self.model}.{name} is required for this {self.model}",
                    hint="give it a value",
                    field=name,
                )
        return new

    def _hold(self, old: Any, new: Any) -> None:
        for name in self.frozen:
            if _differs(old, new, name):
                raise FrozenError(
                    f"{self.model}.{name} is frozen: it is set when the record is created",
                    field=name,
                )
        for name, test in self.frozen_when.items():
            if _differs(old, new, name) and self._asked("frozen_when", name, test, old):
                raise FrozenError(
                    f"{self.model}.{name} is frozen as the {self.model} stands now", field=name
                )

    def _asked(self, rule: str, name: str, ask: Callable[[Any], Any], value: Any) -> Any:
        try:
            return ask(value)
        except Exception as error:
            # Its words may hold a value that nobody must see.
            raise InvalidError(
                f"{self.model}.{name}: its rule {rule} raised {type(error).__name__}",
                hint="it is asked of every record that is written, so it must hold for each",
                field=name,
            ) from error


def _differs(old: Any, new: Any, name: str) -> bool:
    before, after = getattr(old, name), getattr(new, name)
    return before is not after and bool(before != after)


def unmarked(hint: Any) -> tuple[Any, list[str]]:
    """A field's annotation without its markers, and what these are called."""
    if get_origin(hint) is not Annotated:
        return hint, []
    bare, *metas = get_args(hint)
    marks: list[str] = []
    for meta in metas:
        found = [name for name in getattr(meta, "extra", None) or () if name in _MARKERS]
        marks += found
        if not found:
            bare = Annotated[bare, meta]
    return bare, marks


class Mask:
    """Stands for the value of a sealed field wherever a record is printed."""

    def __init__(self, marker: str) -> None:
        self._marker = marker

    def __repr__(self) -> str:
        return f"<{self._marker}>"


PRIVATE, ENCRYPTED = Mask("private"), Mask("encrypted")
_hidden: WeakKeyDictionary[type, Mapping[str, Mask]] = WeakKeyDictionary()


def masked(value: msgspec.Struct) -> dict[str, Any]:
    """The fields of a record's value, for people: what is sealed is only named."""
    cls = type(value)
    masks = _hidden.get(cls)
    if masks is None:
        try:
            marked = dict(_marked(cls))
        except (TypeError, NameError):  # an annotation that means nothing: nothing stores it
            marked = {}
        masks = {
            name: PRIVATE if "private" in marks else ENCRYPTED
            for name, marks in marked.items()
            if "private" in marks or "encrypted" in marks
        }
        _hidden[cls] = masks
    fields = msgspec.structs.asdict(value)
    hidden = ((name, mask) for name, mask in masks.items() if fields[name] is not None)
    return {**fields, **dict(hidden)} if masks else fields


def duplicate(model: str, name: str) -> DuplicateError:
    """What to raise where another record of `model` has the value; neither of them is told."""
    return DuplicateError(
        f"another {model.split('.', 1)[-1]} has this {name}: it is unique", model=model, field=name
    )


def ruled_before(schema: bytes | None, rule: str) -> tuple[str, ...]:
    """The fields that a rule said something of when a model's schema was stored."""
    if schema is None:
        return ()
    return tuple(msgspec.json.decode(schema).get("rules", {}).get(rule, ()))


def rules_of(cls: type) -> Rules | None:
    """The rules of a model class, None when no field of it is marked."""
    marked = dict(_marked(cls))
    if not marked:
        return None
    known = columns_of(shape_of(cls, "stored")).known

    def named(marker: str) -> tuple[str, ...]:
        return tuple(name for name, marks in marked.items() if marks.get(marker))

    def given(marker: str) -> Mapping[str, Any]:
        return MappingProxyType({name: marked[name][marker] for name in named(marker)})

    def kinds(names: Sequence[str]) -> Mapping[str, Column]:
        return MappingProxyType({name: known.get(name, Column(None)) for name in names})

    hidden = frozenset({*named("private"), *named("encrypted")})
    return Rules(
        model=cls.__name__,
        private=frozenset(named("private")),
        sealed=kinds([name for name in marked if name in hidden]),
        frozen=named("frozen"),
        frozen_when=given("frozen_when"),
        required_when=given("required_when"),
        derived=given("derived"),
        unique=kinds(named("unique")),
    )


def rule_problems(cls: type, indexes: Sequence[Index]) -> Iterator[str]:
    """What is wrong with the markers of a model class, each naming its field."""
    fields = {item.name: item for item in msgspec.structs.fields(cls)}
    info = {item.name: item.type for item in _fields(cls)}
    known = columns_of(shape_of(cls, "stored")).known
    ordered = {term.path for index in indexes for term in index}
    for name, shape in info.items():
        where = f"{cls.__name__}.{name}"
        marks = _marks(shape)
        if any(_nested(shape)):
            yield f"{where}: a marker is for the whole field: write it in its outer Annotated"
        if not marks:
            continue
        if name == "id":
            yield f"{where}: the id takes no marker"
            continue
        hidden = next((m for m in ("private", "encrypted") if m in marks), None)
        if hidden is not None and any(p == name or p.startswith(f"{name}.") for p in ordered):
            yield f"{where} is {hidden}, and an index would keep it in the clear: take it out"
        if "unique" in marks and known.get(name, Column(None, shape="other")).shape != "one":
            yield f"{where} is unique, which a single value can be, and this is none"
        yield from _misused(where, marks, shape, required=fields[name].required)


def _misused(
    where: str, marks: Mapping[str, Any], shape: inspect.Type, *, required: bool
) -> Iterator[str]:
    """What is wrong with the markers of one field as such."""
    if "required_when" in marks and not _nullable(shape):
        yield f"{where} has required_when, so it must be able to be None: write `... | None`"
    if "derived" in marks:
        if required:
            yield f"{where} is derived, so it needs a default, which no caller gives"
        for other in ("frozen", "frozen_when", "required_when"):
            if other in marks:
                yield f"{where} is derived, so it cannot be {other} too"
    for marker in ("frozen_when", "required_when", "derived"):
        if marker in marks and not callable(marks[marker]):
            yield f"{where}: {marker} takes a function of the record"
    if "frozen" in marks and "frozen_when" in marks:
        yield f"{where} is frozen always, so frozen_when says nothing: take one of them"


def _marked(cls: type) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for item in _fields(cls):
        if marks := _marks(item.type):
            yield item.name, marks


def _fields(cls: type) -> Sequence[inspect.Field]:
    info = inspect.type_info(cls)
    return info.fields if isinstance(info, inspect.StructType) else ()


def _marks(shape: inspect.Type) -> Mapping[str, Any]:
    """The markers around a field's type."""
    extra = shape.extra if isinstance(shape, inspect.Metadata) else None
    return {name: value for name, value in (extra or {}).items() if name in _MARKERS}


def _nullable(shape: inspect.Type) -> bool:
    bare = shape.type if isinstance(shape, inspect.Metadata) else shape
    members = bare.types if isinstance(bare, inspect.UnionType) else (bare,)
    return any(isinstance(one, inspect.NoneType | inspect.AnyType) for one in members)


def _nested(shape: inspect.Type, *, within: frozenset[type] = frozenset()) -> Iterator[bool]:
    """True for each marker inside a field's type, where it means nothing."""
    for inner in _inner(shape):
        cls = getattr(inner, "cls", None)
        if cls in within:
            continue
        if _marks(inner):
            yield True
        yield from _nested(inner, within=within if cls is None else within | {cls})


def _inner(shape: inspect.Type) -> Iterator[inspect.Type]:
    """The types that a type is made of, one step in."""
    for name in ("type", "item_type", "key_type", "value_type"):
        found = getattr(shape, name, None)
        if isinstance(found, inspect.Type):
            yield found
    for name in ("types", "item_types"):
        yield from getattr(shape, name, ())
    if isinstance(shape, inspect.StructType | inspect.DataclassType | inspect.TypedDictType):
        for item in shape.fields:
            yield item.type
