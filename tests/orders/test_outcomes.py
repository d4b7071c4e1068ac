"""What must come out of the order scenario, on a real host and with real partners."""

from __future__ import annotations

import asyncio
from collections import Counter
from decimal import Decimal

import pytest

from aegis import Refused
from aegis.core.errors import ConflictError, InvalidError
from aegis.core.flow import FlowState, StepState
from tests.orders.sandbox import DOES, PORTS, TELLS, UNDOES, hasty

GUEST = {
    "first_name": "Ada",
    "last_name": "Holm",
    "email": "ada.holm@example.com",
    "shipping_address": "7  mill lane, springfield",
    "card": "test-card-1",
}
ITEMS = [
    {"item_id": "lamp", "price": "329.95"},
    {"item_id": "bulb", "price": "59.00", "qty": 4},
]
# What led to what, in the order it happened.
EVENTS = [
    ("order.created", None),
    ("address.validated", "order.created"),
    ("payment.authorized", "address.validated"),
    ("items.available", "payment.authorized"),
    ("warehouse.picked", "items.available"),
    ("order.picked", "warehouse.picked"),
    ("carrier.shipped", "order.picked"),
    ("order.shipped", "carrier.shipped"),
    ("carrier.tracked", "order.shipped"),
    ("order.updated", "carrier.tracked"),
    ("carrier.tracked", "order.shipped"),
    ("order.delivered", "carrier.tracked"),
    ("delivery.proven", "order.delivered"),
    ("delivery.verified", "delivery.proven"),
    ("order.completed", "delivery.verified"),
]


async def place(host, *, auto_checkout=True):
    return await host.create("Order", items=ITEMS, auto_checkout=auto_checkout, **GUEST)


CUSTOMER = {
    "first_name": "Bea",
    "last_name": "Lund",
    "email": "bea@example.com",
    "address": "12  quay road, springfield",
    "card": "test-card-2",
}


async def until(condition):
    """Wait until `condition()` is true."""
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 -- partners and flows tell no Event
            await asyncio.sleep(0.01)


async def settled(host, order):
    """The order when nothing is under way any more."""
    await until(lambda: not host.status().flows_open)
    return await host.get("Order", order.id)


async def first_flow(host, order):
    """The flow that the order's creation set off, and its steps by port."""
    flow, steps = (await host.flows(order))[0]
    return flow, {step.port: step for step in steps}


def nothing_is_charged(sandbox, order):
    summary = sandbox.summary([order.id])
    return (summary["charged"], summary["held"], summary["double"]) == ("0.00", "0.00", 0)


async def test_a_guest_order_runs_all_ports_once_in_order_and_completes(host, sandbox):
    order = await place(host)
    order = await settled(host, order)
    assert order.status == "COMPLETE"
    assert order.total == Decimal("565.95")
    assert order.shipping_address == "7 Mill Lane, Springfield"
    assert None not in (order.authorization, order.shipment, order.proof, order.confirmation)
    assert sandbox.entries(order.id) == [(operation, "done") for operation in DOES]
    assert sandbox.summary()["captured"] == "565.95"
    flow, steps = await first_flow(host, order)
    assert flow.state is FlowState.COMPLETED
    assert [(port, step.state) for port, step in steps.items()] == [
        (port, StepState.DONE) for port in PORTS
    ]


async def test_the_events_of_an_order_are_one_tree_from_the_request_to_the_end(host, sandbox):
    for partner in ("warehouse", "carrier", "proof"):
        sandbox.set(partner, later=0.1)
    order = await place(host)
    await settled(host, order)
    events = await host.events()
    names = {event.id: event.type for event in events}
    assert [(event.type, names.get(event.cause)) for event in events] == EVENTS
    assert {event.flow for event in events} == {(await first_flow(host, order))[0].id}
    why = await host.why(order)
    assert sorted(line.name for line in why.lines) == sorted(name for name, _ in EVENTS)
    assert [line.depth for line in why.lines].count(0) == 1


async def test_without_auto_checkout_it_waits_and_approve_continues_it(host, sandbox):
    order = await place(host, auto_checkout=False)
    await until(lambda: "payment/authorize" in sandbox.done(order.id))
    await asyncio.sleep(0.1)
    assert sandbox.done(order.id) == ["address/validate", "payment/authorize"]
    assert (await host.get("Order", order.id)).status == "PENDING"
    _, steps = await first_flow(host, order)
    assert steps["check_inventory"].state is StepState.WAITING
    await host.call(order, "approve")
    assert (await settled(host, order)).status == "COMPLETE"
    assert sandbox.done(order.id) == list(DOES)
    with pytest.raises(Refused):
        await host.call(order, "approve")


