"""A durable listener hears each event once, in order; an ephemeral one may miss, and counts it."""

import asyncio

import pytest

from aegis.adapters.storage.memory import MemoryStore
from aegis.core.errors import StoreError, TooLargeError
from aegis.engine.broker import READ_AHEAD
from aegis.engine.ledger import MAX_EVENT
from aegis.engine.listener import BEHIND, PATIENCE, TOGETHER
from aegis.testing import memory_host
from tests.engine.shop import until
from tests.fakes import FailingStore, GatedStore, SteppedClock

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


# --- what a durable listener promises


class Slow(Log):
    """A log that tells nobody anything until its gate is open."""

    def __init__(self):
        super().__init__()
        self.gate = asyncio.Event()

    async def __call__(self, type, subject):
        await self.gate.wait()
        await super().__call__(type, subject)


async def test_a_slow_listener_drops_nothing_and_says_how_far_behind_it_is():
    ear = Slow()
    async with memory_host(values={"say": ear}) as host:
        await host.deploy("notes", "1.0.0", listening('"note.*", timeout=3600'))
        assert [(one.name, one.lag) for one in host.status().listeners] == [("notes:listen", 0)]
        made = [await host.create("Note") for _ in range(3 * READ_AHEAD)]
        assert host.status().listeners[0].lag == len(made)
        ear.gate.set()
        await until(lambda: host.status().listeners[0].lag == 0)
        assert ear.told == [("note.created", note.id) for note in made]


async def test_a_listener_that_stays_far_behind_is_a_problem_until_it_has_caught_up():
    ear, clock = Slow(), SteppedClock()
    async with memory_host(values={"say": ear}, clock=clock) as host:
        await host.deploy("notes", "1.0.0", listening('"note.*", timeout=3600'))
        made = [await host.create("Note") for _ in range(BEHIND + 2)]
        await until(lambda: clock.sleeping)
        assert host.status().problems == ()
        clock.advance(PATIENCE)
        await until(lambda: host.status().problems)
        (problem,) = host.status().problems
        assert problem.startswith(f"the listener notes:listen is {len(made)} events behind")
        ear.gate.set()
        await until(lambda: len(ear.told) == len(made))
        await until(lambda: host.status().problems == ())


async def test_a_listener_far_behind_that_is_gone_is_no_problem_any_more():
    ear, clock = Slow(), SteppedClock()
    async with memory_host(values={"say": ear}, clock=clock) as host:
        await host.deploy("notes", "1.0.0", listening('"note.*", timeout=3600'))
        for _ in range(BEHIND + 2):
            await host.create("Note")
        await until(lambda: clock.sleeping)
        clock.advance(PATIENCE)
        await until(lambda: host.status().problems)
        await host.undeploy("notes")
        assert host.status().problems == ()


async def test_events_that_are_not_for_a_listener_do_not_wake_it_and_are_left_behind(
    ear, monkeypatch
):
    monkeypatch.setattr("aegis.engine.listener.CHECKPOINT", 10)
    store = MemoryStore()
    async with memory_host(values={"say": ear}, store=store) as host:
        await host.deploy("notes", "1.0.0", listening('"note.starred"'))
        note = await host.create("Note")
        for _ in range(24):
            await host.create("Note")
        # It does not read them all again after a restart.
        await until(lambda: store._cursors["notes:listen"] >= 20)
        await host.call(note, "star")
        await until(lambda: ear.told == [("note.starred", note.id)])


async def test_a_listener_that_is_replaced_while_its_commit_is_under_way_hears_it_once(ear):
    store = GatedStore()
    async with memory_host(values={"say": ear}, store=store) as host:
        await host.deploy("notes", "1.0.0", EAR)
        store.holds = lambda commit: any(e.type == "ear.heard" for e in commit.events)
        note = await host.create("Note")
        await asyncio.wait_for(store.held.wait(), 5)
        going = asyncio.create_task(host.undeploy("notes"))
        await asyncio.sleep(0.01)
        assert not going.done()
        store.gate.set()
        await going
        await host.deploy("notes", "1.0.0", EAR)
        await host.call(note, "star")
        await until(lambda: ear.told and ear.told[-1][0] == "note.starred")
        assert ear.told == [("note.created", note.id), ("note.starred", note.id)]
        await until(lambda: host.status().listeners[0].lag == 0)
        assert len(await host.events("ear.heard")) == 2


# --- events that are no good, or nobody's

