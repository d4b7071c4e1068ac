"""Shipments: picked by the warehouse, taken by the carrier, tracked to the door, and proven.

Each step asks a partner who answers later, with an event of his own. Partners know a shipment by
its id, which they call the order's; the order hears what came of it in events that name it.

This is what `javascript/shipping.js` and the others do, in Python: any of them takes another's
place.
"""

from typing import Annotated, Literal, Protocol

from aegis import Event, Model, Waiting, adapter, emit, frozen, port, waiting

WEEK = 7 * 24 * 3600


class Warehouse(Protocol):
    async def pick(self, order_id: str) -> None: ...
    async def recall(self, order_id: str) -> None: ...


class Carrier(Protocol):
    async def ship(self, order_id: str, address: str) -> None: ...
    async def bring_back(self, order_id: str) -> None: ...
    async def track(self, order_id: str) -> None: ...


class Deliveries(Protocol):
    async def proof(self, order_id: str) -> None: ...
    async def collect(self, order_id: str) -> None: ...


class Shipment(Model, endpoint="shipments"):
    """What is sent for one order."""

    order_id: Annotated[str, frozen]
    address: str = ""
    status: Literal["NEW", "PICKED", "SHIPPING", "DELIVERED", "COMPLETE"] = "NEW"
    pickup_address: str | None = None
    shipment: str | None = None
    tracking: str | None = None
    tracking_status: str | None = None
    proof: str | None = None

    @port(consumes="shipment.created", produces="shipment.picked")
    async def pick_order(self, warehouse: Warehouse = adapter()) -> Waiting:
        await warehouse.pick(self.id)
        return waiting("warehouse.picked", by="order_id", deadline=WEEK)

    @pick_order.answer
    def picked(self, event: Event) -> "Shipment":
        pickup = event.data["address"]
        emit("order.picked", self.order_id, order_id=self.order_id, pickup_address=pickup)
        return self.update(pickup_address=pickup, status="PICKED")

    @pick_order.undo
    async def recall_pick(self, warehouse: Warehouse = adapter()) -> "Shipment":
        await warehouse.recall(self.id)
        return self.update(pickup_address=None, status="NEW")

    @port(consumes=pick_order, produces="shipment.shipped", timeout=2, retries=2, backoff=1)
    async def ship_order(self, carrier: Carrier = adapter()) -> Waiting:
        await carrier.ship(self.id, self.address)
        return waiting("carrier.shipped", by="order_id", deadline=2)

    @ship_order.answer
    def shipped(self, event: Event) -> "Shipment":
        shipment = event.data["shipment"]
        emit("order.shipped", self.order_id, order_id=self.order_id, shipment=shipment)
        return self.update(shipment=shipment, status="SHIPPING")

    @ship_order.undo
    async def return_shipment(self, carrier: Carrier = adapter()) -> "Shipment":
        await carrier.bring_back(self.id)
        return self.update(shipment=None, status="PICKED")

    @port(consumes=ship_order, produces="shipment.delivered")
    async def track_shipment(self, carrier: Carrier = adapter()) -> Waiting:
        await carrier.track(self.id)
        return waiting("carrier.tracked", by="order_id", deadline=WEEK)

    @track_shipment.answer
    def tracked(self, event: Event) -> "Shipment | Waiting":
        news = {"tracking": event.data["tracking"], "tracking_status": event.data["status"]}
        if news["tracking_status"] != "delivered":
            record = self.update(**news)
            return waiting("carrier.tracked", by="order_id", deadline=WEEK, record=record)
        emit("order.delivered", self.order_id, order_id=self.order_id, **news)
        return self.update(**news, status="DELIVERED")

    @port(consumes=track_shipment, produces="shipment.verified")
    async def verify_delivery(self, deliveries: Deliveries = adapter()) -> Waiting:
        await deliveries.proof(self.id)
        return waiting("delivery.proven", by="order_id", deadline=WEEK)

    @verify_delivery.answer
    def proven(self, event: Event) -> "Shipment":
        proof = event.data["proof"]
        emit("delivery.verified", self.order_id, order_id=self.order_id, proof=proof)
        return self.update(proof=proof, status="COMPLETE")

    @verify_delivery.undo
    async def return_delivery(self, deliveries: Deliveries = adapter()) -> "Shipment":
        await deliveries.collect(self.id)
        return self.update(proof=None, status="DELIVERED")
