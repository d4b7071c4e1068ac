"""Deadlines come in their order, never early; what is said after one has no effect."""

import asyncio
import threading

import pytest

from aegis.core.errors import PortTimeoutError, Refused
from aegis.core.flow import FlowState, StepState
from aegis.engine.deadlines import GRAIN, Deadlines, deadlines
from tests.engine.shop import TEXT, states, until


class Told:
    """Writes down when its deadline came."""

    def __init__(self, name, told):
        self.name = name
        self.told = told

    def expire(self):
        self.told.append((self.name, asyncio.get_running_loop().time()))


async def test_they_come_in_their_order_and_none_too_early():
    told, wheel = [], Deadlines(asyncio.get_running_loop())
    began = wheel.loop.time()
    waits = [0.09, 0.01, 0.06, 0.03]
    for seconds in waits:
        wheel.put(Told(seconds, told), seconds)
    await until(lambda: len(told) == len(waits))
    assert [name for name, _ in told] == sorted(waits)
    assert all(at - began >= name - 1 / GRAIN for name, at in told)


async def test_one_that_is_taken_out_does_not_come_and_later_ones_do():
    told, wheel = [], Deadlines(asyncio.get_running_loop())
    cut = Told("cut", told)
    bucket = wheel.put(cut, 0.02)
    wheel.put(Told("kept", told), 0.02)
    wheel.put(Told("late", told), 0.05)
    bucket.discard(cut)
    await until(lambda: len(told) == 2)
    assert [name for name, _ in told] == ["kept", "late"]
    wheel.put(Told("after", told), 0.01)  # it was all empty
    await until(lambda: len(told) == 3)


async def test_long_ones_share_buckets_so_that_their_number_is_bounded():
    wheel = Deadlines(asyncio.get_running_loop())
    kept = [wheel.put(Told(n, []), 3600 + n / 100) for n in range(100)]
    assert len({id(bucket) for bucket in kept}) <= 2


async def test_each_loop_has_its_own():
    mine, others = deadlines(), []
    assert deadlines() is mine

    async def other():
        others.append(deadlines())

    thread = threading.Thread(target=lambda: asyncio.run(other()))
    thread.start()
    await until(lambda: not thread.is_alive())
    thread.join()
    assert others[0] is not mine
    assert deadlines() is mine


@pytest.mark.parametrize("late", ["too late", OSError("too late"), Refused("too late")])
async def test_an_adapter_that_answers_after_its_deadline_has_no_effect(shop, desk, late):
    async def swallow(_):
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            if isinstance(late, Exception):
                raise late from None
            return late

    desk.replies["ship"] = swallow
    order = await shop.create("Order")
    flow = await shop.wait(order, 5)
    assert flow.state is FlowState.COMPENSATED
    assert "ship gave no answer within 0.05 s" in flow.error
    assert (desk.asked("ship"), desk.asked("recall")) == (2, 1)
    _, steps = await states(shop, order)
    assert steps["ship"] is StepState.UNDONE
    assert (await shop.get("Order", order.id)).shipped is None
    assert [e.type for e in await shop.events("order.shipped")] == []


async def test_a_partner_that_answers_too_late_opens_its_breaker(shop, desk):
    late = "timeout=0.05, breaker={'volume': 2, 'pause': 60}"
    await shop.deploy("orders", "1.0.0", TEXT.replace("timeout=0.05", late))

    async def swallow(_):
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            return "too late"

    desk.replies["ship"] = swallow
    await shop.create("Order")
    edge = "uses:port:orders.Order.ship>part:orders.Desk"
    await until(
        lambda: edge in shop.monitor.figures() and shop.monitor.figures()[edge].state == "open"
    )
    assert desk.asked("ship") == 2


async def test_a_direct_call_that_is_answered_after_its_deadline_fails(shop, desk):
    order = await shop.create("Order", approved=False)
    await until(lambda: desk.told == ["pay"])

    async def swallow(_):
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            return "too late"

    desk.replies["ship"] = swallow
    with pytest.raises(PortTimeoutError):
        await shop.run(order, "ship")
    assert (await shop.get("Order", order.id)).shipped is None
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_a_thousand_attempts_with_a_deadline_each_end_on_their_own(shop, desk):
    await shop.deploy("orders", "1.0.0", TEXT.replace("timeout=5)", "timeout=0.05, breaker=False)"))

    async def every_other(number):
        if number % 2:
            await asyncio.sleep(3600)
        return "paid"

    desk.replies["pay"] = every_other
    orders = [await shop.create("Order") for _ in range(1000)]
    for order in orders:
        await shop.wait(order, 20)
    # An odd call is cut at its deadline and made again; nothing else is.
    assert all(task.cancelling() == 0 for task in asyncio.all_tasks())
    found = [await shop.get("Order", order.id) for order in orders]
    assert sum(order.paid == "paid" for order in found) >= 500
