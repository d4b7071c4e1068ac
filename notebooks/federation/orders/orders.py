"""Orders: priced, sent, and complete when the parcel has arrived."""

from decimal import Decimal

import money

from aegis import Event, Model, port, relation


class Order(Model, endpoint="orders"):
    item: str
    net: Decimal
    weight: int = 1
    gross: Decimal | None = None
    status: str = "NEW"

    shipments = relation("shipping.Shipment", by="order_id")

    @port(consumes="order.created", produces="order.priced")
    def price(self) -> "Order":
        return self.update(gross=money.gross(self.net))

    @port(consumes=price, produces="order.sent")
    async def send(self) -> "Order":
        await self.shipments.create(weight=self.weight)
        return self.update(status="SENT")

    @port(consumes="parcel.delivered", by="order_id", produces="order.completed")
    def complete(self, event: Event) -> "Order":
        return self.update(status="COMPLETE")
