"""Whatever is published, fails, is retried, discarded, restarted or redeployed: each event once.

A state machine drives a host; its model is what was published and what was discarded. Whenever all
has come to rest, each event has had its durable effect exactly once for every listener, or is on
that listener's failed list, or was discarded; and per subject effects come in the order of the
events.
"""

import asyncio
import copy
from collections import Counter

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from aegis.adapters.storage.memory import MemoryStore
from aegis.adapters.storage.sqlite import SqliteStore
from aegis.core.errors import ConflictError
from aegis.testing import memory_host
from tests.engine.shop import until

TEXT = """
from typing import Protocol
from aegis import Event, Model, adapter, command, config, emit, on

class Ear(Protocol):
    async def hear(self, listener: str, event: Event) -> None: ...

class Tube(Ear):
    def __init__(self, say: object = config("say")) -> None:
        self.say = say
    async def hear(self, listener: str, event: Event) -> None:
        await self.say(listener, event)

class Note(Model, endpoint="notes"):
    stars: int = 0
    @command(produces="note.starred")
    def star(self) -> "Note":
        return self.update(stars=self.stars + 1)

@on("note.starred", retries=1, backoff=0, breaker=False)
async def strict(event: Event, ear: Ear = adapter()) -> None:
    emit("strict.done", of=event.id)
    await ear.hear("strict", event)

@on("note.*", order="none", retries=0, breaker=False)
async def loose(event: Event, ear: Ear = adapter()) -> None:
    emit("loose.done", of=event.id)
    await ear.hear("loose", event)

@on("note.starred", when=lambda e: e.data["changed"]["stars"] % 2 == 1, retries=0, breaker=False)
async def odd(event: Event, ear: Ear = adapter()) -> None:
    emit("odd.done", of=event.id)
    await ear.hear("odd", event)

@on("note.starred", once=True, retries=0, breaker=False)
async def first(event: Event, ear: Ear = adapter()) -> None:
    emit("first.done", of=event.id)
    await ear.hear("first", event)
"""

LISTENERS = ("strict", "loose", "odd", "first")
NOTES = ("a", "b")


class Ear:
    """What the listeners tell; it raises for those that are `sick`, by listener and note."""

    def __init__(self):
        self.sick = set()

    async def __call__(self, listener, event):
        await asyncio.sleep(0)
        if (listener, event.subject) in self.sick:
            raise OSError("deaf")


