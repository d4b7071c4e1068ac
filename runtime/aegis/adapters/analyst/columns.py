"""Which columns a model has for an analyst, and what type each of them is."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
from msgspec import inspect as shapes

from aegis.core.component import ENCODER, ModelSpec
from aegis.core.registry import Registry

DIGITS = 38  # the most that a DECIMAL of DuckDB has
PLACES = 2  # behind the point, at least: most of what is counted so is money
BIGINT, DECIMAL, JSON, TEXT, TIME = "BIGINT", "DECIMAL", "JSON", "VARCHAR", "TIMESTAMP"
OWN = ("events", "flows", "steps")  # what is no model
# Quotes around what SQL takes as it is; its own words need them.
_WORDS = (
    "all|as|case|check|column|default|desc|distinct|end|from|group|having|in|into|limit|not|offset"
    "|on|only|or|order|primary|select|table|then|to|union|unique|user|using|when|where|with"
)
_NEEDLESS = re.compile(rf'"(?!(?:{_WORDS})")([a-z_][a-z0-9_]*)"')
# Names of schemas and databases that are DuckDB's own: a component of that name has no schema.
TAKEN = frozenset({"aegis", "information_schema", "main", "memory", "pg_catalog", "system", "temp"})


class Column(msgspec.Struct, frozen=True):
    """A column: `field` of the author's data as `type`, where DECIMAL stands for one of its size.

    In Python the field is the `attribute` of a value.
    `places` is how many digits are kept behind the point, `whole` how many stand before it at most.
    """

    name: str
    field: str
    attribute: str
    type: str
    places: int = PLACES
    whole: int = 0

    @property
    def sql_type(self) -> str:
        """The type in SQL. Numbers of more digits than DuckDB has are text, to the last digit."""
        exact = f"DECIMAL({DIGITS},{self.places})" if self.places + self.whole <= DIGITS else TEXT
        return self.type.replace(DECIMAL, exact)

    @property
    def expression(self) -> str:
        """What makes the column of a document `doc`; what does not fit the type is an error."""
        pointer = "/" + self.field.replace("~", "~0").replace("/", "~1")
        value = f"json_extract(doc, {literal(pointer)})"
        if self.sql_type == JSON:
            return f"nullif({value}, 'null')"
        kind = literal(msgspec.json.encode(self.sql_type).decode())
        return f"json_transform_strict({value}, {kind})"

    def holding(self, values: Iterable[Any]) -> Column:
        """This column with room for every digit of the numbers in `values`.

        Where a whole number is too large for BIGINT it is JSON, which has any.
        """
        if DECIMAL not in self.type and BIGINT not in self.type:
            return self
        places, whole = self.places, self.whole
        for number in _numbers(values):
            if isinstance(number, Decimal):
                behind, before = _size(number)
                places, whole = max(places, behind), max(whole, before)
            elif not -(2**63) <= number < 2**63 and BIGINT in self.type:
                return msgspec.structs.replace(self, type=JSON)
        if (places, whole) == (self.places, self.whole):
            return self
        return msgspec.structs.replace(self, places=places, whole=whole)


def columns_of(spec: ModelSpec) -> tuple[Column, ...]:
    """The columns of a model: the one place where it is chosen what an analyst sees of a record.

    Nothing that is sealed: what is private nobody may see, and what is encrypted is not at rest.
    """
    found: list[Column] = []
    shape = shapes.type_info(spec.shape)
    assert isinstance(shape, shapes.StructType)  # noqa: S101 -- a Model is one
    for field in shape.fields:
        if spec.rules is not None and field.name in spec.rules.sealed:
            continue
        name = field.encode_name
        while any(name.lower() == other.name.lower() for other in found):
            name += "_"  # SQL does not tell `Total` from `total`
        type = _type(field.type, frozenset({spec.shape}))
        found.append(Column(name, field.encode_name, field.name, type))
    return tuple(found)


def names_of(registry: Registry) -> Mapping[str, tuple[str, ...]]:
    """What the table of each model is called, in SQL, the best name first.

    `orders` by its endpoint where that is no other's, `orders."Order"` by component and class, and
    always `"orders.Order"`.
    """
    endpoints = [(spec.endpoint or "").lower() for spec in registry.models.values()]
    names: dict[str, tuple[str, ...]] = {}
    for key, spec in registry.models.items():
        ours: list[str] = []
        endpoint = spec.endpoint
        if endpoint and endpoints.count(endpoint.lower()) == 1 and endpoint.lower() not in OWN:
            ours.append(quoted(endpoint))
        if spec.component.lower() not in TAKEN and not _shadowed(registry, spec):
            ours.append(f"{quoted(spec.component)}.{quoted(spec.name)}")
        names[key] = (*ours, quoted(key))
    return names


def _shadowed(registry: Registry, spec: ModelSpec) -> bool:
    """Whether SQL takes another model's name for that of `spec`."""
    return any(
        other is not spec and key.lower() == spec.key.lower()
        for key, other in registry.models.items()
    )


