"""The routes of records, against a real host: what they answer and what they refuse."""

import asyncio

import pytest

ORDERS = "/aegis/api/models/orders"
NOTES = "/aegis/api/models/notes"
TEA = {"customer": "ann", "total": "12.50"}


async def test_a_new_record_is_answered_with_its_place_revision_and_flow(call, host):
    made = await call("POST", ORDERS, TEA)
    assert made.status == 201
    id = made.json["id"]
    assert made.headers["Location"] == f"{ORDERS}/{id}"
    assert made.headers["ETag"] == '"1"'
    assert made.json["total"] == "12.50"
    assert made.json["_meta"]["revision"] == 1
    flow = await host.wait(made.headers["Aegis-Flow"], 5)
    assert flow.state == "completed"


async def test_a_model_that_no_port_follows_begins_no_flow(call):
    made = await call("POST", NOTES, {"text": "x"})
    assert made.status == 201
    assert "Aegis-Flow" not in made.headers


async def test_a_record_is_read_back_and_not_sent_twice(call):
    made = await call("POST", NOTES, {"text": "x"})
    place = made.headers["Location"]
    got = await call("GET", place)
    assert (got.status, got.json) == (200, made.json)
    for tag in ('"1"', 'W/"1"', '"7", "1"', "*"):
        again = await call("GET", place, if_none_match=tag)
        assert (again.status, again.body, again.headers["ETag"]) == (304, b"", '"1"')
    assert (await call("GET", place, if_none_match='"2"')).status == 200
    head = await call("HEAD", place)
    assert (head.status, head.body, head.response.length) == (200, b"", len(got.body))


async def test_waiting_for_the_flow_answers_with_the_record_at_its_end(call):
    made = await call("POST", ORDERS, {**TEA, "customer": "slow"}, prefer="wait=5")
    assert made.status == 201
    assert made.json["status"] == "AUTHORIZED"
    assert made.headers["Aegis-Flow-State"] == "completed"
    assert made.headers["Preference-Applied"] == "wait=5"
    assert made.headers["ETag"] == '"2"'
    assert [name for name, _ in made.response.headers].count("ETag") == 1


async def test_waiting_ends_with_the_time_given_and_shows_the_state_then(call):
    made = await call("POST", ORDERS, {**TEA, "customer": "stuck"}, prefer="wait=0")
    assert made.headers["Aegis-Flow-State"] == "running"
    assert made.json["status"] == "PENDING"


async def test_waiting_too_long_is_cut_to_the_longest_allowed(call):
    made = await call("POST", NOTES, {"text": "x"}, prefer="respond-async, wait=99999")
    assert made.headers["Preference-Applied"] == "wait=600"


async def test_a_preference_that_makes_no_sense_is_passed_over(call):
    made = await call("POST", NOTES, {"text": "x"}, prefer="wait=soon")
    assert made.status == 201
    assert "Preference-Applied" not in made.headers


async def test_a_caller_in_a_hurry_ends_the_wait_and_not_the_work(call, host):
    pressed = asyncio.get_running_loop().create_future()
    waiting = asyncio.ensure_future(
        call(
            "POST",
            ORDERS,
            {**TEA, "customer": "slow"},
            prefer="wait=600",
            on_hurry=pressed.set_result,
        )
    )
    press = await pressed
    press()
    made = await waiting
    assert made.status == 201
    assert "Preference-Applied" not in made.headers
    flow = await host.wait(made.headers["Aegis-Flow"], 5)
    assert flow.state == "completed"


async def test_a_change_names_the_revision_it_is_meant_for(call):
    place = (await call("POST", NOTES, {"text": "x"})).headers["Location"]
    assert (await call("PATCH", place, {"text": "y"})).status == 428
    assert (await call("PATCH", place, {"text": "y"}, if_match='"9"')).status == 412
    assert (await call("PATCH", place, {"text": "y"}, if_match='W/"1"')).status == 412
    assert (await call("PATCH", place, {"text": "y"}, if_match="1")).status == 400
    changed = await call("PATCH", place, {"text": "y"}, if_match='"1"')
    assert (changed.status, changed.json["text"], changed.headers["ETag"]) == (200, "y", '"2"')
    stale = await call("PATCH", place, {"text": "z"}, if_match='"1"')
    assert (stale.status, stale.json["revision"]) == (412, 2)
    assert (await call("PATCH", place, {"stars": 2}, if_match='"1", "2"')).json["text"] == "y"
    assert (await call("PATCH", place, {"text": "w"}, if_match="*")).json["stars"] == 2


