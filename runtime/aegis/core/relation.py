"""How models relate: which field of a record names others, and which records those are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from inspect import get_annotations
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from msgspec import inspect

from aegis.core.clause import Clause
from aegis.core.column import Columns
from aegis.core.query import Condition, Some, Term

if TYPE_CHECKING:
    from aegis.core.component import ModelSpec

# What the end of a record means for those that point to it: it is refused while there are any,
# they end too, they forget it, or they go on naming what is gone.
OnDelete = Literal["refuse", "cascade", "clear", "ignore"]

_LISTS = (inspect.ListType, inspect.SetType, inspect.FrozenSetType, inspect.VarTupleType)
_OBJECTS = (inspect.StructType, inspect.DataclassType, inspect.TypedDictType)


@dataclass(frozen=True, kw_only=True, eq=False)
class RelationSpec:
    """A relation of a model to `target` (`customers.Customer`).

    Either `via`, a field here, holds ids of the target's records; or `by`, a field there, holds the
    id of this one; or `where` says for a record which others are meant. A field is named by its
    path, through lists of objects too (`items.item_id`). Without `many` it is one record, which
    must be there unless it is `optional`. `view` is what the author wants to see of the target.
    `user` is the component that says all this.
    """

    name: str
    target: str
    via: str | None = None
    by: str | None = None
    where: Callable[[Any], Clause] | None = None
    many: bool = False
    optional: bool = False
    view: type | None = None
    on_delete: OnDelete | None = None
    doc: str = ""
    user: str = ""

    @property
    def component(self) -> str:
        """The component that has the target."""
        return self.target.partition(".")[0]

    @cached_property
    def crosses(self) -> bool:
        """Whether it leads to another component."""
        return self.component != self.user


@dataclass(frozen=True, kw_only=True, eq=False)
class Pointer:
    """A field of `model` that names records of another, and what their end means for its own."""

    model: ModelSpec
    path: str
    on_delete: OnDelete


class Place(msgspec.Struct, frozen=True):
    """What a path of a model leads to: ids of other records, one or `many`, in a list of objects
    when it is `nested`; `nullable` says that there may be none.
    """

    many: bool
    nullable: bool
    nested: bool


def place(cls: type, path: str) -> Place | None:
    """Where a path of a model leads, None when not to text that may be an id."""
    info: inspect.Type = inspect.type_info(cls)
    many = nullable = nested = False
    for name in path.split("."):
        members = _members(info)
        if len(members) == 1 and isinstance(members[0], _LISTS):
            if many:
                return None
            many = nested = True
            members = _members(members[0].item_type)
        (found,) = members if len(members) == 1 else (None,)
        fields = found.fields if isinstance(found, _OBJECTS) else ()
        field = next((one for one in fields if one.encode_name == name), None)
        if field is None:
            return None
        info = field.type
        nullable = nullable or len(_members(info, None)) > len(_members(info))
    members = _members(info)
    if len(members) == 1 and isinstance(members[0], _LISTS) and not many:
        many, members = True, _members(members[0].item_type)
    is_text = len(members) == 1 and isinstance(members[0], inspect.StrType)
    return Place(many, nullable, nested) if is_text else None


def clearable(cls: type, path: str) -> bool:
    """Whether a field that names records can do without one of them."""
    found = place(cls, path)
    return found is not None and "." not in path and (found.many or found.nullable)


def viewed(view: type | None) -> tuple[str, ...]:
    """The fields of the target that an author's view of it names."""
    classes = () if view is None else view.__mro__
    names = [name for cls in classes for name in get_annotations(cls)]
    return tuple(dict.fromkeys(name for name in names if not name.startswith("_")))


def _members(info: inspect.Type, without: type | None = inspect.NoneType) -> list[inspect.Type]:
    """The types that a value may have, without the constraints around them."""
    info = info.type if isinstance(info, inspect.Metadata) else info
    members = info.types if isinstance(info, inspect.UnionType) else (info,)
    bare = [one.type if isinstance(one, inspect.Metadata) else one for one in members]
    return [one for one in bare if without is None or not isinstance(one, without)]


def ids(value: Any, path: str) -> list[str]:
    """The ids that a field of `value` names, each once; of an author's value or of JSON data."""
    return list(dict.fromkeys(_walk(value, path.split("."))))


def _walk(value: Any, names: Sequence[str]) -> Iterator[str]:
    if isinstance(value, list | tuple | set | frozenset):
        for one in value:
            yield from _walk(one, names)
    elif not names:
        if isinstance(value, str):
            yield value
    elif value is not None:
        name = names[0]
        inner = value.get(name) if isinstance(value, Mapping) else getattr(value, name, None)
        yield from _walk(inner, names[1:])


def naming(columns: Columns, path: str, named: Iterable[str]) -> Condition:
    """Holds for the records of which the field `path` names one of these ids."""
    column = columns.known.get(path)
    wanted = tuple(named)
    if column is not None and column.shape == "one":
        return Term(path, wanted[0]) if len(wanted) == 1 else Term(path, wanted, op="in")
    if column is not None and column.shape == "list":
        return Some(tuple(Term(path, id, op="has") for id in wanted))
    # In a list of objects no store looks by field, but each has the list's JSON. What is quoted
    # there is escaped, so a text that looks like a field is not taken for one.
    place, _, last = path.rpartition(".")
    texts = (f'"{last}":{msgspec.json.encode(id).decode()}' for id in wanted)
    return Some(tuple(Term(place, text, op="contains") for text in texts))
