"""Versions over HTTP: which there are, what is followed, and what may not be."""

import json

import jsonschema
import pytest

from aegis.api.openapi import openapi
from aegis.api.router import Router
from aegis.core.lock import Wanted
from aegis.testing import memory_host
from tests.api.conftest import Caller
from tests.engine.test_startup import ORDERS, code
from tests.fakes import ShelfLockfile, ShelfSources, SteppedClock

FOLLOW = "/aegis/api/components/orders/follow"
VERSIONS = "/aegis/api/components/orders/versions"
RANGE = f"{ORDERS}@^1.2"


@pytest.fixture
def sources():
    shelf = ShelfSources()
    shelf.release(ORDERS, "1.2.0", code(text="1.2.0"))
    return shelf


@pytest.fixture
async def host(sources):
    async with memory_host(
        sources=sources,
        lockfile=ShelfLockfile(),
        components={"orders": Wanted(source=RANGE)},
        clock=SteppedClock(),
    ) as host:
        await host.begin()
        yield host


@pytest.fixture
def call(host):
    return Caller(Router(host, token=None))


def fits(host, answer, name):
    document = json.loads(openapi(host.engine.registry))
    schema = {**document["components"]["schemas"][name], "components": document["components"]}
    jsonschema.validate(answer.json, schema)


async def test_a_component_is_followed_and_left_again(host, call, sources):
    assert (await call("GET", FOLLOW)).status == 404
    sources.release(ORDERS, "1.3.0", code(text="1.3.0"))
    made = await call("PUT", FOLLOW, {"every": 60})
    assert made.status == 200
    fits(host, made, "Followed")
    assert made.json["serves"] == "1.3.0"
    assert made.json["address"] == RANGE
    assert (await call("GET", "/aegis/api/followed")).json == {"items": [made.json]}
    assert (await call("GET", FOLLOW)).json == made.json
    assert (await call("DELETE", FOLLOW)).status == 204
    assert (await call("DELETE", FOLLOW)).status == 404
    assert (await call("GET", "/aegis/api/followed")).json == {"items": []}


async def test_the_versions_are_what_openapi_says(host, call, sources):
    sources.release(ORDERS, "1.3.0", code(text="1.3.0"))
    await call("PUT", FOLLOW, {})
    shown = await call("GET", VERSIONS)
    fits(host, shown, "Versions")
    assert shown.json["offers"] == ["1.3.0", "1.2.0"]
    assert [one["version"] for one in shown.json["deployments"]] == ["1.3.0", "1.2.0"]
    assert shown.json["locked"]["source"] == RANGE
    sources.away.add(ORDERS)
    shown = await call("GET", VERSIONS)
    fits(host, shown, "Versions")
    assert shown.json["problem"] == f"{ORDERS} does not answer"
    missing = await call("GET", VERSIONS.replace("orders", "order"))
    assert (missing.status, missing.json["hint"]) == (404, "did you mean 'orders'?")


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({"address": f"{ORDERS}@^2"}, 409, "aegis.toml"),
        ({"address": "../orders"}, 409, "aegis.toml"),
        ({"every": 0.5}, 422, "every"),
        ({"evry": 60}, 422, "evry"),
        ([], 422, ""),
    ],
)
async def test_what_may_not_be_is_refused(call, body, status, said):
    refused = await call("PUT", FOLLOW, body)
    assert refused.status == status
    assert said in json.dumps(refused.json)


async def test_nothing_of_this_machine_is_followed_for_a_caller(call):
    refused = await call("PUT", FOLLOW.replace("orders", "notes"), {"address": "/etc/notes.py"})
    assert refused.status == 422
    assert "on this machine" in refused.json["detail"]


async def test_what_is_not_there_yet_keeps_the_host_from_being_ready(sources):
    sources.away.add(ORDERS)
    async with memory_host(
        sources=sources, components={"orders": Wanted(source=RANGE)}, clock=SteppedClock()
    ) as host:
        router = Router(host, token=None)
        await host.begin()
        ready = await Caller(router)("GET", "/readyz")
        assert ready.status == 503
        assert ready.json["missing"] == [f"component orders: {ORDERS} does not answer"]
        assert (await Caller(router)("GET", "/healthz")).status == 200
