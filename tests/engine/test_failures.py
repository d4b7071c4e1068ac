"""What failed is tried again or discarded, durably, exactly once, and in order."""

import asyncio

import pytest

from aegis.adapters.storage.memory import MemoryStore
from aegis.core.errors import ConflictError, NotFoundError, StoreError
from aegis.testing import memory_host
from tests.engine.shop import TEXT, Desk, quiet, states, until
from tests.engine.test_broker import EAR, Log
from tests.fakes import FailingStore, GatedStore


@pytest.fixture
def ear():
    return Log()


@pytest.fixture
def store():
    return MemoryStore()


@pytest.fixture
async def notes(ear, store):
    async with memory_host(values={"say": ear}, store=store) as host:
        await host.deploy("notes", "1.0.0", EAR)
        yield host


def line(failed):
    return f"listener:{failed.subscriber}:{failed.seq}"


async def parked(host, ear, stars=2):
    """A note whose first event failed, with `stars` more that are held behind it."""
    ear.fails = lambda type, subject, n: True
    note = await host.create("Note")
    for _ in range(stars):
        await host.call(note, "star")
    await until(lambda: host.monitor.status().failed == stars + 1)
    ear.fails = lambda type, subject, n: False
    ear.asked.clear()
    return note, await host.failed()


def heard(host):
    return host.events("ear.heard", limit=1000)


async def test_a_parked_event_is_taken_and_then_those_it_held_up_in_order(notes, ear, store):
    note, failed = await parked(notes, ear)
    assert [one.held for one in failed] == [False, True, True]
    assert await notes.retry(line(failed[0])) == "3 events taken"
    assert ear.told == [
        ("note.created", note.id),
        ("note.starred", note.id),
        ("note.starred", note.id),
    ]
    assert await notes.failed() == []
    assert len(await heard(notes)) == 3
    # Its subject is heard again as it happens.
    await notes.call(note, "star")
    await until(lambda: len(ear.told) == 4)
    assert await notes.failed() == []


async def test_a_held_event_is_not_taken_before_the_one_that_holds_it(notes, ear):
    note, failed = await parked(notes, ear)
    await notes.retry(line(failed[2]))
    assert [type for type, _ in ear.told] == ["note.created", "note.starred", "note.starred"]
    assert {subject for _, subject in ear.told} == {note.id}


async def test_one_that_fails_again_stays_with_its_error_and_holds_the_others(notes, ear):
    note, failed = await parked(notes, ear)
    ear.fails = lambda type, subject, n: type == "note.starred"
    said = await notes.retry(line(failed[0]))
    assert said == "1 event taken; note.starred failed again: OSError: deaf"
    first, second = await notes.failed()
    assert (first.seq, first.held, first.attempts) == (failed[1].seq, False, 1)
    assert first.error == "OSError: deaf"
    assert (second.seq, second.held) == (failed[2].seq, True)
    await notes.retry(line(first))
    assert (await notes.failed())[0].attempts == 2
    # What comes now is held too.
    await notes.call(note, "star")
    await until(lambda: notes.monitor.status().failed == 3)
    assert len(await heard(notes)) == 1


async def test_events_that_come_meanwhile_are_neither_lost_nor_reordered(notes, ear):
    note, failed = await parked(notes, ear, stars=0)
    gate = asyncio.Event()
    plain = ear.__class__.__call__

    async def slow(self, type, subject):
        if type == "note.created":
            await gate.wait()
        await plain(self, type, subject)

    ear.__class__ = type("SlowLog", (Log,), {"__call__": slow})
    retry = asyncio.create_task(notes.retry(line(failed[0])))
    await asyncio.sleep(0.01)
    for _ in range(3):
        await notes.call(note, "star")
    with pytest.raises(ConflictError, match="being dealt with"):
        await notes.retry(line(failed[0]))
    gate.set()
    assert await retry == "1 event taken"
    await until(lambda: len(ear.told) == 4)
    assert [type for type, _ in ear.told] == ["note.created", *["note.starred"] * 3]
    assert await notes.failed() == []


async def test_what_the_listener_did_and_its_leaving_the_list_are_one_commit(ear):
    store = FailingStore()
    async with memory_host(values={"say": ear}, store=store) as host:
        await host.deploy("notes", "1.0.0", EAR)
        _, failed = await parked(host, ear, stars=0)
        store.fail_next()
        with pytest.raises(StoreError):
            await host.retry(line(failed[0]))
        assert list(await host.failed()) == list(failed)
        assert await heard(host) == []
        assert await host.retry(line(failed[0])) == "1 event taken"
        assert len(await heard(host)) == 1
        assert await host.failed() == []


