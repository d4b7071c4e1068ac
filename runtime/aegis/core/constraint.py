"""What a value must satisfy beyond its type: numeric bounds, for Decimal too, at any depth."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, get_origin

import msgspec
from msgspec import inspect as shapes

from aegis.core.errors import InvalidError

Number = int | float | Decimal
Check = Callable[[Any], None]
# Where a walk is: the way there and its last part, None at the root. It is only spelled out for an
# error: a walk happens at every write.
_Path = tuple[Any, str | int] | None
_Walk = Callable[[Any, _Path], None]
_KEY = "key"  # the part of a path that is a key and not what stands under it

_SCHEMA = {
    "gt": "exclusiveMinimum",
    "ge": "minimum",
    "lt": "exclusiveMaximum",
    "le": "maximum",
    "multiple_of": "multipleOf",
}
_SIGN = {"gt": ">", "ge": ">=", "lt": "<", "le": "<=", "multiple_of": "a multiple of"}


def Meta(  # noqa: N802 -- it stands in annotations, where every library writes it as a class
    *,
    gt: Number | None = None,
    ge: Number | None = None,
    lt: Number | None = None,
    le: Number | None = None,
    multiple_of: Number | None = None,
    pattern: str | None = None,
    min_length: int | None = None,
    max_length: int | None = None,
    tz: bool | None = None,
    title: str | None = None,
    description: str | None = None,
    examples: list[Any] | None = None,
) -> msgspec.Meta:
    """Constrain a field: `Annotated[Decimal, Meta(ge=0)]`.

    Bounds hold for int, float and Decimal, `pattern` and lengths for text, lengths for lists and
    dicts too. `title`, `description` and `examples` show in the OpenAPI document.
    """
    # msgspec refuses a bound on a Decimal, so bounds travel as extra data and are checked here.
    bounds = {
        name: value
        for name, value in {
            "gt": gt,
            "ge": ge,
            "lt": lt,
            "le": le,
            "multiple_of": multiple_of,
        }.items()
        if value is not None
    }
    shown = {
        _SCHEMA[name]: float(value) if isinstance(value, Decimal) else value
        for name, value in bounds.items()
    }
    return msgspec.Meta(
        pattern=pattern,
        min_length=min_length,
        max_length=max_length,
        tz=tz,
        title=title,
        description=description,
        examples=examples,
        extra_json_schema=shown or None,
        extra={"bounds": bounds} if bounds else None,
    )


def check_of(cls: Any) -> Check | None:
    """What checks the bounds of a value of type `cls`, None when it has none.

    The check raises InvalidError in msgspec's words, the path of the value at the end.
    """
    walk = _Compiler().walk(shapes.type_info(cls))
    if walk is None:
        return None

    def check(value: Any) -> None:
        walk(value, None)

    return check


class _Compiler:
    """Turns the shape of a type into a walk of its values that visits only what has bounds."""

    def __init__(self) -> None:
        self._structs: dict[type, _Walk | None] = {}
        self._open: set[type] = set()

    def walk(self, shape: shapes.Type) -> _Walk | None:
        if isinstance(shape, shapes.Metadata):
            inner = self.walk(shape.type)
            bounds = (shape.extra or {}).get("bounds")
            if not bounds:
                return inner
            if not _numeric(shape.type):
                raise TypeError(f"Meta({', '.join(bounds)}) bounds numbers: int, float or Decimal")
            return _both(_bounded(bounds), inner)
        if isinstance(shape, shapes.DecimalType):
            return _finite
        if isinstance(shape, shapes.StructType | shapes.DataclassType):
            return self._struct(shape)
        if isinstance(
            shape,
            shapes.ListType | shapes.SetType | shapes.FrozenSetType | shapes.VarTupleType,
        ):
            return _each(self.walk(shape.item_type))
        if isinstance(shape, shapes.TupleType):
            return _parts([self.walk(item) for item in shape.item_types])
        if isinstance(shape, shapes.NamedTupleType):
            return _parts([self.walk(field.type) for field in shape.fields])
        if isinstance(shape, shapes.TypedDictType):
            return _members({field.name: self.walk(field.type) for field in shape.fields})
        if isinstance(shape, shapes.DictType):
            return _items(self.walk(shape.key_type), self.walk(shape.value_type))
        if isinstance(shape, shapes.UnionType):
            walks = [(_runtime(t), w) for t in shape.types if (w := self.walk(t)) is not None]
            return _one_of(walks) if walks else None
        return None

    def _struct(self, shape: shapes.StructType | shapes.DataclassType) -> _Walk | None:
        cls = shape.cls
        if cls in self._structs:
            return self._structs[cls]
        if cls in self._open:
            # A type that holds itself: decide when a value is there.
            return lambda value, path: (walk := self._structs[cls]) and walk(value, path)
        self._open.add(cls)
        fields = [
            (field.name, f".{field.name}", walk)
            for field in shape.fields
            if (walk := self.walk(field.type)) is not None
        ]

        def visit(value: Any, path: _Path) -> None:
            for name, part, walk in fields:
                walk(getattr(value, name), (path, part))

        self._structs[cls] = visit if fields else None
        return self._structs[cls]


def _runtime(shape: shapes.Type) -> tuple[type, ...]:
    """The Python types whose values a member of a union takes."""
    inner = shape.type if isinstance(shape, shapes.Metadata) else shape
    cls = getattr(inner, "cls", None)
    if cls is not None and not isinstance(inner, shapes.TypedDictType):
        return (get_origin(cls) or cls,)
    known: Mapping[type, tuple[type, ...]] = {
        shapes.IntType: (int,),
        shapes.FloatType: (float, int),
        shapes.DecimalType: (Decimal,),
        shapes.ListType: (list,),
        shapes.DictType: (dict,),
        shapes.SetType: (set,),
        shapes.FrozenSetType: (frozenset,),
        shapes.VarTupleType: (tuple,),
        shapes.TupleType: (tuple,),
        shapes.TypedDictType: (dict,),
    }
    return known.get(type(inner), ())


def _multiple(value: Any, step: Any) -> bool:
    try:
        return bool(value % step == 0)
    except ArithmeticError:  # more digits than Decimal reckons with
        return False


_HOLDS: Mapping[str, Callable[[Any, Any], bool]] = {
    "gt": operator.gt,
    "ge": operator.ge,
    "lt": operator.lt,
    "le": operator.le,
    "multiple_of": _multiple,
}


def _numeric(shape: shapes.Type) -> bool:
    """Whether a bound means something for values of this shape: all or some are numbers."""
    if isinstance(shape, shapes.Metadata):
        return _numeric(shape.type)
    if isinstance(shape, shapes.UnionType):
        return any(_numeric(member) for member in shape.types)
    return isinstance(shape, shapes.IntType | shapes.FloatType | shapes.DecimalType)


def _broken(expected: str, path: _Path) -> InvalidError:
    """What to raise: the expectation in msgspec's words, with the path spelled out."""
    before = text = ""
    while path is not None:
        path, part = path
        if part is _KEY:
            before = "key in "
        else:
            text = (f"[{part}]" if isinstance(part, int) else part) + text
    place = f"{before}${text}"
    return InvalidError(f"Expected {expected} - at `{place}`", pointer=place)


