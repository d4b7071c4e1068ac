"""The clock that tests set forward wakes whom it should, in order, and nobody else."""

import asyncio
from datetime import timedelta

from tests.engine.shop import until
from tests.fakes import SteppedClock


async def test_a_stepped_clock_wakes_those_whose_time_has_come_the_earliest_first():
    clock, woken = SteppedClock(), []
    start = clock.now()

    async def sleeper(name, seconds):
        await clock.sleep(seconds)
        woken.append((name, (clock.now() - start).total_seconds()))

    tasks = [asyncio.ensure_future(sleeper(n, s)) for n, s in (("late", 9), ("b", 5), ("a", 2))]
    await until(lambda: len(clock.sleeping) == 3)
    clock.advance(1)
    await asyncio.sleep(0)
    assert woken == []
    clock.advance(5)
    await until(lambda: len(woken) == 2)
    assert woken == [("a", 6.0), ("b", 6.0)]
    assert clock.sleeping == [start + timedelta(seconds=9)]
    tasks[0].cancel()
    await asyncio.wait(tasks)
    assert clock.sleeping == []
    assert clock.stamp() == "2026-03-01T00:00:06.000Z"
