"""A component in WebAssembly has the rights and duties that one in Python has."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, Callable
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest

from aegis.bootstrap import build_host, start_server
from aegis.configuration import Config
from aegis.core.component import Source
from aegis.core.errors import (
    AegisError,
    ComponentError,
    DuplicateError,
    FrozenError,
    GrantError,
    GuestError,
    InvalidError,
    NotFoundError,
    Refused,
)
from aegis.core.flow import FlowState, StepState
from aegis.engine.host import Host
from aegis.testing import memory_host
from tests.wasm.talking import BOOM, TELL, Talk

CUSTOMERS = """
from typing import Annotated
from aegis import Model, private, port

class Customer(Model, endpoint="customers"):
    name: str
    city: str = "Oslo"
    secret: Annotated[str, private] = "s3cret"

    @port(consumes="customer.created", produces="customer.greeted")
    def greet(self) -> None: ...
"""
TEXT = {"type": "string"}
FIELDS: dict[str, Any] = {
    "number": {"type": "string", "frozen": True, "unique": True},
    "total": {"type": "string", "format": "decimal", "minimum": 0, "default": "1.00"},
    "status": {"enum": ["NEW", "SENT", "DONE"], "default": "NEW"},
    "card": {"type": "string", "private": True, "default": "4711-card"},
    "email": {"type": "string", "encrypted": True, "default": "ada@example.com"},
    "day": {"type": "string", "format": "date", "default": "2026-11-27"},
    "token": {"type": ["string", "null"], "format": "uuid", "default": None},
    "lines": {
        "type": "array",
        "items": {
            "type": "object",
            "properties": {
                "item": TEXT,
                "price": {"type": "string", "format": "decimal", "minimum": 0},
                "qty": {"type": "integer", "minimum": 1, "default": 1},
            },
            "required": ["item", "price"],
        },
        "default": [],
    },
    "note": {"type": "string", "frozen_when": {"status": ["SENT", "DONE"]}, "default": ""},
    "customer_id": {"type": ["string", "null"], "default": None},
}
PORT: dict[str, Any] = {"retries": 0}
SHOP: dict[str, Any] = {
    "name": "shop",
    "version": "1.0.0",
    "emits": ["stock.low"],
    "models": {
        "Order": {
            "endpoint": "orders",
            "indexes": ["status,-total"],
            "fields": FIELDS,
            "relations": {
                "customer": {"to": "customers.Customer", "via": "customer_id"},
                "lots": {"to": "Lot", "by": "order_id"},
                "named": {"to": "customers.Customer", "via": "customer_id", "fields": ["secret"]},
            },
        },
        "Lot": {
            "endpoint": "lots",
            "fields": {"order_id": TEXT, "weight": {"type": "number", "default": 1}},
        },
    },
}


def shop(
    *,
    ports: dict[str, Any] | None = None,
    commands: dict[str, Any] | None = None,
    answers: dict[str, str] | None = None,
    bodies: Callable[[Talk], dict[str, str]] = lambda _: {},
    **more: Any,
) -> Source:
    """The shop with such ports and commands of an order."""
    order = {**SHOP["models"]["Order"], "ports": ports or {}, "commands": commands or {}}
    description = {**SHOP, "models": {**SHOP["models"], "Order": order}, **more}
    talk = Talk()
    return talk.source(description, answers, bodies(talk))


@pytest.fixture
async def host() -> AsyncGenerator[Host]:
    async with memory_host() as host:
        await host.deploy("customers", "1.0.0", CUSTOMERS)
        yield host


async def settled(host: Host, order: Any) -> Any:
    async with asyncio.timeout(10):
        while host.status().flows_open:  # noqa: ASYNC110 -- a flow tells no Event
            await asyncio.sleep(0.005)
    return await host.get("Order", order.id)


def told_in(folder: Path, word: bytes) -> list[Path]:
    """The files in which a word stands."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files
    return [path for path in files if word in path.read_bytes()]