class BrokerMachine(RuleBasedStateMachine):
    def __init__(self, store):
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.store = store
        self.ear = Ear()
        self.edition = 0
        self.discarded = set()  # (listener, event)
        self.live = False
        self.do(self.begin())

    def do(self, work):
        return self.loop.run_until_complete(asyncio.wait_for(work, 20))

    async def begin(self):
        self.context = memory_host(values={"say": self.ear}, store=self.store)
        self.host = await self.context.__aenter__()
        await self.deploy()
        if self.store.last_seq() == 0:
            for id in NOTES:
                await self.host.create("Note", id=id)

    async def deploy(self):
        self.edition += 1
        await self.host.deploy("notes", "1.0.0", f"{TEXT}\n# {self.edition}")
        self.live = True

    # --- what may happen

    @initialize(
        sick=st.sets(st.tuples(st.sampled_from(LISTENERS), st.sampled_from(NOTES)), min_size=5)
    )
    def some_are_sick(self, sick):
        self.ear.sick |= sick

    @rule(ids=st.lists(st.sampled_from(NOTES), min_size=1, max_size=5), waits=st.booleans())
    @precondition(lambda self: self.live)
    def publish(self, ids, waits):
        async def star():
            for id in ids:
                await self.host.call(await self.host.get("Note", id), "star")
            if waits:
                await self.settled()

        self.do(star())

    @rule(listeners=st.sets(st.sampled_from(LISTENERS), min_size=1), id=st.sampled_from(NOTES))
    def sicken(self, listeners, id):
        self.ear.sick |= {(listener, id) for listener in listeners}

    @rule(listener=st.sampled_from(LISTENERS))
    def heal(self, listener):
        self.ear.sick = {(one, id) for one, id in self.ear.sick if one != listener}

    @rule(listener=st.sampled_from(LISTENERS), number=st.integers(0, 9), heals=st.booleans())
    def retry(self, listener, number, heals):
        async def again():
            failed = await self.one(listener, number)
            if failed is None:
                return
            if heals:
                self.ear.sick.discard((listener, failed.subject))
                if self.live:  # what comes after it waits for it, healed or not
                    await self.host.call(await self.host.get("Note", failed.subject), "star")
                    await self.settled()
            before = await self.store.failed_of(failed.subscriber)
            if not self.live:
                with pytest.raises(ConflictError):
                    await self.host.retry(failed)
                return
            await self.host.retry(failed)
            after = await self.store.failed_of(failed.subscriber)
            line = [one for one in before if one.subject == failed.subject]
            if listener == "loose":
                line = [failed]
            left = {one.seq for one in after}
            if (listener, failed.subject) in self.ear.sick:
                assert left == {one.seq for one in before}
            else:
                assert left == {one.seq for one in before} - {one.seq for one in line}

        self.do(again())

    @rule(listener=st.sampled_from(LISTENERS), number=st.integers(0, 9))
    def discard(self, listener, number):
        async def discard():
            failed = await self.one(listener, number)
            if failed is not None:
                await self.host.discard(failed)
                self.discarded.add((listener, failed.event))

        self.do(discard())

    async def one(self, listener, number):
        """Something that a listener could not take, None when there is nothing."""
        if self.live:
            await self.settled()
        failed = await self.store.failed_of(f"notes:{listener}")
        return failed[number % len(failed)] if failed else None

    @rule()
    def redeploy(self):
        self.do(self.deploy())

    @rule()
    @precondition(lambda self: self.live)
    def undeploy(self):
        self.do(self.host.undeploy("notes"))
        self.live = False

    @rule()
    def restart(self):
        async def restart():
            await self.context.__aexit__(None, None, None)
            await self.begin()

        self.do(restart())

    @rule(turns=st.integers(0, 20))
    @precondition(lambda self: isinstance(self.store, MemoryStore))
    def crash(self, turns):
        async def crash():
            for _ in range(turns):
                await asyncio.sleep(0)
            stored = copy.deepcopy(self.store)  # all that a process which dies now has stored
            await self.context.__aexit__(None, None, None)
            self.store = stored
            await self.begin()

        self.do(crash())

    @rule()
    @precondition(lambda self: self.live)
    def rest(self):
        self.do(self.settled())

    # --- what must hold

    async def settled(self):
        await until(lambda: not any(one.lag for one in self.host.status().listeners))
        await self.check(whole=True)

    @invariant()
    def nothing_is_heard_twice_or_out_of_order(self):
        self.do(self.check(whole=False))

    async def check(self, *, whole):
        entries = await self.store.events(0, 100_000)
        failed = {
            (one.subscriber.partition(":")[2], one.event) for one in await self.store.failed()
        }
        notes = {entry.id: entry for entry in entries if entry.type.startswith("note.")}
        for listener in LISTENERS:
            done = [e for e in entries if e.type == f"{listener}.done"]
            heard = Counter(entry.cause for entry in done)
            assert set(heard.values()) <= {1}, f"{listener} heard an event twice"
            gone = {event for one, event in self.discarded if one == listener}
            parked = {event for one, event in failed if one == listener}
            assert not parked & set(heard), f"{listener} heard what is on its failed list"
            assert not gone & set(heard), f"{listener} heard what was discarded"
            if listener != "loose":
                for id in NOTES:
                    seqs = [notes[e.cause].seq for e in done if notes[e.cause].subject == id]
                    assert seqs == sorted(seqs), f"{listener} heard {id} out of order"
            if whole:
                self.check_held(listener, await self.store.failed_of(f"notes:{listener}"))
                found = set(heard) | parked | gone
                wanted = self.wanted(listener, notes)
                if listener == "first":
                    assert found == set(wanted[:1]) or not wanted
                else:
                    assert found == set(wanted), f"{listener} lost an event"

    def check_held(self, listener, parked):
        """Only an earlier failure of its subject holds an event."""
        failing = set()
        for one in parked:
            assert not one.held or one.subject in failing, f"nothing holds {one.seq} of {listener}"
            failing.add(one.subject)

    def wanted(self, listener, notes):
        """The ids of the events that a listener is to hear, in their order."""
        if listener == "loose":
            return list(notes)
        starred = [entry for entry in notes.values() if entry.type == "note.starred"]
        if listener == "odd":
            count = Counter()
            odd = []
            for entry in starred:
                count[entry.subject] += 1
                if count[entry.subject] % 2:
                    odd.append(entry)
            starred = odd
        return [entry.id for entry in starred]

    def teardown(self):
        async def end():
            if not self.live:
                await self.deploy()
            await self.settled()
            await self.context.__aexit__(None, None, None)

        try:
            self.do(end())
        finally:
            self.loop.close()


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_every_event_has_its_effect_once_whatever_happens(kind, tmp_path):
    numbers = iter(range(1_000_000))

    def machine():
        if kind == "memory":
            return BrokerMachine(MemoryStore())
        return BrokerMachine(SqliteStore(tmp_path / str(next(numbers))))

    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=50 if kind == "memory" else 8,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