@pytest.mark.parametrize("position", range(len(DOES)), ids=PORTS)
async def test_cancel_at_each_position_undoes_in_exact_reverse_order_each_once(
    host, sandbox, position
):
    sandbox.set(DOES[position], delay=30)
    order = await place(host)
    await until(lambda: DOES[position] in sandbox.done(order.id))
    await host.call(order, "cancel")
    order = await settled(host, order)
    assert order.status == "CANCELED"
    done = DOES[: position + 1]
    assert sandbox.done(order.id) == list(done)
    assert sandbox.undone(order.id) == [
        UNDOES[operation] for operation in reversed(done) if operation in UNDOES
    ]
    assert len(sandbox.entries(order.id)) == len(done) + len(sandbox.undone(order.id))
    assert nothing_is_charged(sandbox, order)
    flow, steps = await first_flow(host, order)
    assert flow.state is FlowState.COMPENSATED
    for port, operation in zip(PORTS, done, strict=False):
        if operation in UNDOES:
            assert steps[port].state is StepState.UNDONE


async def test_cancel_while_it_waits_for_approval_voids_the_payment(host, sandbox):
    order = await place(host, auto_checkout=False)
    await until(lambda: "payment/authorize" in sandbox.done(order.id))
    await host.call(order, "cancel")
    assert (await settled(host, order)).status == "CANCELED"
    assert sandbox.undone(order.id) == ["payment/void"]
    assert nothing_is_charged(sandbox, order)


async def test_what_has_ended_cannot_be_cancelled(host, sandbox):
    order = await settled(host, await place(host))
    with pytest.raises(Refused, match="COMPLETE"):
        await host.call(order, "cancel")
    assert (await settled(host, order)).status == "COMPLETE"
    assert sandbox.undone(order.id) == []


async def test_when_stock_is_short_it_is_said_and_nothing_stays_charged(host, sandbox):
    sandbox.set("inventory", fail="decline", times=1)
    order = await settled(host, await place(host))
    assert order.status == "CANCELED"
    (low,) = await host.events("inventory.low")
    assert low.subject == order.id
    assert sandbox.undone(order.id) == ["payment/void"]
    assert nothing_is_charged(sandbox, order)


async def test_when_the_payment_is_declined_nothing_ships_and_nobody_is_asked_twice(host, sandbox):
    sandbox.set("payment", fail="decline", times=1)
    order = await settled(host, await place(host))
    assert order.status == "CANCELED"
    assert sandbox.entries(order.id) == [
        ("address/validate", "done"),
        ("payment/authorize", "declined"),
    ]
    (declined,) = await host.events("payment.declined")
    assert declined.data["amount"] == "565.95"
    flow, steps = await first_flow(host, order)
    assert flow.state is FlowState.COMPENSATED
    assert steps["authorize_payment"].state is StepState.REFUSED


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
    flow, steps = await first_flow(host, order)
    assert flow.state is FlowState.COMPENSATED
    assert "ship_order" in flow.error
    assert steps["ship_order"].attempts == 3


async def test_a_carrier_that_wakes_up_in_time_has_shipped_once(host, sandbox):
    sandbox.set("carrier", fail="silent", times=2)
    order = await settled(host, await place(host))
    assert order.status == "COMPLETE"
    assert sandbox.done(order.id) == list(DOES)
    assert sandbox.summary()["repeats"] == 2


async def test_a_carrier_that_never_tells_is_asked_again_and_then_everything_is_undone(
    host, sandbox
):
    sandbox.set("carrier", fail="mute", times=3)
    order = await settled(host, await place(host))
    assert order.status == "CANCELED"
    ship = [outcome for name, outcome in sandbox.entries(order.id) if name == "carrier/ship"]
    assert ship == ["done", "repeat", "repeat"]
    assert nothing_is_charged(sandbox, order)
    flow, steps = await first_flow(host, order)
    assert flow.state is FlowState.COMPENSATED
    assert "got no carrier.shipped until" in flow.error
    assert steps["ship_order"].attempts == 3


@pytest.mark.parametrize("tells", ["twice", "backwards"])
async def test_answers_that_come_twice_or_in_the_wrong_order_have_one_effect(host, sandbox, tells):
    for partner in ("warehouse", "carrier", "proof"):
        sandbox.set(partner, tells=tells)
    order = await settled(host, await place(host))
    assert order.status == "COMPLETE"
    assert order.tracking_status == "delivered"
    assert sandbox.entries(order.id) == [(operation, "done") for operation in DOES]
    made = Counter(event.type for event in await host.events("order.*"))
    assert all(made[name] == 1 for name in ("order.picked", "order.shipped", "order.delivered"))
    _, steps = await first_flow(host, order)
    assert [step.attempts for step in steps.values()] == [0] * len(PORTS)


