"""A method that stands in for a port whose partner is out of order, and what undo makes of it."""

import asyncio

import pytest

from aegis.adapters.storage.sqlite import SqliteStore
from aegis.core.errors import BreakerOpenError, ComponentError, InvalidError, PortError, Refused
from aegis.core.flow import FlowState, StepState
from aegis.core.port import port
from aegis.testing import load, memory_host
from tests.engine.shop import never, states, until

TEXT = """
from typing import Protocol
from aegis import Event, Model, adapter, command, config, idempotency_key, port

class Bank(Protocol):
    async def do(self, what: str, order: str) -> str: ...

class Ledger(Protocol):
    async def note(self, what: str, order: str) -> str: ...

class Desk(Bank):
    def __init__(self, say: object = config("say")) -> None:
        self.say = say

    async def do(self, what: str, order: str) -> str:
        return await self.say(what, order, idempotency_key())

class Book(Ledger):
    def __init__(self, say: object = config("say")) -> None:
        self.say = say

    async def note(self, what: str, order: str) -> str:
        return await self.say(what, order, idempotency_key())

class Order(Model):
    paid: str | None = None
    shipped: bool = False

    @port(consumes="order.created", produces="order.paid", retries=1, timeout=0.05, BREAKER)
    async def pay(self, bank: Bank = adapter()) -> "Order":
        return self.update(paid=await bank.do("pay", self.id))

    @pay.undo(retries=0)
    async def refund(self, bank: Bank = adapter()) -> None:
        await bank.do("refund", self.id)

    @pay.fallback(timeout=0.05)
    async def pay_later(self, event: Event, ledger: Ledger = adapter()) -> "Order":
        return self.update(paid=await ledger.note("note", self.id))

    @port(consumes=pay, retries=0, timeout=5)
    async def ship(self, bank: Bank = adapter()) -> "Order":
        await bank.do("ship", self.id)
        return self.update(shipped=True)

    @command(undo=True)
    def cancel(self): ...
"""
PAY = "breaker of orders.Order.pay -> Desk"


def text(breaker="breaker=False"):
    return TEXT.replace("BREAKER", breaker)


@pytest.fixture
async def host(desk, clock):
    async with memory_host(values={"say": desk}, clock=clock) as host:
        await host.deploy("orders", "1.0.0", text())
        desk.replies["note"] = "on account"
        yield host


async def test_it_stands_in_when_the_attempts_are_used_up_and_the_step_is_done(host, desk, clock):
    desk.replies["pay"] = OSError("dead")
    order = await host.create("Order")
    assert (await host.wait(order, 5)).state is FlowState.COMPLETED
    assert desk.told == ["pay", "pay", "note", "ship"]
    assert len({key for what, key in desk.calls if what in {"pay", "note"}}) == 1
    assert clock.slept == [1]
    found = await host.get("Order", order.id)
    assert (found.paid, found.shipped) == ("on account", True)
    (_, steps), *_ = await host.flows(order)
    assert (steps[0].state, steps[0].attempts) == (StepState.DONE, 2)
    assert steps[0].error == "its fallback stood in after OSError: dead"
    assert await host.failed() == []


async def test_it_is_not_asked_while_the_partner_answers_or_refuses(host, desk):
    await host.wait(await host.create("Order"), 5)
    assert desk.told == ["pay", "ship"]
    desk.replies["pay"] = Refused("no money")
    order = await host.create("Order")
    assert (await host.wait(order, 5)).state is FlowState.COMPENSATED
    assert desk.asked("note") == 0


async def test_what_the_partner_may_have_done_is_undone_when_the_flow_fails_later(host, desk):
    desk.replies |= {"pay": never, "ship": Refused("no stock")}
    order = await host.create("Order")
    assert (await host.wait(order, 5)).state is FlowState.COMPENSATED
    assert desk.told == ["pay", "pay", "note", "ship", "refund"]
    _, found = await states(host, order)
    assert found == {"pay": StepState.UNDONE, "ship": StepState.REFUSED}


@pytest.mark.parametrize("reply", [OSError("book is lost"), Refused("not on account"), never])
async def test_when_it_fails_too_the_step_has_failed_and_its_outcome_is_unknown(host, desk, reply):
    desk.replies |= {"pay": OSError("dead"), "note": reply}
    order = await host.create("Order")
    flow = await host.wait(order, 5)
    assert flow.state is FlowState.COMPENSATED
    assert desk.told == ["pay", "pay", "note", "refund"]
    if isinstance(reply, OSError):
        assert flow.error == "pay: OSError: dead; its fallback then: OSError: book is lost"


async def test_a_cancel_cuts_it_and_undoes_the_step(host, desk):
    text_ = text().replace("fallback(timeout=0.05)", "fallback(timeout=60)")
    await host.deploy("orders", "1.0.0", text_)
    desk.replies |= {"pay": OSError("dead"), "note": never}
    order = await host.create("Order")
    await until(lambda: desk.asked("note") == 1)
    await host.call(order, "cancel")
    assert (await host.wait((await host.flows(order))[0][0].id, 5)).state is FlowState.COMPENSATED
    assert desk.told == ["pay", "pay", "note", "refund"]


async def opened(host, desk, breaker="breaker={'volume': 2, 'pause': 60}"):
    await host.deploy("orders", "1.0.0", text(breaker))
    desk.replies["pay"] = OSError("dead")
    order = await host.create("Order")
    await host.wait(order, 5)
    desk.calls.clear()
    return order