def _finite(value: Any, path: _Path) -> None:
    """A stored number is one: JSON knows no NaN, and a NaN is not even equal to itself."""
    if isinstance(value, Decimal) and not value.is_finite():
        raise _broken("a finite `Decimal`", path)


def _bounded(bounds: Mapping[str, Number]) -> _Walk:
    tests = [
        (
            _HOLDS[name],
            float(bound) if isinstance(bound, Decimal) else bound,
            Decimal(str(bound)),
            f"{_SIGN[name]} {bound}",
        )
        for name, bound in bounds.items()
    ]

    def visit(value: Any, path: _Path) -> None:
        # In a union the bound is not meant for other members; a bool is an int only in Python.
        if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
            return
        if isinstance(value, Decimal):
            _finite(value, path)
        exact = isinstance(value, Decimal)
        for holds, bound, decimal, said in tests:
            # Of a NaN nothing holds, so it is refused.
            if not holds(value, decimal if exact else bound):
                raise _broken(f"`{type(value).__name__}` {said}", path)

    return visit


def _both(first: _Walk, second: _Walk | None) -> _Walk:
    if second is None:
        return first

    def visit(value: Any, path: _Path) -> None:
        first(value, path)
        second(value, path)

    return visit


def _each(walk: _Walk | None) -> _Walk | None:
    if walk is None:
        return None

    def visit(value: Any, path: _Path) -> None:
        for index, item in enumerate(value):
            walk(item, (path, index))

    return visit


def _items(keys: _Walk | None, values: _Walk | None) -> _Walk | None:
    if keys is None and values is None:
        return None

    def visit(value: Any, path: _Path) -> None:
        for key, item in value.items():
            if keys is not None:
                keys(key, (path, _KEY))
            if values is not None:
                values(item, (path, "[...]"))

    return visit


def _parts(walks: Sequence[_Walk | None]) -> _Walk | None:
    known = [(index, walk) for index, walk in enumerate(walks) if walk is not None]
    if not known:
        return None

    def visit(value: Any, path: _Path) -> None:
        for index, walk in known:
            walk(value[index], (path, index))

    return visit


def _members(walks: Mapping[str, _Walk | None]) -> _Walk | None:
    known = [(name, walk) for name, walk in walks.items() if walk is not None]
    if not known:
        return None

    def visit(value: Any, path: _Path) -> None:
        for name, walk in known:
            if name in value:
                walk(value[name], (path, f".{name}"))

    return visit


def _one_of(walks: list[tuple[tuple[type, ...], _Walk]]) -> _Walk:
    def visit(value: Any, path: _Path) -> None:
        for types, walk in walks:
            if isinstance(value, types):
                walk(value, path)

    return visit
