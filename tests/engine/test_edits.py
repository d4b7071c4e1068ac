"""What failed is tried again with other data, or by the group; what was recorded stays as it was."""

import asyncio

import pytest

from aegis.adapters.storage.memory import MemoryStore
from aegis.core.errors import ConflictError, InvalidError, NotFoundError, Refused, StoreError
from aegis.engine.failures import groups_of
from aegis.protocols import Failed
from aegis.testing import memory_host
from tests.engine.shop import TEXT, Desk, quiet, states, until
from tests.engine.test_broker import EAR, Log
from tests.engine.test_failures import parked, undone
from tests.fakes import FailingStore

# A listener that tells what the event's data says.
SAYS = EAR.replace(
    "await ear.hear(event.type, event.subject)", "await ear.hear(event.data['x'], '')"
)
SAYS = SAYS.replace('@on("note.*")', '@on("note.*", retries=0)')


@pytest.fixture
def ear():
    return Log()


@pytest.fixture
def store():
    return MemoryStore()


@pytest.fixture
async def notes(ear, store):
    async with memory_host(values={"say": ear}, store=store) as host:
        await host.deploy("notes", "1.0.0", SAYS)
        yield host


async def broken(host):
    """A failure of which the event's data misses what the listener wants."""
    await host.create("Note")
    await until(lambda: host.monitor.status().failed == 1)
    (failed,) = await host.failed()
    return failed


# --- events of listeners


async def test_an_event_is_tried_again_with_other_data_and_the_journal_keeps_its_own(notes, ear):
    failed = await broken(notes)
    before = await notes.events("note.created")
    assert await notes.retry(failed, data={"x": "mended"}) == "1 event taken"
    assert ear.told == [("mended", "")]
    assert await notes.events("note.created") == before
    assert before[0].data["changed"] == {"stars": 0}
    assert await notes.failed() == []


async def test_data_of_a_second_try_that_failed_is_kept_for_a_third(notes, ear, store):
    failed = await broken(notes)
    assert (await notes.input(failed)).data["changed"] == {"stars": 0}
    ear.fails = lambda type, subject, n: n < 2
    said = await notes.retry(failed, data={"x": "mended"})
    assert said == "0 events taken; note.created failed again: OSError: deaf"
    (again,) = await notes.failed()
    assert (again.data, again.attempts) == ({"x": "mended"}, 2)
    assert (await notes.input(again)).data == {"x": "mended"}
    assert await notes.retry(again) == "1 event taken"
    assert ear.told == [("mended", "")]


async def test_other_data_outlives_a_restart(ear, store):
    async with memory_host(values={"say": ear}, store=store) as host:
        await host.deploy("notes", "1.0.0", SAYS)
        failed = await broken(host)
        ear.fails = lambda type, subject, n: n < 2
        await host.retry(failed, data={"x": "mended"})
    async with memory_host(values={"say": ear}, store=store) as host:
        await host.deploy("notes", "1.0.0", SAYS)
        assert await host.retry(failed.id) == "1 event taken"
        assert ear.told == [("mended", "")]


async def test_data_is_for_the_event_that_was_meant_only(ear, store):
    async with memory_host(values={"say": ear}, store=store) as host:
        await host.deploy("notes", "1.0.0", EAR)
        _, failed = await parked(host, ear, stars=1)
        await host.deploy("notes", "1.0.0", SAYS)
        said = await host.retry(failed[0], data={"x": "mended"})
        assert said.startswith("1 event taken; note.starred failed again: KeyError")
        (rest,) = await host.failed()
        assert rest.data is None


async def test_data_that_is_no_json_object_is_refused(notes):
    failed = await broken(notes)
    with pytest.raises(InvalidError, match="no JSON object"):
        await notes.retry(failed, data={"x": object()})
    assert await notes.failed() == [failed]


# --- flows


async def test_a_flow_begins_anew_with_its_record_changed_in_the_same_commit(shop, desk):
    order, failed = await undone(shop, desk)
    assert (await shop.input(failed)).type == "order.created"
    commits = shop.store.commits
    await shop.retry(failed, data={"note": "by train"})
    assert shop.store.commits >= commits + 1
    flow = (await shop.flows(order))[-1][0]
    (changed,) = [e for e in await shop.events("order.updated") if "note" in e.data["changed"]]
    assert changed.data["changed"] == {"note": "by train"}
    assert changed.time == flow.created
    await quiet(shop)
    assert (await shop.get("Order", order.id)).note == "by train"
    assert (await states(shop, order, -1))[0] == "completed"
    assert await shop.failed() == []


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"nota": "x"}, "did you mean 'note'"),
        ({"total": "-5"}, "total"),
        ({"approved": "perhaps"}, "approved"),
    ],
)
async def test_a_change_that_does_not_fit_leaves_all_as_it_was(shop, desk, data, expected):
    order, failed = await undone(shop, desk)
    before, events = await shop.get("Order", order.id), shop.store.last_seq()
    with pytest.raises(InvalidError, match=expected):
        await shop.retry(failed, data=data)
    assert await shop.get("Order", order.id) == before
    assert shop.store.last_seq() == events
    assert await shop.failed() == [failed]
    assert len(await shop.flows(order)) == 2  # with that of order.compensated


