"""Python and WebAssembly in one graph: each binds the other's adapters, each hears the other."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from decimal import Decimal
from typing import Any

import pytest

from aegis.adapters.graph.svg import render
from aegis.core.component import Source
from aegis.core.errors import ComponentError
from aegis.core.flow import FlowState
from aegis.core.graph import graph_of
from aegis.engine.host import Host
from aegis.testing import memory_host
from tests.engine.shop import quiet
from tests.wasm.talking import BOOM, ECHO, Talk

TEXT = {"type": "string"}
MONEY = {"type": "string", "format": "decimal", "minimum": 0}

SHOP = """
from decimal import Decimal
from typing import Protocol
import msgspec
from aegis import Model, adapter, command, port

class Line(msgspec.Struct, frozen=True):
    item: str
    price: Decimal

class Quote(msgspec.Struct, frozen=True):
    amount: Decimal
    lines: list[Line]

class Carrier(Protocol):
    async def quote(self, lines: list[Line], most: Decimal = Decimal("9.99")) -> Quote: ...
    async def ship(self, id: str) -> None: ...

class Order(Model, endpoint="orders"):
    amount: Decimal | None = None
    first: Decimal | None = None

    @port(consumes="order.created", produces="order.quoted", retries=RETRIES, breaker={"volume": 2})
    async def ask(self, carrier: Carrier = adapter()) -> "Order":
        quote = await carrier.quote([Line("cd", Decimal("1.50"))])
        await carrier.ship(id=self.id)
        return self.update(amount=quote.amount, first=quote.lines[0].price)
"""
LINE = {"type": "object", "properties": {"item": TEXT, "price": MONEY}}
QUOTE = {
    "type": "object",
    "properties": {"amount": MONEY, "lines": {"type": "array", "items": LINE}},
}
CARRIER: dict[str, Any] = {
    "name": "carrier",
    "version": "1.0.0",
    "protocols": {
        "Carrier": {
            "quote": {
                "takes": {
                    "lines": {"type": "array", "items": LINE},
                    "most": {**MONEY, "default": "5.00"},
                },
                "gives": QUOTE,
            },
            "ship": {"takes": {"id": TEXT}},
        },
        "Tariff": {"price": {"takes": {"weight": MONEY}, "gives": MONEY}},
    },
    "adapters": {"CarrierClient": {"does": ["Carrier"], "uses": {"tariff": "Tariff"}}},
    "services": {"Table": {"does": ["Tariff"]}},
    "exports": {"adapters": ["CarrierClient"]},
}
ANSWER = '{"amount":"4.20","lines":[{"item":"cd","price":"1.50"}]}'


def carrier(bodies: dict[str, str] | None = None, talk: Talk | None = None, **more: Any) -> Source:
    talk = talk or Talk()
    answers = {"CarrierClient.quote": ANSWER, "CarrierClient.ship": "", "Table.price": '"2.10"'}
    kept = {name: text for name, text in answers.items() if name not in (bodies or {})}
    return talk.source({**CARRIER, **more}, kept, bodies)


def shop(retries: int = 0) -> str:
    return SHOP.replace("RETRIES", str(retries))


@pytest.fixture
async def host() -> AsyncGenerator[Host]:
    async with memory_host(bindings={"orders.Carrier": "carrier.CarrierClient"}) as host:
        yield host


async def test_a_port_in_python_binds_an_adapter_of_a_guest(host: Host) -> None:
    await host.deploy(carrier())
    with pytest.raises(ComponentError, match="CarrierClient"):
        await host.deploy("orders", "1.0.0", shop() + '\n__grants__ = {"carrier": ["Nothing"]}\n')
    await host.deploy(
        "orders",
        "1.0.0",
        shop() + '\n__grants__ = {"carrier": ["CarrierClient"]}\n',
        grants=["carrier.CarrierClient"],
    )
    order = await host.create("Order")
    await quiet(host)
    order = await host.get("Order", order.id)
    assert (order.amount, order.first) == (Decimal("4.20"), Decimal("1.50"))
    edges = {(edge.source, edge.target) for edge in graph_of(host.engine.registry).edges}
    assert ("port:orders.Order.ask", "part:carrier.CarrierClient") in edges
    # It is recorded as any other, and a replay asks nobody.
    told = await host.replay(order)
    assert told.same, told


async def test_what_a_guest_is_called_with_is_json(host: Host) -> None:
    talk = Talk()
    said = {"type": "object", "properties": {"arguments": {"type": "object"}, "key": TEXT}}
    more = {**CARRIER["protocols"]}
    more["Carrier"] = {**more["Carrier"], "quote": {**more["Carrier"]["quote"], "gives": said}}
    await host.deploy(carrier({"CarrierClient.quote": ECHO}, talk, protocols=more))
    text = shop().replace(
        "        await carrier.ship",
        "        SEEN.append((quote.arguments, quote.key))\n        await carrier.ship",
    )
    await host.deploy("orders", "1.0.0", text + "\nSEEN = []\n", grants=["carrier.CarrierClient"])
    await host.create("Order")
    await quiet(host)
    ((arguments, key),) = host.engine.registry.live["orders"].module.SEEN  # type: ignore[union-attr]
    assert arguments == {"lines": [{"item": "cd", "price": "1.50"}], "most": "5.00"}
    assert key


@pytest.mark.parametrize("amount", ["x", "-1"])
async def test_what_a_guest_answers_must_fit_and_the_port_is_named(host: Host, amount: str) -> None:
    talk = Talk()
    answer = talk.give(ANSWER.replace("4.20", amount))
    await host.deploy(carrier({"CarrierClient.quote": answer}, talk))
    await host.deploy("orders", "1.0.0", shop(), grants=["carrier.CarrierClient"])
    order = await host.create("Order")
    await quiet(host)
    flow, _ = (await host.flows(order))[0]
    assert flow.state is FlowState.COMPENSATED
    assert "carrier@1.0.0" in flow.error
    assert "CarrierClient.quote gave what does not fit" in flow.error
    assert "$.amount" in flow.error


async def test_a_guest_that_is_stopped_opens_the_breaker_of_who_uses_it(host: Host) -> None:
    await host.deploy(carrier({"CarrierClient.quote": BOOM}))
    await host.deploy("orders", "1.0.0", shop(), grants=["carrier.CarrierClient"])
    for _ in range(2):
        order = await host.create("Order")
        await quiet(host)
        flow, _ = (await host.flows(order))[0]
        assert "unreachable" in flow.error
    (opened,) = await host.events("breaker.opened")
    assert opened.subject == "uses:port:orders.Order.ask>part:carrier.CarrierClient"


async def test_a_loan_that_is_taken_back_ends_at_the_next_call(host: Host) -> None:
    await host.deploy(carrier())
    await host.deploy("orders", "1.0.0", shop(), grants=["carrier.CarrierClient"])
    await host.create("Order")
    await quiet(host)
    await host.revoke("orders", "carrier.CarrierClient")
    order = await host.create("Order")
    await quiet(host)
    flow, _ = (await host.flows(order))[0]
    assert "carrier" in flow.error
    assert flow.state is FlowState.COMPENSATED


async def test_a_new_revision_of_a_guest_serves_who_borrows_it(host: Host) -> None:
    await host.deploy(carrier())
    await host.deploy("orders", "1.0.0", shop(), grants=["carrier.CarrierClient"])
    talk = Talk()
    dearer = talk.give(ANSWER.replace("4.20", "5.00"))
    await host.deploy(carrier({"CarrierClient.quote": dearer}, talk, version="1.1.0"))
    order = await host.create("Order")
    await quiet(host)
    assert (await host.get("Order", order.id)).amount == Decimal("5.00")
    await host.rollback("carrier")
    order = await host.create("Order")
    await quiet(host)
    assert (await host.get("Order", order.id)).amount == Decimal("4.20")


PRICES = """
from decimal import Decimal
from typing import Protocol
from aegis import blocking