async def test_an_open_breaker_lets_it_stand_in_at_once_instead_of_waiting(host, desk):
    await opened(host, desk)
    order = await host.create("Order")
    assert (await host.wait(order, 5)).state is FlowState.COMPLETED
    assert desk.told == ["note", "ship"]
    (_, steps), *_ = await host.flows(order)
    assert steps[0].attempts == 0


async def test_with_its_own_breaker_open_too_the_step_waits_for_that_of_the_port(host, desk):
    await opened(host, desk)
    desk.replies["note"] = OSError("book is lost")
    await host.create("Order")  # it fails, and its undo waits for the breaker that pay has too
    await until(lambda: desk.asked("note") == 1)
    order = await host.create("Order")
    await until(lambda: host.status().waiting == (PAY,))
    assert desk.told == ["note"]
    desk.replies["pay"] = "ok"
    await host.deploy("orders", "1.0.0", f"{text()}\n# mended\n")
    assert (await host.wait(order, 5)).state is FlowState.COMPLETED
    assert (desk.asked("pay"), desk.asked("note")) == (1, 1)


async def test_a_direct_call_falls_back_after_its_one_attempt_and_at_an_open_breaker(host, desk):
    order = await opened(host, desk, "breaker={'volume': 3, 'pause': 60}")
    await until(lambda: host.status().flows_open == 0)
    assert (await host.run(order, "pay")).paid == "on account"
    assert [what for what in desk.told if what != "ship"] == ["pay", "note"]
    assert (await host.run(order, "pay")).paid == "on account"
    assert [what for what in desk.told if what != "ship"] == ["pay", "note", "note"]
    desk.replies["note"] = OSError("book is lost")
    with pytest.raises(PortError, match="OSError"):
        await host.run(order, "pay")


async def test_a_step_cut_off_in_its_fallback_is_attempted_again_after_a_restart(desk, tmp_path):
    desk.replies |= {"pay": OSError("dead"), "note": never}
    slow = text().replace("fallback(timeout=0.05)", "fallback(timeout=60)")
    async with memory_host(store=SqliteStore(tmp_path), values={"say": desk}) as host:
        await host.deploy("orders", "1.0.0", slow)
        order = await host.create("Order")
        await until(lambda: desk.asked("note") == 1)
        closing = asyncio.ensure_future(host.close())
        await asyncio.sleep(0)
        for task in asyncio.all_tasks():
            if "_take" in repr(task.get_coro()):
                task.cancel()
        await closing
    desk.replies["note"] = "on account"
    async with memory_host(store=SqliteStore(tmp_path), values={"say": desk}) as host:
        await host.deploy("orders", "1.0.0", slow)
        assert (await host.wait(order, 5)).state is FlowState.COMPLETED
    assert desk.told == ["pay", "pay", "note", "pay", "note", "ship"]


async def test_it_stands_in_for_an_answer_that_does_not_come(desk):
    asks = """
class Parcel(Model):
    slip: str | None = None

    @port(consumes="parcel.created", retries=0)
    async def send(self, bank: Bank = adapter()) -> Waiting:
        await bank.do("send", self.id)
        return waiting("carrier.tracked", deadline=0.02)

    @send.answer
    def sent(self, event: Event) -> "Parcel":
        return self.update(slip=event.data["slip"])

    @send.fallback
    async def by_hand(self, ledger: Ledger = adapter()) -> "Parcel":
        return self.update(slip=await ledger.note("note", self.id))
"""
    desk.replies["note"] = "by hand"
    async with memory_host(values={"say": desk}) as host:
        given = (
            text().replace("import Event, Model", "import Event, Model, Waiting, waiting") + asks
        )
        await host.deploy("orders", "1.0.0", given)
        parcel = await host.create("Parcel")
        assert (await host.wait(parcel, 5)).state is FlowState.COMPLETED
        assert desk.told == ["send", "note"]
        assert (await host.get("Parcel", parcel.id)).slip == "by hand"
        (_, steps), *_ = await host.flows(parcel)
        assert "got no carrier.tracked" in steps[0].error


async def test_the_graph_shows_it_with_what_it_uses(host):
    graph = host.graph()
    detail = next(node.detail for node in graph.nodes if node.id == "port:orders.Order.pay")
    assert "fallback pay_later" in detail
    used = [edge.target for edge in graph.edges if edge.source == "port:orders.Order.pay"]
    assert "part:orders.Book" in used
    assert any(node.id == "part:orders.Book" and node.kind == "adapter" for node in graph.nodes)


def test_a_port_has_one_fallback():
    @port()
    def pay(self): ...

    pay.fallback(lambda self: None)
    with pytest.raises(InvalidError, match="already has a fallback"):
        pay.fallback(lambda self: None)


def test_a_fallback_takes_an_event_and_adapters_and_nothing_else():
    with pytest.raises(ComponentError, match=r"Order\.later takes amount: a fallback may take"):
        load("""
            from aegis import Model, port

            class Order(Model):
                @port()
                def pay(self): ...

                @pay.fallback
                def later(self, amount: int): ...
        """)


async def test_an_adapter_that_only_a_fallback_needs_must_be_there(host):
    with pytest.raises(ComponentError, match="Ledger"):
        await host.deploy("orders", "1.0.0", text().replace("class Book(Ledger)", "class Book"))


async def test_without_one_an_open_breaker_refuses_a_direct_call(host, desk):
    order = await opened(host, desk)
    bare = text("breaker={'volume': 1, 'pause': 60}").replace("@pay.fallback(timeout=0.05)", "")
    await host.deploy("orders", "1.0.0", bare)
    with pytest.raises(PortError):
        await host.run(order, "pay")
    with pytest.raises(BreakerOpenError):
        await host.run(order, "pay")
