"""What a value must satisfy beyond its type: numeric bounds, for Decimal too, at any depth."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

import msgspec
from msgspec import inspect as shapes

from aegis.core.errors import InvalidError

Number = int | float | Decimal
Check = Callable[[Any], None]
_Walk = Callable[[Any, str], None]

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
            "gt": gt, "ge": ge, "lt": lt, "le": le, "multiple_of": multiple_of
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
        walk(value, "$")

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
            return inner if not bounds else _both(_bounded(bounds), inner)
        if isinstance(shape, shapes.StructType | shapes.DataclassType):
            return self._struct(shape)
        if isinstance(
            shape,
            shapes.ListType | shapes.SetType | shapes.FrozenSetType | shapes.VarTupleType,
        ):
            return _each(self.walk(shape.item_type))
        if isinstance(shape, shapes.DictType):
            return _values(self.walk(shape.value_type))
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
            (field.name, walk)
            for field in shape.fields
            if (walk := self.walk(field.type)) is not None
        ]

        def visit(value: Any, path: str) -> None:
            for name, walk in fields:
                walk(getattr(value, name), f"{path}.{name}")

        self._structs[cls] = visit if fields else None
        return self._structs[cls]


def _runtime(shape: shapes.Type) -> tuple[type, ...]:
    """The Python types whose values a member of a union takes."""
    inner = shape.type if isinstance(shape, shapes.Metadata) else shape
    cls = getattr(inner, "cls", None)
    if cls is not None:
        return (cls,)
    known: Mapping[type, tuple[type, ...]] = {
        shapes.IntType: (int,),
        shapes.FloatType: (float, int),
        shapes.DecimalType: (Decimal,),
        shapes.ListType: (list,),
        shapes.DictType: (dict,),
        shapes.SetType: (set,),
        shapes.FrozenSetType: (frozenset,),
        shapes.VarTupleType: (tuple,),
    }
    return known.get(type(inner), ())


_HOLDS: Mapping[str, Callable[[Any, Any], bool]] = {
    "gt": operator.gt,
    "ge": operator.ge,
    "lt": operator.lt,
    "le": operator.le,
    "multiple_of": lambda value, step: value % step == 0,
}


def _bounded(bounds: Mapping[str, Number]) -> _Walk:
    tests = [
        (_HOLDS[name], bound, Decimal(str(bound)), f"{_SIGN[name]} {bound}")
        for name, bound in bounds.items()
    ]

    def visit(value: Any, path: str) -> None:
        if not isinstance(value, int | float | Decimal):
            return
        exact = isinstance(value, Decimal)
        number = value if not isinstance(value, Decimal) or value.is_finite() else math.nan
        for holds, bound, decimal, said in tests:
            # Of a NaN nothing holds, so it is refused.
            if not holds(number, decimal if exact else bound):
                kind = type(value).__name__
                raise InvalidError(f"Expected `{kind}` {said} - at `{path}`", pointer=path)

    return visit


def _both(first: _Walk, second: _Walk | None) -> _Walk:
    if second is None:
        return first

    def visit(value: Any, path: str) -> None:
        first(value, path)
        second(value, path)

    return visit


def _each(walk: _Walk | None) -> _Walk | None:
    if walk is None:
        return None

    def visit(value: Any, path: str) -> None:
        for index, item in enumerate(value):
            walk(item, f"{path}[{index}]")

    return visit


def _values(walk: _Walk | None) -> _Walk | None:
    if walk is None:
        return None

    def visit(value: Any, path: str) -> None:
        for item in value.values():
            walk(item, f"{path}[...]")

    return visit


def _one_of(walks: list[tuple[tuple[type, ...], _Walk]]) -> _Walk:
    def visit(value: Any, path: str) -> None:
        for types, walk in walks:
            if isinstance(value, types):
                walk(value, path)

    return visit
