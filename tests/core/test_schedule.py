"""When a schedule is due: never twice, never in the past, and what it refuses."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aegis.core.errors import InvalidError
from aegis.core.schedule import Schedule

LINES = ["* * * * *", "0 3 * * *", "30 2 * * *", "*/7 1-4 * * *", "0 0 1 * *", "15 2 * * SUN"]
TIMES = st.datetimes(
    datetime(2026, 1, 1),  # noqa: DTZ001 -- the strategy adds the zone
    datetime(2027, 1, 1),  # noqa: DTZ001
    timezones=st.just(UTC),
)


def utc(text):
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def test_every_counts_from_where_it_began_and_finds_the_latest_that_passed():
    every = Schedule.of(every=60)
    start = utc("2026-03-01T00:00:30")
    assert every.next(start) == utc("2026-03-01T00:01:30")
    assert every.latest(start, utc("2026-03-01T00:01:29")) is None
    assert every.latest(start, utc("2026-03-01T00:01:30")) == utc("2026-03-01T00:01:30")
    assert every.latest(start, utc("2026-03-02T00:00:00")) == utc("2026-03-01T23:59:30")


def test_cron_goes_by_the_clock_on_the_wall_of_its_zone():
    cron = Schedule.of(cron="0 3 * * *", tz="Europe/Berlin")
    assert cron.next(utc("2026-03-28T00:00")) == utc("2026-03-28T02:00")
    assert cron.next(utc("2026-03-28T12:00")) == utc("2026-03-29T01:00")  # summer time began


def test_a_time_that_the_clock_jumps_over_is_not_left_out():
    cron = Schedule.of(cron="30 2 * * *", tz="Europe/Berlin")
    assert cron.next(utc("2026-03-28T12:00")) == utc("2026-03-29T01:00")
    assert cron.next(utc("2026-03-29T01:00")) == utc("2026-03-30T00:30")


def test_a_time_that_comes_twice_is_one():
    cron = Schedule.of(cron="30 2 * * *", tz="Europe/Berlin")
    first = cron.next(utc("2026-10-24T12:00"))
    assert first == utc("2026-10-25T00:30")
    assert cron.next(first) == utc("2026-10-26T01:30")
    # Begun in the second of the two hours, it is over for today.
    assert cron.next(utc("2026-10-25T01:10")) == utc("2026-10-26T01:30")


@given(st.sampled_from(LINES), st.sampled_from(["UTC", "Europe/Berlin"]), TIMES, st.floats(0, 9e5))
def test_the_latest_time_is_past_the_last_and_not_past_now(line, tz, last, passed):
    cron = Schedule.of(cron=line, tz=tz)
    now = last + timedelta(seconds=passed)
    found = cron.latest(last, now)
    if found is None:
        assert cron.next(last) > now
    else:
        assert last < found <= now
        assert cron.next(found) > now or cron.next(found) > found


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"every": 0}, "above 0 seconds"),
        ({"every": -3}, "above 0 seconds"),
        ({"every": float("nan")}, "above 0 seconds"),
        ({"every": float("inf")}, "above 0 seconds"),
        ({"cron": "soon"}, "minute hour day"),
        ({"cron": ""}, "minute hour day"),
        ({"cron": "61 * * * *"}, "Bad minute"),
        ({"cron": "0 0 30 2 *"}, "Bad day"),
        ({"cron": "0 3 * * *", "tz": "Europe/Berln"}, "did you mean 'Europe/Berlin'"),
        ({"cron": "0 3 * * *", "tz": "../../etc/passwd"}, "no time zone"),
        ({"cron": "0 3 * * *", "tz": ""}, "no time zone"),
        ({"tz": "UTC"}, "belongs to cron"),
        ({"every": 5, "tz": "UTC"}, "belongs to cron"),
        ({"every": 5, "cron": "0 3 * * *"}, "not both"),
    ],
)
def test_what_is_no_schedule_is_refused_with_the_likely_fix(said, expected):
    with pytest.raises(InvalidError, match=expected):
        Schedule.of(**said)
