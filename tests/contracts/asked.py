"""Things to ask for: a model with every kind of field, records of it, and what can be asked."""

import datetime
import enum
import uuid
from decimal import Decimal
from typing import Literal

import msgspec
from hypothesis import strategies as st

from aegis import Model
from aegis.core.clause import all_of, any_of, not_
from aegis.core.column import columns_of
from aegis.core.component import ENCODER


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Place(msgspec.Struct):
    city: str = ""
    floor: int | None = None


class Thing(Model):
    name: str = ""
    note: str | None = None
    total: Decimal = Decimal(0)
    n: int = 0
    ratio: float | None = None
    paid: bool = False
    at: datetime.datetime | None = None
    day: datetime.date = datetime.date(2026, 1, 1)
    color: Color = Color.RED
    size: Literal["S", "M"] | None = None
    ref: uuid.UUID | None = None
    mixed: int | str | None = None
    tags: list[str] = []  # noqa: RUF012 -- a Model copies it
    marks: list[int] | None = None
    place: Place | None = None


COLUMNS = columns_of(Thing)

# Quotes and wildcards of SQL, what sorts apart in UTF-16, the ends of the planes, a NUL.
TEXT = st.text("aAbé%_'\"\\\0\ud7ff\ue000\U0001f600\U0010ffff", max_size=3)
ZONES = st.sampled_from([datetime.UTC, datetime.timezone(datetime.timedelta(hours=-7, minutes=30))])
TIMES = st.datetimes(
    datetime.datetime(2025, 12, 31, 23, 59, 58),  # noqa: DTZ001 -- the zone comes from ZONES
    datetime.datetime(2026, 1, 1, 0, 0, 2),  # noqa: DTZ001
    timezones=ZONES,
) | st.sampled_from(
    [
        datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC),
        datetime.datetime(2026, 1, 1, 2, tzinfo=datetime.timezone(datetime.timedelta(hours=2))),
        datetime.datetime(2026, 1, 1, 0, 0, 0, 999999, tzinfo=datetime.UTC),
    ]
)
VALUES = {
    "name": TEXT,
    "note": TEXT,
    "total": st.decimals(-100, 100, places=2) | st.sampled_from([Decimal("1.0"), Decimal("1E+1")]),
    "n": st.integers(-3, 3) | st.integers(-(10**15), 10**15) | st.just(2**70),
    "ratio": st.sampled_from([0.0, -0.0, 0.1, 1e-9, 2.5, 1e300]) | st.floats(-10, 10, width=16),
    "paid": st.booleans(),
    "at": TIMES,
    "day": st.dates(datetime.date(2025, 12, 30), datetime.date(2026, 1, 2)),
    "color": st.sampled_from(Color),
    "size": st.sampled_from(["S", "M"]),
    "ref": st.integers(0, 3).map(lambda n: uuid.UUID(int=n)),
    "mixed": st.integers(-2, 12) | st.sampled_from(["", "1", "12", "a"]),
    "place__city": TEXT,
    "place__floor": st.integers(-1, 2),
    "id": st.sampled_from(["00", "01", "05", "x"]),
    "_created": st.sampled_from(["2026-01-01", "2026-01-01T00:00:01Z"]) | TIMES,
}
NULLABLE = ("note", "ratio", "at", "size", "ref", "mixed", "place__floor", "place__city")
PARTS = ("name", "note", "color", "size", "mixed", "place__city", "_created", "id")
LISTS = {"tags": TEXT, "marks": st.integers(-1, 2)}


def _maybe(values):
    return st.none() | values


THINGS = st.builds(
    Thing,
    **{
        name: _maybe(values) if name in NULLABLE else values
        for name, values in VALUES.items()
        if name in Thing.__struct_fields__ and name != "id"
    },
    tags=st.lists(TEXT, max_size=2),
    marks=_maybe(st.lists(st.integers(-1, 2), max_size=2)),
    place=_maybe(st.builds(Place, TEXT, _maybe(st.integers(-1, 2)))),
)


def _compared(name):
    values = VALUES[name]
    null = _maybe(values) if name in NULLABLE else values
    asked = [
        st.tuples(st.sampled_from([name, f"{name}__eq", f"{name}__ne"]), null),
        st.tuples(st.sampled_from([f"{name}__{op}" for op in ("lt", "le", "gt", "ge")]), values),
        st.tuples(st.just(f"{name}__in"), st.lists(null, max_size=3)),
        st.tuples(st.just(f"{name}__exists"), st.booleans()),
    ]
    if name in PARTS:
        parts = TEXT | st.sampled_from(["1", "2026-01", "b", "0"])
        asked.append(st.tuples(st.sampled_from([f"{name}__prefix", f"{name}__contains"]), parts))
    return st.one_of(asked)