async def test_a_record_is_deleted_under_the_same_condition(call):
    place = (await call("POST", NOTES, {"text": "x"})).headers["Location"]
    assert (await call("DELETE", place)).status == 428
    assert (await call("DELETE", place, if_match='"2"')).status == 412
    gone = await call("DELETE", place, if_match='"1"')
    assert (gone.status, gone.body) == (204, b"")
    assert (await call("GET", place)).status == 404
    assert (await call("DELETE", place, if_match="*")).status == 404


async def test_a_record_with_an_open_flow_is_not_deleted(call):
    place = (await call("POST", ORDERS, {**TEA, "customer": "stuck"})).headers["Location"]
    assert (await call("DELETE", place, if_match="*")).status == 409


async def test_a_command_takes_its_arguments_from_the_body(call):
    made = await call("POST", ORDERS, TEA, prefer="wait=5")
    place = made.headers["Location"]
    done = await call("POST", f"{place}/commands/cancel", {"reason": "mind changed"})
    assert (done.status, done.json["status"], done.json["note"]) == (
        200,
        "CANCELED",
        "mind changed",
    )
    refused = await call("POST", f"{place}/commands/cancel", {"reason": "again"})
    assert (refused.status, refused.json["title"]) == (409, "Refused")
    assert (await call("POST", f"{place}/commands/hurry")).json["rush"] is True


@pytest.mark.parametrize(
    ("body", "pointer"),
    [({}, "/reason"), ({"reason": 3}, "/reason"), ({"reason": "x", "why": 1}, "/why")],
    ids=["missing", "mistyped", "unknown"],
)
async def test_wrong_arguments_name_the_argument(call, body, pointer):
    place = (await call("POST", ORDERS, TEA)).headers["Location"]
    refused = await call("POST", f"{place}/commands/cancel", body)
    assert (refused.status, refused.json["pointer"]) == (422, pointer)


async def test_a_command_without_arguments_takes_none(call):
    place = (await call("POST", ORDERS, TEA)).headers["Location"]
    assert (await call("POST", f"{place}/commands/hurry", {})).status == 200
    assert (await call("POST", f"{place}/commands/hurry", {"x": 1})).json["pointer"] == "/x"
    assert (await call("POST", f"{place}/commands/hurry", [])).status == 422


async def test_a_port_is_attempted_once_with_its_arguments(call):
    place = (await call("POST", ORDERS, TEA, prefer="wait=5")).headers["Location"]
    assert (await call("POST", f"{place}/ports/price")).json["total"] == "13.75"
    assert (await call("POST", f"{place}/ports/price", {"percent": 0})).json["total"] == "13.75"
    assert (await call("POST", f"{place}/ports/price", {"percent": "x"})).status == 422


async def test_the_flows_of_a_record_are_shown_with_their_steps(call):
    made = await call("POST", ORDERS, TEA, prefer="wait=5")
    (flow,) = (await call("GET", made.headers["Location"] + "/flows")).json["items"]
    assert flow["id"] == made.headers["Aegis-Flow"]
    assert [(step["port"], step["state"]) for step in flow["steps"]] == [("authorize", "done")]
    assert (await call("GET", f"/aegis/api/flows/{flow['id']}")).json == flow
    assert (await call("GET", "/aegis/api/flows/none")).status == 404
    assert (await call("GET", f"{ORDERS}/none/flows")).status == 404


async def test_what_led_to_a_change_is_shown_from_the_request_on(call):
    made = await call("POST", ORDERS, TEA, prefer="wait=5")
    id = made.json["id"]
    for asked in (id, made.headers["Aegis-Flow"], "1"):
        why = (await call("GET", f"/aegis/api/why/{asked}")).json
        root, *led = why["lines"]
        assert (root["name"], root["by"], root["seq"]) == ("order.created", "http", 1)
        assert [(line["by"], line["depth"]) for line in led] == [("shop.Order.authorize", 1)]
    assert (await call("GET", f"/aegis/api/why/{id}?model=shop.Order")).json == why | {"asked": id}
    assert (await call("GET", "/aegis/api/why/none")).status == 404
    assert (await call("GET", f"/aegis/api/why/{id}?model=shop.None")).status == 404