async def test_a_crash_before_the_commit_leaves_it_on_the_list(ear):
    store = GatedStore()
    async with memory_host(values={"say": ear}, store=store) as host:
        await host.deploy("notes", "1.0.0", EAR)
        _, failed = await parked(host, ear, stars=0)
        store.holds = lambda commit: bool(commit.cleared)
        retry = asyncio.create_task(host.retry(line(failed[0])))
        await asyncio.wait_for(store.held.wait(), 5)
        # This is all that a process which dies now has stored.
        assert list(await store.failed()) == list(failed)
        assert await heard(host) == []
        store.gate.set()
        await retry
        assert await store.failed() == []


async def test_a_parked_event_is_tried_again_after_a_restart(ear, store):
    async with memory_host(values={"say": ear}, store=store) as host:
        await host.deploy("notes", "1.0.0", EAR)
        _, failed = await parked(host, ear)
    async with memory_host(values={"say": ear}, store=store) as host:
        with pytest.raises(ConflictError, match="not running"):
            await host.retry(line(failed[0]))
        await host.deploy("notes", "1.0.0", EAR)
        assert await host.retry(line(failed[0])) == "3 events taken"
        assert await host.failed() == []


async def test_a_discarded_event_is_gone_and_what_it_held_up_is_heard(notes, ear, store):
    note, failed = await parked(notes, ear)
    assert await notes.discard(line(failed[0])) == "discarded; 2 that it held up taken"
    assert [type for type, _ in ear.told] == ["note.starred", "note.starred"]
    assert await store.failed() == []
    with pytest.raises(NotFoundError, match="list what failed again"):
        await notes.discard(line(failed[0]))
    await notes.call(note, "star")
    await until(lambda: len(ear.told) == 3)


async def test_a_held_event_is_discarded_alone(notes, ear, store):
    _, failed = await parked(notes, ear)
    assert await notes.discard(line(failed[1])) == "discarded"
    assert [one.seq for one in await store.failed()] == [failed[0].seq, failed[2].seq]
    assert ear.told == []


async def test_an_event_of_a_listener_that_is_away_can_be_discarded(ear, store):
    async with memory_host(values={"say": ear}, store=store) as host:
        await host.deploy("notes", "1.0.0", EAR)
        _, failed = await parked(host, ear, stars=0)
        await host.undeploy("notes")
        assert await host.discard(line(failed[0])) == "discarded"
        assert await store.failed() == []
        with pytest.raises(NotFoundError):
            await host.discard(line(failed[0]))


async def test_what_a_discarded_event_held_up_is_heard_when_the_listener_is_back(ear, store):
    async with memory_host(values={"say": ear}, store=store) as host:
        await host.deploy("notes", "1.0.0", EAR)
        note, failed = await parked(host, ear)
        await host.undeploy("notes")
        await host.discard(line(failed[0]))
        assert ear.told == []
        await host.deploy("notes", "1.0.0", EAR)
        await until(lambda: host.monitor.status().failed == 0)
        assert ear.told == [("note.starred", note.id)] * 2


async def test_whoever_waits_for_a_retry_is_told_when_the_listener_ends(notes, ear):
    _, failed = await parked(notes, ear, stars=0)
    never = asyncio.Event()

    async def stuck(self, type, subject):
        await never.wait()

    ear.__class__ = type("StuckLog", (Log,), {"__call__": stuck})
    retry = asyncio.create_task(notes.retry(line(failed[0])))
    await asyncio.sleep(0.01)
    await notes.undeploy("notes")
    with pytest.raises(ConflictError, match="has ended"):
        await retry


# --- flows


async def undone(host, desk):
    desk.replies["ship"] = OSError("no truck")
    order = await host.create("Order", total="5")
    await quiet(host)
    desk.replies.clear()
    desk.calls.clear()
    (failed,) = await host.failed()
    return order, failed


async def test_an_undone_flow_begins_anew_and_its_event_is_not_published_again(shop, desk):
    order, failed = await undone(shop, desk)
    assert (failed.kind, failed.subject, failed.error) == (
        "flow",
        order.id,
        "ship: OSError: no truck",
    )
    said = await shop.retry(failed.subscriber)
    await quiet(shop)
    assert (await states(shop, order))[0] == "compensated"
    flows = await shop.flows(order)
    assert said == f"tried again as flow {flows[-1][0].id}"
    assert [flow.state for flow, _ in flows][-1] == "completed"
    assert desk.told == ["pay", "pack", "ship"]
    created = await shop.events("order.created")
    assert [event.subject for event in created] == [order.id]
    keys = {step.key for _, steps in flows for step in steps}
    assert len(keys) == sum(len(steps) for _, steps in flows)
    assert await shop.failed() == []
    assert (await shop.get("Order", order.id)).shipped == "ok"
    with pytest.raises(NotFoundError, match="not on the failed list"):
        await shop.retry(failed.subscriber)


