"""A durable listener hears each event once, in order; an ephemeral one may miss, and counts it."""

import asyncio

import pytest

from aegis.adapters.storage.memory import MemoryStore
from aegis.core.errors import StoreError
from aegis.testing import memory_host
from tests.engine.shop import until
from tests.fakes import FailingStore

EAR = """
from typing import Protocol
from aegis import Event, Model, adapter, command, config, emit, on

class Ear(Protocol):
    async def hear(self, type: str, subject: str | None) -> None: ...

class Tube(Ear):
    def __init__(self, say: object = config("say")) -> None:
        self.say = say
    async def hear(self, type: str, subject: str | None) -> None:
        await self.say(type, subject)

class Note(Model, endpoint="notes"):
    stars: int = 0
    @command(produces="note.starred")
    def star(self) -> "Note":
        return self.update(stars=self.stars + 1)

@on("note.*")
async def listen(event: Event, ear: Ear = adapter()) -> None:
    emit("ear.heard", what=event.id)
    await ear.hear(event.type, event.subject)
"""


class Log:
    """What a listener was told; `fails(type, subject, n)` makes the n-th telling of it raise."""

    def __init__(self):
        self.told = []
        self.asked = []
        self.fails = lambda type, subject, n: False

    async def __call__(self, type, subject):
        self.asked.append((type, subject))
        if self.fails(type, subject, self.asked.count((type, subject))):
            raise OSError("deaf")
        self.told.append((type, subject))


@pytest.fixture
def ear():
    return Log()


@pytest.fixture
async def notes(ear):
    async with memory_host(values={"say": ear}) as host:
        await host.deploy("notes", "1.0.0", EAR)
        yield host


async def test_a_listener_hears_every_event_once_and_in_order(notes, ear):
    made = [await notes.create("Note") for _ in range(300)]  # more than it reads ahead
    for note in made[:3]:
        await notes.call(note, "star")
    await until(lambda: len(ear.told) == 303)
    assert ear.told == [
        *(("note.created", note.id) for note in made),
        *(("note.starred", note.id) for note in made[:3]),
    ]
    await until(lambda: notes.store.last_seq() == 606)
    heard = [e.data["what"] for e in await notes.events("ear.heard", limit=1000)]
    assert len(set(heard)) == 303


async def test_a_listener_that_is_away_hears_what_it_missed_once_after_a_restart(ear):
    store = MemoryStore()
    async with memory_host(values={"say": ear}, store=store) as host:
        await host.deploy("notes", "1.0.0", EAR)
        first = await host.create("Note")
        await until(lambda: len(ear.told) == 1)
        await until(lambda: store.last_seq() == 2)
    async with memory_host(values={"say": ear}, store=store) as host:
        await host.deploy("notes", "1.0.0", EAR.replace('@on("note.*")', '@on("never.said")'))
        second = await host.create("Note")
        await host.deploy("notes", "1.0.0", EAR)
        third = await host.create("Note")
        await until(lambda: any(subject == third.id for _, subject in ear.told))
        await asyncio.sleep(0.01)
    told = [subject for _, subject in ear.told]
    assert told.count(first.id) == 1
    assert told.count(third.id) == 1
    assert told.count(second.id) <= 1


async def test_a_new_listener_hears_nothing_of_the_past(ear):
    async with memory_host(values={"say": ear}) as host:
        await host.deploy("notes", "1.0.0", EAR.replace('@on("note.*")', '@on("never.said")'))
        await host.create("Note")
        await host.deploy("notes", "1.0.0", EAR.replace("def listen(", "def listen_now("))
        second = await host.create("Note")
        await until(lambda: ear.told == [("note.created", second.id)])


