"""Time and ids: the form of a stamp, and ids that rise and are never given out twice."""

import os
import re
import time
import uuid
from datetime import UTC

import pytest

from aegis.adapters.clock import SystemClock


def test_an_id_is_a_uuid_of_version_7_that_tells_its_time():
    before = time.time_ns() // 1_000_000
    id = uuid.UUID(SystemClock().id())
    assert (id.version, id.variant) == (7, uuid.RFC_4122)
    assert before <= id.int >> 80 <= time.time_ns() // 1_000_000


def test_ids_rise_within_and_across_milliseconds():
    clock = SystemClock()
    ids = [clock.id() for _ in range(20_000)]
    assert ids == sorted(set(ids))
    assert {(uuid.UUID(id).version, uuid.UUID(id).variant) for id in ids} == {(7, uuid.RFC_4122)}


def test_ids_rise_while_the_wall_clock_is_set_back(monkeypatch):
    clock = SystemClock()
    first = clock.id()
    monkeypatch.setattr(time, "time_ns", lambda: 0)
    ids = [first, *(clock.id() for _ in range(100))]
    assert ids == sorted(set(ids))


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_forked_child_gives_other_ids_than_its_parent(monkeypatch):
    clock = SystemClock()
    now = time.time_ns()
    monkeypatch.setattr(time, "time_ns", lambda: now)
    first = clock.id()
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.write(writing, clock.id().encode())
        os._exit(0)
    os.waitpid(child, 0)
    its, mine = os.read(reading, 36).decode(), clock.id()
    os.close(reading)
    os.close(writing)
    assert len({first, its, mine}) == 3
    assert min(its, mine) > first


def test_a_stamp_is_utc_with_milliseconds(monkeypatch):
    clock = SystemClock()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", clock.stamp())
    for nanoseconds, text in [
        (0, "1970-01-01T00:00:00.000Z"),
        (999_999_999, "1970-01-01T00:00:00.999Z"),
        (1_700_000_000_042_000_000, "2023-11-14T22:13:20.042Z"),
    ]:
        monkeypatch.setattr(time, "time_ns", lambda: nanoseconds)  # noqa: B023 -- asked at once
        assert clock.stamp() == text


async def test_now_is_utc_and_sleeping_takes_its_time():
    clock = SystemClock()
    assert clock.now().tzinfo is UTC
    before = time.monotonic()
    await clock.sleep(0.01)
    assert time.monotonic() - before >= 0.009