class Tariff(Protocol):
    async def price(self, weight: Decimal) -> Decimal: ...

class Table(Tariff):
    @blocking
    def price(self, weight: Decimal) -> Decimal:
        assert type(weight) is Decimal
        return weight * 2
"""


@pytest.mark.parametrize("of", ["a guest", "python"])
async def test_an_adapter_of_a_guest_binds_a_service_of_either(of: str) -> None:
    bindings = {"orders.Carrier": "carrier.CarrierClient"}
    if of == "python":
        bindings["carrier.Tariff"] = "prices.Table"
    async with memory_host(bindings=bindings) as host:
        talk = Talk()
        price = talk.ask("tariff.price", '{"weight":"1.05"}')
        protocols = {**CARRIER["protocols"]}
        protocols["Carrier"] = {
            **protocols["Carrier"],
            "ship": {"takes": {"id": TEXT}, "gives": MONEY},
        }
        await host.deploy("prices", "1.0.0", PRICES)
        await host.deploy(carrier({"CarrierClient.ship": price}, talk, protocols=protocols))
        text = shop().replace(
            "        await carrier.ship(id=self.id)",
            "        first = await carrier.ship(id=self.id)",
        )
        text = text.replace("first=quote.lines[0].price", "first=first")
        await host.deploy("orders", "1.0.0", text, grants=["carrier.CarrierClient"])
        order = await host.create("Order")
        await quiet(host)
        assert (await host.get("Order", order.id)).first == Decimal("2.10")
        uses = {edge.id: edge for edge in graph_of(host.engine.registry).edges}
        owner = "prices" if of == "python" else "carrier"
        assert f"uses:part:carrier.CarrierClient>part:{owner}.Table" in uses


async def test_a_service_that_fails_is_told_to_the_guest_and_recorded_for_a_replay() -> None:
    prices = PRICES.replace("return weight * 2", 'raise RuntimeError("the table is gone")')
    model = {
        "ports": {
            "ask": {"consumes": ["parcel.created"], "uses": {"tariff": "Tariff"}, "retries": 1}
        },
        "fields": {},
    }
    talk = Talk()
    parcels = talk.source(
        {
            "name": "parcels",
            "version": "1.0.0",
            "models": {"Parcel": model},
            "protocols": {"Tariff": CARRIER["protocols"]["Tariff"]},
        },
        bodies={"Parcel.ask": talk.ask("tariff.price", '{"weight":"1"}')},
    )
    async with memory_host(bindings={"parcels.Tariff": "prices.Table"}) as host:
        await host.deploy("prices", "1.0.0", prices)
        await host.deploy(parcels)
        parcel = await host.create("Parcel")
        await quiet(host)
        flow, steps = (await host.flows(parcel))[0]
        assert "Parcel.ask: RuntimeError: the table is gone" in flow.error
        assert steps[0].attempts == 2
        told = await host.replay(flow)
        assert told.same, told


# --- Events ------------------------------------------------------------------------------------


def piped() -> tuple[Source, Source]:
    """Picking and packing in two guests, each hearing the one before."""
    talk = Talk()
    number = {"order_id": TEXT, "state": {**TEXT, "default": "NEW"}}
    picking = talk.source(
        {
            "name": "picking",
            "version": "1.0.0",
            "emits": ["pick.ready"],
            "models": {
                "Pick": {
                    "fields": number,
                    "ports": {"pick": {"consumes": ["pick.created"], "produces": "pick.picked"}},
                }
            },
            "listeners": {"note": {"on": ["box.*"]}},
        },
        {"note": ""},
        {
            "Pick.pick": talk.emit(
                "pick.ready", "{}", then=talk.give('{"record":{"state":"PICKED"}}')
            )
        },
    )
    other = Talk()
    packing = other.source(
        {
            "name": "packing",
            "version": "1.0.0",
            "models": {
                "Box": {
                    "fields": number,
                    "relations": {"picks": {"to": "picking.Pick", "by": "order_id"}},
                    "ports": {
                        "order": {"consumes": ["box.created"], "produces": "box.ordered"},
                        "pack": {
                            "consumes": ["pick.picked"],
                            "by": "id",
                            "produces": "box.packed",
                        },
                    },
                }
            },
        },
        {"Box.pack": '{"record":{"state":"PACKED"}}'},
        {"Box.order": other.then(other.ask("picks.create", '{"id":"b-1"}'), other.give("{}"))},
    )
    return picking, packing


ORDERS = """
from aegis import Event, Model, port, relation

