"""How ports are attempted: pauses, what is attempted again, and defaults that change meanwhile."""

import asyncio
from datetime import datetime

import pytest

from aegis.adapters.storage.sqlite import SqliteStore
from aegis.core.breaker import Breaking
from aegis.core.errors import BreakerOpenError, ConfigError, PortError, PortTimeoutError
from aegis.core.flow import FlowState
from aegis.testing import EagerClock, memory_host
from tests.engine.shop import Desk, never, until
from tests.fakes import SteppedClock

TEXT = """
from typing import Protocol
from aegis import Model, adapter, command, config, idempotency_key, on, port

class Partner(Protocol):
    async def do(self, what: str, order: str) -> str: ...

class Desk(Partner):
    def __init__(self, say: object = config("say")) -> None:
        self.say = say

    async def do(self, what: str, order: str) -> str:
        return await self.say(what, order, idempotency_key())

class Order(Model):
    paid: str | None = None

    @port(consumes="order.created", produces="order.paid"PAY)
    async def pay(self, partner: Partner = adapter()) -> "Order":
        return self.update(paid=await partner.do("pay", self.id))

    @pay.undo(UNDO)
    async def refund(self, partner: Partner = adapter()) -> None:
        await partner.do("refund", self.id)

    @command(COMMAND)
    async def nudge(self, partner: Partner = adapter()) -> None:
        await partner.do("nudge", self.id)
"""

EDGE = "uses:port:orders.Order.pay>part:orders.Desk"


def text(pay="", undo="retries=0", command="timeout=0.05"):
    said = f", {pay}" if pay else ""
    return TEXT.replace("PAY", said).replace("UNDO", undo).replace("COMMAND", command)


@pytest.fixture
async def host(desk, clock):
    async with memory_host(values={"say": desk}, clock=clock) as host:
        await host.deploy("orders", "1.0.0", text())
        yield host


async def ended(host, order):
    return (await host.wait(order, 5)).state


async def test_pauses_grow_up_to_the_most_and_chance_takes_its_share(host, desk, clock):
    pay = "retries=5, backoff=2, factor=3, backoff_most=30, jitter=0.5, breaker=False"
    await host.deploy("orders", "1.0.0", text(pay))
    desk.replies["pay"] = OSError("dead")
    assert await ended(host, await host.create("Order")) is FlowState.COMPENSATED
    assert clock.slept == [2, 6, 18, 30, 30]
    clock.slept.clear()
    clock.shown = 0.5
    assert await ended(host, await host.create("Order")) is FlowState.COMPENSATED
    assert clock.slept == [1.5, 4.5, 13.5, 22.5, 22.5]


async def test_what_is_not_worth_another_attempt_fails_at_once_and_is_undone(host, desk, clock):
    await host.deploy(
        "orders", "1.0.0", text("retries=5, retry_if=(ConnectionError, TimeoutError)")
    )
    desk.replies["pay"] = ValueError("malformed")
    order = await host.create("Order")
    assert await ended(host, order) is FlowState.COMPENSATED
    assert desk.told == ["pay", "refund"]
    assert clock.slept == []


async def test_a_time_out_is_a_timeout_error_for_retry_if(host, desk):
    await host.deploy("orders", "1.0.0", text("retries=1, timeout=0.02, retry_if=TimeoutError"))
    desk.replies["pay"] = never
    assert await ended(host, await host.create("Order")) is FlowState.COMPENSATED
    assert desk.told == ["pay", "pay", "refund"]


async def test_a_function_judges_each_error(host, desk):
    await host.deploy(
        "orders", "1.0.0", text("retries=5, retry_if=lambda error: 'busy' in str(error)")
    )

    async def busy_then_no(number):
        return OSError("busy" if number < 3 else "no")

    desk.replies["pay"] = busy_then_no
    assert await ended(host, await host.create("Order")) is FlowState.COMPENSATED
    assert desk.told == ["pay", "pay", "pay", "refund"]


async def test_a_function_that_fails_itself_is_named_and_keeps_nobody_from_trying(
    host, desk, caplog
):
    await host.deploy("orders", "1.0.0", text("retries=1, retry_if=lambda error: error.status > 1"))

    async def once(number):
        return OSError("dead") if number == 1 else "ok"

    desk.replies["pay"] = once
    assert await ended(host, await host.create("Order")) is FlowState.COMPLETED
    assert "retry_if of pay failed on OSError" in caplog.text


