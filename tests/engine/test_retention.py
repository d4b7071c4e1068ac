"""What is old is forgotten, and nothing that anybody needs."""

import asyncio
from datetime import timedelta

import pytest

from aegis.adapters.storage.memory import MemoryStore
from aegis.adapters.storage.sqlite import SqliteStore
from aegis.core.errors import StoreError
from aegis.core.flow import FlowState
from aegis.core.keep import Keep
from aegis.engine import retention
from aegis.protocols import Answer, Commit, Recording, Taken, Unclaimed
from aegis.testing import EagerClock, memory_host
from tests.engine.shop import TEXT, Desk, quiet, until

LISTENER = """
from aegis import Event, on
@on("order.shipped")
async def tell(event: Event) -> None:
    pass
"""


class LaterClock(EagerClock):
    """A clock that can be set so many days ahead, and of which no two stamps are the same."""

    def __init__(self):
        super().__init__()
        self.days = 0
        self._stamps = 0

    def now(self):
        passed = timedelta(days=self.days, milliseconds=self._stamps)
        return super().now() + passed

    def stamp(self):
        self._stamps += 1
        return self.now().isoformat(timespec="milliseconds").replace("+00:00", "Z")


@pytest.fixture(params=[MemoryStore, SqliteStore], ids=["memory", "sqlite"])
def store(request, tmp_path):
    return MemoryStore() if request.param is MemoryStore else SqliteStore(tmp_path / "data")


async def forget(host):
    await host._deploys.retention.run()


async def seqs(host):
    return [entry.seq for entry in await host.store.events(0, 10_000)]


async def orders(host, count):
    """Orders that are complete, one after the other."""
    made = []
    for _ in range(count):
        made.append(await host.create("Order"))
        assert (await host.wait(made[-1], 5)).state is FlowState.COMPLETED
    return made


async def test_without_a_word_the_journal_stays(store):
    clock = LaterClock()
    async with memory_host(store=store, clock=clock, values={"say": Desk()}) as host:
        await host.deploy("orders", "1.0.0", TEXT)
        (order,) = await orders(host, 1)
        before = await seqs(host)
        clock.days = 10_000
        await forget(host)
        assert (await seqs(host), host.forgotten) == (before, 0)
        assert len(await host.flows(order)) == 1


async def test_a_journal_of_a_size_keeps_the_newest_and_the_flows_go_with_their_events(store):
    keep, clock = Keep(events_most=10), LaterClock()
    async with memory_host(store=store, clock=clock, keep=keep, values={"say": Desk()}) as host:
        await host.deploy("orders", "1.0.0", TEXT)
        made = await orders(host, 6)
        last = host.store.last_seq()
        await forget(host)
        assert await seqs(host) == list(range(last - 9, last + 1))
        assert host.forgotten == last - 10
        left = [n for n, order in enumerate(made) if await host.flows(order)]
        assert left == [3, 4, 5]  # of the fourth some events are left
        assert all([await host.get("Order", order.id) for order in made])
        # Whoever asks for the newest ones, or from a place that is gone, gets what there is.
        assert len(await host.events(limit=100)) == len(await host.events(after=0)) == 10
        await orders(host, 1)
        await forget(host)
        assert len(await seqs(host)) == 10


async def test_what_an_open_flow_or_a_failure_needs_stays(store):
    desk, keep = Desk(), Keep(events_most=1)
    async with memory_host(store=store, keep=keep, values={"say": desk}) as host:
        await host.deploy("orders", "1.0.0", TEXT)
        waiting = await host.create("Order", approved=False)
        await until(lambda: desk.told == ["pay"])
        desk.replies["ship"] = ValueError("no van")
        failed = await host.create("Order")
        await until(lambda: host.status().failed == 1)
        desk.replies.clear()
        await until(lambda: host.status().flows_open == 1)
        await orders(host, 3)
        last = host.store.last_seq()
        await forget(host)
        assert host.forgotten == last - 1
        left = {event.subject for event in await host.events(after=0)}
        assert left >= {waiting.id, failed.id}
        assert len(await seqs(host)) < 15 < last
    async with memory_host(store=store, keep=keep, values={"say": desk}) as host:
        assert host.forgotten == last - 1
        await host.deploy("orders", "1.0.0", TEXT)
        await host.call(waiting, "approve")
        assert (await host.wait(waiting, 5)).state is FlowState.COMPLETED
        (line,) = await host.failed()
        assert (await host.retry(line)).startswith("tried again")
        await quiet(host)
        assert (await host.get("Order", failed.id)).status == "COMPLETE"
        await forget(host)
        assert len(await seqs(host)) == 1  # nothing needs them any more


async def test_an_undo_that_stopped_can_go_on_however_old_it_is(store):
    desk, clock = Desk(), LaterClock()
    keep = Keep(events_days=1)
    async with memory_host(store=store, clock=clock, keep=keep, values={"say": desk}) as host:
        await host.deploy("orders", "1.0.0", TEXT)
        desk.replies |= {"ship": ValueError("no van"), "refund": ValueError("bank closed")}
        order = await host.create("Order")
        await until(lambda: host.status().failed == 1)
        await until(lambda: host.status().flows_open == 0)
        desk.replies.clear()
        clock.days = 3
        await forget(host)
        (flow, steps) = (await host.flows(order))[0]
        assert flow.state is FlowState.COMPENSATION_FAILED
        assert len(steps) == 3
        await host.retry((await host.failed())[0])
        assert (await host.wait(flow.id, 5)).state is FlowState.COMPENSATED


