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


async def test_what_is_given_and_taken_over_http_counts_from_the_next_call_on(host, call, shipment):
    grants, order = "/aegis/api/components/shipping/grants", f"{MODELS}/shipments/{shipment.id}"
    taken = await call("POST", grants, {"revoke": ["orders.Order"]})
    assert taken.status == 200
    assert "orders.Order" not in taken.json["granted"]
    assert (await call("GET", f"{order}/related/order")).status == 403
    given = await call("POST", grants, {"grant": ["orders.Order"]})
    assert "orders.Order" in given.json["granted"]
    assert (await call("GET", f"{order}/related/order")).status == 200
    listed = (await call("GET", "/aegis/api/access")).json["items"]
    assert given.json in listed
    told = [(one.action, one.who) for one in await host.audit(limit=2)]
    assert told == [("revoke", "http"), ("grant", "http")]


@pytest.mark.parametrize(
    "body",
    [{}, {"grant": []}, {"grant": ["Order"]}, {"grant": ["orders.Order"], "revoke": ["x.Y"]}, []],
)
async def test_what_grants_nothing_is_refused(host, call, shipment, body):
    before = host.access("shipping")
    assert (await call("POST", "/aegis/api/components/shipping/grants", body)).status == 422
    assert host.access("shipping") == before
