"""Who hears events only while they happen: bounded, by a named policy, and never in the way."""

import asyncio
import logging

import pytest

from aegis.core.errors import ClosedError, ExpectedError, InvalidError, OverrunError
from aegis.testing import memory_host
from tests.engine.shop import TEXT, until

NOTE = """
from aegis import Model, command

class Note(Model, endpoint="notes"):
    stars: int = 0
    @command(produces="note.starred")
    def star(self) -> "Note":
        return self.update(stars=self.stars + 1)
"""


@pytest.fixture
async def notes():
    async with memory_host() as host:
        await host.deploy("notes", "1.0.0", NOTE)
        yield host


async def test_a_full_subscription_may_drop_the_newest(notes):
    heard = notes.subscribe("note.created", limit=2, overflow="drop-newest")
    made = [await notes.create("Note") for _ in range(5)]
    heard.stop()
    assert [event.subject async for event in heard] == [note.id for note in made[:2]]
    assert heard.dropped == 3


async def test_a_full_subscription_may_end_and_says_so_after_what_it_holds(notes):
    heard = notes.subscribe("note.created", limit=2, overflow="end")
    made = [await notes.create("Note") for _ in range(5)]
    got = aiter(heard)
    assert [(await anext(got)).subject for _ in range(2)] == [note.id for note in made[:2]]
    with pytest.raises(OverrunError, match="more than 2 events"):
        await anext(got)


async def test_a_subscription_hears_what_its_condition_lets_through(notes, caplog):
    heard = notes.subscribe("note.*", when=lambda event: event.data["changed"]["stars"] > 1)
    broken = notes.subscribe("note.*", when=lambda event: event.data["no"])
    note = await notes.create("Note")
    for _ in range(3):
        await notes.call(note, "star")
    heard.stop()
    broken.stop()
    assert [event.data["changed"]["stars"] async for event in heard] == [2, 3]
    assert [event async for event in broken] == []
    assert "the condition of the subscription to 'note.*' raised" in caplog.text


async def test_a_subscription_to_one_event_ends_with_it(notes):
    heard = notes.subscribe("note.*", once=True)
    note = await notes.create("Note")
    await notes.call(note, "star")
    assert [event.type async for event in heard] == ["note.created"]


@pytest.mark.parametrize(
    "options", [{"overflow": "block"}, {"limit": 0}], ids=["policy", "no room"]
)
async def test_a_subscription_without_a_known_policy_or_room_is_refused(notes, options):
    with pytest.raises(InvalidError):
        notes.subscribe("*", **options)


async def test_the_next_event_is_awaited(notes):
    waiting = asyncio.ensure_future(
        notes.expect("note.*", when=lambda event: event.type == "note.starred", timeout=5)
    )
    await asyncio.sleep(0)
    note = await notes.create("Note")
    await notes.call(note, "star")
    await notes.call(note, "star")
    event = await waiting
    assert (event.type, event.data["changed"]) == ("note.starred", {"stars": 1})


async def test_an_event_that_does_not_come_is_an_error_that_says_so(notes):
    with pytest.raises(ExpectedError, match=r"no event 'note.starred' came within 0\.01 s"):
        await notes.expect("note.starred", timeout=0.01)


async def test_a_condition_of_who_waits_raises_there(notes):
    waiting = asyncio.ensure_future(notes.expect(when=lambda event: event.data["no"]))
    await asyncio.sleep(0)
    await notes.create("Note")
    with pytest.raises(KeyError):
        await waiting


async def test_who_waits_for_an_event_is_told_when_the_host_closes():
    async with memory_host() as host:
        waiting = asyncio.ensure_future(host.expect("never.comes"))
        await asyncio.sleep(0)
    with pytest.raises(ClosedError):
        await waiting


async def test_inline_listeners_are_called_in_order_before_the_call_that_made_the_event_returns(
    notes,
):
    heard = []
    notes.listen("note.*", lambda event: heard.append(("glob", event.type)))
    one = notes.listen("note.created", lambda event: heard.append(("name", event.type)))
    note = await notes.create("Note")
    assert heard == [("glob", "note.created"), ("name", "note.created")]
    one.stop()
    one.stop()
    await notes.call(note, "star")
    await notes.create("Note")
    assert heard[2:] == [("glob", "note.starred"), ("glob", "note.created")]


async def test_an_inline_listener_that_raises_is_named_and_hurts_nobody(notes, caplog):
    heard = []

    def grumble(event):
        raise OSError("no")

    notes.listen("*", grumble)
    notes.listen("*", lambda event: heard.append(event.type))
    with caplog.at_level(logging.ERROR):
        await notes.create("Note")
    assert heard == ["note.created"]
    assert "grumble" in caplog.text
    assert "note.created" in caplog.text


async def test_an_inline_listener_may_stop_itself_and_begin_others(notes):
    heard = []

    def first(event):
        heard.append("first")
        me.stop()
        notes.listen("*", lambda event: heard.append("second"))

    me = notes.listen("*", first)
    await notes.create("Note")
    await notes.create("Note")
    assert heard == ["first", "second"]


async def test_an_inline_listener_is_no_coroutine(notes):
    async def hear(event):
        """Nobody would await this."""

    with pytest.raises(InvalidError, match="plain function"):
        notes.listen("*", hear)


async def test_whoever_listens_hears_a_cause_before_its_effects(shop):
    heard, seen = [], shop.subscribe("*")
    shop.listen("*", heard.append)
    for _ in range(30):
        await shop.create("Order", total="5")
    await until(lambda: shop.status().flows_open == 0)
    seen.stop()
    for events in (heard, [event async for event in seen]):
        known = set()
        for event in events:
            assert event.cause is None or event.cause in known
            known.add(event.id)
        assert len(known) == shop.store.last_seq() == 30 * TEXT.count('produces="') + 30