async def test_an_undo_has_its_own_pauses_and_judge(host, desk, clock):
    undo = "retries=9, backoff=4, retry_if=ConnectionError"
    await host.deploy("orders", "1.0.0", text("retries=0", undo))

    async def line_then_no(number):
        return ConnectionError("line") if number < 3 else ValueError("no such order")

    desk.replies |= {"pay": OSError("dead"), "refund": line_then_no}
    assert await ended(host, await host.create("Order")) is FlowState.COMPENSATION_FAILED
    assert desk.told == ["pay", "refund", "refund", "refund"]
    assert clock.slept == [4, 8]


async def test_a_command_has_its_own_time_and_breaker(host, desk):
    await host.deploy(
        "orders", "1.0.0", text(command="timeout=0.02, breaker={'volume': 2, 'pause': 30}")
    )
    order = await host.create("Order")
    desk.replies["nudge"] = never
    for _ in range(2):
        with pytest.raises(PortTimeoutError, match=r"0\.02 s"):
            await host.call(order, "nudge")
    with pytest.raises(BreakerOpenError, match="nudge"):
        await host.call(order, "nudge")
    assert desk.asked("nudge") == 2


# --- defaults that change while the host runs


async def test_a_default_counts_from_the_next_attempt_on_and_no_call_is_lost(host, desk):
    revision = host.engine.registry.live["orders"]
    gate = asyncio.Event()

    async def first_waits(number):
        if number == 1:
            await gate.wait()
        return OSError("dead") if number < 3 else "ok"

    desk.replies["pay"] = first_waits
    order = await host.create("Order")
    await until(lambda: desk.asked("pay") == 1)
    await host.configure({"ports.retries": 9, "ports.backoff": 0})
    gate.set()
    assert await ended(host, order) is FlowState.COMPLETED
    await host.configure({"ports.retries": 0})
    desk.replies["pay"] = OSError("dead")
    asked = desk.asked("pay")
    assert await ended(host, await host.create("Order")) is FlowState.COMPENSATED
    assert desk.asked("pay") == asked + 1
    assert host.engine.registry.live["orders"] is revision
    assert (await host.events("breaker.*")) == []


async def test_a_default_timeout_holds_for_the_next_attempt(host, desk):
    await host.configure({"ports.timeout": 0.02, "ports.retries": 0})
    desk.replies["pay"] = never
    order = await host.create("Order")
    assert await ended(host, order) is FlowState.COMPENSATED
    with pytest.raises(PortTimeoutError, match=r"0\.02 s"):
        await host.run(order, "pay")


async def test_what_a_port_says_itself_stays(host, desk):
    await host.deploy("orders", "1.0.0", text("retries=2, backoff=0"))
    await host.configure({"ports.retries": 0, "ports.backoff": 5})
    desk.replies["pay"] = OSError("dead")
    await ended(host, await host.create("Order"))
    assert desk.asked("pay") == 3


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ({"ports.timeout": "soon"}, r"ports\.timeout"),
        ({"ports.timeout": -1}, "timeout must be above 0"),
        ({"ports.timout": 5}, "'timeout'"),
        ({"ports.breaker": {"volume": 99}}, "volume"),
        ({"ports.breaker": {"puase": 1}}, r"ports\.breaker\.puase"),
    ],
)
async def test_a_bad_default_is_refused_by_name_and_nothing_changes(host, bad, words):
    before = host.engine
    with pytest.raises(ConfigError, match=words):
        await host.configure({"ports.retries": 1, **bad})
    assert host.engine is before
    await host.configure({})
    assert host.engine is before


async def test_the_graph_says_what_is_usual_now(host):
    def detail():
        return next(n.detail for n in host.graph().nodes if n.id == "port:orders.Order.pay")

    assert detail().startswith("30 s, 3 retries")
    await host.configure({"ports": {"timeout": 5, "retries": 1}})
    assert detail().startswith("5 s, 1 retry")


async def told(host, count):
    """The events of breakers, once there are `count`: they are stored beside the calls."""
    async with asyncio.timeout(5):
        while len(events := await host.events("breaker.*")) < count:  # noqa: ASYNC110 -- no Event
            await asyncio.sleep(0)
    return events


async def fail(host, order, times):
    for _ in range(times):
        with pytest.raises(PortError):
            await host.run(order, "pay")


async def test_numbers_of_breakers_change_meanwhile_and_off_lets_everybody_through(host, desk):
    order = await host.create("Order")
    await ended(host, order)
    desk.replies["pay"] = OSError("dead")
    await fail(host, order, 2)
    await host.configure({"ports.breaker": {"volume": 3, "threshold": 0.1, "pause": 30}})
    await fail(host, order, 1)
    with pytest.raises(BreakerOpenError):
        await host.run(order, "pay")
    await host.configure({"ports.breaker": False})
    await fail(host, order, 30)
    assert host.monitor.figures()[EDGE].state == "failing"
    opened, closed = await told(host, 2)
    assert (opened.type, closed.type) == ("breaker.opened", "breaker.closed")
    assert closed.data["why"] == "the configuration turned it off"
    await host.configure({"ports.breaker": True})
    await fail(host, order, 3)
    with pytest.raises(BreakerOpenError):
        await host.run(order, "pay")