SHOUT = """
from aegis import Event, Model, command, emit, on, port

class Horn(Model, endpoint="horns"):
    text: str = ""
    loud: int = 0
    @command
    def blow(self, size: int) -> "Horn":
        emit("horn.blown", what="x" * size)
        return self.update(loud=self.loud + 1)
    @port(consumes="horn.tuned", produces="horn.played", retries=0)
    def play(self) -> "Horn":
        return self.update(text="x" * 3_000_000)
    @command(produces="horn.tuned")
    def tune(self) -> "Horn":
        return self.update(loud=-1)

@on("horn.created", retries=0)
def echo(event: Event) -> None:
    emit("echo.heard", event.subject, what="x" * 3_000_000)
"""


@pytest.fixture
async def horns():
    async with memory_host() as host:
        await host.deploy("horns", "1.0.0", SHOUT)
        yield host


async def test_an_event_that_nobody_hears_is_kept_and_does_no_harm(horns):
    horn = await horns.create("Horn")
    await horns.call(horn, "blow", size=10)
    (blown,) = await horns.events("horn.blown")
    assert blown.data == {"what": "x" * 10}
    assert horns.status().flows_open == 0


async def test_an_event_too_large_is_refused_by_type_and_size_with_all_that_came_with_it(horns):
    horn = await horns.create("Horn")
    await horns.call(horn, "blow", size=MAX_EVENT - 1000)
    before = horns.store.last_seq()
    with pytest.raises(TooLargeError, match=r"horn.blown of '.*' is 2,097,\d\d\d bytes long"):
        await horns.call(horn, "blow", size=MAX_EVENT)
    assert (await horns.get("Horn", horn.id)).loud == 1
    assert horns.store.last_seq() == before


async def test_a_listener_whose_event_is_too_large_has_failed(horns):
    await horns.create("Horn")
    await until(lambda: horns.monitor.status().failed == 1)
    (failed,) = await horns.failed()
    assert "TooLargeError: the event echo.heard" in failed.error
    assert await horns.events("echo.heard") == []


async def test_a_step_whose_event_is_too_large_fails_and_its_flow_ends(horns):
    horn = await horns.create("Horn")
    await horns.call(horn, "tune")
    flow = await horns.wait(horn, 5)
    assert flow.state == "compensated"
    assert "the event horn.played" in flow.error
    assert (await horns.get("Horn", horn.id)).text == ""


async def test_an_error_of_any_length_fits_the_failed_list(ear):
    async with memory_host(values={"say": ear}) as host:

        async def wordy(self, type, subject):
            raise OSError("x" * 3_000_000)

        ear.__class__ = type("WordyLog", (Log,), {"__call__": wordy})
        await host.deploy("notes", "1.0.0", listening('"note.*", retries=0'))
        await host.create("Note")
        await until(lambda: host.monitor.status().failed == 1)
        (failed,) = await host.failed()
        assert len(failed.error) < 5000
        assert failed.error.endswith("(3,000,009 characters)")


async def test_where_the_order_does_not_matter_some_are_taken_at_a_time_and_each_once():
    ear, let_go = Log(), asyncio.Semaphore(0)
    async with memory_host(values={"say": ear}) as host:
        await host.deploy("notes", "1.0.0", listening('"note.*", order="none", timeout=3600'))
        under_way, most = 0, 0

        async def count(self, type, subject):
            nonlocal under_way, most
            under_way += 1
            most = max(most, under_way)
            try:
                await let_go.acquire()
                await Log.__call__(self, type, subject)
            finally:
                under_way -= 1

        ear.__class__ = type("CountingLog", (Log,), {"__call__": count})
        ear.fails = lambda type, subject, n: subject == made[20].id
        made = [await host.create("Note") for _ in range(3 * TOGETHER)]
        await until(lambda: under_way == 1)
        let_go.release()  # the first one came alone
        await until(lambda: under_way == TOGETHER)
        for _ in range(4 * TOGETHER):
            let_go.release()
        await until(lambda: host.status().listeners[0].lag == 0)
        assert most == TOGETHER
        # What they did is stored in the order of the events.
        heard = [event.cause for event in await host.events("ear.heard", limit=1000)]
        created = await host.events("note.created", limit=1000)
        assert heard == [event.id for event in created if event.subject != made[20].id]
        (failed,) = await host.failed()
        assert (failed.subject, failed.attempts) == (made[20].id, 4)


async def test_some_at_a_time_are_taken_once_although_the_store_fails():
    ear, store = Log(), FailingStore()
    async with memory_host(values={"say": ear}, store=store) as host:
        await host.deploy("notes", "1.0.0", listening('"note.*", order="none"'))
        slow = Slow()
        ear.__class__, ear.gate = Slow, slow.gate
        for _ in range(TOGETHER):
            await host.create("Note")
        store.fail_next(skip=5)
        ear.gate.set()
        await until(lambda: host.status().listeners[0].lag == 0)
        heard = [event.cause for event in await host.events("ear.heard", limit=1000)]
        created = await host.events("note.created", limit=1000)
        assert heard == [event.id for event in created]
        assert await host.failed() == []
