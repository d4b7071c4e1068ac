"""The failed list over HTTP: pages, groups, input, retry with other data, discard."""

import asyncio
import json
from urllib.parse import quote

import jsonschema
import pytest

from aegis.api.openapi import openapi
from aegis.api.router import Router
from tests.engine.shop import until

LIST = "/aegis/api/failed"
EAR = """
from aegis import Event, Model, on

class Cup(Model, endpoint="cups"):
    size: int = 1

@on("cup.*", retries=0)
def hear(event: Event) -> None:
    if event.data.get("size") != "right":
        raise ValueError(f"{event.subject} is no cup of size {event.data['changed']['size']}")
"""


def at(id, verb=""):
    return f"{LIST}/{quote(id, safe='')}{verb}"


@pytest.fixture
async def cups(host, call):
    """Five cups that a listener could not take."""
    await host.deploy("cups", "1.0.0", EAR)
    made = [await host.create("Cup", size=n) for n in range(5)]
    await until(lambda: host.monitor.status().failed == 5)
    return made


async def undone(host, customer="broke"):
    """The failure of an order whose payment was refused."""
    order = await host.create("Order", customer=customer, total="5")
    await until(lambda: host.monitor.status().failed == 1)
    (failed,) = await host.failed()
    return order, failed


def fits(host, name, value):
    document = json.loads(openapi(host.engine.registry))
    schema = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
    jsonschema.validate(value, schema)


async def test_what_failed_comes_in_pages_oldest_event_first(call, cups, host):
    seen, target = [], f"{LIST}?limit=2"
    while True:
        answer = await call("GET", target)
        assert answer.status == 200
        assert answer.json["total"] == 5
        for item in answer.json["items"]:
            fits(host, "Failed", item)
        seen += answer.json["items"]
        if answer.json["next"] is None:
            break
        assert answer.headers["Link"].startswith(f"<{LIST}?limit=2&cursor=")
        target = f"{LIST}?limit=2&cursor={answer.json['next']}"
    assert [item["subject"] for item in seen] == [cup.id for cup in cups]
    assert (seen[0]["what"], seen[0]["edited"]) == ("cup.created for cups.hear", False)


async def test_failures_of_one_cause_are_a_group(call, cups, host):
    (group,) = (await call("GET", f"{LIST}?group=error")).json["items"]
    assert (group["count"], group["error"]) == (5, "ValueError: # is no cup of size #")
    whole = (await call("GET", at(group["id"]))).json
    assert len(whole["ids"]) == 5
    fits(host, "FailedGroup", group)
    fits(host, "FailedGroup", whole)


async def test_one_failure_shows_the_event_it_failed_on(call, cups, host):
    (first, *_) = await host.failed()
    found = (await call("GET", at(first.id))).json
    fits(host, "Failed", found)
    assert found["about"]["id"] == first.event
    assert found["about"]["data"]["changed"] == {"size": 0}
    assert found["about"]["seq"] == first.seq
    assert found["data"] is None


async def test_it_is_tried_again_with_other_data_which_stays_when_it_fails(call, cups, host):
    (first, *_) = await host.failed()
    answer = await call("POST", at(first.id, "/retry"), {"data": {"changed": {"size": 9}}})
    (told,) = answer.json["items"]
    fits(host, "Told", answer.json)
    assert (answer.status, told["failed"]) == (200, True)
    assert "is no cup of size 9" in told["text"]
    found = (await call("GET", at(first.id))).json
    assert (found["data"], found["edited"]) == ({"changed": {"size": 9}}, True)
    assert found["about"]["data"]["changed"] == {"size": 0}
    (told,) = (await call("POST", at(first.id, "/retry"), {"data": {"size": "right"}})).json[
        "items"
    ]
    assert told == {"id": first.id, "text": "1 event taken", "failed": False}
    assert (await call("GET", at(first.id))).status == 404


async def test_a_flow_is_tried_again_with_changes_of_its_record(call, host):
    order, failed = await undone(host)
    answer = await call("POST", at(failed.id, "/retry"), {"data": {"customer": "ann"}})
    assert answer.status == 200
    flow = answer.json["items"][0]["text"].rpartition(" ")[2]
    assert (await host.wait(flow, 5)).state == "completed"
    assert (await host.get("Order", order.id)).customer == "ann"


async def test_changes_that_do_not_fit_are_refused_by_field(call, host):
    order, failed = await undone(host)
    answer = await call("POST", at(failed.id, "/retry"), {"data": {"quantity": 0}})
    assert (answer.status, answer.json["pointer"]) == (422, "/quantity")
    answer = await call("POST", at(failed.id, "/retry"), {"data": {"custumer": "x"}})
    assert (answer.status, answer.json["hint"]) == (422, "did you mean 'customer'?")
    assert [one.id for one in await host.failed()] == [failed.id]
    assert (await host.get("Order", order.id)).quantity == 1


async def test_it_is_discarded(call, cups, host):
    (first, *_) = await host.failed()
    answer = await call("DELETE", at(first.id))
    assert answer.json == {"items": [{"id": first.id, "text": "discarded", "failed": False}]}
    assert (await call("DELETE", at(first.id))).status == 404


async def test_a_group_is_tried_again_or_discarded_one_by_one(call, cups, host):
    (group,) = (await call("GET", f"{LIST}?group=error")).json["items"]
    told = (await call("POST", at(group["id"], "/retry"))).json["items"]
    assert [one["failed"] for one in told] == [True] * 5
    assert (await call("POST", at(group["id"], "/retry"), {"data": {}})).status == 400
    told = (await call("DELETE", at(group["id"]))).json["items"]
    assert [one["text"] for one in told] == ["discarded"] * 5
    assert (await call("GET", LIST)).json == {"items": [], "next": None, "total": 0}
    assert (await call("DELETE", at(group["id"]))).status == 404


@pytest.mark.parametrize(
    ("method", "target", "body", "status"),
    [
        ("GET", f"{LIST}?grup=error", ..., 400),
        ("GET", f"{LIST}?group=subject", ..., 400),
        ("GET", f"{LIST}?limit=no", ..., 400),
        ("GET", f"{LIST}?limit=2&limit=3", ..., 400),
        ("GET", f"{LIST}?cursor=AAAA", ..., 400),
        ("GET", f"{LIST}?cursor=WzEsMl0", ..., 400),
        ("GET", at("flow:none"), ..., 404),
        ("GET", at("group:none"), ..., 404),
        ("GET", at("nonsense"), ..., 404),
        ("POST", at("flow:none", "/retry"), ..., 404),
        ("POST", at("listener:a:b:99999999999999999999", "/retry"), ..., 404),
        ("POST", at("flow:none", "/retri"), ..., 404),
        ("POST", at("flow:none", "/retry"), {"date": {}}, 422),
        ("POST", at("flow:none", "/retry"), {"data": []}, 422),
        ("PUT", at("flow:none"), ..., 405),
        ("POST", LIST, ..., 405),
    ],
)
async def test_what_cannot_be_read_or_found_is_said(call, method, target, body, status):
    assert (await call(method, target, body)).status == status


async def test_none_of_it_is_for_who_shows_no_token(host, caller):
    call = caller(Router(host, token="secret"))
    for method, target in (
        ("GET", LIST),
        ("GET", at("x")),
        ("DELETE", at("x")),
        ("POST", at("x", "/retry")),
    ):
        assert (await call(method, target)).status == 401
    await asyncio.sleep(0)