class Order(Model, endpoint="orders"):
    state: str = "NEW"
    boxes = relation("packing.Box", by="order_id")

    @port(consumes="order.created", produces="order.sent")
    async def send(self) -> None:
        await self.boxes.create(id=self.id)

    @port(consumes="box.packed", by="id", produces="order.completed")
    def complete(self) -> "Order":
        return self.update(state="COMPLETE")
"""


async def test_a_flow_goes_through_three_components_two_of_them_guests() -> None:
    async with memory_host() as host:
        picking, packing = piped()
        await host.deploy(picking)
        await host.deploy(packing)
        await host.deploy("orders", "1.0.0", ORDERS)
        order = await host.create("Order", id="b-1")
        await quiet(host)
        assert (await host.get("Order", order.id)).state == "COMPLETE"
        events = (
            await host.events(flow=(await host.flows(order))[0][0].id)
            if False
            else await host.events()
        )
        names = {event.id: event.type for event in events}
        tree = [(event.type, names.get(event.cause or "")) for event in events]
        assert tree == [
            ("order.created", None),
            ("order.sent", "order.created"),
            ("box.created", "order.created"),
            ("box.ordered", "box.created"),
            ("pick.created", "box.created"),
            ("pick.picked", "pick.created"),
            ("pick.ready", "pick.created"),
            ("box.packed", "pick.picked"),
            ("order.completed", "box.packed"),
        ]
        assert len({event.flow for event in events}) == 1
        graph = graph_of(host.engine.registry)
        ids = {node.id for node in graph.nodes}
        assert {"port:picking.Pick.pick", "port:packing.Box.pack", "port:orders.Order.send"} <= ids
        picture = render(graph)
        for word in ("pick.picked", "box.packed", "Pick", "Box"):
            assert word in picture
        why = await host.why(order)
        assert [line.depth for line in why.lines].count(0) == 1


@pytest.mark.parametrize("weight", ['"-1"', "[]", '"1","colour":"red"'])
async def test_what_a_guest_asks_must_fit(weight: str) -> None:
    talk = Talk()
    asked = talk.tell("tariff.price", f'{{"weight":{weight}}}')
    async with memory_host() as host:
        await host.deploy(carrier({"CarrierClient.ship": asked}, talk))
        await host.bind("orders.Carrier", "carrier.CarrierClient")
        await host.deploy("orders", "1.0.0", shop(), grants=["carrier.CarrierClient"])
        order = await host.create("Order")
        await quiet(host)
        flow, _ = (await host.flows(order))[0]
        assert "CarrierClient.ship: 'tariff.price' was called with what does not fit" in flow.error
