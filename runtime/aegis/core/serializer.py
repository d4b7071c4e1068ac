"""How a value is written where JSON has no form of its own for its type, or another one is wanted.

Of a class with serialized fields a twin is made whose fields have the types that JSON holds in
their place: what is written and read is the twin, and its schema is that of the data. A class
without such fields has no twin and costs nothing.
"""

from __future__ import annotations

import dataclasses
import inspect
import types
import typing
from collections import abc
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import (
    Annotated,
    Any,
    Generic,
    Literal,
    NamedTuple,
    TypeVar,
    Union,
    get_args,
    get_origin,
)

import msgspec

from aegis.core.constraint import check_of
from aegis.core.errors import InvalidError

T = TypeVar("T")
J = TypeVar("J")

Side = Literal["stored", "network"]
Schema = dict[str, Any]
# What encoding raises of a value that JSON cannot hold.
UNWRITABLE = (TypeError, UnicodeEncodeError, RecursionError)
MAX_REASON = 200  # characters of why a value does not decode
_Step = Callable[[Any], Any]


@dataclass(frozen=True, eq=False, repr=False)
class Serializer(Generic[T, J]):
    """How values of a type are written, for one field or, under a name, for all that use it.

        Amount = Annotated[Money, Serializer(str, Money.parse)]

    `encode` makes what JSON holds, a value of the type `schema`; `decode` makes the value of that
    again. `network` is how callers send and get it when that is to differ from how it is stored:
    another Serializer, or the type itself for the form that it has in JSON anyway. Queries from
    outside ask in the network form; events, exports and SQL have the stored one.
    """

    encode: Callable[[T], J]
    decode: Callable[[J], T]
    schema: Any = str
    network: Serializer[T, Any] | type[T] | None = None

    def __post_init__(self) -> None:
        for name in ("encode", "decode"):
            fn = getattr(self, name)
            if not callable(fn) or inspect.iscoroutinefunction(fn):
                raise TypeError(f"Serializer: {name} must be a plain function, not {fn!r}")
        other = self.network
        if isinstance(other, Serializer) and other.network is not None:
            raise TypeError("Serializer: the one for the network takes no `network` itself")

    def __repr__(self) -> str:
        # Docstrings that dataclasses make for themselves hold it: it is the same at every load.
        return f"Serializer({getattr(self.encode, '__qualname__', '...')})"


