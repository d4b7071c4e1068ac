"""Lines of an export over HTTP: a batch is stored whole, or the answer says which line is wrong."""

import pytest

IMPORT = "/aegis/api/import"
TIME = "2026-03-01T00:00:00.000Z"


def line(n, id, **data):
    record = {"model": "shop.Order", "id": id, "revision": 4, "created": TIME, "updated": TIME}
    return [n, {**record, "data": {"id": id, "customer": "ann", "total": "1.50", **data}}]


def batch(*records, models=("shop.Order",), **more):
    parts = {model: {"records": len(records)} for model in models}
    header = {"aegis": "export", "format": 1, "version": "0", "made": TIME, "seq": 1}
    return {"header": {**header, "models": parts}, "records": list(records), **more}


async def test_a_batch_is_taken_in_and_no_flow_begins(call, host):
    component = next(iter(host.engine.registry.models)).split(".")[0]
    assert component == "shop"
    done = await call("POST", IMPORT, batch(line(2, "a"), line(3, "b")))
    assert (done.status, done.json["created"], done.json["line"]) == (200, 2, 3)
    got = await call("GET", "/aegis/api/models/orders/b")
    assert got.json["total"] == "1.50"
    assert got.json["_meta"] == {"revision": 4, "created": TIME, "updated": TIME}
    assert host.status().flows_open == 0
    again = await call("POST", IMPORT, batch(line(2, "a"), line(3, "b", note="x")))
    assert (again.status, again.json["line"]) == (409, 3)
    replaced = await call(
        "POST", IMPORT, batch(line(2, "a"), line(3, "b", note="x"), on_conflict="replace")
    )
    assert (replaced.json["known"], replaced.json["replaced"]) == (1, 1)


@pytest.mark.parametrize(
    ("body", "status", "pointer"),
    [
        (batch(line(2, "a"), line(3, "b", quantity=0)), 422, "/quantity"),
        (batch(line(2, "a"), line(3, "b", total="NaN")), 422, "/total"),
        (batch(line(2, "a"), [3, {"model": "shop.Order"}]), 422, "/records/1/1/id"),
        (batch(), 422, "/records"),
        (batch(line(2, "a"), on_conflict="perhaps"), 422, "/on_conflict"),
        (batch(line(2, "a"), other=1), 422, "/other"),
        (batch(line(2, "a"), models=()), 422, None),
        (batch(line(2, "a"), [3, {**line(3, "b")[1], "model": "shop.Bill"}]), 422, "/records"),
        ({"records": [line(2, "a")]}, 422, "/header"),
    ],
)
async def test_a_bad_batch_says_where_and_stores_nothing(call, host, body, status, pointer):
    answer = await call("POST", IMPORT, body)
    assert (answer.status, answer.json.get("pointer")) == (status, pointer)
    assert await host.store.count("shop.Order") == 0