async def test_a_failing_event_is_repeated_then_parked_and_holds_its_subject_only(notes, ear):
    sick, well = await notes.create("Note"), await notes.create("Note")
    await until(lambda: len(ear.told) == 2)
    ear.told.clear()
    ear.fails = lambda type, subject, n: subject == sick.id
    await notes.call(sick, "star")
    await notes.call(well, "star")
    await notes.call(sick, "star")
    await notes.call(well, "star")
    await until(lambda: len(ear.told) == 2)
    assert ear.told == [("note.starred", well.id)] * 2
    first, second = await notes.failed()
    assert (first.subject, first.held, first.attempts) == (sick.id, False, 4)
    assert (second.subject, second.held, second.attempts) == (sick.id, True, 0)
    assert "deaf" in first.error
    assert first.subscriber == "notes:listen"
    assert ear.asked.count(("note.starred", sick.id)) == 4


async def test_what_a_listener_emits_is_stored_with_its_progress_or_not_at_all(notes, ear):
    ear.fails = lambda type, subject, n: n < 3
    note = await notes.create("Note")
    await until(lambda: ear.told == [("note.created", note.id)])
    await until(lambda: notes.store.last_seq() == 2)
    (heard,) = await notes.events("ear.heard")
    (created,) = await notes.events("note.created")
    assert heard.data == {"what": created.id}
    assert heard.cause == created.id


async def test_a_listener_outlives_a_store_that_fails(ear):
    store = FailingStore()
    async with memory_host(values={"say": ear}, store=store) as host:
        await host.deploy("notes", "1.0.0", EAR)
        store.fail_next(9, skip=1)
        await host.create("Note")
        await until(lambda: store.asked >= 12)
        last = await host.create("Note")
        await until(lambda: ear.told and ear.told[-1] == ("note.created", last.id))
        assert store.last_seq() == 4
        assert len(await host.events("ear.heard")) == 2


async def test_a_listener_that_is_redeployed_goes_on_where_the_old_one_stopped(notes, ear):
    for n in range(20):
        await notes.create("Note")
        await notes.deploy("notes", "1.0.0", EAR + f"\n# {n}\n")
    await until(lambda: len(ear.told) == 20)
    await asyncio.sleep(0.01)
    assert len(set(ear.told)) == len(ear.told) == 20


async def test_a_subscription_that_is_full_drops_the_oldest_and_counts(notes):
    heard = notes.subscribe("note.created", limit=3)
    made = [await notes.create("Note") for _ in range(5)]
    heard.stop()
    assert [event.subject async for event in heard] == [note.id for note in made[2:]]
    assert heard.dropped == 2


async def test_a_subscription_hears_while_it_waits_and_ends_when_stopped(notes):
    heard = notes.subscribe("note.*")
    got = []

    async def listen():
        async for event in heard:
            got.append(event.subject)  # noqa: PERF401 -- it is looked at while it grows

    task = asyncio.ensure_future(listen())
    note = await notes.create("Note")
    await until(lambda: got == [note.id])
    heard.stop()
    await asyncio.wait_for(task, 1)


@pytest.mark.parametrize("k", range(3))
async def test_a_deploy_with_a_new_listener_is_one_commit(ear, k):
    store = FailingStore()
    async with memory_host(store=store, values={"say": ear}) as host:
        await host.deploy("notes", "1.0.0", EAR)
        text = EAR.replace("def listen(", "def listen_now(").replace(
            "stars: int = 0", "stars: int = 1"
        )
        store.fail_next(skip=k)
        if k == 0:
            with pytest.raises(StoreError):
                await host.deploy("notes", "1.0.0", text)
        else:
            await host.deploy("notes", "1.0.0", text)
        store.fails = lambda number: False
        assert (await host.create("Note")).stars == min(k, 1)
        await until(lambda: len(ear.told) == 1)


# --- what a listener says of what it hears


def listening(said, text=EAR):
    return text.replace('@on("note.*")', f"@on({said})")


async def test_a_listener_hears_only_what_its_condition_lets_through(ear):
    said = '"note.*", when=lambda event: event.data["changed"]["stars"] % 2 == 1'
    async with memory_host(values={"say": ear}) as host:
        await host.deploy("notes", "1.0.0", listening(said))
        note = await host.create("Note")
        for _ in range(4):
            await host.call(note, "star")
        await until(lambda: len(ear.told) == 2)
        last = await host.create("Note", stars=7)
        await until(lambda: ear.told[-1] == ("note.created", last.id))
        assert len(ear.told) == 3
        assert await host.failed() == []


