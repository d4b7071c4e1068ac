"""A schedule fires once for each of its times, by what is stored, while its component is live."""

import asyncio
from datetime import timedelta

import pytest

from aegis.adapters.storage.memory import MemoryStore
from aegis.core.errors import ComponentError
from aegis.testing import memory_host
from tests.engine.shop import until
from tests.engine.test_broker import Log
from tests.fakes import FailingStore, SteppedClock

BELL = """
from typing import Protocol
from aegis import Event, adapter, config, emit, on

class Ear(Protocol):
    async def hear(self, type: str, subject: str | None) -> None: ...

class Tube(Ear):
    def __init__(self, say: object = config("say")) -> None:
        self.say = say
    async def hear(self, type: str, subject: str | None) -> None:
        await self.say(type, subject)

@on(every=60, retries=1, backoff=0)
async def ring(event: Event, ear: Ear = adapter()) -> None:
    emit("bell.rung", at=event.data["at"])
    await ear.hear(event.data["at"], event.subject)
"""


@pytest.fixture
def ear():
    return Log()


@pytest.fixture
def clock():
    return SteppedClock()


@pytest.fixture
def store():
    return MemoryStore()


def host_of(ear, clock, store):
    return memory_host(values={"say": ear}, clock=clock, store=store)


@pytest.fixture
async def bell(ear, clock, store):
    async with host_of(ear, clock, store) as host:
        await host.deploy("bell", "1.0.0", BELL)
        yield host


def at(clock, minutes):
    return (clock.now() + timedelta(minutes=minutes)).isoformat(timespec="minutes")[11:16]


def times(ear):
    """What was rung, as hours and minutes."""
    return [type[11:16] for type, _ in ear.told]


async def asleep(clock):
    """Wait until a schedule waits for its next time."""
    await until(lambda: clock.sleeping)


async def fired(host):
    return len(await host.events("schedule.fired", limit=1000))


async def test_it_fires_after_each_period_the_first_time_one_after_the_deploy(bell, ear, clock):
    await asleep(clock)
    clock.advance(59)
    await asyncio.sleep(0)
    assert await fired(bell) == 0
    clock.advance(1)
    await until(lambda: times(ear) == ["00:01"])
    assert ear.told[0][1] == "bell.ring"
    await asleep(clock)
    clock.advance(60)
    await until(lambda: times(ear) == ["00:01", "00:02"])
    (first, _) = await bell.events("bell.rung")
    (event, _) = await bell.events("schedule.fired")
    assert first.cause == event.id
    assert event.data == {"at": "2026-03-01T00:01:00.000Z"}


async def test_a_firing_that_fails_is_repeated_parked_and_tried_again(bell, ear, clock):
    await asleep(clock)
    ear.fails = lambda type, subject, n: True
    clock.advance(60)
    await until(lambda: bell.monitor.status().failed == 1)
    (failed,) = await bell.failed()
    assert (failed.what, failed.subject, failed.attempts) == ("schedule.fired", "bell.ring", 2)
    ear.fails = lambda type, subject, n: False
    assert await bell.retry(failed) == "1 event taken"
    assert times(ear) == ["00:01"]
    assert len(await bell.events("bell.rung")) == 1


async def test_times_that_were_missed_are_one_firing_of_the_latest(ear, clock, store):
    async with host_of(ear, clock, store) as host:
        await host.deploy("bell", "1.0.0", BELL)
        await asleep(clock)
        clock.advance(60)
        await until(lambda: times(ear) == ["00:01"])
    clock.advance(3600)
    async with host_of(ear, clock, store) as host:
        await host.deploy("bell", "1.0.0", BELL)
        await until(lambda: times(ear) == ["00:01", "01:01"])
        await asleep(clock)
        clock.advance(59)
        await asyncio.sleep(0)
        clock.advance(1)
        await until(lambda: times(ear) == ["00:01", "01:01", "01:02"])
        assert await fired(host) == 3


async def test_a_swap_neither_repeats_nor_skips_a_time(bell, ear, clock):
    for n in range(5):
        await asleep(clock)
        clock.advance(30)
        await bell.deploy("bell", "1.0.0", f"{BELL}\n# {n}")
        await asleep(clock)
        clock.advance(30)
        await until(lambda n=n: len(times(ear)) == n + 1)
    assert times(ear) == [f"00:0{n}" for n in range(1, 6)]
    assert await fired(bell) == 5


