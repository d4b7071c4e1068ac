"""Outcome 14: shipping is a WebAssembly component, and the result is the same.

`AEGIS_ORDERS` says how many orders go through each language at once, `AEGIS_LANGUAGE_KILLS` how
often the server of each is killed.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest

from aegis.core.flow import FlowState, StepState
from aegis.engine.host import Host
from tests.orders.apart import apart, orders, program, shipping
from tests.orders.sandbox import DOES, TELLS, UNDOES, Sandbox
from tests.orders.served import Served
from tests.orders.test_kills import IMPATIENT, ordeal
from tests.orders.test_outcomes import GUEST, ITEMS, nothing_is_charged, settled, until

ORDERS = int(os.environ.get("AEGIS_ORDERS", "6"))
KILLS = int(os.environ.get("AEGIS_LANGUAGE_KILLS", "0"))
PATH = "/aegis/api/models/orders"
LANGUAGES = ("javascript", "go")


@pytest.fixture(params=LANGUAGES)
async def host(request: pytest.FixtureRequest, sandbox: Sandbox) -> AsyncIterator[Host]:
    async with apart(sandbox) as (host, _):
        await host.deploy(shipping(f"{request.param}/shipping"))
        await host.deploy("orders", "1.0.0", orders())
        yield host


async def place(host: Host) -> Any:
    return await host.create("Order", items=ITEMS, auto_checkout=True, **GUEST)


async def test_orders_run_all_ports_once_in_order_and_each_is_one_tree(host, sandbox):
    placed = await asyncio.gather(*[place(host) for _ in range(ORDERS)])
    for one in placed:
        order = await settled(host, one)
        assert order.status == "COMPLETE"
        assert None not in (order.authorization, order.shipment, order.proof, order.confirmation)
        assert (order.pickup_address, order.tracking_status) != (None, None)
        assert sandbox.entries(order.id) == [(operation, "done") for operation in DOES]
    assert sandbox.summary()["captured"] == f"{565.95 * ORDERS:.2f}"
    events = await host.events(limit=100 * ORDERS)
    for order in placed:
        ((flow, steps),) = await host.flows(order)
        assert flow.state is FlowState.COMPLETED
        assert {step.state for step in steps} == {StepState.DONE}
        mine = {event.id: event for event in events if event.flow == flow.id}
        roots = [event.type for event in mine.values() if event.cause not in mine]
        assert roots == ["order.created"]
        assert {"shipment.created", "shipment.verified", "order.completed"} <= {
            event.type for event in mine.values()
        }


async def test_cancel_at_each_position_undoes_in_exact_reverse_order_each_once(host, sandbox):
    for position, operation in enumerate(DOES):
        sandbox.well()
        sandbox.set(operation, delay=30)
        order = await place(host)
        await until(lambda order=order, operation=operation: operation in sandbox.done(order.id))
        await host.call(order, "cancel")
        order = await settled(host, order)
        done = DOES[: position + 1]
        undone = [UNDOES[name] for name in reversed(done) if name in UNDOES]
        assert order.status == "CANCELED", operation
        assert sandbox.done(order.id) == list(done)
        assert sandbox.undone(order.id) == undone
        assert len(sandbox.entries(order.id)) == len(done) + len(undone)
        assert nothing_is_charged(sandbox, order)
        flow, _ = (await host.flows(order))[0]
        assert flow.state is FlowState.COMPENSATED


async def test_a_silent_carrier_is_asked_again_and_then_everything_is_undone(host, sandbox):
    sandbox.set("carrier", fail="silent", times=3)
    order = await settled(host, await place(host))
    assert order.status == "CANCELED"
    ship = [outcome for name, outcome in sandbox.entries(order.id) if name == "carrier/ship"]
    assert ship == ["done", "repeat", "repeat"]
    assert sandbox.undone(order.id) == [
        "carrier/return_shipment",
        "warehouse/recall",
        "inventory/return",
        "payment/void",
    ]
    assert nothing_is_charged(sandbox, order)
    flow, steps = (await host.flows(order))[0]
    assert flow.state is FlowState.COMPENSATED
    assert {step.port: step.attempts for step in steps}["ship_order"] == 3


@pytest.mark.parametrize("tells", ["twice", "backwards"])
async def test_answers_that_come_twice_or_in_the_wrong_order_have_one_effect(host, sandbox, tells):
    for partner in ("warehouse", "carrier", "proof"):
        sandbox.set(partner, tells=tells)
    placed = await asyncio.gather(*[place(host) for _ in range(ORDERS)])
    for one in placed:
        order = await settled(host, one)
        assert order.status == "COMPLETE"
        assert order.tracking_status == "delivered"
        assert sandbox.entries(order.id) == [(operation, "done") for operation in DOES]
    assert sandbox.summary()["double"] == 0


async def test_shipping_is_replaced_by_another_language_while_orders_wait_in_it(sandbox):
    answers: Counter[int] = Counter()
    async with apart(sandbox) as (host, address):
        await host.deploy(shipping("python/shipping"))
        await host.deploy("orders", "1.0.0", orders())

        async def ask() -> None:
            async with httpx.AsyncClient(base_url=address, timeout=30) as client:
                while not closing:
                    head = {"Authorization": "Bearer sesame"}
                    order = {**GUEST, "items": ITEMS, "auto_checkout": False}
                    for answer in (
                        await client.post(PATH, json=order, headers=head),
                        await client.get("/aegis/api/models/shipments", headers=head),
                    ):
                        answers[answer.status_code] += 1

        async def waiting(count: int) -> list[Any]:
            """New orders, whose shipments wait in track_shipment."""
            placed = await asyncio.gather(*[place(host) for _ in range(count)])
            for order in placed:
                await until(lambda id=order.id: "carrier/track" in sandbox.done(id))
            return placed

        async def ended(placed: list[Any]) -> set[str]:
            """By which code the shipments of these orders were delivered."""
            ids = {order.id for order in placed}
            for id in ids:
                for status in ("out_for_delivery", "delivered"):
                    await host.publish("carrier.tracked", order_id=id, tracking="T", status=status)
            async with asyncio.timeout(20):
                for id in ids:
                    while (await host.get("Order", id)).status != "COMPLETE":  # noqa: ASYNC110 -- it may be
                        await asyncio.sleep(0.01)
            events = await host.events("shipment.delivered", limit=200)
            return {e.revision.partition("+")[0] for e in events if e.subject in ids}

        closing = False
        sandbox.set("carrier/track", later=3600)
        running = asyncio.create_task(ask())
        first = await waiting(3)
        await host.deploy(shipping("javascript/shipping", "2.0.0"))
        second = await waiting(3)
        assert await ended(first) == {"shipping@2.0.0"}
        await host.deploy(shipping("go/shipping", "3.0.0"))
        third = await waiting(3)
        assert await ended(second) == {"shipping@3.0.0"}
        await host.rollback("shipping")
        assert await ended(third[:1]) == {"shipping@2.0.0"}
        await host.deploy(shipping("python/shipping", "4.0.0"))
        assert await ended(third[1:]) == {"shipping@4.0.0"}
        closing = True
        await running
        assert answers.keys() == {201, 200}
        assert sandbox.summary()["double"] == 0


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_crash_in_the_middle_of_each_step_costs_one_repeat(tmp_path, sandbox, language):
    notebook = program(tmp_path, f"{language}/shipping", {})
    asked = [name for name in DOES if name in TELLS]
    orders: dict[str, str] = {}

    def reached(condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + 30
        while not condition():
            assert time.monotonic() < deadline, what
            time.sleep(0.02)

    with Served(tmp_path / "data", sandbox, tmp_path / "log", notebook=notebook) as served:
        # The carrier comes last, because its port does not wait long.
        for operation in sorted(asked, key="carrier/ship".__eq__):
            sandbox.well()
            sandbox.set(operation, delay=30)
            order = {**GUEST, "items": ITEMS, "auto_checkout": True}
            status, answer = served.ask("POST", PATH, order, Idempotency_Key=operation)
            assert status == 201
            orders[operation] = id = answer["id"]
            reached(lambda id=id, operation=operation: operation in sandbox.done(id), operation)
        served.kill()
        sandbox.well()
        served.start()
        for operation, id in orders.items():
            reached(
                lambda id=id: served.ask("GET", f"{PATH}/{id}")[1]["status"] == "COMPLETE",
                operation,
            )
            expected = [(name, "done") for name in DOES]
            expected.insert(DOES.index(operation) + 1, (operation, "repeat"))
            assert sandbox.entries(id) == expected


@pytest.mark.skipif(not KILLS, reason="AEGIS_LANGUAGE_KILLS says how often")
@pytest.mark.parametrize("language", LANGUAGES)
def test_orders_survive_a_server_that_is_killed_at_random_moments(tmp_path, language):
    ordeal(tmp_path, program(tmp_path, f"{language}/shipping", IMPATIENT), KILLS, crowd=4)
