"""Outcome 14: shipping is a WebAssembly component, and the result is the same.

`AEGIS_ORDERS` says how many orders go through each language at once.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Any

import pytest

from aegis.core.flow import FlowState, StepState
from aegis.engine.host import Host
from tests.orders.apart import apart, orders, shipping
from tests.orders.sandbox import DOES, TELLS, UNDOES, Sandbox
from tests.orders.test_outcomes import GUEST, ITEMS, nothing_is_charged, settled, until

ORDERS = int(os.environ.get("AEGIS_ORDERS", "6"))
LANGUAGES = ("javascript", "go")


@pytest.fixture(params=LANGUAGES)
async def host(request: pytest.FixtureRequest, sandbox: Sandbox) -> AsyncIterator[Host]:
    async with apart(sandbox) as host:
        await host.deploy(shipping(f"{request.param}/shipping"))
        await host.deploy("orders", "1.0.0", orders())
        yield host


async def place(host: Host) -> Any:
    return await host.create("Order", items=ITEMS, auto_checkout=True, **GUEST)


async def test_orders_run_all_ports_once_in_order_and_each_is_one_tree(host, sandbox):
    placed = await asyncio.gather(*[place(host) for _ in range(ORDERS)])
    for order in placed:
        order = await settled(host, order)
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
    for order in placed:
        order = await settled(host, order)
        assert order.status == "COMPLETE"
        assert order.tracking_status == "delivered"
        assert sandbox.entries(order.id) == [(operation, "done") for operation in DOES]
    assert sandbox.summary()["double"] == 0
