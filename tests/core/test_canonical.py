"""Equal values have one text, others have another: what unique fields and hashes go by."""

from datetime import datetime, timedelta, timezone
from decimal import Decimal

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from aegis.core.canonical import canonical
from aegis.core.column import Column
from aegis.core.component import ENCODER

NUMBERS = st.decimals(allow_nan=False, allow_infinity=False) | st.sampled_from(
    [Decimal(text) for text in ("0", "-0", "0.0", "1", "1.0", "1e0", "10", "1e1", "-1.50", "-1.5")]
)
ZONES = st.integers(-12, 12).map(lambda hours: timezone(timedelta(hours=hours)))
TIMES = st.datetimes(
    datetime(2000, 1, 1),  # noqa: DTZ001 -- the zone is drawn
    datetime(2000, 1, 3),  # noqa: DTZ001
    timezones=ZONES,
)


def text(column, value):
    return canonical(column, msgspec.json.decode(ENCODER.encode(value)))


@given(NUMBERS, NUMBERS)
def test_numbers(one, other):
    column = Column(Decimal, "number")
    assert (text(column, one) == text(column, other)) == (one == other)


@given(TIMES, TIMES, ZONES)
def test_times(one, other, zone):
    column = Column(datetime, "time")
    assert (text(column, one) == text(column, other)) == (one == other)
    assert text(column, one) == text(column, one.astimezone(zone))


@given(st.dictionaries(st.text(), st.integers()))
def test_objects_in_any_order(fields):
    column = Column(None, shape="other")
    assert text(column, fields) == text(column, dict(reversed(fields.items())))


def test_text_and_booleans_are_themselves():
    assert text(Column(str), "1.0") != text(Column(str), "1")
    assert text(Column(bool, "number"), True) != text(Column(int, "number"), 1)