async def test_a_flow_that_fails_again_is_a_new_failure(shop, desk):
    _, failed = await undone(shop, desk)
    desk.replies["pay"] = OSError("no line")
    await shop.retry(failed.subscriber)
    await quiet(shop)
    (again,) = await shop.failed()
    assert again.subscriber != failed.subscriber
    assert again.error == "pay: OSError: no line"


async def test_a_retry_that_was_not_stored_leaves_the_flow_on_the_list():
    store, desk = FailingStore(), Desk()
    async with memory_host(values={"say": desk}, store=store) as host:
        await host.deploy("orders", "1.0.0", TEXT)
        order, failed = await undone(host, desk)
        flows = len(await host.flows(order))
        store.fail_next()
        with pytest.raises(StoreError):
            await host.retry(failed.subscriber)
        assert list(await host.failed()) == [failed]
        assert len(await host.flows(order)) == flows
        assert host.status().flows_open == 0


async def test_a_flow_that_nothing_consumes_any_more_stays_on_the_list(shop, desk):
    _, failed = await undone(shop, desk)
    await shop.undeploy("orders")
    with pytest.raises(ConflictError, match="sets off nothing"):
        await shop.retry(failed.subscriber)
    assert len(await shop.failed()) == 1


async def test_a_stopped_undo_goes_on_and_leaves_the_list(shop, desk):
    desk.replies["ship"] = OSError("no truck")
    desk.replies["refund"] = OSError("bank closed")
    order = await shop.create("Order", total="5")
    await quiet(shop)
    (failed,) = await shop.failed()
    assert (await states(shop, order))[0] == "compensation failed"
    assert failed.error == "undo of pay: OSError: bank closed"
    assert await shop.retry(failed.subscriber) == "its undo goes on"
    await quiet(shop)
    assert (await states(shop, order))[0] == "compensation failed"
    desk.replies.clear()
    await shop.retry(failed.subscriber)
    await quiet(shop)
    assert (await states(shop, order))[0] == "compensated"
    assert (await shop.get("Order", order.id)).status == "CANCELED"


async def test_a_canceled_flow_has_not_failed(shop, desk):
    desk.replies["pack"] = "ok"
    order = await shop.create("Order", total="5", approved=False)
    await until(lambda: desk.told == ["pay"])
    await shop.call(order, "cancel")
    await quiet(shop)
    assert (await states(shop, order))[0] == "compensated"
    assert await shop.failed() == []


async def test_a_canceled_flow_whose_undo_stops_has_failed(shop, desk):
    desk.replies["refund"] = OSError("bank closed")
    order = await shop.create("Order", total="5", approved=False)
    await until(lambda: desk.told == ["pay"])
    await shop.call(order, "cancel")
    await quiet(shop)
    (failed,) = await shop.failed()
    desk.replies.clear()
    await shop.retry(failed.subscriber)
    await quiet(shop)
    assert await shop.failed() == []


async def test_a_discarded_flow_stays_off_the_list_after_a_restart(desk, store):
    async with memory_host(values={"say": desk}, store=store) as host:
        await host.deploy("orders", "1.0.0", TEXT)
        order, failed = await undone(host, desk)
        assert await host.discard(failed.subscriber) == "discarded"
        assert host.monitor.frame(0, frozenset({"failed"})).failed == ()
    async with memory_host(values={"say": desk}, store=store) as host:
        assert host.monitor.frame(0, frozenset({"failed"})).failed == ()
        assert len(await store.flows("orders.Order", order.id)) == 2


async def test_an_open_flow_cannot_be_discarded_and_one_that_waits_for_code_is_resumed(desk, store):
    async with memory_host(values={"say": desk}, store=store) as host:
        await host.deploy("orders", "1.0.0", TEXT)
        order = await host.create("Order", total="5", approved=False)
        await until(lambda: desk.told == ["pay"])
        ((flow, _),) = await host.flows(order)
        with pytest.raises(ConflictError, match="is open"):
            await host.discard(f"flow:{flow.id}")
        assert await host.retry(f"flow:{flow.id}") == "it is under way"
    async with memory_host(values={"say": desk}, store=store) as host:
        said = await host.retry(f"flow:{flow.id}")
        assert said.startswith("resumed orders@1.0.0")


async def test_an_unknown_flow_is_not_found(shop):
    with pytest.raises(NotFoundError, match="no flow"):
        await shop.retry("flow:nothing")
