"""The graph as a value: what is in it, which way it points, and that it is always the same."""

import msgspec
import pytest

from aegis.adapters.components.python import PythonLoader
from aegis.core.component import Source
from aegis.core.graph import Edge, Graph, graph_of
from aegis.core.registry import Registry

ORDERS = """
from typing import Protocol
from aegis import Model, adapter, command, on, port, service

class Payments(Protocol):
    async def authorize(self, order: str) -> str: ...

class Gateway(Protocol):
    async def post(self, path: str) -> str: ...

class Idle(Protocol):
    async def rest(self) -> None: ...

class Order(Model, endpoint="orders"):
    total: int
    status: str = "PENDING"

    @port(consumes="order.created", produces="payment.authorized", timeout=5, retries=1)
    async def authorize(self, payments: Payments = adapter()) -> "Order":
        return self.update(status=await payments.authorize(self.id))

    @authorize.undo
    async def void(self, payments: Payments = adapter()) -> "Order":
        return self.update(status="CANCELED")

    @port(consumes=authorize, produces="order.packed")
    async def pack(self) -> "Order":
        return self.update(status="PACKED")

    @pack.undo
    async def unpack(self) -> "Order":
        return self.update(status="PENDING")

    @command(undo=True)
    def cancel(self) -> "Order":
        return self.update(status="CANCELED")

class CardPayments(Payments):
    def __init__(self, gateway: Gateway = service()) -> None:
        self.gateway = gateway
    async def authorize(self, order: str) -> str:
        return await self.gateway.post(order)

class Http(Gateway):
    async def post(self, path: str) -> str:
        return path

@on("order.*")
async def tell() -> None:
    ...
"""

SHIPPING = """
from aegis import Event, Model, port

class Shipment(Model, endpoint="shipments"):
    order_id: str = ""

    @port(consumes=["order.packed", "warehouse.picked"], produces="shipment.sent", by="shipment")
    async def send(self, event: Event) -> "Shipment":
        return self.update()
"""


def load(name, text, version="1.0.0"):
    source = Source(name=name, version=version, text=text, origin="a test", digest="d" * 64)
    return PythonLoader().load(source)


@pytest.fixture
def registry():
    orders, shipping = load("orders", ORDERS), load("shipping", SHIPPING)
    return Registry().with_component(shipping).with_component(orders)


def test_every_part_of_a_component_is_a_node(registry):
    nodes = graph_of(registry).nodes
    assert [(node.id, node.kind) for node in nodes if node.component == "orders"] == [
        ("model:orders.Order", "model"),
        ("port:orders.Order.authorize", "port"),
        ("port:orders.Order.pack", "port"),
        ("command:orders.Order.cancel", "command"),
        ("listener:orders.tell", "listener"),
        ("part:orders.CardPayments", "adapter"),
        ("part:orders.Http", "service"),
        ("event:order.created", "event"),
        ("event:payment.authorized", "event"),
        ("event:order.packed", "event"),
        ("event:order.updated", "event"),
    ]


def test_edges_point_the_way_things_flow(registry):
    edges = [edge for edge in graph_of(registry).edges if "orders" in edge.id]
    order, authorize = "model:orders.Order", "port:orders.Order.authorize"
    pack, cancel = "port:orders.Order.pack", "command:orders.Order.cancel"
    assert edges == [
        Edge(order, "store", "stores"),
        Edge(order, "event:order.created", "produces"),
        Edge(order, authorize, "has"),
        Edge("event:order.created", authorize, "consumes"),
        Edge(authorize, "event:payment.authorized", "produces"),
        Edge(authorize, "part:orders.CardPayments", "uses"),
        Edge(authorize, "part:orders.CardPayments", "undo"),
        Edge(order, pack, "has"),
        Edge("event:payment.authorized", pack, "consumes"),
        Edge(pack, "event:order.packed", "produces"),
        Edge(pack, order, "undo"),
        Edge(order, cancel, "has"),
        Edge(cancel, "event:order.updated", "produces"),
        Edge(cancel, order, "undo"),
        Edge("event:order.*", "listener:orders.tell", "consumes"),
        Edge("part:orders.CardPayments", "part:orders.Http", "uses"),
    ]


def test_an_event_is_one_node_in_the_component_that_produces_it(registry):
    events = {node.label: node for node in graph_of(registry).nodes if node.kind == "event"}
    assert events["order.packed"].component == "orders"
    assert events["shipment.sent"].component == "shipping"
    assert events["warehouse.picked"].component == ""
    assert events["order.*"].detail == "any of order.created, order.packed, order.updated"


def test_there_is_one_store_and_no_dangling_edge(registry):
    graph = graph_of(registry)
    ids = [node.id for node in graph.nodes]
    assert ids.count("store") == 1
    assert len(set(ids)) == len(ids)
    assert {end for edge in graph.edges for end in (edge.source, edge.target)} <= set(ids)
    assert len({edge.id for edge in graph.edges}) == len(graph.edges)


def test_the_graph_knows_no_module_names_and_no_order_of_deploys():
    one = Registry().with_component(load("orders", ORDERS)).with_component(load("ship", SHIPPING))
    two = Registry().with_component(load("ship", SHIPPING)).with_component(load("orders", ORDERS))
    assert graph_of(one) == graph_of(two)
    assert graph_of(one).digest == graph_of(two).digest


def test_a_change_of_the_flow_changes_the_digest(registry):
    edited = load("orders", ORDERS.replace("order.packed", "order.boxed"))
    assert graph_of(registry.with_component(edited)).digest != graph_of(registry).digest


def test_a_graph_survives_json(registry):
    graph = graph_of(registry)
    again = msgspec.json.decode(msgspec.json.encode(graph), type=Graph)
    assert again == graph
    assert again.digest == graph.digest


def test_a_docstring_that_no_json_can_hold_does_not_break_the_graph():
    body = '"Order":\n        return self.update(status="CANCELED")\n\nclass Card'
    assert body in ORDERS
    text = ORDERS.replace(
        body, '"Order":\n        "\\ud800 odd"\n        return self\n\nclass Card'
    )
    graph = graph_of(Registry().with_component(load("orders", text)))
    cancel = next(node for node in graph.nodes if node.kind == "command")
    assert cancel.detail == "? odd \u00b7 undoes the open flow"
    assert len(graph.digest) == 64


def test_no_component_gives_an_empty_graph():
    assert graph_of(Registry()) == Graph()
