"""Events that others tell the host over HTTP, and flows that are undone by request."""

import pytest

from aegis.api.router import Router
from aegis.core.flow import FlowState
from aegis.testing import memory_host
from tests.engine.shop import TEXT, Desk, quiet, states, until

EVENTS = "/aegis/api/events"


async def test_an_event_is_taken_once_however_often_it_is_told(call, host):
    said = {"type": "parcel.seen", "source": "/carrier", "id": "7", "data": {"order": "o1"}}
    first = await call("POST", EVENTS, said)
    again = await call("POST", EVENTS, said)
    assert (first.status, again.status) == (201, 200)
    assert first.json == again.json
    (event,) = await host.events("parcel.*")
    assert (event.id, event.source, event.data) == (first.json["id"], "/carrier", {"order": "o1"})
    assert event.revision is None


async def test_an_event_that_nobody_hears_is_kept_and_sets_nothing_off(call, host):
    told = await call("POST", EVENTS, {"type": "nobody.knows", "data": {"n": 1}})
    assert told.status == 201
    (event,) = await host.events()
    assert (event.id, event.flow, event.data) == (told.json["id"], None, {"n": 1})
    assert host.status().flows_open == host.status().failed == 0


async def test_a_cloud_event_in_binary_mode_is_the_same(call, host):
    told = await call(
        "POST",
        EVENTS,
        {"order": "o1"},
        **{
            "ce-type": "parcel.seen",
            "ce-source": "/carrier",
            "ce-id": "8",
            "ce-specversion": "1.0",
        },
    )
    assert told.status == 201
    (event,) = await host.events("parcel.*")
    assert (event.source, event.data) == ("/carrier", {"order": "o1"})


@pytest.mark.parametrize(
    ("said", "status", "why"),
    [
        ({"type": "nodots"}, 422, "noun.verbed"),
        ({"type": "flow.stranded"}, 422, "of the host itself"),
        ({"type": "a.b", "source": "/aegis/components/x"}, 422, "cannot be the source"),
        ({"type": "a.b", "source": ""}, 422, "source"),
        ({"type": "a.b", "data": [1]}, 422, "data"),
        ({"data": {}}, 422, "type"),
        ({"type": "a.b", "id": ""}, 422, "id"),
        ([], 422, "object"),
        ({"type": "a.b", "data": {"photo": "x" * (3 << 20)}}, 413, "let the event name it"),
    ],
    ids=lambda value: str(value)[:40],
)
async def test_what_is_no_event_is_refused_and_leaves_nothing(call, host, said, status, why):
    refused = await call("POST", EVENTS, said)
    assert refused.status == status
    assert why in str(refused.json)
    assert await host.events() == []


@pytest.fixture
async def shop():
    desk = Desk()
    async with memory_host(values={"say": desk}) as host:
        await host.deploy("orders", "1.0.0", TEXT)
        yield host, desk


async def test_a_flow_is_undone_by_request_and_only_while_it_is_open(shop, caller):
    host, desk = shop
    call = caller(Router(host, token=None))
    order = await host.create("Order", approved=False)
    await until(lambda: host.status().events == 2)
    flow = (await host.flows(order))[0][0].id
    undone = await call("POST", f"/aegis/api/flows/{flow}/undo")
    assert (undone.status, undone.json["state"]) == (202, "compensating")
    await quiet(host)
    assert desk.told == ["pay", "refund"]
    assert (await call("POST", f"/aegis/api/flows/{flow}/undo")).status == 409
    assert (await call("POST", "/aegis/api/flows/none/undo")).status == 404


async def test_an_undo_that_stopped_goes_on_or_skips_the_step(shop, caller):
    host, desk = shop
    call = caller(Router(host, token=None))
    desk.replies["ship"] = desk.replies["unpack"] = RuntimeError("no line")
    order = await host.create("Order")
    await quiet(host)
    flow = (await host.flows(order))[0][0].id
    assert (await call("POST", f"/aegis/api/flows/{flow}/undo")).status == 202
    await quiet(host)
    assert (await states(host, order))[0] is FlowState.COMPENSATION_FAILED
    assert desk.told.count("unpack") == 2
    wrong = await call("POST", f"/aegis/api/flows/{flow}/undo", {"skp": True})
    assert (wrong.status, wrong.json["hint"]) == (422, "did you mean 'skip'?")
    assert (await call("POST", f"/aegis/api/flows/{flow}/undo", {"skip": True})).status == 202
    await quiet(host)
    assert (await states(host, order))[0] is FlowState.COMPENSATED
    assert desk.told[-1] == "refund"