FIELD = st.one_of(
    st.sampled_from(sorted(VALUES)).flatmap(_compared),
    st.sampled_from(sorted(LISTS)).flatmap(
        lambda name: st.tuples(st.just(f"{name}__contains"), LISTS[name])
    ),
    st.tuples(st.sampled_from(["tags__exists", "marks__exists", "place__exists"]), st.booleans()),
)
FIELDS = st.lists(FIELD, min_size=1, max_size=2).map(dict)
CLAUSES = st.recursive(
    st.builds(lambda make, fields: make(**fields), st.sampled_from([all_of, any_of, not_]), FIELDS),
    lambda inner: st.builds(
        lambda make, parts: make(*parts),
        st.sampled_from([all_of, any_of, not_]),
        st.lists(inner, min_size=1, max_size=2),
    ),
    max_leaves=3,
)
SORTS = st.lists(
    st.builds(
        lambda name, sign: sign + name.replace("__", "."),
        st.sampled_from(sorted(VALUES)),
        st.sampled_from(["", "-"]),
    ),
    max_size=2,
).map(",".join)


def data_of(thing):
    """A thing as the fields of a stored record."""
    return msgspec.json.decode(ENCODER.encode(thing))


def _utc(second, microsecond=0, hours=0):
    zone = datetime.timezone(datetime.timedelta(hours=hours))
    return datetime.datetime(2026, 1, 1, hours, 0, second, microsecond, tzinfo=zone)


_WORDS = ["", "a", "A", "ab", "a\0b", "b", "é", "\ud7ff", "\ud7ffa", "\ue000", "\U0001f600"]
_WORDS += ["\U0010ffff", "\U0010ffffa", "%", "_", "'", '"', "\\"]
_MOMENTS = [_utc(0), _utc(0, 0, 2), _utc(0, 500), _utc(0, 1), _utc(0, 999_999, 7), _utc(1), None]
SAMPLES = [
    Thing(
        name=word,
        note=[None, *_WORDS][n % 7],
        total=[Decimal(9), Decimal(10), Decimal("9.50"), Decimal(-1), Decimal("9.5")][n % 5],
        n=[0, 2, 10, -1, 2**70][n % 5],
        ratio=[None, 0.5, -0.0, 0.0, 1e300][n % 5],
        paid=n % 2 == 0,
        at=_MOMENTS[n % 7],
        day=datetime.date(2026, 1, 1 + n % 3),
        color=[Color.RED, Color.BLUE][n % 2],
        size=["S", None, "M"][n % 3],
        ref=[uuid.UUID(int=n % 3), None][n % 2],
        mixed=[12, "12", None, 2, "1", ""][n % 6],
        tags=[[], ["a"], ["a\0b", "é"]][n % 3],
        marks=[None, [], [1, 2], [10]][n % 4],
        place=[None, Place("a"), Place("ab", 2), Place("", 0)][n % 4],
    )
    for n, word in enumerate(_WORDS)
]


def _values(name):
    found = []
    for thing in SAMPLES:
        value = thing
        for part in name.split("__"):
            value = getattr(value, part, None)
        found.append(value)
    return list({repr(value): value for value in found if value is not None}.values())


def every_condition():
    """Each operator of each field with each value that some sample has."""
    for name in VALUES:
        values = ["2026-01-01T00:00:01Z"] if name == "_created" else _values(name) or ["00", "05"]
        for value in values:
            for op in ("eq", "ne", "lt", "le", "gt", "ge"):
                yield {f"{name}__{op}": value}
            yield {f"{name}__in": [value, None]}
        yield {f"{name}__in": values[:2]}
        yield from ({name: None}, {f"{name}__ne": None}, {f"{name}__exists": True})
        for word in [*_WORDS, "1", "2026-01"] if name in PARTS else ():
            yield from ({f"{name}__prefix": word}, {f"{name}__contains": word})
    for name, values in {"tags": _WORDS, "marks": [1, 2, 10]}.items():
        yield {f"{name}__exists": True}
        yield from ({f"{name}__contains": value} for value in values)