async def happened(host: Host, name: str) -> None:
    async with asyncio.timeout(5):
        while not await host.events(name):  # noqa: ASYNC110 -- it may have been already
            await asyncio.sleep(0.005)


async def sent(host: Host, order: Any) -> None:
    async with asyncio.timeout(5):
        while (await host.get("Order", order.id)).status != "SENT":  # noqa: ASYNC110 -- as above
            await asyncio.sleep(0.005)


async def last(host: Host, order: Any) -> tuple[Any, dict[str, Any]]:
    flow, steps = (await host.flows(order))[0]
    return flow, {step.port: step for step in steps}


# --- What it is called with, and what it may give ---------------------------------------------


async def test_a_guest_gets_the_whole_record_its_arguments_and_the_key(host: Host) -> None:
    await host.deploy(
        shop(
            ports={"look": {"arguments": {"n": {"type": "integer", "minimum": 1}}, **PORT}},
            bodies=lambda _: {"Order.look": TELL},
        )
    )
    order = await host.create("Order", number="N1", lines=[{"item": "cd", "price": "3.50"}])
    with pytest.raises(GuestError) as caught:
        await host.run(order, "look", n=3)
    got = json.loads(caught.value.detail.partition("Order.look: ")[2])
    assert got.pop("key")
    assert got == {
        "arguments": {"n": 3},
        "record": {
            "id": order.id,
            "number": "N1",
            "total": "1.00",
            "status": "NEW",
            "card": "4711-card",
            "email": "ada@example.com",
            "day": "2026-11-27",
            "token": None,
            "lines": [{"item": "cd", "price": "3.50", "qty": 1}],
            "note": "",
            "customer_id": None,
        },
    }
    with pytest.raises(InvalidError, match="n"):
        await host.run(order, "look", n=0)
    with pytest.raises(InvalidError, match="x"):
        await host.run(order, "look", n=1, x=2)


async def test_what_a_guest_changes_has_the_types_of_its_fields(host: Host) -> None:
    record = {
        "total": "2.50",
        "day": "2026-01-02",
        "token": "12345678-1234-5678-1234-567812345678",
        "lines": [{"item": "lp", "price": "9.99", "qty": 2}],
    }
    await host.deploy(
        shop(commands={"alter": {}}, answers={"Order.alter": json.dumps({"record": record})})
    )
    order = await host.call(await host.create("Order", number="N1"), "alter")
    assert order.total == Decimal("2.50")
    assert order.day == date(2026, 1, 2)
    assert order.token == UUID(record["token"])
    assert (order.lines[0].price, order.lines[0].qty) == (Decimal("9.99"), 2)


GIVEN = [
    ('{"record":{"total":"-1"}}', InvalidError, "total"),
    ('{"record":{"total":"much"}}', GuestError, "Order.alter gave what is no change: .*total"),
    ('{"record":{"totl":"1"}}', GuestError, "totl"),
    ('{"record":{"status":"GONE"}}', GuestError, "Invalid enum value 'GONE'"),
    ('{"record":{"card":7}}', GuestError, r"Expected another value - at `\$.card`"),
    ('{"record":{"number":"N2"}}', FrozenError, "number"),
    ('{"record":{"id":"other"}}', GuestError, "a record keeps its id"),
    ('{"record":[]}', GuestError, "no change"),
    ('{"recrod":{}}', GuestError, "recrod"),
    ("[]", GuestError, "no change"),
    ("nothing", GuestError, "no change"),
    ('{"wait":{"events":["a.b"]}}', GuestError, "waits for 'a.b', which no answer names"),
    ("!", GuestError, "it failed, and says nothing"),
    ("!no", GuestError, "Order.alter: no"),
    ('!{"refused":"never"}', Refused, "never"),
    ('!{"refused":"never","emit":{"name":"x"}}', GuestError, "no event name"),
    ('!{"refused":"never","and":1}', GuestError, "and"),
]


