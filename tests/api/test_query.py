"""What a list route is asked: operators, clauses, fields, a count, and lines instead of pages."""

import asyncio
import json
from urllib.parse import quote

import pytest

from aegis.api import records
from aegis.core.errors import ClosedError

ORDERS = "/aegis/api/models/orders"


@pytest.fixture
async def stock(call):
    for n, total in enumerate(["9.50", "10", "100.00", "-1"]):
        data = {
            "customer": f"c{n}", "total": total, "rush": n == 2, "quantity": n + 1,
            "tags": ["new"] if n % 2 else [], "note": None if n == 0 else f"note, {n}",
            "address": {"city": "Wien" if n > 1 else "Graz", "lines": []},
        }  # fmt: skip
        await call("POST", ORDERS, data, prefer="wait=5")


def where(**said):
    return "where=" + quote(json.dumps(said))


@pytest.mark.usefixtures("stock")
@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("total.ge=9.5&total.lt=100", "01"),
        ("total.ne=10", "023"),
        ("customer.in=c0,c3,c9", "03"),
        ("customer.prefix=c", "0123"),
        ("note.contains=e,%202", "2"),
        ("note.exists=false", "0"),
        ("note.in=null", "0"),
        ("note.ne=null&rush=false", "13"),
        ("tags.contains=new", "13"),
        ("address.city=Wien&address.city.prefix=W", "23"),
        ("_created.ge=2020-01-01&_updated.lt=2020-01-01T00:00:00Z", ""),
        ("quantity.le=2", "01"),
        ("quantity.ge=-5", "0123"),
        ("customer.eq=c1", "1"),
        (where(any=[{"total.ge": 100}, {"customer": "c0"}]), "02"),
        (where(any={"total.ge": 100, "customer": "c0"}), "02"),
        (where(**{"not": {"rush": True}, "quantity.gt": 1}), "13"),
        (where(**{"not": {"any": [{"rush": True}, {"note": None}]}}) + "&total.ge=0", "1"),
        (where(**{"note.in": ["note, 2", "note, 3"], "tags.contains": "new"}), "3"),
    ],
)
async def test_lists_are_asked_by_operators_and_clauses(call, query, found):
    listed = await call("GET", f"{ORDERS}?sort=customer&count=true&{query}")
    assert listed.status == 200, listed.body
    assert "".join(item["customer"][1:] for item in listed.json["items"]) == found
    assert listed.json["count"] == len(found)


@pytest.mark.usefixtures("stock")
async def test_only_the_fields_that_are_asked_for_come_and_pages_keep_the_question(call):
    target = f"{ORDERS}?sort=-total&limit=3&fields=total,_created&count=true&quantity.ge=1"
    first = await call("GET", target)
    assert [list(item) for item in first.json["items"]] == [["total", "_created"]] * 3
    assert first.json["count"] == 4
    link = first.headers["Link"].split(">")[0].strip("<")
    second = await call("GET", link)
    assert [item["total"] for item in second.json["items"]] == ["-1"]
    assert (second.json["count"], second.json["next"]) == (4, None)
    assert "count" not in (await call("GET", ORDERS)).json


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ("custmer.ge=x", "custmer.ge"),
        ("total.like=1", "total.like"),
        ("total.%24gt=1", "total.$gt"),
        ("total.prefix=1", "total.prefix"),
        ("total.ge=much", "total.ge"),
        ("total.ge=NaN", "total.ge"),
        ("quantity.in=1,x", "quantity.in"),
        ("note.exists=maybe", "note.exists"),
        ("customer=" + "x" * 1001, "customer"),
        ("address.town=x", "address.town"),
        ("count=3", "count"),
        ("fields=id,nothing", "fields"),
        ("fields=", "fields"),
        ("limt=3", "limt"),
        ("where=x", "where"),
        ("where=[]", "where"),
        (where(any=3), "where"),
        (where(any=[]), "where"),
        (where(**{"total.ge": "much"}), "total.ge"),
        (where(some=[]), "some"),
        ("where=" + quote('{"not":' * 12 + '{"rush":true}' + "}" * 12), "where"),
        ("where=" + quote('{"not":' * 900 + "1" + "}" * 900), "where"),
        ("where=" + quote(" " * 9000 + "{}"), "where"),
        (where(any=[{"quantity": n} for n in range(51)]), "quantity"),
    ],
    ids=lambda text: f"{text[:20]}{len(text)}",
)
async def test_a_question_that_cannot_be_meant_names_the_parameter(call, query, parameter):
    refused = await call("GET", f"{ORDERS}?{query}")
    assert (refused.status, refused.json["parameter"]) == (400, parameter)