async def test_a_record_is_shown_as_it_was_at_an_event(call):
    made = await call("POST", ORDERS, TEA, prefer="wait=5")
    place = made.headers["Location"]
    now = await call("GET", place)
    then = await call("GET", f"{place}?at=1")
    assert (then.status, then.json["_meta"]["revision"]) == (200, 1)
    assert then.json != now.json
    assert "ETag" not in then.headers
    assert (await call("GET", f"{place}?at=2")).json == now.json
    assert (await call("GET", f"{place}?at=99")).status == 422
    assert (await call("GET", f"{place}?at=x")).status == 400
    assert (await call("GET", f"{ORDERS}/none?at=1")).status == 404


async def test_a_flow_is_run_again_with_its_recorded_answers(call):
    made = await call("POST", ORDERS, TEA, prefer="wait=5")
    flow = made.headers["Aegis-Flow"]
    place = "/aegis/api/replays"
    for asked in ({"id": flow}, {"id": "1", "revision": None}, {"id": flow, "revision": "1.0.0"}):
        replay = await call("POST", place, asked)
        assert (replay.status, replay.json["same"], replay.json["flow"]) == (200, True, flow)
    assert (await call("POST", place, {"id": "none"})).status == 404
    assert (await call("POST", place, {"id": flow, "revision": "9.9.9"})).status == 404
    code = await call("POST", place, {"id": flow, "revision": "import os\n"})
    assert (code.status, code.json["pointer"]) == (422, "/revision")
    assert (await call("POST", place, {})).status == 422
    assert (await call("POST", place, {"id": flow, "more": 1})).json["pointer"] == "/more"


# --- lists -------------------------------------------------------------------------------------


@pytest.fixture
async def stock(call):
    for n, total in enumerate(["9.50", "10", "100.00", "9.5"]):
        data = {"customer": f"c{n}", "total": total, "rush": n == 2, "quantity": n + 1}
        await call("POST", ORDERS, data, prefer="wait=5")


def customers(answer):
    return [item["customer"] for item in answer.json["items"]]


@pytest.mark.usefixtures("stock")
@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("customer=c1", ["c1"]),
        ("total=9.50", ["c0", "c3"]),
        ("quantity=2", ["c1"]),
        ("rush=true", ["c2"]),
        ("status=AUTHORIZED&customer=c0", ["c0"]),
        ("note=null", ["c0", "c1", "c2", "c3"]),
        ("customer=nobody", []),
        ("sort=-total,customer", ["c2", "c1", "c0", "c3"]),
        ("sort=_created", ["c0", "c1", "c2", "c3"]),
        ("sort=-quantity", ["c3", "c2", "c1", "c0"]),
    ],
)
async def test_lists_filter_and_sort_by_typed_fields(call, query, found):
    listed = await call("GET", f"{ORDERS}?{query}")
    assert listed.status == 200
    assert customers(listed) == found
    assert listed.json["next"] is None


@pytest.mark.parametrize("query", ["price=2.50", "rank=7", "stars=1.5", "sort=-rank&price=2.5"])
async def test_constrained_and_described_fields_filter_like_others(call, query):
    await call("POST", NOTES, {"text": "no"})
    await call("POST", NOTES, {"text": "yes", "price": "2.5", "rank": 7, "stars": 1.5})
    listed = (await call("GET", f"{NOTES}?{query}")).json["items"]
    assert [note["text"] for note in listed] == ["yes"]


async def test_a_bound_that_is_broken_is_told_by_field_whoever_checks_it(call):
    for price in ("-1", "NaN"):
        refused = await call("POST", NOTES, {"text": "x", "price": price})
        assert (refused.status, refused.json["pointer"]) == (422, "/price")
    place = (await call("POST", NOTES, {"text": "x"})).headers["Location"]
    refused = await call("PATCH", place, {"price": "-1"}, if_match="*")
    assert (refused.status, refused.json["pointer"]) == (422, "/price")