async def test_another_schedule_counts_from_when_it_was_deployed(bell, ear, clock):
    await asleep(clock)
    clock.advance(50)
    await bell.deploy("bell", "1.0.0", BELL.replace("every=60", "every=20"))
    await asleep(clock)
    assert await fired(bell) == 0
    clock.advance(20)
    await until(lambda: [type[14:19] for type, _ in ear.told] == ["01:10"])


async def test_nothing_is_fired_of_a_component_that_is_not_live(bell, ear, clock):
    await asleep(clock)
    await bell.undeploy("bell")
    await until(lambda: not clock.sleeping)
    clock.advance(600)
    await asyncio.sleep(0.01)
    assert await fired(bell) == 0


async def test_a_firing_that_the_store_refused_comes_when_it_does_not(ear, clock):
    store = FailingStore()
    async with host_of(ear, clock, store) as host:
        await host.deploy("bell", "1.0.0", BELL)
        await asleep(clock)
        store.fail_next()
        clock.advance(60)
        await until(lambda: not store.fails(store.asked + 1))
        await asleep(clock)
        clock.advance(1)
        await until(lambda: times(ear) == ["00:01"])
        assert await fired(host) == 1


async def test_a_crash_between_firing_and_hearing_loses_nothing(ear, clock, store):
    async with host_of(ear, clock, store) as host:
        await host.deploy("bell", "1.0.0", BELL)
        await asleep(clock)
        never = asyncio.Event()

        async def stuck(self, type, subject):
            await never.wait()

        ear.__class__ = type("StuckLog", (Log,), {"__call__": stuck})
        clock.advance(60)
        await until(lambda: store.last_seq() == 1)
    ear.__class__ = Log
    async with host_of(ear, clock, store) as host:
        await host.deploy("bell", "1.0.0", BELL)
        await until(lambda: times(ear) == ["00:01"])
        assert await fired(host) == 1


async def test_cron_fires_by_the_clock_on_the_wall(ear, clock, store):
    text = BELL.replace("every=60", "cron='0 3 * * *', tz='Europe/Berlin'")
    async with host_of(ear, clock, store) as host:
        await host.deploy("bell", "1.0.0", text)
        await asleep(clock)
        clock.advance(2 * 3600)
        await until(lambda: times(ear) == ["02:00"])
        await asleep(clock)
        clock.advance(24 * 3600)
        await until(lambda: times(ear) == ["02:00", "02:00"])


async def test_one_that_hears_once_is_fired_once_also_over_a_restart(ear, clock, store):
    text = BELL.replace("every=60", "every=60, once=True")
    for n in range(3):
        async with host_of(ear, clock, store) as host:
            await host.deploy("bell", "1.0.0", f"{text}\n# {n}")
            clock.advance(300)
            await until(lambda: len(ear.told) == 1)
            clock.advance(300)
            await asyncio.sleep(0.01)
            assert await fired(host) == 1
    assert len(ear.told) == 1


async def test_other_listeners_may_hear_what_is_fired(bell, ear, clock):
    await bell.deploy("other", "1.0.0", BELL.replace("every=60", '"schedule.*"'))
    await asleep(clock)
    clock.advance(60)
    await until(lambda: len(ear.told) == 2)
    assert {subject for _, subject in ear.told} == {"bell.ring"}


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("every=0", "above 0 seconds"),
        ("cron='soon'", "minute hour day"),
        ("cron='0 3 * * *', tz='Europe/Berln'", "did you mean 'Europe/Berlin'"),
        ("every=5, cron='0 3 * * *'", "not both"),
        ("'note.created', every=5", "event names or a schedule"),
        ("", "at least one event name"),
        ("'note.created', order='some'", "'subject' or 'none'"),
        ("'note.created', retries=-1", "retries must be 0 or more"),
    ],
)
async def test_a_bad_schedule_is_refused_with_its_line_and_nothing_changes(bell, said, expected):
    text = BELL.replace("every=60, retries=1, backoff=0", said)
    with pytest.raises(ComponentError, match=expected) as refused:
        await bell.deploy("bell", "2.0.0", text)
    assert refused.value.fields["line"] == text[: text.index("@on(")].count("\n") + 1
    assert bell.engine.registry.live["bell"].version == "1.0.0"


async def test_the_graph_says_when_a_listener_is_due(bell):
    (node,) = [node for node in bell.graph().nodes if node.kind == "listener"]
    assert "every 60 s" in node.detail
