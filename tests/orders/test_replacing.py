"""Outcome 12: shipping is replaced while orders wait in track_shipment, and no request fails.

The rules: a flow of shipping's own stays on the version number that it began on, and on the newest
code with that number. A step that a flow of orders takes in shipping is taken by what is live
there, of a split by the side that has the record.
"""

import asyncio
from collections import Counter

import httpx
import pytest

from aegis.bootstrap import build_host, start_server
from aegis.configuration import Config
from aegis.core.component import Source
from aegis.core.split import BUCKETS, bucket
from tests.engine.shop import until
from tests.orders.sandbox import NOTEBOOKS

FOLDER = NOTEBOOKS / "federation"
API = "/aegis/api/models"


def texts():
    """The components of the chapter on federation, with the code that they share beside them."""
    money = (FOLDER / "money" / "money.py").read_text()
    money += "\n\ndef postage(weight: int) -> Decimal:\n    return gross(Decimal(3) * weight)\n"
    orders, shipping = ((FOLDER / n / f"{n}.py").read_text() for n in ("orders", "shipping"))
    shipping = shipping.replace(
        '    status: str = "NEW"', '    status: str = "NEW"\n    ended_by: str = ""'
    ).replace('status="DELIVERED"', 'status="DELIVERED", ended_by="LABEL"')
    assert shipping.count("ended_by") == 2
    return money, orders, shipping


MONEY, ORDERS, SHIPPING = texts()


def shipping(version, label=""):
    text = SHIPPING.replace("LABEL", label or version)
    return Source.of("shipping", version, text, imports={"money.py": MONEY})


class Shop:
    """Requests all the while, and what they were answered."""

    def __init__(self, client):
        self.client, self.answers, self.closing = client, Counter(), False

    async def ask(self, method, path, **more):
        answer = await self.client.request(method, f"{API}/{path}", **more)
        self.answers[method, answer.status_code] += 1
        return answer.json()

    async def order(self):
        return (await self.ask("POST", "orders", json={"item": "disc", "net": "8.00"}))["id"]

    async def shipment(self):
        """One that belongs to no order: its flow is shipping's own."""
        return (await self.ask("POST", "shipments", json={"order_id": "none"}))["id"]

    async def run(self):
        while not self.closing:
            id = await self.order()
            await self.ask("GET", f"orders/{id}")
            await asyncio.sleep(0.005)


@pytest.fixture
async def host(tmp_path):
    config = Config(data=tmp_path / "data", token=None, port=0)
    async with build_host(config) as host:
        await host.deploy("orders", "1.0.0", ORDERS, imports={"money.py": MONEY})
        await host.deploy(shipping("1.0.0"))
        server = await start_server(host, config)
        async with httpx.AsyncClient(base_url=server.address, timeout=30) as client:
            host.shop = Shop(client)
            yield host
        await server.close()


async def test_orders_that_wait_end_on_the_version_that_the_rules_say_and_no_request_fails(host):
    shop = host.shop
    running = [asyncio.create_task(shop.run()) for _ in range(3)]

    async def orders(count):
        """New orders; the shipment of each, waiting."""
        ids = [await shop.order() for _ in range(count)]
        found = []
        for id in ids:
            await until(lambda id=id: waits(id))
            found.append((await host.query("Shipment", order_id=id))[0].id)
        return found

    def waits(id):
        return any(
            step.port == "track_shipment" and step.wait is not None
            for run in host._deploys.flows.runs()
            if run.flow.record == id
            for step in run.steps.values()
        )

    async def own(count):
        """New shipments of no order, waiting."""
        ids = [await shop.shipment() for _ in range(count)]
        for id in ids:
            await until(lambda id=id: waits(id))
        return ids

    async def ended(ids):
        """Deliver them: by which code each of them ended."""
        for id in ids:
            await host.publish("carrier.delivered", id=id)
        by = []
        for id in ids:
            async with asyncio.timeout(10):
                while (  # noqa: ASYNC110 -- a test may look again
                    shipment := await host.get("Shipment", id)
                ).status != "DELIVERED":
                    await asyncio.sleep(0.005)
            by.append(shipment.ended_by)
        return by

    def side(id, live, candidate):
        return candidate if bucket("shipping", id) < BUCKETS / 2 else live

    waiting, mine = await orders(40), await own(10)
    # Another version number.
    await host.deploy(shipping("1.1.0"))
    assert await ended(waiting[:8]) == ["1.1.0"] * 8
    assert await ended(mine[:5]) == ["1.0.0"] * 5
    # Other code with the same number, as an edited cell is.
    newer = await own(5)
    await host.deploy(shipping("1.1.0", "1.1.0 mended"))
    assert await ended(newer) == ["1.1.0 mended"] * 5
    assert await ended(waiting[8:14]) == ["1.1.0 mended"] * 6
    # Two versions side by side.
    await host.split(shipping("1.2.0"), weight=50)
    begun = await own(16)
    sides = [side(id, "1.1.0 mended", "1.2.0") for id in waiting[14:30]]
    assert set(sides) == {"1.1.0 mended", "1.2.0"}
    assert await ended(waiting[14:30]) == sides
    live, candidate = host.splits()[0].live, host.splits()[0].candidate
    assert live.calls > 0
    assert candidate.calls > 0
    assert (live.errors, candidate.errors) == (0, 0)
    await host.promote("shipping")
    assert await ended(waiting[30:35]) == ["1.2.0"] * 5
    await host.rollback("shipping")
    assert await ended(waiting[35:]) == ["1.1.0 mended"] * 5
    # What began on a side of the split ended there, wherever the others went.
    assert await ended(begun) == [side(id, "1.1.0 mended", "1.2.0") for id in begun]
    assert await ended(mine[5:]) == ["1.0.0"] * 5
    shop.closing = True
    await asyncio.gather(*running)
    while rest := await host.query("Shipment", status="SHIPPING", limit=500):
        await ended([shipment.id for shipment in rest])
    count = await host.count("Order")
    async with asyncio.timeout(20):
        while await host.count("Order", status="COMPLETE") < count:  # noqa: ASYNC110 -- as above
            await asyncio.sleep(0.01)
    assert shop.answers.keys() == {("POST", 201), ("GET", 200)}
    assert count > 60
    assert await host.count("Shipment") == count + 31
