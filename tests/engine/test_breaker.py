"""A partner that keeps failing is left alone for a while; what needs it waits, and goes on."""

import asyncio

import pytest

from aegis.adapters.storage.sqlite import SqliteStore
from aegis.core.breaker import Breaking
from aegis.core.errors import BreakerOpenError, PortError
from aegis.core.flow import FlowState, StepState
from aegis.core.policy import Policy
from aegis.testing import memory_host

TEXT = """
from typing import Protocol
from aegis import Model, adapter, command, config, idempotency_key, on, port

class Parcels(Protocol):
    async def send(self, order: str, key: str) -> None: ...
    async def recall(self, order: str) -> None: ...

class SlowParcels(Parcels):
    def __init__(self, depot: object = config("depot")):
        self.depot = depot

    async def send(self, order: str, key: str) -> None:
        await self.depot.send(order, key)

    async def recall(self, order: str) -> None:
        await self.depot.recall(order)

class Order(Model):
    total: int = 0

    @port(consumes="order.created", produces="order.sent", retries=RETRIES, backoff=0,
          timeout=0.3, breaker=BREAKER)
    async def ship(self, parcels: Parcels = adapter()):
        await parcels.send(self.id, idempotency_key())

    @ship.undo
    async def recall(self, parcels: Parcels = adapter()):
        await parcels.recall(self.id)

    @command
    async def nudge(self, parcels: Parcels = adapter()):
        await parcels.send(self.id, idempotency_key())

    @command(undo=True)
    def cancel(self): ...
"""

EDGE = "uses:port:orders.Order.ship>part:orders.SlowParcels"
SLOT = "breaker of orders.Order.ship -> SlowParcels"


class Depot:
    """The partner, with its own ledger of what it did; `down` until somebody mends it."""

    def __init__(self):
        self.down = True
        self.asked = 0
        self.sent = []
        self.recalled = []
        self.gate = None
        self.under_way = 0
        self.most = 0

    async def send(self, order, key):
        self.asked += 1
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            if self.gate is not None:
                await self.gate.wait()
            if self.down:
                raise ConnectionError("nobody there")
            self.sent.append(key)
        finally:
            self.under_way -= 1

    async def recall(self, order):
        self.asked += 1
        if self.down:
            raise ConnectionError("nobody there")
        self.recalled.append(order)


def text(retries=30, breaker="{'pause': 0.2, 'longest': 0.4}"):
    return TEXT.replace("RETRIES", str(retries)).replace("BREAKER", str(breaker))


@pytest.fixture
def depot():
    return Depot()


@pytest.fixture
async def host(depot):
    async with memory_host(values={"depot": depot}) as host:
        await host.deploy("orders", "1.0.0", text())
        yield host


async def until(true):
    async with asyncio.timeout(20):
        while not true():  # noqa: ASYNC110 -- partners and figures tell no Event
            await asyncio.sleep(0.005)


async def types(host):
    return [e.type for e in await host.events("breaker.*", limit=1000)]


async def test_it_opens_waits_probes_and_everything_completes_once(host, depot):
    orders = [await host.create("Order", total=n) for n in range(30)]
    await until(lambda: host.status().waiting == (SLOT,))
    figures = host.monitor.figures()
    assert figures[EDGE].state == "open"
    assert figures["port:orders.Order.ship"].state == "open"
    shown = figures[EDGE].breaker
    assert shown.since < shown.until
    steps = [s for o in orders for _, ss in await host.flows(o) for s in ss]
    assert max(step.attempts for step in steps) < 30
    depot.gate = asyncio.Event()  # a probe that is answered at once would be over unseen
    await until(lambda: host.monitor.figures()[EDGE].state == "half-open")
    assert host.monitor.figures()[EDGE].breaker.until is None
    depot.down = False
    depot.gate.set()
    for order in orders:
        flow = await host.wait(order, 5)
        assert flow.state is FlowState.COMPLETED
    assert len(depot.sent) == len(set(depot.sent)) == 30
    assert host.monitor.figures()[EDGE].state == "ok"
    assert host.monitor.figures()[EDGE].breaker is None
    heard = await types(host)
    assert heard[:2] == ["breaker.opened", "breaker.probed"]
    assert heard[-2:] == ["breaker.probed", "breaker.closed"]
    first = (await host.events("breaker.*"))[0]
    assert first.subject == EDGE
    assert first.flow is None
    assert first.data["component"] == "orders"
    assert first.data["why"] == "ConnectionError: nobody there"