async def test_steps_that_wait_for_a_breaker_go_on_when_it_is_turned_off_or_its_pause_shortened(
    host, desk
):
    await host.configure({"ports.breaker": {"volume": 2, "pause": 50}, "ports.retries": 50})
    desk.replies["pay"] = OSError("dead")
    orders = [await host.create("Order") for _ in range(3)]
    await until(lambda: host.status().waiting == ("breaker of orders.Order.pay -> Desk",))
    desk.replies["pay"] = "ok"
    await host.configure({"ports.breaker.pause": 0.01})
    for order in orders:
        assert await ended(host, order) is FlowState.COMPLETED
    desk.replies["pay"] = OSError("dead")
    await host.configure({"ports.breaker.pause": 50})
    orders = [await host.create("Order") for _ in range(3)]
    await until(lambda: host.status().waiting == ("breaker of orders.Order.pay -> Desk",))
    desk.replies["pay"] = "ok"
    await host.configure({"ports.breaker": False})
    for order in orders:
        assert await ended(host, order) is FlowState.COMPLETED


async def test_what_was_configured_reaches_code_that_is_deployed_later():
    desk = Desk()
    async with memory_host(values={"say": desk, "ports.breaker": {"volume": 3}}) as host:
        assert host.engine.registry.defaults.breaker == Breaking(volume=3)
        await host.configure({"ports.retries": 0})
        await host.deploy("orders", "1.0.0", text())
        desk.replies["pay"] = OSError("dead")
        await ended(host, await host.create("Order"))
        assert desk.asked("pay") == 1
        assert host.setup().values == {"ports.retries": 0}


async def test_a_restart_neither_forgets_nor_shortens_a_pause(desk, tmp_path):
    clock = SteppedClock()
    pay = text("retries=1, backoff=100, jitter=0.2")
    desk.replies["pay"] = OSError("dead")
    async with memory_host(store=SqliteStore(tmp_path), values={"say": desk}, clock=clock) as host:
        await host.deploy("orders", "1.0.0", pay)
        order = await host.create("Order")
        await until(lambda: desk.asked("pay") == 1)

        async def due():
            (_, (step,)), *_ = await host.flows(order)
            return step.due

        async with asyncio.timeout(5):
            while (when := await due()) is None:  # noqa: ASYNC110 -- no Event
                await asyncio.sleep(0)
    left = (datetime.fromisoformat(when) - clock.now()).total_seconds()
    assert 80 <= left <= 100
    desk.replies["pay"] = "ok"
    clock.advance(left / 2)
    async with memory_host(store=SqliteStore(tmp_path), values={"say": desk}, clock=clock) as host:
        await host.deploy("orders", "1.0.0", pay)
        await until(lambda: datetime.fromisoformat(when) in clock.sleeping)
        clock.advance(left / 2 - 0.01)
        for _ in range(20):
            await asyncio.sleep(0)
        assert desk.asked("pay") == 1
        clock.advance(0.02)
        assert await ended(host, order) is FlowState.COMPLETED
    assert desk.told == ["pay", "pay"]


async def test_what_an_adapter_gives_that_does_not_fit_fails_the_step_by_the_field(host, desk):
    await host.deploy("orders", "1.0.0", text("retries=0"))
    desk.replies["pay"] = 5
    order = await host.create("Order")
    flow = await host.wait(order, 5)
    assert flow.state is FlowState.COMPENSATED
    assert "Order: Expected `str | null`, got `int` - at `$.paid`" in flow.error
    assert (await host.get("Order", order.id)).paid is None


async def test_pauses_of_many_are_spread_by_the_dice_of_the_clock(desk):
    class Turning(EagerClock):
        """Its dice show another number each time."""

        def dice(self):
            self.shown = (self.shown + 0.3) % 1
            return self.shown

    clock = Turning()
    async with memory_host(values={"say": desk}, clock=clock) as host:
        await host.deploy("orders", "1.0.0", text("retries=1, backoff=10, jitter=0.5"))
        desk.replies["pay"] = OSError("dead")
        for _ in range(3):
            await ended(host, await host.create("Order"))
        assert clock.slept == pytest.approx([8.5, 7.0, 5.5])
