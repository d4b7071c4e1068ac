"""What of a model can be asked: each field's type, and what its values are compared as."""

from __future__ import annotations

import datetime
import decimal
import re
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import reduce
from operator import or_
from types import MappingProxyType
from typing import Any, Literal

import msgspec
from msgspec import inspect

from aegis.core.errors import BadRequestError, closest
from aegis.core.query import Kind, Term
from aegis.core.serializer import Asked

DEPTH = 4  # fields inside fields that can be asked
MAX_SORT = 8
STAMPS = ("_created", "_updated")

# A name that a path can hold in every store.
_NAME = re.compile(r'[^."\\\x00-\x1f\x7f]+')
_PLAIN: Mapping[type[inspect.Type], Any] = {
    inspect.IntType: int,
    inspect.FloatType: float,
    inspect.DecimalType: decimal.Decimal,
    inspect.StrType: str,
    inspect.BoolType: bool,
    inspect.DateTimeType: datetime.datetime,
    inspect.DateType: datetime.date,
    inspect.TimeType: datetime.time,
    inspect.UUIDType: uuid.UUID,
}
_NUMBERS = (inspect.IntType, inspect.FloatType, inspect.DecimalType)
_LISTS = (inspect.ListType, inspect.SetType, inspect.FrozenSetType, inspect.VarTupleType)
_OBJECTS = (inspect.StructType, inspect.DataclassType, inspect.TypedDictType)


class Column(msgspec.Struct, frozen=True):
    """A field: the type of a value that it is compared with, without bounds, and what kind.

    `shape` is `one` value, a `list` of such, or `other`, of which can only be asked whether it is
    there. `text` says that parts of it can be looked for, `sealed` that it can only be asked for
    equal values, `asked` how a serialized one is given.
    """

    type: Any
    kind: Kind = "text"
    nullable: bool = False
    shape: Literal["one", "list", "other"] = "one"
    text: bool = False
    sealed: bool = False
    asked: Asked | None = None


class Columns(msgspec.Struct, frozen=True):
    """What can be asked of the records of `model`: columns by path, and the fields it has itself.

    `token` gives what stands for a value of a sealed field where it is stored. Whatever is wrong is
    a BadRequestError that names it.
    """

    model: str
    known: Mapping[str, Column]
    fields: tuple[str, ...]
    token: Callable[[str, Any], str] | None = None

    def sealing(self, names: Collection[str], token: Callable[[str, Any], str] | None) -> Columns:
        """The same where the fields `names` are sealed."""
        known = {
            path: msgspec.structs.replace(column, text=False, sealed=True)
            if path in names
            else column
            for path, column in self.known.items()
            if path in names or path.partition(".")[0] not in names
        }
        return Columns(self.model, known, self.fields, token)

    def without(self, names: Collection[str]) -> Columns:
        """The same without the fields `names`."""
        known = {path: column for path, column in self.known.items() if path not in names}
        fields = tuple(name for name in self.fields if name not in names)
        return Columns(self.model, known, fields, self.token)

    def sort(self, spelled: str | None) -> tuple[Term, ...]:
        """The order that `"-total,id"` means."""
        words = [word.strip() for word in (spelled or "").split(",") if word.strip()]
        if len(words) > MAX_SORT:
            raise BadRequestError(f"sort takes up to {MAX_SORT} fields", parameter="sort")
        return tuple(map(self._sort, words))

    def _sort(self, word: str) -> Term:
        name = word.removeprefix("-")
        column = self.known.get(name)
        if column is None:
            raise BadRequestError(
                f"{self.model} has no field {name[:80]!r} to sort by",
                hint=closest(name, self.known),
                parameter=name,
            )
        if column.sealed:
            raise BadRequestError(
                f"{self.model}.{name} is sealed where it is stored, so nothing can sort by it",
                parameter=name,
            )
        if column.shape != "one":
            raise BadRequestError(
                f"{self.model}.{name} is no single value, so nothing can sort by it",
                parameter=name,
            )
        return Term(name, kind=column.kind, descending=word.startswith("-"))

    def names(self, spelled: str | Sequence[str]) -> tuple[str, ...]:
        """The fields of a record that `"id,total"` means."""
        words = spelled.split(",") if isinstance(spelled, str) else spelled
        names = tuple(dict.fromkeys(word.strip() for word in words))
        for name in names:
            if name not in self.fields:
                raise BadRequestError(
                    f"{self.model} has no field {name[:80]!r} to show",
                    hint=closest(name, self.fields),
                    parameter="fields",
                )
        return names


def columns_of(cls: type, asked: Mapping[str, Asked] = MappingProxyType({})) -> Columns:
    """What can be asked of a model's records: its fields, those inside them, their times.

    `cls` has the types that are stored, `asked` how values of serialized fields are given, by path.
    """
    known = dict(_fields(cls, "", DEPTH)) | dict.fromkeys(STAMPS, Column(str, text=True))
    for path, how in asked.items():
        if path in known:
            known[path] = msgspec.structs.replace(known[path], asked=how)
    own = (item.encode_name for item in msgspec.structs.fields(cls))
    return Columns(cls.__name__, known, (*own, *STAMPS))


def _fields(cls: type, before: str, depth: int) -> Iterator[tuple[str, Column]]:
    info = inspect.type_info(cls)
    for field in info.fields if isinstance(info, _OBJECTS) else ():
        if not _NAME.fullmatch(field.encode_name):
            continue
        path = before + field.encode_name
        yield path, _column(field.type)
        inner = [one for one in _members(field.type) if not isinstance(one, inspect.NoneType)]
        for one in inner if depth > 1 and len(inner) == 1 else ():
            if isinstance(one, _OBJECTS) and not getattr(one, "array_like", False):
                yield from _fields(one.cls, f"{path}.", depth - 1)


def _column(info: inspect.Type) -> Column:
    members = _members(info)
    given = [one for one in members if not isinstance(one, inspect.NoneType)]
    nullable = len(given) < len(members)
    plain = [_plain(one) for one in given]
    if given and None not in plain:
        kind: Kind = "text"
        if all(isinstance(one, _NUMBERS) for one in given):
            kind = "number"
        elif all(isinstance(one, inspect.DateTimeType) for one in given):
            kind = "time"
        text = kind == "text" and not any(isinstance(one, inspect.BoolType) for one in given)
        return Column(reduce(or_, plain), kind, nullable, text=text)
    if len(given) == 1 and isinstance(given[0], _LISTS):
        item = _column(given[0].item_type)
        if item.shape == "one":
            return Column(item.type, item.kind, nullable, "list")
    return Column(None, nullable=nullable, shape="other")


def _plain(info: inspect.Type) -> Any:
    """The type of a scalar without the bounds around it, None for what is no scalar."""
    if isinstance(info, inspect.EnumType):
        return info.cls
    if isinstance(info, inspect.LiteralType):
        return Literal[info.values]
    return _PLAIN.get(type(info))


def _members(info: inspect.Type) -> list[inspect.Type]:
    info = _bare(info)
    return [_bare(one) for one in info.types] if isinstance(info, inspect.UnionType) else [info]


def _bare(info: inspect.Type) -> inspect.Type:
    """A type without the constraints and descriptions around it."""
    return info.type if isinstance(info, inspect.Metadata) else info