async def test_of_many_on_a_half_open_breaker_one_asks(host, depot):
    orders = [await host.create("Order") for _ in range(200)]
    await until(lambda: host.status().waiting == (SLOT,))
    depot.gate = asyncio.Event()
    depot.most = 0
    before = depot.asked
    await until(lambda: depot.under_way == 1)
    await asyncio.sleep(0.1)
    assert depot.asked == before + 1
    assert depot.most == 1
    depot.down = False
    depot.gate.set()
    for order in orders:
        assert (await host.wait(order, 5)).state is FlowState.COMPLETED
    assert len(depot.sent) == len(set(depot.sent)) == 200


async def test_of_a_thousand_callers_at_a_half_open_breaker_exactly_one_goes_through(host, depot):
    # A thousand calls may take a while: the probe must not run out of time meanwhile.
    await host.deploy("orders", "1.0.0", text().replace("timeout=0.3", "timeout=20"))
    depot.down = False
    order = await host.create("Order")
    await host.wait(order, 5)
    depot.down = True
    while host.monitor.figures()[EDGE].state != "open":
        with pytest.raises(PortError):
            await host.run(order, "ship")
    await until(lambda: host.monitor.figures()[EDGE].state == "half-open")
    depot.down, depot.gate = False, asyncio.Event()
    asked, sent = depot.asked, len(depot.sent)
    calls = [asyncio.ensure_future(host.run(order, "ship")) for _ in range(1000)]
    await until(lambda: sum(call.done() for call in calls) == 999)
    assert depot.asked == asked + 1
    depot.gate.set()
    ends = await asyncio.gather(*calls, return_exceptions=True)
    assert sum(isinstance(end, BreakerOpenError) for end in ends) == 999
    assert len(depot.sent) == sent + 1
    assert host.monitor.figures()[EDGE].state == "ok"
    async with asyncio.timeout(5):
        while (await types(host))[-2:] != ["breaker.probed", "breaker.closed"]:  # noqa: ASYNC110
            await asyncio.sleep(0)


async def opened(host):
    orders = [await host.create("Order") for _ in range(12)]
    await until(lambda: host.status().waiting == (SLOT,))
    return orders


async def test_a_direct_call_fails_at_once_and_asks_nobody(depot):
    async with memory_host(values={"depot": depot}) as host:
        await host.deploy("orders", "1.0.0", text(breaker="{'pause': 30}"))
        orders = await opened(host)
        asked = depot.asked
        with pytest.raises(
            BreakerOpenError, match=r"orders\.Order\.ship -> SlowParcels is open"
        ) as e:
            await host.run(orders[0], "ship")
        assert depot.asked == asked
        assert e.value.problem()["edge"] == EDGE
        assert e.value.problem()["since"]
        assert 1 <= e.value.retry_after <= 30
        # A command has a breaker of its own.
        for _ in range(10):
            with pytest.raises(PortError):
                await host.call(orders[0], "nudge")
        with pytest.raises(BreakerOpenError, match="nudge"):
            await host.call(orders[0], "nudge")
        async with asyncio.timeout(2):
            await host.close()


async def test_a_step_that_waits_and_was_never_attempted_is_not_undone(host, depot):
    depot.gate = asyncio.Event()
    await opened_by_calls(host, depot)
    late = await host.create("Order")
    await until(lambda: host.status().waiting == (SLOT,))
    await host.call(late, "cancel")
    flow = await host.wait(late, 5)
    assert flow.state is FlowState.COMPENSATED
    (_, steps), *_ = await host.flows(late)
    assert [step.state for step in steps] == [StepState.DROPPED]
    assert depot.recalled == []


async def opened_by_calls(host, depot):
    """Open the breaker of `ship` by direct calls; a probe then hangs at the partner."""
    depot.gate.set()
    order = await host.create("Order")
    for _ in range(12):
        with pytest.raises((PortError, BreakerOpenError)):
            await host.run(order, "ship")
    depot.gate.clear()


async def test_an_undo_waits_for_the_breaker_and_goes_on(host, depot):
    depot.down = False
    done = await host.create("Order")
    await host.wait(done, 5)
    depot.down = True
    orders = await opened(host)
    await host.call(orders[0], "cancel")
    asked = depot.asked
    await until(lambda: depot.asked > asked)
    depot.down = False
    flow = await host.wait(orders[0], 5)
    assert flow.state is FlowState.COMPENSATED
    assert depot.recalled == [orders[0].id]