async def test_a_change_that_is_not_stored_leaves_all_as_it_was():
    store, desk = FailingStore(), Desk()
    async with memory_host(values={"say": desk}, store=store) as host:
        await host.deploy("orders", "1.0.0", TEXT)
        order, failed = await undone(host, desk)
        store.fail_next()
        with pytest.raises(StoreError):
            await host.retry(failed, data={"note": "x"})
        assert (await host.get("Order", order.id)).note == ""
        assert list(await host.failed()) == [failed]
        await host.retry(failed, data={"note": "x"})
        await quiet(host)
        assert (await host.get("Order", order.id)).note == "x"


async def test_an_undo_that_goes_on_takes_no_data(shop, desk):
    desk.replies["ship"] = OSError("no truck")
    desk.replies["refund"] = OSError("bank closed")
    await shop.create("Order", total="5")
    await quiet(shop)
    (failed,) = await shop.failed()
    with pytest.raises(ConflictError, match="change the record itself"):
        await shop.retry(failed, data={"note": "x"})
    assert await shop.failed() == [failed]


async def test_a_flow_is_meant_by_itself_its_id_or_its_record(shop, desk):
    desk.replies["ship"] = Refused("no truck")
    orders = [await shop.create("Order", total="5") for _ in range(3)]
    await quiet(shop)
    desk.replies.clear()
    (flow, _), *_ = await shop.flows(orders[0])
    await shop.retry(flow)
    (flow, _), *_ = await shop.flows(orders[1])
    await shop.retry(flow.id)
    await shop.retry(orders[2])
    await quiet(shop)
    assert await shop.failed() == []
    assert [(await shop.get("Order", order.id)).status for order in orders] == ["COMPLETE"] * 3
    with pytest.raises(NotFoundError, match="no flow of Order"):
        await shop.retry(orders[2])


# --- groups


def failure(n, error, **more):
    known = {"kind": "listener", "what": "note.created", "subscriber": "notes:listen"}
    return Failed(
        **(known | more), seq=n, event=str(n), subject=f"s{n}", error=error, attempts=1, time=str(n)
    )


def test_errors_that_differ_in_ids_and_numbers_are_one_group():
    same = [
        failure(1, "KeyError: 's1' at 12.5"),
        failure(2, "KeyError: 's2' at 7"),
        failure(3, "KeyError: '0199a1b2-aaaa-7bbb-8ccc-1234567890ab' at 1"),
        failure(4, "KeyError: '4f3c2b1a0d9e' at 0"),
    ]
    other = [
        failure(5, "KeyError: 'x' at 1"),
        failure(6, "KeyError: 's6' at 1", what="note.starred"),
        failure(7, "KeyError: 's7' at 1", subscriber="notes:other"),
        failure(8, "KeyError: 's8' at 1", kind="flow", what="notes.Note", subscriber="flow:8"),
    ]
    first, *rest = groups_of([*same, *other])
    assert (first.count, first.error) == (4, "KeyError: '#' at #")
    assert (first.what, first.first, first.last) == ("note.created for notes.listen", "1", "4")
    assert first.ids == tuple(one.id for one in same)
    assert [group.count for group in rest] == [1] * 4
    assert len({group.id for group in (first, *rest)}) == 5
    assert groups_of(same)[0].id == first.id


async def test_a_whole_group_is_tried_again_and_each_is_told(shop, desk):
    desk.replies["ship"] = Refused("no truck")
    orders = [await shop.create("Order", total="5") for _ in range(4)]
    await quiet(shop)
    (group,) = await shop.failed_groups()
    assert (group.kind, group.what, group.count) == ("flow", "orders.Order", 4)
    await shop.discard(group.ids[3])
    desk.replies.clear()
    told = await shop.retry_all(group)
    await quiet(shop)
    assert [one.text.partition(" as ")[0] for one in told] == [
        *["tried again"] * 3,
        "it was dealt with meanwhile",
    ]
    assert not any(one.failed for one in told)
    assert await shop.failed() == []
    done = [(await shop.get("Order", order.id)).status for order in orders]
    assert done.count("COMPLETE") == 3
    with pytest.raises(NotFoundError, match="no group"):
        await shop.retry_all(group.id)


async def test_a_group_is_bounded_and_says_what_stays(notes, ear):
    for _ in range(5):
        await notes.create("Note")
    await until(lambda: notes.monitor.status().failed == 5)
    (group,) = await notes.failed_groups()
    told = await notes.retry_all(group.id, limit=2)
    assert [(one.failed, "failed again" in one.text) for one in told] == [(True, True)] * 2
    assert [one.id for one in told] == list(group.ids[:2])
    told = await notes.discard_all(group, limit=3)
    assert [one.failed for one in told] == [False] * 3
    assert len(await notes.failed()) == 2
    assert ear.told == []


async def test_one_that_is_being_dealt_with_does_not_stop_the_group(notes, ear):
    for _ in range(2):
        await notes.create("Note")
    await until(lambda: notes.monitor.status().failed == 2)
    (group,) = await notes.failed_groups()
    gate = asyncio.Event()

    async def slow(self, type, subject):
        await gate.wait()

    ear.__class__ = type("SlowLog", (Log,), {"__call__": slow})
    retry = asyncio.create_task(notes.retry(group.ids[0], data={"x": "1"}))
    await asyncio.sleep(0)
    discarding = asyncio.create_task(notes.discard_all(group))
    await asyncio.sleep(0.01)
    gate.set()
    told = await discarding
    assert await retry == "1 event taken"
    assert "being dealt with" in told[0].text
    assert (told[1].text, told[1].failed) == ("discarded", False)
    assert await notes.failed() == []
