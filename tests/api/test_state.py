"""The routes of the host: health, readiness, events, components, graph."""

import asyncio
import json

import pytest

from aegis.api.router import Router

ORDERS = "/aegis/api/models/orders"
TEA = {"customer": "ann", "total": "12.50"}


async def test_health_and_readiness_differ(call, host):
    assert (await call("GET", "/healthz")).json == {"status": "ok"}
    ready = await call("GET", "/readyz")
    assert (ready.status, ready.json) == (200, {"status": "ready", "missing": []})
    done = host.starting("component cups")
    waiting = await call("GET", "/readyz")
    assert (waiting.status, waiting.json["missing"]) == (503, ["component cups"])
    assert (await call("GET", "/healthz")).status == 200
    done()
    assert (await call("GET", "/readyz")).status == 200


async def test_events_come_in_pages_in_their_order(call):
    for _ in range(3):
        await call("POST", ORDERS, TEA, prefer="wait=5")
    types, after, pages = [], 0, 0
    while after is not None:
        page = (await call("GET", f"/aegis/api/events?after={after}&limit=4")).json
        types += [event["type"] for event in page["items"]]
        assert [event["seq"] for event in page["items"]] == list(
            range(after + 1, after + 1 + len(page["items"]))
        )
        after, pages = page["next"], pages + 1
    assert types == ["order.created", "order.authorized"] * 3
    assert (pages, page["last"]) == (2, 6)
    later = (await call("GET", f"/aegis/api/events?after={page['last']}")).json
    assert later == {"items": [], "next": None, "last": 6}


async def test_events_of_one_kind_are_found_among_the_others(call):
    for _ in range(3):
        await call("POST", ORDERS, TEA, prefer="wait=5")
        await call("POST", "/aegis/api/models/notes", {"text": "x"})
    page = (await call("GET", "/aegis/api/events?type=note.*&limit=2")).json
    assert [event["type"] for event in page["items"]] == ["note.created"] * 2
    rest = (await call("GET", f"/aegis/api/events?type=note.*&after={page['next']}")).json
    assert (len(rest["items"]), rest["next"]) == (1, None)
    event = rest["items"][0]
    assert (event["specversion"], event["subject"]) == ("1.0", event["data"]["id"])


@pytest.mark.parametrize(
    ("query", "parameter"),
    [("after=x", "after"), ("limit=1001", "limit"), ("type=%20", "type"), ("typ=x", "typ")],
)
async def test_events_refuse_what_they_do_not_know(call, query, parameter):
    refused = await call("GET", f"/aegis/api/events?{query}")
    assert (refused.status, refused.json["parameter"]) == (400, parameter)


async def test_components_show_what_serves(call):
    (component,) = (await call("GET", "/aegis/api/components")).json["components"]
    assert (component["name"], component["version"]) == ("shop", "1.0.0")
    assert component["endpoints"] == ["orders", "notes"]


async def test_the_graph_is_given_as_data_and_drawn_once_for_each_registry(call, host):
    drawn = []

    def render(graph):
        drawn.append(graph)
        return f"<svg>{len(graph.nodes)}</svg>"

    call.router = Router(host, token=None, render=render)
    data = await call("GET", "/aegis/api/graph.json")
    assert {node["kind"] for node in data.json["nodes"]} >= {"model", "port", "event", "command"}
    pictures = await asyncio.gather(*(call("GET", "/aegis/api/graph.svg") for _ in range(5)))
    assert {p.body for p in pictures} == {f"<svg>{len(data.json['nodes'])}</svg>".encode()}
    assert pictures[0].headers["Content-Type"] == "image/svg+xml"
    assert "default-src 'none'" in pictures[0].headers["Content-Security-Policy"]
    assert len(drawn) == 1
    text = "from aegis import Model\nclass Cup(Model, endpoint='cups'):\n    size: int\n"
    await host.deploy("cups", "1.0.0", text)
    assert (await call("GET", "/aegis/api/graph.svg")).body != pictures[0].body
    assert len(drawn) == 2


async def test_a_picture_that_failed_is_drawn_again(call, host):
    outcomes = [ValueError("no ink"), "<svg/>"]

    def render(graph):
        outcome = outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    call.router = Router(host, token=None, render=render)
    assert (await call("GET", "/aegis/api/graph.svg")).status == 500
    assert (await call("GET", "/aegis/api/graph.svg")).body == b"<svg/>"


async def test_a_host_without_a_renderer_says_so(call):
    missing = await call("GET", "/aegis/api/graph.svg")
    assert missing.status == 404
    assert "graph.json" in json.loads(missing.body)["hint"]


async def test_listeners_show_how_far_behind_they_are(call, host):
    text = 'from aegis import on\n@on("order.*")\ndef hear() -> None: ...\n'
    await host.deploy("ears", "1.0.0", text)
    found = (await call("GET", "/aegis/api/components")).json["listeners"]
    assert found == [{"name": "ears:hear", "lag": 0}]