@pytest.mark.parametrize("operation", TELLS)
async def test_cancel_while_a_partner_is_about_to_tell_undoes_what_it_did(host, sandbox, operation):
    sandbox.set(operation, later=0.3)
    order = await place(host)
    await until(lambda: operation in sandbox.done(order.id))
    await host.call(order, "cancel")
    assert (await settled(host, order)).status == "CANCELED"
    done = DOES[: DOES.index(operation) + 1]
    assert sandbox.undone(order.id) == [UNDOES[name] for name in reversed(done) if name in UNDOES]
    assert nothing_is_charged(sandbox, order)
    # What it tells afterwards changes nothing.
    late = await host.expect(TELLS[operation][0], timeout=5)
    assert late.flow is None
    assert (await settled(host, order)).status == "CANCELED"


async def test_an_undo_that_fails_is_named_and_never_passes_for_complete(host, sandbox):
    sandbox.set("carrier", fail="silent")
    sandbox.set("carrier/return_shipment", fail="error")
    order = await settled(host, await place(host))
    flow, steps = await first_flow(host, order)
    assert flow.state is FlowState.COMPENSATION_FAILED
    assert "ship_order" in flow.error
    assert steps["ship_order"].state is StepState.UNDO_FAILED
    assert steps["pick_order"].state is StepState.DONE
    assert order.status not in {"COMPLETE", "CANCELED"}
    (failed,) = await host.events("order.compensation_failed")
    assert failed.subject == order.id
    assert sandbox.undone(order.id) == []


async def test_an_edited_cell_heals_an_order_that_waits_for_its_next_attempt(host, sandbox):
    broken = (
        hasty().replace('"/carrier/ship"', '"/carrier/shop"').replace("retries=2", "retries=99")
    )
    await host.deploy("orders", "1.0.0", broken, origin="test")
    order = await place(host)
    await until(lambda: "warehouse/pick" in sandbox.done(order.id))
    async with asyncio.timeout(20):
        attempts = 0
        while not attempts:
            await asyncio.sleep(0.01)
            _, steps = await first_flow(host, order)
            attempts = steps["ship_order"].attempts if "ship_order" in steps else 0
    await host.deploy("orders", "1.0.0", hasty(), origin="test")
    assert (await settled(host, order)).status == "COMPLETE"
    assert sandbox.entries(order.id) == [(operation, "done") for operation in DOES]


@pytest.mark.parametrize(
    ("items", "said"),
    [
        ([{"item_id": "lamp", "price": "-0.01"}], "price"),
        ([{"item_id": "lamp", "price": "1.00", "qty": 0}], "qty"),
        ([{"item_id": "lamp", "price": "a lot"}], "price"),
        ([{"price": "1.00"}], "item_id"),
        ([], "items"),
    ],
    ids=["negative", "none of it", "no number", "no item", "nothing"],
)
async def test_an_order_that_makes_no_sense_is_refused_and_asks_nobody(host, sandbox, items, said):
    with pytest.raises(InvalidError, match=said):
        await host.create("Order", items=items, **GUEST)
    assert await host.list("Order") == []
    assert sandbox.summary()["orders"] == 0


async def test_an_order_of_a_customer_has_the_details_from_there(host, sandbox):
    customer = await host.create("Customer", **CUSTOMER)
    placed = await host.create(
        "Order", items=ITEMS, auto_checkout=True, customer_id=customer.id, email="other@example.com"
    )
    order = await settled(host, placed)
    assert order.status == "COMPLETE"
    assert order.shipping_address == "12 Quay Road, Springfield"
    assert (order.first_name, order.last_name, order.card) == ("Bea", "Lund", "test-card-2")
    assert order.email == "other@example.com"
    with pytest.raises(ConflictError, match=f"Order '{order.id}' names it as its customer_id"):
        await host.delete(customer)
    assert sandbox.done(order.id) == list(DOES)


async def test_a_guest_becomes_a_customer_in_one_commit_with_the_order_that_says_so(host):
    paid = host.subscribe("payment.authorized")
    order = await place(host, auto_checkout=False)
    await anext(aiter(paid))
    before = host.store.last_seq()
    order = await host.call(order, "save_shipping_details")
    told = [event.type for event in await host.events(after=before)]
    assert told == ["order.claimed", "customer.created"]
    customer = await host.related(order, "customer")
    assert (customer.first_name, customer.card) == ("Ada", "test-card-1")
    assert customer.address == "7 Mill Lane, Springfield"
    with pytest.raises(Refused, match="has a customer already"):
        await host.call(order, "save_shipping_details")
    assert await host.count("Customer") == 1


@pytest.mark.parametrize("missing", ["shipping_address", "card"])
async def test_a_guest_says_where_to_and_who_pays(host, missing):
    said = {name: value for name, value in GUEST.items() if name != missing}
    with pytest.raises(InvalidError, match=f"Order.{missing} is required"):
        await host.create("Order", items=ITEMS, **said)
    assert await host.count("Order") == 0