async def test_a_misspelt_word_is_answered_with_the_likely_one(call):
    assert (await call("GET", f"{ORDERS}?limt=3")).json["hint"] == "did you mean 'limit'?"
    assert (await call("GET", f"{ORDERS}?sort=created")).json["hint"] == "did you mean '_created'?"


# --- lines -------------------------------------------------------------------------------------


async def streamed(call, query=""):
    answer = await call("GET", f"{ORDERS}?{query}", accept="application/x-ndjson")
    assert answer.status == 200, answer.body
    return answer


@pytest.mark.usefixtures("stock")
@pytest.mark.parametrize("first", [1, 2, 100])
async def test_lines_hold_every_record_once_in_order(call, monkeypatch, first):
    monkeypatch.setattr(records, "FIRST", first)
    monkeypatch.setattr(records, "PIECE", 500)
    answer = await streamed(call, "sort=-total")
    assert answer.headers["Content-Type"] == "application/x-ndjson"
    lines = [line async for line in lines_of(answer)]
    page = (await call("GET", f"{ORDERS}?sort=-total")).json["items"]
    assert lines == page
    answer = await streamed(call, "sort=-total&limit=3&fields=customer&total.ge=0")
    assert [line async for line in lines_of(answer)] == [
        {"customer": "c2"}, {"customer": "c1"}, {"customer": "c0"},
    ]  # fmt: skip
    assert [line async for line in lines_of(await streamed(call, "total.ge=1000"))] == []


async def lines_of(answer):
    body = b"".join([piece async for piece in answer.response.stream()])
    for line in body.splitlines():
        yield json.loads(line)


@pytest.mark.usefixtures("stock")
async def test_nothing_is_read_before_it_is_taken_and_nothing_after_it_is_left(
    call, host, monkeypatch
):
    monkeypatch.setattr(records, "FIRST", 1)
    monkeypatch.setattr(records, "PIECE", 1)
    asked = 0
    list_ = host.store.list

    async def counted(model, query):
        nonlocal asked
        asked += 1
        return await list_(model, query)

    monkeypatch.setattr(host.store, "list", counted)
    pieces = (await streamed(call)).response.stream()
    assert asked == 0
    await anext(pieces)
    await asyncio.sleep(0.01)
    assert asked == 1
    await anext(pieces)
    assert asked == 2
    await pieces.aclose()
    await asyncio.sleep(0.01)
    assert asked == 2


@pytest.mark.usefixtures("stock")
async def test_lines_that_are_cut_short_do_not_end_as_if_they_were_whole(call, monkeypatch):
    monkeypatch.setattr(records, "FIRST", 1)
    hurries = []
    answer = await call("GET", ORDERS, accept="application/x-ndjson", on_hurry=hurries.append)
    pieces = answer.response.stream()
    await anext(pieces)
    hurries[0]()
    with pytest.raises(ClosedError):
        await anext(pieces)


@pytest.mark.usefixtures("stock")
async def test_what_cannot_be_meant_is_refused_before_the_first_line(call):
    refused = await call("GET", f"{ORDERS}?total.ge=much", accept="application/x-ndjson")
    assert (refused.status, refused.json["parameter"]) == (400, "total.ge")
    page = await call("GET", ORDERS, accept="application/x-ndjson;q=0, application/json")
    assert page.json["next"] is None