class Form:
    """Values of a class as JSON on one side of the host, where its serializers have a say.

    `twin` is the class of what JSON holds; `apart` are the fields that callers see in another form
    than they are stored in; `asked` says of the paths that can be asked how a value is given.
    """

    def __init__(self, cls: type, way: _Way) -> None:
        self.cls = cls
        self.twin: type[msgspec.Struct] = way.type
        self.apart = tuple(name for name, inner in way.inside.items() if inner.apart)
        self.asked: Mapping[str, Asked] = dict(_asked(way, ""))
        self.reader: msgspec.json.Decoder[Any] = msgspec.json.Decoder(self.twin)
        self._way = way

    def decode(self, text: bytes | str) -> Any:
        """The author's value of a JSON text.

        Raises msgspec.DecodeError, or its ValidationError with the path of what does not fit.
        """
        twin = self.reader.decode(text)
        try:
            return self._way.back(twin)
        except _Misfit as error:
            raise error.told() from error.__cause__

    def encode(self, value: Any) -> bytes:
        """The JSON of an author's value. Raises msgspec.ValidationError with the path."""
        try:
            return _encode(self._way.out(value))
        except _Misfit as error:
            raise error.told() from error.__cause__
        except UNWRITABLE as error:
            fields = {name: getattr(value, name) for name in self._way.inside}
            raise unwritable(self.plain(fields), error) from error

    def plain(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Some fields of the class, those that are values of the author's as JSON has them.

        Raises msgspec.ValidationError with the path.
        """
        try:
            return dict(self._way.out(data))
        except _Misfit as error:
            raise error.told() from error.__cause__


# What makes a value of a JSON text: msgspec's own, or that of a class with serialized fields.
Decoder = msgspec.json.Decoder[Any] | Form


class Asked:
    """How a value for a serialized field is given in a query, and how it stands in the store."""

    def __init__(self, cls: type, serializer: Serializer[Any, Any]) -> None:
        self._kinds = _kinds(cls)
        self._out = _leaf(cls, serializer, "stored").out
        other = _on(serializer, cls)
        network = None if other is None else _leaf(cls, other, "network")
        self._back = _same if network is None else network.back
        self.type: Any = cls if network is None else network.type

    def stored(self, given: Any, *, as_text: bool) -> Any:
        """The stored form of a value that was given as the author's or in the network form.

        Raises msgspec.ValidationError.
        """
        try:
            if not isinstance(given, self._kinds):
                if as_text:
                    given = msgspec.convert(given, self.type, strict=False)
                else:
                    given = msgspec.json.decode(_encode(given), type=self.type)
                given = self._back(given)
            return self._out(given)
        except _Misfit as error:
            raise error.told() from error.__cause__


def form_of(cls: type, side: Side) -> Form | None:
    """The form of a Struct class on that side, None where it is what msgspec makes of it.

    Raises TypeError naming the field whose serializer cannot be used.
    """
    way = _Compiler(side).struct(cls, cls.__name__)
    return None if way is None else Form(cls, way)


def decoder_of(cls: type, side: Side) -> Decoder:
    """What decodes values of a Struct class on that side."""
    return form_of(cls, side) or msgspec.json.Decoder(cls)


def shape_of(cls: type, side: Side) -> type:
    """The class that has the schema of what JSON holds on that side: the twin, or `cls` itself."""
    form = form_of(cls, side)
    return cls if form is None else form.twin


def schema_of(shape: type) -> tuple[Schema, Schema]:
    """The JSON Schema of a Struct class, and those of the types in it by name. Raises TypeError."""
    (reference,), definitions = msgspec.json.schema_components(
        [shape], ref_template="#/components/schemas/{name}"
    )
    for name, schema in definitions.items():
        # The docstring that a dataclass makes for itself names modules, which differ at every load.
        if str(schema.get("description", "")).startswith(f"{schema.get('title', name)}("):
            del schema["description"]
    name = reference["$ref"].rsplit("/", 1)[-1]
    return definitions.pop(name), definitions


def text_of(data: Mapping[str, Any], decoder: Decoder) -> bytes:
    """The JSON that `decoder` reads, of an author's values or of what JSON has for them.

    Raises msgspec.ValidationError naming the field.
    """
    plain = decoder.plain(data) if isinstance(decoder, Form) else data
    try:
        return _encode(plain)
    except UNWRITABLE as error:
        raise unwritable(plain, error) from error


def unwritable(data: Mapping[str, Any], error: Exception) -> msgspec.ValidationError:
    """What to raise of fields that JSON cannot hold, naming the first of them."""
    said = "nested too deep" if isinstance(error, RecursionError) else str(error)
    if isinstance(error, UnicodeEncodeError):
        said = "Expected Unicode text"  # and the error quotes it
    at = next((name for name, value in data.items() if not _is_json(value)), None)
    return msgspec.ValidationError(said if at is None else f"{said} - at `$.{at}`")


def _same(value: Any) -> Any:
    return value


_encode = msgspec.json.Encoder(decimal_format="string").encode


class _Way(NamedTuple):
    """A place in a type: what JSON holds there, and how a value gets there and back.

    On the way out what is not of the author's type is taken to be what JSON holds already; the
    decoder of the twin checks that. `inside` are the serialized fields of a class.
    """

    type: Any
    out: _Step
    back: _Step
    apart: bool = False
    asked: Asked | None = None
    inside: Mapping[str, _Way] = types.MappingProxyType({})


class _Misfit(Exception):  # noqa: N818 -- it never leaves this module
    """A value that its serializer does not take; `path` grows on the way up."""

    def __init__(self, said: str) -> None:
        self.said = said
        self.path = ""

    def told(self) -> msgspec.ValidationError:
        return msgspec.ValidationError(f"{self.said} - at `${self.path}`")


def _under(part: str, step: _Step, value: Any) -> Any:
    try:
        return step(value)
    except _Misfit as error:
        error.path = part + error.path
        raise


def _on(serializer: Serializer[Any, Any], cls: type) -> Serializer[Any, Any] | None:
    """The serializer for the network, None where the type's own form in JSON is meant."""
    if serializer.network is None:
        return serializer
    return None if serializer.network is cls else typing.cast("Any", serializer.network)


def _kinds(cls: Any) -> tuple[type, ...]:
    """What values of a type are instances of; raises TypeError where that cannot be asked."""
    kind = get_origin(cls) or cls
    isinstance(None, kind)
    return (float, int) if kind is float else (kind,)


def _leaf(cls: Any, serializer: Serializer[Any, Any], side: Side) -> _Way:
    """The way of a serialized value."""
    kinds = _kinds(cls)
    name = getattr(get_origin(cls) or cls, "__name__", str(cls))
    check = check_of(serializer.schema)

    def out(value: Any) -> Any:
        if not isinstance(value, kinds):
            return value
        try:
            return serializer.encode(value)
        except Exception as error:
            raise _Misfit(f"`{name}` could not be written ({type(error).__name__})") from error

    def back(value: Any) -> Any:
        try:
            if check is not None:
                check(value)
            made = serializer.decode(value)
        except InvalidError as error:
            misfit = _Misfit(error.detail.partition(" - at ")[0])
            misfit.path = str(error.fields.get("pointer", "")).removeprefix("$")
            raise misfit from error
        except Exception as error:
            # What it says may hold the value: that is for who sent it, and nobody else.
            said = f": {error}"[:MAX_REASON] if side == "network" and str(error) else ""
            raise _Misfit(f"Expected `{name}` ({type(error).__name__}{said})") from error
        if not isinstance(made, kinds):
            raise _Misfit(f"Expected `{name}`, got `{type(made).__name__}`")
        return made

    return _Way(serializer.schema, out, back)


class _Compiler:
    """Finds the serializers in a type and makes the ways to and from what JSON holds there."""

    def __init__(self, side: Side) -> None:
        self._side = side
        self._structs: dict[type, _Way | None] = {}
        self._open: list[type] = []
        self._again: set[type] = set()

    def way(self, given: Any, where: str) -> _Way | None:
        """The way of a type, None where nothing in it is serialized."""
        while type(given).__name__ == "TypeAliasType" or isinstance(given, typing.NewType):
            given = given.__supertype__ if isinstance(given, typing.NewType) else given.__value__
        origin, parts = get_origin(given), get_args(given)
        if origin is Annotated:
            return self._annotated(parts[0], given.__metadata__, where)
        if origin is Union or origin is types.UnionType:
            return self._union(parts, where)
        if origin in _LISTS:
            return self._items(given, origin, parts, where)
        if origin in _DICTS:
            return self._mapping(parts, where)
        if isinstance(origin, type):
            if any(self.way(part, where) for part in (origin, *parts)):
                raise TypeError(f"{where}: no serializer can stand inside {given}")
            return None
        if isinstance(given, type):
            if issubclass(given, msgspec.Struct) or dataclasses.is_dataclass(given):
                return self.struct(given, where)
            if typing.is_typeddict(given) or hasattr(given, "_fields"):
                hints = typing.get_type_hints(given, include_extras=True)
                if any(self.way(hint, where) for hint in hints.values()):
                    raise TypeError(
                        f"{where}: no serializer can stand inside {given.__name__}: make it a "
                        "dataclass or a msgspec.Struct"
                    )
        return None

    def _annotated(self, inner: Any, extra: Iterable[Any], where: str) -> _Way | None:
        said = [one for one in extra if isinstance(one, Serializer)]
        metas = [one for one in extra if isinstance(one, msgspec.Meta)]
        if not said:
            way = self.way(inner, where)
            if way is None or not metas:
                return way
            return way._replace(type=Annotated[(way.type, *metas)])
        if len(said) > 1:
            raise TypeError(f"{where}: two serializers, and it takes one")
        if not isinstance(get_origin(inner) or inner, type):
            raise TypeError(f"{where}: a serializer needs a class, and {inner} is none")
        if self.way(inner, where) is not None:
            raise TypeError(f"{where}: its serializer is for {inner}, which has one inside")
        if getattr(inner, "__eq__", None) is object.__eq__:
            raise TypeError(
                f"{where}: {inner.__name__} has no __eq__, so nobody could tell what changed: make "
                "it a frozen dataclass"
            )
        for meta in metas:
            if any(getattr(meta, n) is not None for n in ("pattern", "min_length", "max_length")):
                raise TypeError(
                    f"{where}: say what its text must be in the serializer's `schema`, as in "
                    "schema=Annotated[str, Meta(pattern=...)]"
                )
        other = said[0].network
        if isinstance(other, type) and other is not inner:
            raise TypeError(f"{where}: network={other.__name__} is not the type of the field")
        try:
            way = _leaf(inner, said[0], "stored")
            asked = Asked(inner, said[0])
        except TypeError as error:
            raise TypeError(f"{where}: {error}") from None
        if self._side == "network":
            serializer = _on(said[0], inner)
            if serializer is None:
                return None
            way = _leaf(inner, serializer, "network")
        shown = [
            msgspec.Meta(title=one.title, description=one.description)
            for one in metas
            if one.title is not None or one.description is not None
        ]
        shape = Annotated[(way.type, *shown)] if shown else way.type
        return way._replace(type=shape, apart=other is not None, asked=asked)

    def _union(self, parts: tuple[Any, ...], where: str) -> _Way | None:
        found = [(part, way) for part in parts if (way := self.way(part, where)) is not None]
        if not found:
            return None
        part, inner = found[0]
        rest = tuple(one for one in parts if one is not part)
        if any(one not in (types.NoneType, msgspec.UnsetType) for one in rest):
            raise TypeError(f"{where}: beside a serialized type there can be None, nothing else")

        def out(value: Any) -> Any:
            return value if value is None or value is msgspec.UNSET else inner.out(value)

        def back(value: Any) -> Any:
            return value if value is None or value is msgspec.UNSET else inner.back(value)

        return inner._replace(type=Union[(inner.type, *rest)], out=out, back=back)

    def _items(self, given: Any, origin: Any, parts: tuple[Any, ...], where: str) -> _Way | None:
        if origin is tuple and parts[-1:] != (...,):
            return self._tuple(parts, where)
        inner = self.way(parts[0], where) if parts else None
        if inner is None:
            return None
        kind = _LISTS[origin]
        made: Any = list[inner.type]  # type: ignore[name-defined]

        def out(value: Any) -> Any:
            if isinstance(value, str | bytes | Mapping) or not isinstance(value, abc.Iterable):
                return value
            return [_under(f"[{n}]", inner.out, one) for n, one in enumerate(value)]

        def back(value: Any) -> Any:
            items = [_under(f"[{n}]", inner.back, one) for n, one in enumerate(value)]
            try:
                return kind(items)
            except TypeError as error:  # what a set holds must have a hash
                raise _Misfit(str(error)) from error

        return _Way(made, out, back, inner.apart, inner.asked)

    def _tuple(self, parts: tuple[Any, ...], where: str) -> _Way | None:
        ways = [self.way(part, where) for part in parts]
        if not any(ways):
            return None
        made: Any = tuple[tuple(w.type if w else p for w, p in zip(ways, parts, strict=True))]  # type: ignore[misc]

        def walk(value: Any, name: str) -> Any:
            if not isinstance(value, tuple | list):
                return value
            return tuple(
                one if way is None else _under(f"[{n}]", getattr(way, name), one)
                for n, (way, one) in enumerate(zip(ways, value, strict=False))
            )

        return _Way(
            made,
            lambda value: walk(value, "out"),
            lambda value: walk(value, "back"),
            any(way is not None and way.apart for way in ways),
        )

    def _mapping(self, parts: tuple[Any, ...], where: str) -> _Way | None:
        if not parts:
            return None
        keys, values = (self.way(part, where) for part in parts)
        if keys is None and values is None:
            return None
        held = (
            part if way is None else way.type
            for way, part in zip((keys, values), parts, strict=True)
        )
        made = types.GenericAlias(dict, tuple(held))

        def walk(value: Any, name: str) -> Any:
            if not isinstance(value, Mapping):
                return value
            return {
                key if keys is None else _under("[...]", getattr(keys, name), key): (
                    one if values is None else _under("[...]", getattr(values, name), one)
                )
                for key, one in value.items()
            }

        apart = any(way is not None and way.apart for way in (keys, values))
        return _Way(
            made, lambda value: walk(value, "out"), lambda value: walk(value, "back"), apart
        )

    def struct(self, cls: type, where: str) -> _Way | None:
        """The way of a class with fields."""
        if cls in self._structs:
            return self._structs[cls]
        if cls in self._open:
            self._again.add(cls)
            return None
        self._open.append(cls)
        fields = _fields(cls)
        ways = {
            name: way
            for name, item in fields.items()
            if (way := self.way(item.type, f"{cls.__name__}.{item.name}")) is not None
        }
        self._open.pop()
        if ways and cls in self._again:
            raise TypeError(f"{where}: {cls.__name__} holds itself, so nothing in it is serialized")
        self._structs[cls] = _twin(cls, fields, ways) if ways else None
        return self._structs[cls]


_LISTS: Mapping[Any, Callable[[list[Any]], Any]] = {
    list: list,
    set: set,
    frozenset: frozenset,
    tuple: tuple,
    abc.Sequence: list,
    abc.MutableSequence: list,
    abc.Collection: list,
    abc.Set: set,
    abc.MutableSet: set,
}
_DICTS = (dict, abc.Mapping, abc.MutableMapping)


class _Field(NamedTuple):
    """A field of a Struct or a dataclass; without a default both are msgspec.NODEFAULT."""

    name: str
    type: Any
    default: Any
    factory: Any


def _fields(cls: type) -> dict[str, _Field]:
    """The fields of a class by the names that JSON has for them."""
    if issubclass(cls, msgspec.Struct):
        return {
            item.encode_name: _Field(item.name, item.type, item.default, item.default_factory)
            for item in msgspec.structs.fields(cls)
        }
    hints = typing.get_type_hints(cls, include_extras=True)
    missing = dataclasses.MISSING
    return {
        item.name: _Field(
            item.name,
            hints[item.name],
            msgspec.NODEFAULT if item.default is missing else item.default,
            msgspec.NODEFAULT if item.default_factory is missing else item.default_factory,
        )
        for item in dataclasses.fields(cls)  # type: ignore[arg-type]
        if item.init
    }


def _twin(cls: type, fields: Mapping[str, _Field], ways: Mapping[str, _Way]) -> _Way:
    """The way of a class that has serialized fields, to its twin."""
    said = [_twin_field(cls, item, ways.get(name)) for name, item in fields.items()]
    options: dict[str, Any] = {"kw_only": True}
    if issubclass(cls, msgspec.Struct):
        config = cls.__struct_config__
        for option in ("tag", "tag_field", "omit_defaults", "forbid_unknown_fields", "array_like"):
            options[option] = getattr(config, option)
    twin = msgspec.defstruct(
        cls.__name__,
        said,
        module=cls.__module__,
        namespace={"__doc__": cls.__doc__},
        rename={item.name: name for name, item in fields.items() if item.name != name},
        **options,
    )
    plain = [item.name for name, item in fields.items() if name not in ways]
    walks = [(fields[name].name, f".{name}", way) for name, way in ways.items()]

    def out(value: Any) -> Any:
        if isinstance(value, cls):
            made = {name: getattr(value, name) for name in plain}
            made |= {name: _under(at, way.out, getattr(value, name)) for name, at, way in walks}
            return twin(**made)
        if isinstance(value, Mapping):
            return {
                name: _under(f".{name}", ways[name].out, one) if name in ways else one
                for name, one in value.items()
            }
        return value

    def back(value: Any) -> Any:
        made = {name: getattr(value, name) for name in plain}
        made |= {name: _under(at, way.back, getattr(value, name)) for name, at, way in walks}
        try:
            return cls(**made)
        except (TypeError, ValueError) as error:  # as msgspec does: __post_init__ may refuse
            raise _Misfit(str(error)) from error

    return _Way(twin, out, back, any(way.apart for way in ways.values()), inside=dict(ways))


def _twin_field(cls: type, item: _Field, way: _Way | None) -> Any:
    """A field of a twin, as msgspec.defstruct takes it: with the default as JSON has it."""
    default, factory = item.default, item.factory
    if way is None:
        kind = item.type
    else:
        kind, out = way.type, way.out
        if factory in (list, set, frozenset, tuple):
            factory = list
        elif factory is not msgspec.NODEFAULT and factory is not dict:
            made = factory
            factory = lambda: out(made())  # noqa: E731 -- it is one of two
        try:
            default = out(default)
        except _Misfit as error:
            raise TypeError(f"{cls.__name__}.{item.name}: its default: {error.said}") from error
        if isinstance(default, list | dict | msgspec.Struct):
            kept = item.default
            default, factory = msgspec.NODEFAULT, lambda: out(kept)
    if factory is not msgspec.NODEFAULT:
        return (item.name, kind, msgspec.field(default_factory=factory))
    return (item.name, kind) if default is msgspec.NODEFAULT else (item.name, kind, default)


def _asked(way: _Way, before: str) -> Iterable[tuple[str, Asked]]:
    """By path, the fields of a class that a query gives in another form than they are stored in."""
    for name, inner in way.inside.items():
        if inner.asked is not None:
            yield before + name, inner.asked
        yield from _asked(inner, f"{before}{name}.")


def _is_json(value: Any) -> bool:
    try:
        _encode(value)
    except UNWRITABLE:
        return False
    return True
