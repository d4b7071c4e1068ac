"""Each sample is built from source, is deployed, and does what it says."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from aegis.engine.host import Host
from aegis.testing import memory_host
from tests.engine.shop import until
from tests.wasm.samples import built

PARTNERS = '''
"""Partners that note what they are asked, and fail as often as they are told to."""

from typing import Protocol

from aegis import Refused, event, idempotency_key

ASKED = []
FAILS = {}


class Partner(Protocol):
    async def pick(self, order_id: str) -> None: ...


class Everybody(Partner):
    async def note(self, what: str, order_id: str) -> None:
        ASKED.append((what, order_id, idempotency_key()))
        if FAILS.get(what) == "declines":
            raise Refused(f"{what}: no", emit=event("partner.declined", order_id, what=what))
        if FAILS.get(what):
            FAILS[what] -= 1
            raise RuntimeError(f"{what} is out of order")

    async def pick(self, order_id: str) -> None:
        await self.note("pick", order_id)

    async def recall(self, order_id: str) -> None:
        await self.note("recall", order_id)

    async def ship(self, order_id: str, address: str) -> None:
        await self.note(f"ship to {address}", order_id)

    async def bring_back(self, order_id: str) -> None:
        await self.note("bring_back", order_id)

    async def track(self, order_id: str) -> None:
        await self.note("track", order_id)

    async def proof(self, order_id: str) -> None:
        await self.note("proof", order_id)

    async def collect(self, order_id: str) -> None:
        await self.note("collect", order_id)
'''
BINDINGS = dict.fromkeys(
    ("shipping.Warehouse", "shipping.Carrier", "shipping.Deliveries"), "partners.Everybody"
)
GRANTS = {"shipping": ["host.wasi"]}  # what Go's runtime wants
SHIPPING = ["python/shipping", "javascript/shipping", "go/shipping"]


class Shipments:
    """A host with shipping and its partners, and what both do."""

    def __init__(self, host: Host) -> None:
        self.host = host
        partners = host.engine.registry.live["partners"].module
        self.asked: list[tuple[str, str, str]] = partners.ASKED
        self.fails: dict[str, Any] = partners.FAILS

    async def create(self) -> str:
        shipment = await self.host.create("Shipment", order_id="o-1", address="High Street 1")
        return str(shipment.id)

    async def was_asked(self, *what: str) -> None:
        await until(lambda: tuple(one[0] for one in self.asked) == what)

    async def story(self) -> list[tuple[str, str | None, dict[str, Any]]]:
        return [(one.type, one.subject, dict(one.data)) for one in await self.host.events()]


@asynccontextmanager
async def shipping(name: str) -> AsyncIterator[Shipments]:
    async with memory_host(bindings=BINDINGS, grants=GRANTS) as host:
        await host.deploy("partners", "1.0.0", PARTNERS)
        await host.deploy(built(name))
        yield Shipments(host)


ANSWERS = (
    ("pick", "warehouse.picked", {"address": "Dock 4"}),
    ("ship to High Street 1", "carrier.shipped", {"shipment": "S-7"}),
    ("track", "carrier.tracked", {"tracking": "T-7", "status": "out_for_delivery"}),
    (None, "carrier.tracked", {"tracking": "T-7", "status": "delivered"}),
    ("proof", "delivery.proven", {"proof": "signed"}),
)


async def answered(shipments: Shipments, id: str, count: int) -> None:
    """The first `count` answers of the partners, each when it was asked for."""
    asked: list[str] = []
    for what, name, data in ANSWERS[:count]:
        if what is not None:
            asked.append(what)
        await shipments.was_asked(*asked)
        await shipments.host.publish(name, order_id=id, **data)


@pytest.mark.parametrize("name", SHIPPING)
async def test_a_shipment_goes_from_the_warehouse_to_the_proof(name: str) -> None:
    async with shipping(name) as shipments:
        id = await shipments.create()
        await answered(shipments, id, len(ANSWERS))
        await until(lambda: not shipments.host._deploys.flows.runs())
        shipment = await shipments.host.get("Shipment", id)
        told = [one for one in await shipments.story() if not one[0].startswith(("w", "c"))]
    assert (shipment.order_id, shipment.status) == ("o-1", "COMPLETE")
    assert (shipment.pickup_address, shipment.shipment, shipment.proof) == (
        *("Dock 4", "S-7"),
        "signed",
    )
    assert (shipment.tracking, shipment.tracking_status) == ("T-7", "delivered")
    assert len({key for _, _, key in shipments.asked}) == 4
    assert [(name, subject) for name, subject, _ in told if name != "delivery.proven"] == [
        ("shipment.created", id),
        *(("shipment.picked", id), ("order.picked", "o-1")),
        *(("shipment.shipped", id), ("order.shipped", "o-1")),
        *(("shipment.updated", id),),
        *(("shipment.delivered", id), ("order.delivered", "o-1")),
        *(("shipment.verified", id), ("delivery.verified", "o-1")),
    ]
    assert told[-1][2] == {"order_id": "o-1", "proof": "signed"}
