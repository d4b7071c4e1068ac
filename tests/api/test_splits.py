"""Splits over HTTP: who gets which side, other weights, promote, drop, and what is refused."""

import json

import jsonschema
import pytest

from aegis.api.openapi import openapi
from aegis.core.component import Source
from aegis.core.split import BUCKETS, bucket

CUPS = """
from aegis import Model, command

class Cup(Model, endpoint="cups"):
    by: str = ""
    @command
    def who(self) -> "Cup":
        return self.update(by="VERSION")
"""
SPLIT = "/aegis/api/components/cups/split"


def cups(version, text=CUPS):
    return Source.of("cups", version, text.replace("VERSION", version))


@pytest.fixture
async def split(host):
    await host.deploy(cups("1.0.0"))
    await host.split(cups("1.1.0"), weight=30)


def expected(key, weight=30):
    return "1.1.0" if bucket("cups", key) < weight * BUCKETS / 100 else "1.0.0"


async def test_a_record_has_one_side_whichever_request_is_about_it(host, call, split):
    versions = set()
    for _ in range(40):
        made = await call("POST", "/aegis/api/models/cups", {})
        assert made.status == 201
        place = dict(made.headers)["Location"]
        for _ in range(2):
            said = await call("POST", f"{place}/commands/who", {})
            assert said.json["by"] == expected(said.json["id"])
        versions.add(said.json["by"])
    assert versions == {"1.0.0", "1.1.0"}


async def test_by_a_header_a_caller_has_one_side_for_all_records(host, call, split):
    await host.split("cups", weight=50, by="header:X-User")
    for user in (f"user{n}" for n in range(12)):
        made = await call("POST", "/aegis/api/models/cups", {}, x_user=user)
        place = dict(made.headers)["Location"]
        said = await call("POST", f"{place}/commands/who", {}, x_user=user)
        assert said.json["by"] == expected(user, 50)


async def test_the_figures_are_what_openapi_says_and_both_ends_are_there(host, call, split):
    shown = await call("GET", SPLIT)
    document = json.loads(openapi(host.engine.registry))
    schema = {**document["components"]["schemas"]["Split"], "components": document["components"]}
    jsonschema.validate(shown.json, schema)
    assert (await call("GET", "/aegis/api/splits")).json == {"items": [shown.json]}
    assert (await call("PUT", SPLIT, {"weight": 55})).json["candidate"]["weight"] == 55
    done = await call("POST", f"{SPLIT}/promote", None)
    assert (done.status, done.json["version"]) == (200, "1.1.0")
    assert (await call("GET", SPLIT)).status == 404
    await host.split(cups("1.2.0"))
    assert (await call("DELETE", SPLIT)).status == 204
    assert host.splits() == []
    assert host.engine.registry.live["cups"].version == "1.1.0"


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({"weight": 101}, 422, "percent"),
        ({"weight": "much"}, 422, "Expected `float | null`"),
        ({"wait": 3}, 422, "wait"),
        ({"by": "mood"}, 422, "does not go by 'mood'"),
        (["x"], 422, "object"),
    ],
)
async def test_bad_terms_are_refused_and_change_nothing(host, call, split, body, status, said):
    before = host.splits()
    answer = await call("PUT", SPLIT, body)
    assert answer.status == status
    assert said in answer.json["detail"]
    assert host.splits() == before


async def test_what_is_not_split_or_not_there_is_404(host, call):
    await host.deploy(cups("1.0.0"))
    for verb, path in (("GET", ""), ("DELETE", ""), ("POST", "/promote")):
        assert (await call(verb, f"{SPLIT}{path}", None)).status == 404
    assert (await call("PUT", SPLIT, {"weight": 5})).status == 404
    assert (await call("PUT", SPLIT.replace("cups", "mugs"), {"weight": 5})).status == 404
