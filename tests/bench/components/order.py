"""An order with ports 0 to 7, whose partners are in the process and answer at once."""

from typing import Protocol

from aegis import Model, adapter, port


class Partner(Protocol):
    async def ask(self, operation: str, order_id: str) -> str: ...


class Order(Model, endpoint="orders"):
    customer: str
    total: str
    status: str = "PENDING"
    address: str | None = None
    authorization: str | None = None
    reservation: str | None = None
    pickup_address: str | None = None
    shipment: str | None = None
    tracking: str | None = None
    proof: str | None = None
    confirmation: str | None = None

    @port(consumes="order.created", produces="address.validated")
    async def validate_address(self, partner: Partner = adapter()) -> "Order":
        return self.update(address=await partner.ask("validate", self.id))

    @port(consumes=validate_address, produces="payment.authorized")
    async def authorize_payment(self, partner: Partner = adapter()) -> "Order":
        answer = await partner.ask("authorize", self.id)
        return self.update(authorization=answer, status="APPROVED")

    @port(consumes=authorize_payment, produces="items.available")
    async def check_inventory(self, partner: Partner = adapter()) -> "Order":
        return self.update(reservation=await partner.ask("reserve", self.id))

    @port(consumes=check_inventory, produces="order.picked")
    async def pick_order(self, partner: Partner = adapter()) -> "Order":
        return self.update(pickup_address=await partner.ask("pick", self.id))

    @port(consumes=pick_order, produces="order.shipped")
    async def ship_order(self, partner: Partner = adapter()) -> "Order":
        return self.update(shipment=await partner.ask("ship", self.id), status="SHIPPING")

    @port(consumes=ship_order, produces="order.delivered")
    async def track_shipment(self, partner: Partner = adapter()) -> "Order":
        return self.update(tracking=await partner.ask("track", self.id))

    @port(consumes=track_shipment, produces="delivery.verified")
    async def verify_delivery(self, partner: Partner = adapter()) -> "Order":
        return self.update(proof=await partner.ask("prove", self.id))

    @port(consumes=verify_delivery, produces="order.completed")
    async def complete_payment(self, partner: Partner = adapter()) -> "Order":
        answer = await partner.ask("capture", self.id)
        return self.update(confirmation=answer, status="COMPLETE")


class Sandbox(Partner):
    async def ask(self, operation: str, order_id: str) -> str:
        return f"{operation}-{order_id[-12:]}"