async def test_time_outs_count_and_a_probe_that_times_out_opens_again(host, depot):
    depot.gate = asyncio.Event()  # nobody answers
    orders = [await host.create("Order") for _ in range(12)]
    await until(lambda: host.monitor.figures()[EDGE].state == "open")
    # Attempts that began before it opened may still be under way beside the probe, for a while.
    await until(lambda: host.monitor.figures()[EDGE].state == "half-open" and depot.under_way == 1)
    await until(lambda: host.monitor.figures()[EDGE].state == "open")
    told = (await host.events("breaker.*"))[0]
    assert told.data["why"] == "it gave no answer in time"
    depot.down = False
    depot.gate.set()
    for order in orders:
        assert (await host.wait(order, 5)).state is FlowState.COMPLETED


async def test_a_probe_that_is_cut_lets_another_through(host, depot):
    orders = await opened(host)
    depot.gate = asyncio.Event()
    await until(lambda: depot.under_way == 1)
    probed = (await host.events("breaker.probed"))[-1].data["why"].rpartition(" ")[2]
    asked = depot.asked
    depot.down = False
    await host.call(await host.get("Order", probed), "cancel")
    await until(lambda: depot.asked > asked)
    depot.gate.set()
    for order in orders:
        wanted = FlowState.COMPENSATED if order.id == probed else FlowState.COMPLETED
        assert (await host.wait(order, 5)).state is wanted


async def test_a_redeploy_begins_closed_and_who_waits_goes_on(depot):
    async with memory_host(values={"depot": depot}) as host:
        slow = text(breaker="{'pause': 30}")
        await host.deploy("orders", "1.0.0", slow)
        orders = await opened(host)
        depot.down = False
        await host.deploy("orders", "1.0.0", f"{slow}\n# mended\n")
        for order in orders:
            assert (await host.wait(order, 5)).state is FlowState.COMPLETED
        assert host.monitor.figures()[EDGE].state == "ok"


async def test_without_a_breaker_the_partner_is_asked_until_the_retries_end(depot):
    async with memory_host(values={"depot": depot}) as host:
        await host.deploy("orders", "1.0.0", text(retries=14, breaker="False"))
        await host.create("Order")
        await until(lambda: depot.asked >= 15)
        assert await types(host) == []


LISTENERS = """
from aegis import emit

@on("parcel.due")
async def remind(parcels: Parcels = adapter()):
    await parcels.send("reminder", idempotency_key())

@on("breaker.opened")
async def alarm(event: Event):
    emit("alarm.raised", event.subject)

class Due(Model):
    @command
    def tell(self):
        emit("parcel.due")
"""


async def test_a_listener_waits_with_its_event_and_others_hear_of_breakers(depot):
    quick = Policy(retries=100, backoff=0, breaker=Breaking(pause=0.2))
    async with memory_host(values={"depot": depot}, defaults=quick) as host:
        await host.deploy(
            "orders", "1.0.0", text().replace("import Model", "import Event, Model") + LISTENERS
        )
        edge = "uses:listener:orders.remind>part:orders.SlowParcels"
        due = await host.create("Due")
        await host.call(due, "tell")
        await until(
            lambda: edge in host.monitor.figures() and host.monitor.figures()[edge].state == "open"
        )
        asked = depot.asked
        assert asked == 10
        depot.down = False
        await until(lambda: len(depot.sent) == 1)
        await until(lambda: host.monitor.figures()[edge].state == "ok")
        assert await host.failed() == []
        alarms = await host.events("alarm.raised")
        assert [event.subject for event in alarms] == [edge]


async def test_a_listener_says_the_numbers_of_its_breaker(depot):
    async with memory_host(values={"depot": depot}) as host:
        said = '"parcel.due", retries=50, backoff=0, breaker={"volume": 2, "pause": 60}'
        listeners = LISTENERS.replace('"parcel.due")\nasync', f"{said})\nasync")
        await host.deploy(
            "orders", "1.0.0", text().replace("import Model", "import Event, Model") + listeners
        )
        await host.call(await host.create("Due"), "tell")
        edge = "uses:listener:orders.remind>part:orders.SlowParcels"
        await until(
            lambda: edge in host.monitor.figures() and host.monitor.figures()[edge].state == "open"
        )
        assert depot.asked == 2


async def test_after_a_restart_breakers_are_closed_and_the_flows_go_on(depot, tmp_path):
    slow = text(breaker="{'pause': 30}")
    async with memory_host(store=SqliteStore(tmp_path), values={"depot": depot}) as host:
        await host.deploy("orders", "1.0.0", slow)
        orders = await opened(host)
    depot.down = False
    async with memory_host(store=SqliteStore(tmp_path), values={"depot": depot}) as host:
        await host.deploy("orders", "1.0.0", slow)
        for order in orders:
            assert (await host.wait(order, 5)).state is FlowState.COMPLETED
    assert len(depot.sent) == len(set(depot.sent)) == 12
