"""The OpenAPI document: valid, complete, and the same bytes for the same components."""

import json

import jsonschema
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from aegis.adapters.clock import SystemClock
from aegis.adapters.components.python import PythonLoader
from aegis.adapters.storage.memory import MemoryStore
from aegis.api.openapi import openapi
from aegis.api.router import Router
from aegis.engine.host import Host

CUPS = """
from dataclasses import dataclass
from aegis import Model

@dataclass
class Address:
    planet: str

class Cup(Model, endpoint="cups"):
    size: int
    home: Address | None = None
"""


@pytest.fixture
def document(host):
    return json.loads(openapi(host.engine.registry))


async def test_it_is_valid_openapi(host):
    await host.deploy("cups", "1.0.0", CUPS)
    OpenAPIV31SpecValidator(json.loads(openapi(host.engine.registry))).validate()


async def test_it_is_served_as_it_is(call, host):
    served = await call("GET", "/aegis/api/openapi.json")
    assert (served.status, served.body) == (200, openapi(host.engine.registry))


async def test_the_same_components_give_the_same_bytes_whatever_came_before(host, shop_text):
    await host.deploy("cups", "1.0.0", CUPS)
    parts = {"store": MemoryStore(), "clock": SystemClock(), "loader": PythonLoader()}
    async with Host(**parts) as other:
        await other.deploy("cups", "0.9.0", CUPS.replace("size", "height"))
        await other.deploy("cups", "1.0.0", CUPS)
        await other.deploy("shop", "1.0.0", shop_text)
        assert openapi(other.engine.registry) == openapi(host.engine.registry)


async def test_a_deploy_shows_at_once(call, host):
    await host.deploy("cups", "1.0.0", CUPS)
    paths = (await call("GET", "/aegis/api/openapi.json")).json["paths"]
    assert "/aegis/api/models/cups" in paths


async def test_types_of_one_name_in_two_components_are_two(host):
    await host.deploy("cups", "1.0.0", CUPS)
    schemas = json.loads(openapi(host.engine.registry))["components"]["schemas"]
    assert list(schemas["cups.types.Address"]["properties"]) == ["planet"]
    assert list(schemas["shop.types.Address"]["properties"]) == ["city", "lines"]


async def test_every_route_of_the_router_is_described(document, host):
    router = Router(host, token=None)
    described = {
        (path, method.upper())
        for path, item in document["paths"].items()
        for method in item
        if method != "parameters"
    }
    for route in router.routes:
        for name, calls in (("commands", "cancel"), ("ports", "authorize")):
            path = route.path.replace("{endpoint}", "orders")
            if f"/{name}/" in path:
                path = path.replace("{name}", calls)
            if "{name}" in path:
                continue
            for method in route.methods:
                assert (path, method) in described


def schema_of(document, name):
    return {"$ref": f"#/components/schemas/{name}", "components": document["components"]}


async def test_what_the_api_answers_fits_its_description(call, document):
    body = {"customer": "ann", "total": "1.5", "address": {"city": "Oslo", "lines": ["x"]}}
    jsonschema.validate(body, schema_of(document, "shop.Order.Create"))
    made = (await call("POST", "/aegis/api/models/orders", body, prefer="wait=5")).json
    jsonschema.validate(made, schema_of(document, "shop.Order"))
    listed = (await call("GET", "/aegis/api/models/orders")).json
    jsonschema.validate(listed, schema_of(document, "shop.Order.List"))
    flows = (await call("GET", f"/aegis/api/models/orders/{made['id']}/flows")).json
    jsonschema.validate(flows, schema_of(document, "Flows"))
    problem = (await call("GET", "/aegis/api/models/orders/none")).json
    jsonschema.validate(problem, schema_of(document, "Problem"))
    for event in (await call("GET", "/aegis/api/events")).json["items"]:
        jsonschema.validate(event, schema_of(document, "Event"))


async def test_what_the_api_refuses_its_description_refuses_too(document):
    for wrong in (
        {"customer": "ann"},
        {"customer": 1, "total": "1"},
        {"customer": "a", "total": "1", "x": 1},
    ):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, schema_of(document, "shop.Order.Create"))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"quantity": 0}, schema_of(document, "shop.Order.Patch"))
    jsonschema.validate({"note": None}, schema_of(document, "shop.Order.Patch"))


async def test_docs_of_the_author_are_in_it(document):
    paths = document["paths"]
    cancel = paths["/aegis/api/models/orders/{id}/commands/cancel"]["post"]
    assert cancel["description"] == "Give it up."
    assert cancel["requestBody"]["required"] is True
    price = paths["/aegis/api/models/orders/{id}/ports/price"]["post"]
    assert price["requestBody"]["required"] is False
    assert document["components"]["schemas"]["shop.Order"]["description"] == "A purchase."


async def test_filters_are_described_with_their_types(document):
    parameters = document["paths"]["/aegis/api/models/orders"]["get"]["parameters"]
    schemas = {item["name"]: item["schema"] for item in parameters if "name" in item}
    assert set(schemas) == {
        "id", "customer", "total", "quantity", "status", "rush", "note", "_created", "_updated",
        "address.city", "address.lines.contains", "tags.contains",
    }  # fmt: skip
    assert schemas["quantity"] == {"type": "integer", "minimum": 1}
    assert schemas["tags.contains"] == {"type": "string"}
    said = {item["name"]: item["description"] for item in parameters if "name" in item}
    assert "`total.ge`" in said["total"]
    assert "`total.prefix`" not in said["total"]
    assert "`customer.prefix`" in said["customer"]
    shared = {item["$ref"].rsplit("/", 1)[-1] for item in parameters if "$ref" in item}
    assert shared == {"Where", "Sort", "Limit", "Cursor", "Fields", "Count"}
    answer = document["paths"]["/aegis/api/models/orders"]["get"]["responses"]["200"]
    assert answer["content"]["application/x-ndjson"]["schema"]["$ref"].endswith("shop.Order")
