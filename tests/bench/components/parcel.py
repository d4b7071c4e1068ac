"""A parcel with three ports, whose partner is in the process; a slow one waits for the test's word."""

from typing import Protocol

from aegis import Model, adapter, config, port


class Partner(Protocol):
    async def ask(self, operation: str, parcel: str, customer: str) -> str: ...


class Parcel(Model, endpoint="parcels"):
    customer: str
    weight: str | None = None
    label: str | None = None
    shipment: str | None = None

    @port(consumes="parcel.created", produces="parcel.weighed", timeout=600)
    async def weigh(self, partner: Partner = adapter()) -> "Parcel":
        return self.update(weight=await partner.ask("weigh", self.id, self.customer))

    @port(consumes=weigh, produces="parcel.labelled", timeout=600)
    async def print_label(self, partner: Partner = adapter()) -> "Parcel":
        return self.update(label=await partner.ask("label", self.id, self.customer))

    @port(consumes=print_label, produces="parcel.shipped", timeout=600)
    async def ship(self, partner: Partner = adapter()) -> "Parcel":
        return self.update(shipment=await partner.ask("ship", self.id, self.customer))


class Depot(Partner):
    def __init__(self, answer: object = config("answer")) -> None:
        self.answer = answer

    async def ask(self, operation: str, parcel: str, customer: str) -> str:
        return await self.answer(operation, parcel, customer)