async def test_events_go_by_their_age(store):
    clock, keep = LaterClock(), Keep(events_days=7)
    async with memory_host(store=store, clock=clock, keep=keep, values={"say": Desk()}) as host:
        await host.deploy("orders", "1.0.0", TEXT)
        await orders(host, 3)
        old = await seqs(host)
        clock.days = 6
        await forget(host)
        assert await seqs(host) == old
        clock.days = 8
        await forget(host)
        assert await seqs(host) == [old[-1]]  # the last one says where the journal goes on
        assert host.store.last_seq() == old[-1]


async def test_a_listener_that_is_away_has_not_lost_what_it_did_not_hear(store):
    keep = Keep(events_most=1)
    async with memory_host(store=store, keep=keep, values={"say": Desk()}) as host:
        await host.deploy("orders", "1.0.0", TEXT)
        await host.deploy("mail", "1.0.0", LISTENER)
        await orders(host, 1)
        await until(lambda: host._deploys.broker.lags()["mail:tell"] == 0)
    async with memory_host(store=store, keep=keep, values={"say": Desk()}) as host:
        await host.deploy("orders", "1.0.0", TEXT)
        await orders(host, 2)
        heard = await host.store.cursor("mail:tell")
        await forget(host)
        assert host.forgotten <= heard
        assert await seqs(host) == list(range(host.forgotten + 1, host.store.last_seq() + 1))
        await host.deploy("mail", "1.0.0", LISTENER)
        await until(lambda: host._deploys.broker.lags()["mail:tell"] == 0)
        await host.undeploy("mail")
        await orders(host, 1)
        await forget(host)
        assert len(await seqs(host)) == 1  # who was taken away holds nothing


async def test_an_event_that_waits_to_be_claimed_stays(store):
    keep = Keep(events_most=1)
    async with memory_host(store=store, keep=keep, values={"say": Desk()}) as host:
        await host.deploy("orders", "1.0.0", TEXT)
        await orders(host, 2)
        first = (await host.events(after=0))[0]
        await host.store.commit(Commit(unclaimed=[Unclaimed(first.id, first.type, first.time)]))
        await forget(host)
        assert (await seqs(host))[0] == 1


async def test_lines_of_the_failed_list_are_discarded_by_age_and_number(store):
    desk, clock = Desk(), LaterClock()
    keep = Keep(failed_days=5, failed_most=2)
    desk.replies["ship"] = ValueError("no van")
    async with memory_host(store=store, clock=clock, keep=keep, values={"say": desk}) as host:
        await host.deploy("orders", "1.0.0", TEXT)
        made = []
        for count in range(1, 4):
            made.append(await host.create("Order"))
            await until(lambda count=count: host.status().failed == count)
        await quiet(host)
        await forget(host)
        assert [line.subject for line in await host.failed()] == [one.id for one in made[1:]]
        clock.days = 6
        await forget(host)
        assert list(await host.failed()) == []
        assert host.status().failed == 0


async def test_marks_answers_and_recordings_go_when_their_time_has_come(store):
    clock = LaterClock()
    async with memory_host(store=store, clock=clock) as host:
        now = clock.stamp()
        answer = Answer(key="k", fingerprint="f", status=200, headers=(), body=b"", created=now)
        await host.store.commit(
            Commit(
                answers=[answer],
                taken=[Taken(f"t{n}", "e", now) for n in range(retention.BATCH * 2)],
                recordings=[Recording("f", 1, 1, now, b"")],
            )
        )

        async def left():
            return (
                await host.store.answer("k") is not None,
                sum(host.store.taken(f"t{n}") is not None for n in range(retention.BATCH * 2)),
                len(await host.store.recordings("f")),
            )

        await forget(host)
        assert await left() == (True, retention.BATCH * 2, 1)
        clock.days = 2
        await forget(host)
        assert await left() == (False, retention.BATCH * 2, 1)
        clock.days = 8
        await forget(host)
        assert await left() == (False, 0, 0)


async def test_it_begins_when_the_host_opens_and_a_store_that_fails_stops_nobody(store):
    keep = Keep(events_most=5)
    async with memory_host(store=store, values={"say": Desk()}) as host:
        await host.deploy("orders", "1.0.0", TEXT)
        await orders(host, 4)
    async with memory_host(store=store, keep=keep, values={"say": Desk()}) as host:
        await asyncio.wait_for(host._deploys.retention._task, 5)
        assert len(await seqs(host)) == 5

        async def broken(old, limit):
            raise StoreError("the disk is full")

        host.store.forget, kept = broken, host.store.forget
        await host._deploys.retention._run()
        host.store.forget = kept
        await host.deploy("orders", "1.0.0", TEXT)
        await orders(host, 1)


async def test_orders_go_on_while_much_is_forgotten(tmp_path, monkeypatch):
    monkeypatch.setattr(retention, "BATCH", 20)
    store = SqliteStore(tmp_path)
    keep = Keep(events_most=10)
    async with memory_host(store=store, values={"say": Desk()}) as host:
        await host.deploy("orders", "1.0.0", TEXT)
        await asyncio.gather(*(host.create("Order") for _ in range(300)))
        await quiet(host)
    async with memory_host(store=store, keep=keep, values={"say": Desk()}) as host:
        await host.deploy("orders", "1.0.0", TEXT)
        forgetting = asyncio.ensure_future(forget(host))
        made = 0
        while not forgetting.done():
            order = await host.create("Order")
            assert (await host.wait(order, 5)).state is FlowState.COMPLETED
            made += 1
        await forgetting
        assert made > 3
        await forget(host)
        assert len(await seqs(host)) == 10