def quoted(name: str) -> str:
    """`name` as SQL takes it, whatever it is."""
    return '"' + name.replace('"', '""') + '"'


def plain(name: str) -> str:
    """A name of `names_of` as people write it: in quotes where it needs them."""
    return _NEEDLESS.sub(lambda found: found[1], name)


def literal(text: str) -> str:
    """`text` as a string of SQL."""
    return "'" + text.replace("'", "''") + "'"


def _type(shape: shapes.Type, open_: frozenset[type]) -> str:
    """The type in SQL of values of a shape; JSON where SQL has none that fits."""
    if isinstance(shape, shapes.Metadata):
        return _type(shape.type, open_)
    if isinstance(shape, shapes.UnionType):
        some = [one for one in shape.types if not isinstance(one, shapes.NoneType)]
        return _type(some[0], open_) if len(some) == 1 else JSON
    if isinstance(shape, shapes.EnumType):
        return _of_values([member.value for member in shape.cls])
    if isinstance(shape, shapes.LiteralType):
        return _of_values([value for value in shape.values if value is not None])
    if isinstance(
        shape, shapes.ListType | shapes.SetType | shapes.FrozenSetType | shapes.VarTupleType
    ):
        return f"{_type(shape.item_type, open_)}[]"
    if isinstance(shape, shapes.DictType):
        keys, values = _type(shape.key_type, open_), _type(shape.value_type, open_)
        return f"MAP(VARCHAR, {values})" if keys == TEXT else JSON
    if isinstance(shape, shapes.StructType):
        return _struct(shape, open_)
    return _SCALARS.get(type(shape), JSON)


_SCALARS: Mapping[type[shapes.Type], str] = {
    shapes.BoolType: "BOOLEAN",
    shapes.BytesType: TEXT,
    shapes.DateTimeType: TIME,
    shapes.DateType: "DATE",
    shapes.DecimalType: DECIMAL,
    shapes.FloatType: "DOUBLE",
    shapes.IntType: "BIGINT",
    shapes.StrType: TEXT,
    shapes.TimeDeltaType: TEXT,
    shapes.TimeType: TEXT,
    shapes.UUIDType: TEXT,
}


def _of_values(values: list[Any]) -> str:
    if all(isinstance(value, str) for value in values):
        return TEXT
    return "BIGINT" if all(type(value) is int for value in values) else JSON


def _struct(shape: shapes.StructType, open_: frozenset[type]) -> str:
    names = [field.encode_name for field in shape.fields]
    apart = len({name.lower() for name in names}) == len(names)
    omits = shape.cls.__struct_config__.omit_defaults
    if shape.cls in open_ or shape.array_like or shape.tag is not None or omits:
        return JSON
    if not names or not apart:
        return JSON
    inside = open_ | {shape.cls}
    parts = (f"{quoted(field.encode_name)} {_type(field.type, inside)}" for field in shape.fields)
    return f"STRUCT({', '.join(parts)})"


def _numbers(value: Any) -> Iterator[Decimal | int]:
    """The numbers in a value, at any depth."""
    if isinstance(value, Decimal | int):
        yield value
    elif isinstance(value, msgspec.Struct):
        yield from _numbers(msgspec.structs.astuple(value))
    elif isinstance(value, Mapping):
        yield from _numbers(value.values())
    elif isinstance(value, Iterable) and not isinstance(value, str | bytes):
        for one in value:
            yield from _numbers(one)


def document(value: Any, columns: Sequence[Column], sealed: Collection[str] = ()) -> str:
    """A record's value as JSON, times in UTC: DuckDB passes over what zone they are of.

    Without the fields that are `sealed`: none of them is in a column.
    """
    if sealed:
        value = {column.field: getattr(value, column.attribute) for column in columns}
    if any(TIME in column.type for column in columns):
        value = _utc(msgspec.to_builtins(value, builtin_types=(datetime,)))
    return ENCODER.encode(value).decode()


def _utc(value: Any) -> Any:
    if isinstance(value, datetime):
        return value if value.tzinfo is None else value.astimezone(UTC).replace(tzinfo=None)
    if isinstance(value, dict):
        return {key: _utc(one) for key, one in value.items()}
    return [_utc(one) for one in value] if isinstance(value, list) else value


def _size(number: Decimal) -> tuple[int, int]:
    """How many digits stand behind the point of a number, and how many before it."""
    _, digits, exponent = number.as_tuple()
    if not isinstance(exponent, int):
        return 0, 0
    text = "".join(map(str, digits)).rstrip("0")
    exponent += len(digits) - len(text)
    return max(0, -exponent), max(0, len(text) + exponent)