@pytest.mark.parametrize(("given", "error", "words"), GIVEN, ids=[text for text, *_ in GIVEN])
async def test_what_no_command_could_give_is_refused_by_name(
    host: Host, given: str, error: type[AegisError], words: str
) -> None:
    await host.deploy(shop(commands={"alter": {}}, answers={"Order.alter": given}))
    order = await host.create("Order", number="N1")
    with pytest.raises(error, match=words) as caught:
        await host.call(order, "alter")
    assert type(caught.value) is error
    assert (await host.get("Order", order.id)) == order


@pytest.mark.parametrize("given", ["", "null", "{}", '{"record":null}', '{"record":{}}'])
async def test_nothing_is_no_change(host: Host, given: str) -> None:
    await host.deploy(shop(commands={"look": {}}, answers={"Order.look": given}))
    order = await host.create("Order", number="N1")
    assert await host.call(order, "look") == order


async def test_rules_of_fields_bind_guest_and_callers(host: Host) -> None:
    await host.deploy(
        shop(
            commands={"send": {}, "write": {}},
            answers={
                "Order.send": '{"record":{"status":"SENT"}}',
                "Order.write": '{"record":{"note":"late"}}',
            },
        )
    )
    order = await host.create("Order", number="N1")
    with pytest.raises(DuplicateError, match="number"):
        await host.create("Order", number="N1")
    order = await host.call(await host.call(order, "write"), "send")
    with pytest.raises(FrozenError, match=r"Order\.note is frozen as the Order stands now"):
        await host.update(order, note="later")
    assert (await host.query("Order", status="SENT", sort="-total"))[0].note == "late"
    with pytest.raises(InvalidError, match="qty"):
        await host.create("Order", number="N2", lines=[{"item": "x", "price": "1", "qty": 0}])