@pytest.mark.usefixtures("stock")
async def test_pages_follow_each_other_without_gap_or_repeat(call):
    target, seen = f"{ORDERS}?sort=-total&limit=1&token=t", []
    while target is not None:
        page = await call("GET", target)
        seen += customers(page)
        assert len(page.json["items"]) <= 1
        link = page.headers.get("Link")
        assert (link is None) == (page.json["next"] is None)
        target = None
        if link is not None:
            place, relation = link.split("; ")
            assert relation == 'rel="next"'
            assert "token" not in place
            target = place.strip("<>")
    assert seen == ["c2", "c1", "c0", "c3"]


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ("custmer=x", "custmer"),
        ("quantity=many", "quantity"),
        ("total=NaN", "total"),
        ("total=Infinity", "total"),
        ("rush=perhaps", "rush"),
        ("status=LOST", "status"),
        ("address=x", "address"),
        ("tags=x", "tags"),
        ("sort=nothing", "nothing"),
        ("sort=address", "address"),
        ("limit=0", "limit"),
        ("limit=-1", "limit"),
        ("limit=1001", "limit"),
        ("limit=٣", "limit"),
        ("limit=" + "9" * 5000, "limit"),
        ("customer=a&customer=b", "customer"),
        ("sort=" + "total," * 9, "sort"),
    ],
    ids=lambda text: text[:20],
)
async def test_a_query_that_cannot_be_meant_names_the_parameter(call, query, parameter):
    refused = await call("GET", f"{ORDERS}?{query}")
    assert (refused.status, refused.json["parameter"]) == (400, parameter)


async def test_a_misspelt_filter_is_answered_with_the_likely_one(call):
    refused = await call("GET", f"{ORDERS}?custmer=x")
    assert refused.json["hint"] == "did you mean 'customer'?"


@pytest.mark.parametrize(
    "query", ["cursor=nonsense", "cursor=WzFd", "sort=total&cursor=WzFd", "x=%ff", "a&" * 200]
)
async def test_a_query_that_cannot_be_read_is_a_bad_request(call, query):
    refused = await call("GET", f"{ORDERS}?{query}")
    assert refused.status == 400, refused.body


# --- bad input ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "status", "pointer"),
    [
        (b"", 400, None),
        (b"{", 400, None),
        (b"\xff", 400, None),
        (b'{"customer":"\xff","total":1}', 400, None),
        (b'{"customer":"\\ud800","total":1}', 400, None),
        (b'{"customer":"a","total":NaN}', 400, None),
        (b"[]", 422, ""),
        (b"null", 422, ""),
        (b'{"customer":"a"}', 422, "/total"),
        (b'{"customer":3,"total":1}', 422, "/customer"),
        (b'{"customer":"a","total":"much"}', 422, "/total"),
        (b'{"customer":"a","total":"NaN"}', 422, "/total"),
        (b'{"customer":"a","total":"-Infinity"}', 422, "/total"),
        (b'{"customer":"a","total":1,"quantity":0}', 422, "/quantity"),
        (b'{"customer":"a","total":1,"status":"LOST"}', 422, "/status"),
        (b'{"customer":"a","total":1,"quanity":1}', 422, "/quanity"),
        (b'{"customer":"a","total":1,"id":"mine"}', 422, "/id"),
        (b'{"customer":"a","total":1,"a/b~c":1}', 422, "/a~1b~0c"),
        (b'{"customer":"a","total":1,"address":{"city":1,"lines":[]}}', 422, "/address/city"),
        (
            b'{"customer":"a","total":1,"address":{"city":"x","lines":["a",2]}}',
            422,
            "/address/lines/1",
        ),
        (b'{"customer":"a","total":1,"note":' + b"[" * 100_000, 422, "/note"),
        (b'{"x":' + b"[" * 200_000 + b"]" * 200_000 + b"}", 422, "/x"),
    ],
    ids=lambda value: repr(value)[:44],
)
async def test_a_bad_body_is_refused_with_the_field_at_fault(call, body, status, pointer):
    refused = await call("POST", ORDERS, body=body, content_type="application/json")
    assert refused.status == status, refused.body
    assert refused.headers["Content-Type"] == "application/problem+json"
    assert refused.json.get("pointer") == pointer
    assert refused.json["status"] == status
    assert (await call("GET", ORDERS)).json["items"] == []


