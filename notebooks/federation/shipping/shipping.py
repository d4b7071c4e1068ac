"""Shipments: handed to a carrier, who tells later that a parcel has arrived."""

from decimal import Decimal

import money

from aegis import Event, Model, Waiting, emit, port, waiting


class Shipment(Model, endpoint="shipments"):
    order_id: str
    weight: int = 1
    postage: Decimal | None = None
    status: str = "NEW"

    @port(consumes="shipment.created", produces="shipment.shipped", retries=0)
    def ship_order(self) -> "Shipment":
        return self.update(postage=money.postage(self.weight), status="SHIPPING")

    @port(consumes=ship_order, produces="shipment.delivered")
    def track_shipment(self) -> "Shipment | Waiting":
        return waiting("carrier.delivered", by="id", deadline=7 * 24 * 3600)

    @track_shipment.answer
    def delivered(self, event: Event) -> "Shipment":
        emit("parcel.delivered", order_id=self.order_id)
        return self.update(status="DELIVERED")