async def test_what_is_private_leaves_the_host_nowhere(
    host: Host, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    await host.deploy(
        shop(
            ports={"go": {"consumes": ["order.created"], "produces": "order.gone"}, "trap": PORT},
            answers={"Order.go": '{"record":{"card":"0815-card","status":"DONE"}}'},
            bodies=lambda _: {"Order.trap": BOOM},
        )
    )
    order = await settled(host, await host.create("Order", number="N1"))
    assert order.card == "0815-card"
    with pytest.raises(GuestError) as caught:
        await host.run(order, "trap")
    shown = [str(order), repr(caught.value), str(caught.value.fields), repr(caught.value.trap)]
    shown += [repr(event) for event in await host.events()]
    shown += [str(trap) for trap in host.engine.registry.live["shop"].guest.traps]  # type: ignore[union-attr]
    shown += [record.getMessage() for record in caplog.records]
    assert not [text for text in shown if "-card" in text]
    assert "ada@example.com" not in str(order)


async def test_what_is_private_is_neither_on_disk_nor_in_an_answer(tmp_path: Path) -> None:
    config = Config(data=tmp_path / "data", token=None, port=0)
    async with build_host(config) as host:
        server = await start_server(host, config)
        await host.deploy("customers", "1.0.0", CUSTOMERS)
        await host.deploy(
            shop(
                ports={"trap": PORT, "go": {"consumes": ["order.created"], "retries": 0}},
                bodies=lambda _: {"Order.trap": BOOM, "Order.go": BOOM},
            )
        )
        order = await host.create("Order", number="N1", card="8888-card")
        await settled(host, order)
        async with httpx.AsyncClient(base_url=f"{server.address}/aegis/api") as client:
            answers = [await client.post(f"models/orders/{order.id}/ports/trap")]
            paths = ("models/orders", "events", "failed", "components/shop/traps")
            answers += [await client.get(path) for path in paths]
        await server.close()
    assert [answer.status_code for answer in answers] == [502, 200, 200, 200, 200]
    assert not [answer.url for answer in answers if "8888-card" in answer.text]
    assert not told_in(tmp_path, b"8888-card")


# --- What it reaches ---------------------------------------------------------------------------


async def answered(host: Host, order: Any, target: str, given: str = "") -> Any:
    """What a relation or an adapter answers to a guest."""
    await host.deploy(
        shop(
            commands={"ask": {}},
            bodies=lambda talk: {"Order.ask": talk.tell(target, given)},
            doc=f"{target} {given}",
        )
    )
    with pytest.raises(AegisError) as caught:
        await host.call(order, "ask")
    if isinstance(caught.value, GuestError) and "Order.ask: " in caught.value.detail:
        text = caught.value.detail.partition("Order.ask: ")[2]
        return json.loads(text) if text[0] in "[{0123456789n" else text
    return caught.value


async def test_a_guest_follows_its_relations(host: Host) -> None:
    await host.deploy(shop())
    ada = await host.create("Customer", name="Ada")
    order = await host.create("Order", number="N1", customer_id=ada.id)
    for weight in (2, 3, 1):
        await host.create("Lot", order_id=order.id, weight=weight)
    # What is private of another component's records is told where the description names it.
    assert await answered(host, order, "customer") == {
        "id": ada.id,
        "name": "Ada",
        "city": "Oslo",
    }
    assert await answered(host, order, "named") == {"id": ada.id, "secret": "s3cret"}
    heavy = await answered(host, order, "lots", '{"where":{"weight__ge":2},"sort":"-weight"}')
    assert [lot["weight"] for lot in heavy] == [3, 2]
    assert len(await answered(host, order, "lots", '{"limit":1}')) == 1
    assert await answered(host, order, "lots.count") == 3
    assert await answered(host, order, "lots.count", '{"where":{"weight":1}}') == 1
    assert "no field" in str(await answered(host, order, "lots", '{"where":{"colour":1}}'))
    assert "did you mean 'lots'" in str(await answered(host, order, "lot"))
    assert "lots, lots.create or .count" in str(await answered(host, order, "lots.drop"))
    assert "does not fit" in str(await answered(host, order, "lots", '{"were":1}'))


async def test_what_a_relation_shows_of_others_must_be_there(host: Host) -> None:
    link = {"to": "customers.Customer", "via": "customer_id", "fields": ["nme"]}
    order = {**SHOP["models"]["Order"], "relations": {"customer": link}}
    with pytest.raises(ComponentError, match="nme"):
        await host.deploy(Talk().source({**SHOP, "models": {"Order": order}}))


async def test_what_a_guest_creates_is_stored_with_its_change_or_not_at_all(host: Host) -> None:
    await host.deploy(
        shop(
            commands={"split": {}, "fail": {}, "odd": {}},
            bodies=lambda talk: {
                "Order.split": talk.then(
                    talk.ask("lots.create", '{"weight":5}'), talk.give('{"record":{"note":"x"}}')
                ),
                "Order.fail": talk.then(
                    talk.ask("lots.create", '{"weight":5}'), f"(call $fail {talk.give('no')})"
                ),
                "Order.odd": talk.tell("lots.create", '{"height":5}'),
            },
        )
    )
    order = await host.create("Order", number="N1")
    order = await host.call(order, "split")
    assert [lot.weight for lot in await host.query("Lot", order_id=order.id)] == [5]
    with pytest.raises(GuestError, match="no"):
        await host.call(order, "fail")
    with pytest.raises(AegisError, match="height"):
        await host.call(order, "odd")
    assert await host.count("Lot") == 1


async def test_what_was_not_granted_is_not_reached_and_not_tried_again(host: Host) -> None:
    await host.deploy("customers", "1.0.0", CUSTOMERS + '\n__exports__ = ["Customer:read"]\n')
    ada = await host.create("Customer", name="Ada")
    step = {"consumes": ["order.created"], "retries": 5}
    ports = {"ask": step}
    source = shop(
        ports=ports,
        bodies=lambda talk: {"Order.ask": talk.ask("customer.create", '{"name":"Bea"}')},
        grants={"customers": ["Customer:read"]},
    )
    with pytest.raises(ComponentError, match=r"asks for customers\.Customer:read, and nobody"):
        await host.deploy(source)
    await host.grant("shop", "customers.Customer:read")
    await host.deploy(source)
    order = await settled(host, await host.create("Order", number="N1", customer_id=ada.id))
    flow, steps = await last(host, order)
    assert flow.state is FlowState.COMPENSATED
    assert steps["ask"].attempts == 1
    assert "customers" in flow.error
    assert await host.count("Customer") == 1


async def test_events_are_published_with_the_commit_and_those_of_others_with_a_grant(
    host: Host,
) -> None:
    await host.deploy("customers", "1.0.0", CUSTOMERS + '\n__exports__ = ["Customer:read"]\n')
    await host.grant("shop", "customers.Customer:read")
    await host.deploy(
        shop(
            commands={"tell": {}, "lie": {}, "fail": {}, "odd": {}, "list": {}},
            bodies=lambda talk: {
                "Order.tell": talk.emit("stock.low", '{"left":1}', "lamp"),
                "Order.lie": talk.emit("customer.greeted"),
                "Order.fail": talk.emit("stock.low", then=f"(call $fail {talk.give('no')})"),
                "Order.odd": talk.emit("Low"),
                "Order.list": talk.emit("stock.low", "[]"),
            },
            grants={"customers": ["Customer:read"]},
        )
    )
    order = await host.create("Order", number="N1")
    await host.call(order, "tell")
    (event,) = await host.events("stock.low")
    assert (event.subject, event.data) == ("lamp", {"left": 1})
    with pytest.raises(GrantError, match=r"shop.*customer\.greeted"):
        await host.call(order, "lie")
    with pytest.raises(GuestError, match="no"):
        await host.call(order, "fail")
    with pytest.raises(GuestError, match="'Low', which is no event name"):
        await host.call(order, "odd")
    with pytest.raises(GuestError, match=r"'stock\.low' with data that is no object"):
        await host.call(order, "list")
    assert len(await host.events("stock.low")) == 1


# --- Steps -------------------------------------------------------------------------------------

CARRIER = {"ship": {"takes": {"id": TEXT}, "gives": TEXT}, "back": {"takes": {"id": TEXT}}}
FLEET = {
    "protocols": {"Carrier": CARRIER},
    "adapters": {"Van": {"does": ["Carrier"], "config": {"van.plate": {**TEXT, "private": True}}}},
}
VALUES = {"van.plate": "AB 123"}


@pytest.fixture
async def fleet() -> AsyncGenerator[Host]:
    async with memory_host(values=VALUES) as host:
        await host.deploy("customers", "1.0.0", CUSTOMERS)
        yield host


async def test_a_step_waits_for_its_answer_and_is_undone_with_the_same_key(fleet: Host) -> None:
    def bodies(talk: Talk) -> dict[str, str]:
        wait = '{"wait":{"events":["carrier.shipped"],"by":"order_id","deadline":60},'
        return {
            "Order.ship": talk.then(
                talk.ask("carrier.ship", '{"id":"1"}'),
                talk.give(wait + '"record":{"status":"SENT"}}'),
            ),
            "Order.ship.undo": talk.emit("carrier.returned", then=talk.ask("carrier.back")),
        }

    ship = {
        "consumes": ["order.created"],
        "produces": "order.shipped",
        "uses": {"carrier": "Carrier"},
        "answer": {"events": ["carrier.shipped"]},
        "undo": {"uses": {"carrier": "Carrier"}, "retries": 0},
    }
    await fleet.deploy(
        shop(
            ports={"ship": ship},
            commands={"stop": {"undo": True}},
            answers={
                "Order.ship.answer": '{"record":{"status":"DONE"}}',
                "Van.ship": '"ok"',
                "Order.stop": "",
            },
            bodies=bodies,
            **FLEET,
        )
    )
    order = await fleet.create("Order", number="N1")
    await sent(fleet, order)
    await fleet.publish("carrier.shipped", order_id=order.id)
    order = await settled(fleet, order)
    assert order.status == "DONE"
    assert [event.type for event in await fleet.events("order.*")] == [
        "order.created",
        "order.updated",
        "order.shipped",
    ]
    other = await fleet.create("Order", number="N2")
    await sent(fleet, other)
    await fleet.call(other, "stop")
    await settled(fleet, other)
    flow, steps = await last(fleet, other)
    # The undo asked without the id that the protocol takes, which it was told.
    assert flow.state is FlowState.COMPENSATION_FAILED
    assert steps["ship"].state is StepState.UNDO_FAILED
    assert "Object missing required field `id`" in flow.error


async def test_a_guest_that_keeps_being_stopped_is_tried_again_and_then_undone(host: Host) -> None:
    await host.deploy(
        shop(
            ports={
                "pay": {"consumes": ["order.created"], "produces": "order.paid", "undo": {}},
                "pack": {"consumes": ["order.paid"], "retries": 2, "backoff": 1},
            },
            answers={
                "Order.pay": '{"record":{"status":"SENT"}}',
                "Order.pay.undo": '{"record":{"status":"NEW"}}',
            },
            bodies=lambda _: {"Order.pack": BOOM},
        )
    )
    order = await settled(host, await host.create("Order", number="N1"))
    flow, steps = await last(host, order)
    assert (flow.state, order.status) == (FlowState.COMPENSATED, "NEW")
    assert steps["pack"].attempts == 3
    assert "unreachable" in flow.error
    assert "in boom" in flow.error


async def test_a_fallback_stands_in_and_a_breaker_opens(fleet: Host) -> None:
    ship = {
        "consumes": ["order.created"],
        "produces": "order.shipped",
        "uses": {"carrier": "Carrier"},
        "retries": 0,
        "breaker": {"volume": 2},
        "fallback": {"timeout": 1},
    }
    await fleet.deploy(
        shop(
            ports={"ship": ship},
            answers={"Order.ship.fallback": '{"record":{"note":"by hand"}}'},
            bodies=lambda talk: {
                "Order.ship": talk.ask("carrier.ship", '{"id":"1"}'),
                "Van.ship": BOOM,
            },
            **FLEET,
        )
    )
    for n in range(4):
        order = await settled(fleet, await fleet.create("Order", number=f"N{n}"))
        assert order.note == "by hand"
    opened = await fleet.events("breaker.opened")
    assert [event.subject for event in opened] == ["uses:port:shop.Order.ship>part:shop.Van"]


async def test_a_refusal_of_a_partner_that_is_passed_on_refuses_and_keeps_its_event(
    host: Host,
) -> None:
    stock = """
from aegis import Refused, adapter, event
from typing import Protocol
class Stock(Protocol):
    async def reserve(self, id: str) -> None: ...
class Shelves(Stock):
    async def reserve(self, id: str) -> None:
        raise Refused("short", emit=event("stock.low", "lamp", left=0))
"""
    await host.deploy("stock", "1.0.0", stock)
    await host.bind("shop.Carrier", "stock.Shelves")
    await host.deploy(
        shop(
            ports={
                "ship": {
                    "consumes": ["order.created"],
                    "uses": {"carrier": "Carrier"},
                    "retries": 3,
                }
            },
            bodies=lambda talk: {"Order.ship": talk.ask("carrier.reserve", '{"id":"1"}')},
            protocols={"Carrier": {"reserve": {"takes": {"id": TEXT}}}},
        )
    )
    order = await settled(host, await host.create("Order", number="N1"))
    flow, steps = await last(host, order)
    assert (flow.state, steps["ship"].state) == (FlowState.COMPENSATED, StepState.REFUSED)
    (event,) = await host.events("stock.low")
    assert (event.subject, event.data) == ("lamp", {"left": 0})


async def test_several_events_set_a_step_off_and_a_glob_does(host: Host) -> None:
    await host.deploy(
        shop(
            ports={
                "a": {"consumes": ["order.created"], "produces": "order.a"},
                "b": {"consumes": ["order.created"], "produces": "order.b"},
                "both": {"consumes": ["order.a", "order.b"], "join": True, "produces": "order.ab"},
                "foreign": {"consumes": ["parcel.*"], "by": "order", "produces": "order.heard"},
                "later": {
                    "consumes": ["order.created"],
                    "when": {"status": ["DONE"], "total": "1.00"},
                    "produces": "order.later",
                },
            },
            commands={"finish": {"produces": "order.finished"}},
            answers={
                **dict.fromkeys([f"Order.{p}" for p in ("a", "b", "both", "foreign", "later")], ""),
                "Order.finish": '{"record":{"status":"DONE"}}',
            },
        )
    )
    order = await host.create("Order", number="N1")
    await host.publish("parcel.seen", order=order.id)
    await happened(host, "order.ab")
    await happened(host, "order.heard")
    assert not await host.events("order.later")
    await host.call(order, "finish")
    await happened(host, "order.later")
    names = [event.type for event in await host.events("order.*")]
    assert names.count("order.ab") == 1


# --- Listeners, configuration, and where records are -------------------------------------------


async def test_listeners_hear_events_and_times(host: Host) -> None:
    await host.deploy(
        shop(
            listeners={
                "hear": {"on": ["parcel.*"], "when": {"size": ["L", "XL"]}},
                "tick": {"every": 0.5},
            },
            bodies=lambda talk: {
                "hear": talk.emit("stock.low", '{"by":"hear"}'),
                "tick": talk.emit("stock.low", '{"by":"tick"}'),
            },
        )
    )
    await host.publish("parcel.seen", size="S")
    await host.publish("parcel.seen", size="XL")
    async with asyncio.timeout(5):
        while len({e.data["by"] for e in await host.events("stock.low")}) < 2:  # noqa: ASYNC110 -- as above
            await asyncio.sleep(0.005)
    by = [e.data["by"] for e in await host.events("stock.low")]
    assert by.count("hear") == 1


async def test_a_part_reads_what_its_description_names_and_nothing_else(fleet: Host) -> None:
    await fleet.deploy(
        shop(
            commands={"plate": {"uses": {"carrier": "Carrier"}}, "peek": {}},
            bodies=lambda talk: {
                "Order.plate": talk.tell("carrier.ship", '{"id":"1"}'),
                "Order.peek": f"(call $fail {talk.setting('van.plate')})",
                "Van.ship": talk.setting("van.plate"),
            },
            **FLEET,
        )
    )
    order = await fleet.create("Order", number="N1")
    with pytest.raises(GuestError, match=r'Order\.plate: "AB 123"'):
        await fleet.call(order, "plate")
    with pytest.raises(GuestError, match=r"no configuration value 'van\.plate'"):
        await fleet.call(order, "peek")


async def test_a_missing_setting_refuses_the_component(host: Host) -> None:
    with pytest.raises(ComponentError, match=r"Van needs the configuration value 'van\.plate'"):
        await host.deploy(shop(commands={"x": {"uses": {"carrier": "Carrier"}}}, **FLEET))


async def test_a_model_of_a_guest_is_kept_where_it_says(host: Host) -> None:
    lot = {**SHOP["models"]["Lot"], "store": "memory"}
    models = {**SHOP["models"], "Lot": {**lot, "commands": {"weigh": {}}}}
    talk = Talk()
    await host.deploy(
        talk.source({**SHOP, "models": models}, {"Lot.weigh": '{"record":{"weight":7}}'})
    )
    made = await host.create("Lot", order_id="1")
    assert (await host.call(made, "weigh")).weight == 7
    assert (await host.get("Lot", made.id)).weight == 7
    with pytest.raises(NotFoundError):
        await host.get("Lot", "nobody")
