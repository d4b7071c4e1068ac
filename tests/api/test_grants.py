"""What a caller over HTTP sees of what components may not reach."""

import pytest

from tests.engine.test_grants import ASKS, EXPORTS, GRANTED, ORDERS, SHIPPING

MODELS = "/aegis/api/models"


@pytest.fixture
async def shipment(host):
    await host.undeploy("shop")
    await host.deploy("orders", "1.0.0", ORDERS + EXPORTS)
    await host.deploy("shipping", "1.0.0", SHIPPING + ASKS, grants=GRANTED)
    order = await host.create("Order", name="a")
    return await host.create("Shipment", order_id=order.id)


async def test_expand_and_the_routes_of_relations_go_by_what_is_granted(host, call, shipment):
    path = f"{MODELS}/shipments/{shipment.id}"
    for where in (found := (f"{path}?expand=order", f"{path}/related/order", f"{path}")):
        assert (await call("GET", where)).status == 200, where
    await host.revoke("shipping", "orders.Order")
    for where in (*found[:2], f"{MODELS}/shipments?expand=order"):
        refused = await call("GET", where)
        assert refused.status == 403, where
        assert "shipping may not read Order of orders" in refused.json["detail"]
        assert refused.json["hint"] == 'host.grant("shipping", "orders.Order:read")'
    assert (await call("POST", f"{path}/related/order", {"name": "b"})).status == 403
    assert (await call("POST", f"{path}/commands/look", {})).status == 403
    assert (await call("GET", path)).status == 200
    assert await host.count("Order") == 1
