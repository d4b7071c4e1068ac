"""Idempotency-Key: a request sent again is done once and answered alike."""

import asyncio

import pytest

ORDERS = "/aegis/api/models/orders"
TEA = {"customer": "ann", "total": "12.50"}


async def test_a_request_sent_again_is_answered_alike_and_done_once(call):
    first = await call("POST", ORDERS, TEA, idempotency_key="k1")
    again = await call("POST", ORDERS, TEA, idempotency_key="k1")
    assert "Idempotency-Replayed" not in first.headers
    assert again.headers["Idempotency-Replayed"] == "true"
    assert (again.status, again.body) == (first.status, first.body)
    for name in ("ETag", "Location", "Aegis-Flow"):
        assert again.headers[name] == first.headers[name]
    assert len((await call("GET", ORDERS)).json["items"]) == 1


async def test_requests_sent_at_once_under_one_key_are_one(call):
    answers = await asyncio.gather(
        *(call("POST", ORDERS, TEA, idempotency_key="k1") for _ in range(20))
    )
    assert {a.json["id"] for a in answers} == {answers[0].json["id"]}
    assert sum("Idempotency-Replayed" in a.headers for a in answers) == 19
    assert len((await call("GET", ORDERS)).json["items"]) == 1


async def test_a_repeated_request_may_wait_for_the_flow_that_the_first_began(call):
    slow = {**TEA, "customer": "slow"}
    first = await call("POST", ORDERS, slow, idempotency_key="k1")
    assert first.json["status"] == "PENDING"
    again = await call("POST", ORDERS, slow, idempotency_key="k1", prefer="wait=5")
    assert again.json["status"] == "AUTHORIZED"
    assert again.headers["Aegis-Flow-State"] == "completed"
    assert again.headers["Idempotency-Replayed"] == "true"


async def test_a_key_stands_for_one_request(call):
    await call("POST", ORDERS, TEA, idempotency_key="k1")
    other = await call("POST", ORDERS, {**TEA, "customer": "bob"}, idempotency_key="k1")
    assert other.status == 422
    elsewhere = await call("POST", "/aegis/api/models/notes", {"text": "x"}, idempotency_key="k1")
    assert elsewhere.status == 422


async def test_a_key_under_way_stands_for_one_request(call):
    first, other = await asyncio.gather(
        call("POST", ORDERS, TEA, idempotency_key="k1"),
        call("POST", ORDERS, {**TEA, "customer": "bob"}, idempotency_key="k1"),
    )
    assert (first.status, other.status) == (201, 409)


async def test_commands_and_ports_are_repeated_safely_too(call):
    place = (await call("POST", ORDERS, TEA, prefer="wait=5")).headers["Location"]
    first = await call("POST", f"{place}/commands/cancel", {"reason": "x"}, idempotency_key="c")
    again = await call("POST", f"{place}/commands/cancel", {"reason": "x"}, idempotency_key="c")
    assert (first.status, again.status, again.body) == (200, 200, first.body)
    first = await call("POST", f"{place}/ports/price", idempotency_key="p")
    again = await call("POST", f"{place}/ports/price", idempotency_key="p")
    assert first.json["total"] == again.json["total"] == "13.75"
    assert (await call("GET", place)).json["total"] == "13.75"


async def test_what_failed_may_be_tried_again_under_its_key(call):
    place = (await call("POST", ORDERS, TEA, prefer="wait=5")).headers["Location"]
    key = {"idempotency_key": "f"}
    assert (await call("POST", f"{place}/commands/explode", **key)).status == 502
    assert (await call("POST", f"{place}/commands/explode", **key)).status == 502
    assert (await call("POST", f"{ORDERS}", {"customer": 1}, **key)).status == 422
    assert (await call("POST", f"{ORDERS}", TEA, **key)).status == 201


@pytest.mark.parametrize("key", ["", "x" * 256, "tea\u2615", "a\nb"], ids=repr)
async def test_a_key_that_is_none_is_refused(call, key):
    refused = await call("POST", ORDERS, TEA, idempotency_key=key)
    assert (refused.status, refused.json["header"]) == (400, "Idempotency-Key")
    assert (await call("GET", ORDERS)).json["items"] == []
