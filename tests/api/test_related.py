"""Relations over HTTP: expanded in a record or a list, followed, created through, kept whole."""

import json

import jsonschema
import openapi_spec_validator
import pytest

from aegis.api.openapi import openapi
from tests.engine.test_relations import CUSTOMERS, ORDERS

MODELS = "/aegis/api/models"


@pytest.fixture
async def shop(host, call):
    await host.undeploy("shop")
    await host.deploy("customers", "1.0.0", CUSTOMERS)
    await host.deploy("orders", "1.0.0", ORDERS.replace('"order.created"', '"nobody.asks"'))
    for name in ("ada", "bea"):
        await host.create("Customer", id=name, name=name)
        await host.create("Item", id=f"cd-{name}", price="2.50")
    for n in range(4):
        owner = ("ada", "bea", "ada", None)[n]
        items = [{"item_id": "cd-ada"}, {"item_id": "cd-bea", "qty": 2}][: n % 3]
        await host.create("Order", id=f"o{n}", customer_id=owner, items=items)
    return call


class Counting:
    """A store that counts the lists it is asked for."""

    def __init__(self, store):
        self.store, self.list_, self.asked = store, store.list, []
        store.list = self.list

    async def list(self, model, query):
        self.asked.append(model)
        return await self.list_(model, query)


async def test_a_list_is_expanded_by_one_query_for_each_relation(shop, host):
    counting = Counting(host.store)
    answer = await shop("GET", f"{MODELS}/orders?expand=customer,things,siblings,notes&sort=id")
    assert counting.asked == [
        "orders.Order", "customers.Customer", "orders.Item", "orders.Order", "orders.Note",
    ]  # fmt: skip
    items = answer.json["items"]
    names = [item["customer"] and item["customer"]["name"] for item in items]
    assert names == ["ada", "bea", "ada", None]
    assert [[one["id"] for one in item["things"]] for item in items] == [
        [], ["cd-ada"], ["cd-ada", "cd-bea"], [],
    ]  # fmt: skip
    assert [len(item["siblings"]) for item in items] == [2, 1, 2, 1]
    assert items[0]["customer"]["_meta"]["revision"] == 1


async def test_relations_of_relations_and_chosen_fields(shop):
    answer = await shop("GET", f"{MODELS}/customers/ada?expand=orders.things,profile")
    assert "ETag" not in answer.headers
    assert answer.json["profile"] is None
    assert {order["id"]: len(order["things"]) for order in answer.json["orders"]} == {
        "o0": 0,
        "o2": 2,
    }
    page = await shop("GET", f"{MODELS}/orders?expand=customer&fields=id&id=o1")
    assert list(page.json["items"][0]) == ["id", "customer"]


async def test_lines_are_expanded_too(shop):
    answer = await shop(
        "GET", f"{MODELS}/orders?expand=customer&sort=id", accept="application/x-ndjson"
    )
    lines = b"".join([piece async for piece in answer.response.stream()]).splitlines()
    assert [(json.loads(line)["customer"] or {}).get("name") for line in lines] == [
        "ada", "bea", "ada", None,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("expand=custmer", "customer"),
        ("expand=customer.orders.customer.orders", "3 relations deep"),
        ("expand=" + ",".join(["customer"] * 21), "up to 20"),
        ("expand=customer.x", "no relation 'x'"),
        ("expand=customer&expand=notes", "given twice"),
    ],
)
async def test_what_cannot_be_expanded_is_said(shop, query, said):
    answer = await shop("GET", f"{MODELS}/orders?{query}")
    assert (answer.status, said in answer.body.decode()) == (400, True)


async def test_a_relation_has_a_route_of_its_own(shop):
    page = await shop("GET", f"{MODELS}/customers/ada/related/orders?sort=-id&limit=1&count=true")
    assert [page.json["items"][0]["id"], page.json["count"]] == ["o2", 2]
    link = page.headers["Link"].split(">")[0].removeprefix("<")
    assert [one["id"] for one in (await shop("GET", link)).json["items"]] == ["o0"]
    assert (await shop("GET", f"{MODELS}/orders/o1/related/customer")).json["name"] == "bea"
    assert (await shop("GET", f"{MODELS}/orders/o3/related/customer")).status == 404
    assert (await shop("GET", f"{MODELS}/customers/ada/related/profile")).status == 404
    assert "things" in (await shop("GET", f"{MODELS}/orders/o1/related/thing")).body.decode()


async def test_a_record_is_created_through_a_relation(shop, host):
    made = await shop("POST", f"{MODELS}/orders/o1/related/notes", {"text": "hi"})
    assert (made.status, made.json["order_id"]) == (201, "o1")
    wrong = await shop("POST", f"{MODELS}/orders/o1/related/notes", {"text": "x", "order_id": "o2"})
    assert (wrong.status, "filled in" in wrong.body.decode()) == (422, True)
    before = host.store.last_seq()
    made = await shop(
        "POST", f"{MODELS}/orders/o3/related/customer", {"name": "cleo"}, idempotency_key="k"
    )
    again = await shop(
        "POST", f"{MODELS}/orders/o3/related/customer", {"name": "cleo"}, idempotency_key="k"
    )
    assert made.headers["Location"] == f"{MODELS}/customers/{made.json['id']}"
    assert again.json == made.json
    assert (await host.get("Order", "o3")).customer_id == made.json["id"]
    told = [event.type for event in await host.events(after=before)]
    assert told == ["customer.created", "order.updated"]
    more = await shop("POST", f"{MODELS}/orders/o3/related/customer", {"name": "dora"})
    assert (more.status, "already" in more.body.decode()) == (409, True)
    asked = await shop("POST", f"{MODELS}/orders/o3/related/siblings", {})
    assert (asked.status, "is a question" in asked.body.decode()) == (422, True)


async def test_what_is_created_through_a_relation_is_read_as_any_new_record(shop, host):
    exact = "12345678901234567890.123456789"
    order = {"items": [], "total": 1}
    body = json.dumps(order).replace("1}", exact + "}").encode()
    path = f"{MODELS}/customers/bea/related/orders"
    made = await shop("POST", path, body=body, content_type="application/json")
    assert (made.status, made.json["total"], made.json["customer_id"]) == (201, exact, "bea")
    for wrong, pointer in (({"totl": 1}, "/totl"), ({"items": [{"qty": 1}]}, "/items/0/item_id")):
        refused = await shop("POST", path, wrong)
        assert (refused.status, refused.json["pointer"]) == (422, pointer)
    assert (await shop("POST", path, body=b"[]", content_type="application/json")).status == 422
    assert await host.count("Order", customer_id="bea") == 2


async def test_what_is_named_must_be_there_and_stays(shop):
    answer = await shop("POST", f"{MODELS}/orders", {"customer_id": "nobody"})
    assert (answer.status, answer.json["field"]) == (422, "customer_id")
    answer = await shop("DELETE", f"{MODELS}/customers/ada", if_match='"1"')
    assert (answer.status, answer.json["record"]) == (409, "o0")


async def test_relations_are_described(shop, host):
    document = json.loads(openapi(host.engine.registry))
    openapi_spec_validator.validate(document)
    whole = {"$ref": "#/components/schemas/orders.Order", "components": document["components"]}
    for id in ("o0", "o3"):
        expanded = await shop("GET", f"{MODELS}/orders/{id}?expand=customer,things,notes")
        jsonschema.validate(expanded.json, whole)
    assert "post" in document["paths"][f"{MODELS}/orders/{{id}}/related/notes"]
    assert "post" not in document["paths"][f"{MODELS}/orders/{{id}}/related/siblings"]
