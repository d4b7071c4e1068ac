"""The audit log over HTTP."""

import pytest

from aegis.api.router import Router

LIST = "/aegis/api/audit"
CUPS = "from aegis import Model\nclass Cup(Model, endpoint='cups'):\n    size: int = {}\n"


@pytest.fixture
async def busy(host):
    for n in range(4):
        await host.deploy("cups", f"1.{n}.0", CUPS.format(n))
    await host.rollback("cups")


async def test_the_newest_entries_come_in_order(call, busy):
    answer = await call("GET", f"{LIST}?limit=2")
    assert answer.status == 200
    assert [(one["n"], one["action"], one["version"]) for one in answer.json["items"]] == [
        (5, "deploy", "1.3.0"),
        (6, "rollback", "1.2.0"),
    ]
    assert answer.json["next"] is None


async def test_pages_are_the_whole_log(call, busy):
    seen, after = [], 0
    while after is not None:
        page = (await call("GET", f"{LIST}?limit=2&after={after}")).json
        seen += [one["n"] for one in page["items"]]
        after = page["next"]
    assert seen == [1, 2, 3, 4, 5, 6]


async def test_entries_of_one_action(call, busy):
    items = (await call("GET", f"{LIST}?action=rollback")).json["items"]
    assert [one["about"] for one in items] == ["cups"]


@pytest.mark.parametrize("query", ["action=x", "after=-1", "limit=1&limit=2", "cursor=1"])
async def test_what_it_does_not_know_is_refused(call, query):
    assert (await call("GET", f"{LIST}?{query}")).status == 400


async def test_it_needs_the_token(host, caller):
    call = caller(Router(host, token="secret"))
    assert (await call("GET", LIST)).status == 401
    assert (await call("GET", LIST, authorization="Bearer secret")).status == 200
