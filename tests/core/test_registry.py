"""The registry is a value: what is installed, who hears what, and what is wrong with it."""

from aegis.core.registry import Registry
from aegis.testing import load

ORDERS = """
    from aegis import Model, emit, port

    class Order(Model, endpoint="orders"):
        @port(consumes="order.created", produces="order.paid")
        def pay(self) -> "Order":
            emit("bank.asked")
            return self

        @port(consumes="order.*", produces="seen.order")
        def watch(self) -> "Order":
            return self
"""
SHIPPING = """
    from aegis import Model, port

    class Shipment(Model, endpoint="shipments"):
        order: str

        @port(consumes="order.paid", by="order")
        def start(self) -> "Shipment":
            return self
"""


def test_a_registry_is_never_changed_in_place():
    empty = Registry()
    orders = load(ORDERS, "orders")
    one = empty.with_component(orders)
    two = one.with_component(load(SHIPPING, "shipping"))
    assert (len(empty.live), len(one.live), len(two.live)) == (0, 1, 2)
    three = two.without("orders")
    assert three.retained == (orders,)
    assert set(two.live) == {"orders", "shipping"}
    assert set(three.models) == {"shipping.Shipment"}


def test_the_revision_that_is_replaced_is_retained_until_it_is_let_go():
    old, new = load(ORDERS, "orders", "1.0.0"), load(ORDERS, "orders", "2.0.0")
    registry = Registry().with_component(old).with_component(new)
    assert registry.retained == (old,)
    assert registry.live["orders"] is new
    assert registry.with_component(old).retained == (new,)
    assert registry.retaining().retained == ()


def test_a_flow_s_code_is_the_live_one_of_its_number_else_the_newest_retained():
    first = load(ORDERS, "orders", "1.0.0")
    healed = load(ORDERS + "\n    # healed", "orders", "1.0.0")
    other = load(ORDERS, "orders", "2.0.0")
    registry = Registry().with_component(first)
    assert registry.revision("orders", "1.0.0") is first
    registry = registry.with_component(healed)
    assert registry.revision("orders", "1.0.0") is healed
    registry = registry.with_component(other)
    assert registry.revision("orders", "1.0.0") is healed
    assert registry.revision("orders", "3.0.0") is None
    assert registry.revision("nobody", "1.0.0") is None


def test_every_port_that_consumes_an_event_is_found_once():
    registry = Registry().with_component(load(ORDERS, "orders"))
    registry = registry.with_component(load(SHIPPING, "shipping"))

    def heard(name):
        return [consumer.port.name for consumer in registry.consumers(name)]

    assert heard("order.created") == ["pay", "watch"]
    assert heard("order.paid") == ["start", "watch"]
    assert heard("order.created") == ["pay", "watch"]  # from the cache, the same
    assert heard("bank.asked") == []


def test_what_may_be_produced_includes_what_the_code_emits():
    registry = Registry().with_component(load(ORDERS, "orders"))
    assert {
        "order.created",
        "order.deleted",
        "order.paid",
        "bank.asked",
        "seen.order",
    } <= registry.produced()


def test_a_foreign_event_that_nobody_produces_yet_is_a_warning_not_a_refusal():
    registry = Registry().with_component(load(SHIPPING, "shipping"))
    assert registry.problems("shipping") == []
    (warning,) = registry.warnings()
    assert "shipping.Shipment.start consumes 'order.paid', which nobody produces yet" in warning
    assert registry.with_component(load(ORDERS, "orders")).warnings() == []


def test_two_words_that_end_alike_are_no_misspelling_of_each_other():
    text = SHIPPING.replace("order.paid", "equipment.authorized")
    known = ORDERS.replace("order.paid", "payment.authorized")
    registry = Registry().with_component(load(known, "orders"))
    assert registry.with_component(load(text, "shipping")).problems("shipping") == []
    for slip in ("paymnet.authorized", "payments.authorized", "payment.authorised"):
        slipped = load(SHIPPING.replace("order.paid", slip), "shipping")
        (problem,) = registry.with_component(slipped).problems("shipping")
        assert "did you mean 'payment.authorized'?" in problem


def test_bindings_choose_by_component_and_protocol():
    text = """
        from typing import Protocol
        from aegis import Model, adapter, port
        class Pen(Protocol):
            async def write(self) -> None: ...
        class Quill(Pen):
            async def write(self) -> None: ...
        class Chalk(Pen):
            async def write(self) -> None: ...
        class Note(Model):
            @port(consumes="note.created")
            async def go(self, pen: Pen = adapter()) -> None: ...
    """
    revision = load(text, "notes")
    (problem,) = Registry().with_component(revision).problems("notes")
    assert "Quill, Chalk all do it" in problem
    registry = Registry(bindings={"notes.Pen": "Chalk"}).with_component(revision)
    assert registry.problems("notes") == []
    slot = revision.models[0].ports["go"].call.adapters[0]
    assert registry.binding(revision, slot.protocol).name == "Chalk"
    (problem,) = (
        Registry(bindings={"notes.Pen": "Crayon"}).with_component(revision).problems("notes")
    )
    assert "bound to 'Crayon'" in problem