async def test_numbers_beyond_every_size_are_an_answer_and_no_crash(call):
    body = b'{"customer":"a","total":1,"quantity":' + b"9" * 6000 + b"}"
    refused = await call("POST", ORDERS, body=body, content_type="application/json")
    assert refused.status in {400, 422}


async def test_a_misspelt_field_is_answered_with_the_likely_one(call):
    refused = await call("POST", ORDERS, {**TEA, "quanity": 2})
    assert refused.json["hint"] == "did you mean 'quantity'?"


@pytest.mark.parametrize("type", ["text/plain", "application/x-www-form-urlencoded", "json", None])
async def test_a_body_that_does_not_say_it_is_json_is_refused(call, type):
    headers = {} if type is None else {"content_type": type}
    refused = await call("POST", ORDERS, body=b'{"customer":"a","total":1}', **headers)
    assert refused.status == 415
    assert "application/json" in refused.json["hint"]


@pytest.mark.parametrize(
    "type", ["application/json; charset=utf-8", "application/merge-patch+json", "Application/JSON"]
)
async def test_json_under_its_other_names_is_taken(call, type):
    made = await call("POST", ORDERS, body=b'{"customer":"a","total":1}', content_type=type)
    assert made.status == 201


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("/aegis/api/models/order", "did you mean 'orders'?"),
        ("/aegis/api/models/zzz", "there are: notes, orders"),
        ("{place}/commands/cancle", "did you mean 'cancel'?"),
        ("{place}/ports/authorise", "did you mean 'authorize'?"),
    ],
)
async def test_an_unknown_name_is_answered_with_the_likely_one(call, path, hint):
    place = (await call("POST", ORDERS, TEA)).headers["Location"]
    missing = await call("POST", path.format(place=place), {"customer": "a", "total": 1})
    assert (missing.status, missing.json["hint"]) == (404, hint)


@pytest.mark.parametrize("id", ["none", "%00", "..", "a%2Fb", "%F0%9F%8D%B5", "x" * 3000])
async def test_an_unknown_id_is_not_found_whatever_it_is(call, id):
    for method in ("GET", "PATCH", "DELETE"):
        data = {"text": "x"} if method == "PATCH" else ...
        assert (await call(method, f"{NOTES}/{id}", data, if_match="*")).status == 404


async def test_an_id_that_is_no_text_is_a_bad_request(call):
    assert (await call("GET", f"{NOTES}/%ff")).status == 400


async def test_while_the_host_starts_a_model_that_is_not_there_yet_is_busy_and_not_unknown(
    call, host
):
    ready = host.starting("cells")
    answer = await call("GET", "/aegis/api/models/later/1")
    assert (answer.status, dict(answer.headers)["Retry-After"]) == (503, "1")
    ready()
    assert (await call("GET", "/aegis/api/models/later/1")).status == 404


PARCELS = """
from typing import Protocol
from aegis import Model, adapter, port

class Depot(Protocol):
    async def send(self, order: str) -> None: ...

class Burnt(Depot):
    async def send(self, order: str) -> None:
        raise ConnectionError("nobody there")

class Parcel(Model, endpoint="parcels"):
    to: str

    @port(breaker={"volume": 3, "pause": 20})
    async def send(self, depot: Depot = adapter()):
        await depot.send(self.id)
"""


async def test_a_port_whose_partner_keeps_failing_is_refused_at_once(call, host):
    await host.deploy("post", "1.0.0", PARCELS)
    made = await call("POST", "/aegis/api/models/parcels", {"to": "ann"})
    send = f"{made.headers['Location']}/ports/send"
    for _ in range(3):
        assert (await call("POST", send)).status == 502
    refused = await call("POST", send)
    assert refused.status == 503
    assert 1 <= int(refused.headers["Retry-After"]) <= 20
    assert refused.json["title"] == "Breaker open"
    assert refused.json["edge"] == "uses:port:post.Parcel.send>part:post.Burnt"
    assert refused.json["since"] <= host.clock.stamp()
    assert "post.Parcel.send -> Burnt is open since" in refused.json["detail"]