async def test_a_condition_that_raises_is_a_failed_delivery_repeated_then_parked(ear):
    said = '"note.*", when=lambda event: event.data["no"] > 1, retries=2'
    async with memory_host(values={"say": ear}) as host:
        await host.deploy("notes", "1.0.0", listening(said))
        note = await host.create("Note")
        await host.call(note, "star")
        await until(lambda: host.monitor.status().failed == 2)
        first, second = await host.failed()
        assert (first.error, first.attempts, first.held) == ("KeyError: 'no'", 3, False)
        assert second.held
        assert ear.told == []
        # A condition that no longer raises takes them, or lets them go.
        said = '"note.*", when=lambda event: event.type == "note.starred"'
        await host.deploy("notes", "1.0.0", listening(said))
        await host.retry(first)
        assert ear.told == [("note.starred", note.id)]
        assert await host.failed() == []


async def test_with_no_order_a_parked_event_holds_nothing(ear):
    async with memory_host(values={"say": ear}) as host:
        await host.deploy("notes", "1.0.0", listening('"note.*", order="none", retries=0'))
        ear.fails = lambda type, subject, n: type == "note.created"
        note = await host.create("Note")
        await host.call(note, "star")
        await until(lambda: ear.told == [("note.starred", note.id)])
        (failed,) = await host.failed()
        assert (failed.what, failed.attempts) == ("note.created", 1)
        # When the order matters again, what is parked holds what comes.
        await host.deploy("notes", "1.0.0", listening('"note.*", retries=0'))
        await host.call(note, "star")
        await until(lambda: host.monitor.status().failed == 2)
        assert (await host.failed())[1].held


async def test_one_that_hears_once_hears_the_first_match_of_its_life(ear):
    store = MemoryStore()
    said = '"note.starred", once=True'
    for n in range(3):
        async with memory_host(values={"say": ear}, store=store) as host:
            await host.deploy("notes", "1.0.0", listening(said) + f"\n# {n}")
            note = await host.create("Note")
            await host.call(note, "star")
            await until(lambda: ear.told)
            await host.deploy("notes", "1.0.0", listening(said) + f"\n# again {n}")
            await host.call(note, "star")
            await host.deploy("notes", "1.0.0", listening('"note.created", once=True'))
            await host.create("Note")
    assert len(ear.told) == 1


async def test_one_event_that_was_parked_is_the_one_that_is_heard_once(ear):
    store = MemoryStore()
    async with memory_host(values={"say": ear}, store=store) as host:
        await host.deploy("notes", "1.0.0", listening('"note.*", once=True, retries=0'))
        ear.fails = lambda type, subject, n: True
        first = await host.create("Note")
        await until(lambda: host.monitor.status().failed == 1)
        ear.fails = lambda type, subject, n: False
        await host.create("Note")
    async with memory_host(values={"say": ear}, store=store) as host:
        await host.deploy("notes", "1.0.0", listening('"note.*", once=True, retries=0'))
        await host.create("Note")
        (failed,) = await host.failed()
        await host.retry(failed)
        assert ear.told == [("note.created", first.id)]
        await host.create("Note")
        await asyncio.sleep(0.01)
        assert len(ear.told) == 1


async def test_a_listener_has_the_policy_that_it_says(ear):
    async with memory_host(values={"say": ear}) as host:
        said = '"note.*", timeout=0.01, retries=1, backoff=3, breaker=False'
        await host.deploy("notes", "1.0.0", listening(said))
        never = asyncio.Event()

        async def stuck(self, type, subject):
            await never.wait()

        ear.__class__ = type("StuckLog", (Log,), {"__call__": stuck})
        await host.create("Note")
        await until(lambda: host.monitor.status().failed == 1)
        (failed,) = await host.failed()
        assert failed.attempts == 2
        assert "gave no answer within 0.01 s" in failed.error
        assert 3 in host.clock.slept
