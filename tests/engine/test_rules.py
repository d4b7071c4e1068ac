"""Rules on fields where records are written: by callers, ports, commands, undo and imports."""

from decimal import Decimal

import pytest

from aegis.core.errors import FrozenError, InvalidError
from aegis.testing import memory_host

TEXT = """
from decimal import Decimal
from typing import Annotated, Protocol
import msgspec
from aegis import (
    Model, Refused, adapter, command, derived, frozen, frozen_when, port, required_when,
)

class Item(msgspec.Struct):
    price: Decimal
    qty: int = 1

class Stock(Protocol):
    def take(self) -> None: ...

class Shelf(Stock):
    def take(self) -> None:
        pass

class Order(Model, endpoint="orders", concurrency="last-wins"):
    number: Annotated[str, frozen]
    status: str = "PENDING"
    items: Annotated[list[Item], frozen_when(lambda order: order.status != "PENDING")] = []
    customer_id: str | None = None
    address: Annotated[str | None, required_when(lambda order: order.customer_id is None)] = None
    total: Annotated[
        Decimal, derived(lambda order: sum(i.price * i.qty for i in order.items))
    ] = Decimal(0)
    note: str = ""

    @command
    def pay(self) -> "Order":
        return self.update(status="PAID", total=Decimal(999))

    @command
    def renumber(self) -> "Order":
        return self.update(number="other")

    @port(consumes="order.created", produces="order.packed", when=lambda o: o.note)
    def pack(self, stock: Stock = adapter()) -> "Order":
        if self.note == "renumber":
            return self.update(number="other")
        return self.update(note="packed")

    @pack.undo
    def unpack(self, stock: Stock = adapter()) -> "Order":
        return self.update(number="undone")

    @port(consumes="order.packed")
    def ship(self) -> "Order":
        raise Refused("no truck")
"""
TWO = [{"price": "2.50", "qty": 2}]


@pytest.fixture
async def host():
    async with memory_host() as host:
        await host.deploy("orders", "1.0.0", TEXT)
        yield host


async def create(host, **more):
    return await host.create("Order", **{"number": "1", "address": "x", "items": TWO, **more})


async def test_a_derived_field_is_reckoned_at_every_write_and_told_in_the_event(host):
    order = await create(host)
    assert order.total == Decimal("5.00")
    order = await host.update(order, items=[{"price": "1"}])
    assert order.total == Decimal(1)
    assert (await host.call(order, "pay")).total == Decimal(1)
    told = [event.data["changed"].get("total") for event in await host.events("order.*")]
    assert told == ["5.00", "1", None]
    with pytest.raises(InvalidError, match="total"):
        await host.update(order, total=3)
    with pytest.raises(InvalidError, match="total"):
        await create(host, total=3)


async def test_what_is_frozen_stays_whoever_writes(host):
    order = await create(host)
    for attempt in (host.update(order, number="2"), host.call(order, "renumber")):
        with pytest.raises(FrozenError, match=r"Order\.number is frozen"):
            await attempt
    paid = await host.call(order, "pay")
    with pytest.raises(FrozenError, match=r"Order\.items is frozen as"):
        await host.update(paid, items=[])
    assert (await host.update(paid, note="", items=paid.items)) == paid


async def test_what_is_required_is_judged_on_what_would_be_stored(host):
    with pytest.raises(InvalidError, match=r"Order\.address is required"):
        await create(host, address=None)
    order = await create(host)
    with pytest.raises(InvalidError, match=r"Order\.address is required"):
        await host.update(order, address=None)
    await host.update(order, address=None, customer_id="c")


async def test_a_step_that_would_set_a_frozen_field_fails_at_once_and_its_flow_says_so(host):
    order = await create(host, note="renumber")
    (flow,) = await host.flows(order)
    ended = await host.wait(flow[0].id, 5)
    # Its undo would set the field as well: frozen means frozen.
    assert ended.state == "compensation failed"
    assert "Order.number is frozen" in ended.error
    assert (await host.get("Order", order.id)).number == "1"


async def test_an_undo_that_would_set_a_frozen_field_stops_by_name(host):
    order = await create(host, note="pack")
    (flow,) = await host.flows(order)
    ended = await host.wait(flow[0].id, 5)
    assert ended.state == "compensation failed"
    assert "undo of pack" in ended.error
    assert "Order.number is frozen" in ended.error


async def test_an_import_keeps_the_rules(host, tmp_path):
    order = await create(host)
    await host.export(str(tmp_path / "out.ndjson"))
    text = (tmp_path / "out.ndjson").read_text()
    for there, here in (('"number":"1"', '"number":"2"'), ('"address":"x"', '"address":null')):
        (tmp_path / "in.ndjson").write_text(text.replace(there, here))
        with pytest.raises(InvalidError, match=r"Order\.(number is frozen|address is required)"):
            await host.import_(str(tmp_path / "in.ndjson"), on_conflict="replace", edited=True)
    assert await host.get("Order", order.id) == order
