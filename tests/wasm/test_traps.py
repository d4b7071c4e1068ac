"""What operators see of a sandbox: what it is and costs, what was stopped in it, and that again."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator
from typing import Any

import jsonschema
import pytest

from aegis.api.openapi import openapi
from aegis.api.request import Request
from aegis.api.response import Response
from aegis.api.router import Router
from aegis.core.component import Source
from aegis.core.errors import GuestError
from aegis.core.wire import Topic
from aegis.engine.host import Host
from aegis.testing import memory_host
from tests.wasm.modules import module, source

CLOCK = '(import "aegis:component/clock@0.1.0" "now" (func $now (result i64)))'
BANK: dict[str, Any] = {
    "name": "bank",
    "version": "1.0.0",
    "limits": {"seconds": 0.1, "memory": 1 << 20},
    "models": {
        "Account": {
            "endpoint": "accounts",
            "fields": {
                "owner": {"type": "string", "default": ""},
                "pin": {"type": "string", "private": True, "default": "4711"},
            },
            "commands": {"close": {}, "boom": {}, "spin": {}, "once": {}},
        }
    },
}
# `once` is stopped when an instance has been asked before: a new one lets it pass.
WAT = module(
    BANK,
    {"Account.close": "!it is not empty"},
    imports=CLOCK,
    functions="""
        (global $asked (mut i32) (i32.const 0))
        (func $once (result i64)
          (if (global.get $asked) (then unreachable))
          (global.set $asked (i32.const 1))
          (i64.const 0))
        (func $spin (result i64) (loop br 0) (i64.const 0))
        (func $inner (result i64) unreachable)
        (func $kaboom (result i64) call $inner)
    """,
    bodies={"Account.spin": "(call $spin)", "Account.boom": "(call $kaboom)"}
    | {"Account.once": "(call $once)"},
)
PLAIN = """
from aegis import Model
class Note(Model, endpoint="notes"):
    text: str = ""
"""
TRAPS = "/aegis/api/components/bank/traps"


@pytest.fixture
async def host() -> AsyncGenerator[Host]:
    async with memory_host() as host:
        await host.grant("bank", "host.clock")
        await host.deploy(source("bank", WAT))
        yield host


async def call(host: Host, method: str, path: str, body: Any = None, token: str = "t") -> Response:
    text = b"" if body is None else json.dumps(body).encode()
    headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
    router = Router(host, token="t")
    answer = router.handle(Request(method, path, "", headers, text))
    return answer if isinstance(answer, Response) else await answer


async def said(host: Host, method: str, path: str, body: Any = None) -> Any:
    answer = await call(host, method, path, body)
    assert answer.status < 300, answer.body
    return json.loads(answer.body)


def check(host: Host, value: Any, name: str) -> None:
    """Check that a value is what OpenAPI says."""
    document = json.loads(openapi(host.engine.registry))
    jsonschema.validate(value, {"$ref": f"#/components/schemas/{name}", **document})


async def stop(host: Host, *commands: str) -> None:
    account = await host.create("Account", owner="Ada")
    for command in commands:
        with pytest.raises(GuestError):
            await host.call(account, command)


async def test_a_component_tells_its_language_and_what_its_sandbox_may(host: Host) -> None:
    await stop(host, "boom", "close")
    status = await said(host, "GET", "/aegis/api/components")
    check(host, status, "HostStatus")
    (bank,) = status["components"]
    guest, cost = bank["guest"], bank["cost"]
    assert bank["language"] == "wasm"
    assert (guest["kind"], guest["contract"]) == ("module", "0.1.0")
    assert guest["size"] == len(source("bank", WAT).binary)
    assert guest["imports"] == ["clock"]
    assert (guest["needs"], guest["granted"]) == (["clock"], ["clock"])
    assert guest["limits"] == {"seconds": 0.1, "memory": 1 << 20, "output": 1 << 20, "fuel": None}
    assert (cost["calls"], cost["stopped"]) == (2, {"unreachable": 1})
    assert cost["seconds"] > 0
    assert cost["memory"] == 2 * 65536 * cost["instances"]
    await host.revoke("bank", "host.clock")
    (bank,) = (await said(host, "GET", "/aegis/api/components"))["components"]
    assert bank["guest"]["granted"] == []
    (deployment,) = (await said(host, "GET", "/aegis/api/deployments"))["items"]
    assert deployment["language"] == "wasm"


async def test_what_is_not_in_a_sandbox_is_told_apart_and_has_no_traps(host: Host) -> None:
    await host.deploy(Source.of("notes", "1.0.0", PLAIN))
    bank, notes = (await said(host, "GET", "/aegis/api/components"))["components"]
    assert (bank["language"], notes["language"]) == ("wasm", "python")
    assert (notes["guest"], notes["cost"]) == (None, None)
    assert await said(host, "GET", "/aegis/api/components/notes/traps") == {"items": []}
    nodes = (await said(host, "GET", "/aegis/api/graph.json"))["nodes"]
    told = {node["id"]: node["language"] for node in nodes}
    assert told["model:bank.Account"] == "wasm"
    assert told["model:notes.Note"] == "python"
    assert told["event:note.created"] == told["store"] == ""


async def test_who_calls_gets_the_functions_that_a_stopped_call_was_in(host: Host) -> None:
    account = await host.create("Account")
    path = f"/aegis/api/models/accounts/{account.id}/commands/boom"
    answer = await call(host, "POST", path, {})
    problem = json.loads(answer.body)
    assert (answer.status, problem["title"]) == (502, "Guest failed")
    assert problem["frames"] == ["inner", "kaboom", "invoke"]
    check(host, problem, "Problem")


async def test_stopped_calls_are_listed_without_what_they_were_called_with(host: Host) -> None:
    await stop(host, "boom", "spin")
    answer = await call(host, "GET", TRAPS)
    listed = json.loads(answer.body)
    check(host, listed, "Traps")
    boom, spin = listed["items"]
    assert boom["function"] == "Account.boom"
    assert boom["frames"] == ["inner", "kaboom", "invoke"]
    assert spin["reason"] == "it computed for longer than 0.1 s"
    assert boom["revision"] == spin["revision"] == host.engine.registry.live["bank"].label
    assert spin["n"] > boom["n"]
    for hidden in (b"Ada", b"4711", b"input"):
        assert hidden not in answer.body


async def test_a_stopped_call_is_made_again_and_tells_what_becomes_of_it(host: Host) -> None:
    await stop(host, "boom", "spin")
    boom, spin = (await said(host, "GET", TRAPS))["items"]
    again = await said(host, "POST", f"{TRAPS}/{boom['n']}/replay")
    check(host, again, "TrapOutcome")
    assert (again["outcome"], again["same"]) == ("stopped", True)
    assert (again["frames"], again["reason"]) == (boom["frames"], boom["reason"])
    assert again["function"] == "Account.boom"
    # The loop goes on meanwhile.
    lags = []

    async def beat() -> None:
        while True:
            before = time.perf_counter()
            await asyncio.sleep(0.005)
            lags.append(time.perf_counter() - before)

    beating = asyncio.create_task(beat())
    again = await said(host, "POST", f"{TRAPS}/{spin['n']}/replay")
    beating.cancel()
    assert (again["outcome"], again["reason"]) == ("stopped", spin["reason"])
    assert len(lags) > 3
    # What is made again is neither counted nor kept.
    assert [trap["n"] for trap in (await said(host, "GET", TRAPS))["items"]] == [
        boom["n"],
        spin["n"],
    ]
    (bank,) = (await said(host, "GET", "/aegis/api/components"))["components"]
    assert (bank["cost"]["calls"], bank["cost"]["stopped"]) == (2, {"unreachable": 1, "time": 1})


async def test_a_call_that_hung_on_an_instance_passes_in_a_new_one(host: Host) -> None:
    account = await host.create("Account")
    await host.call(account, "once")
    with pytest.raises(GuestError):
        await host.call(account, "once")
    (once,) = await host.traps("bank")
    again = await said(host, "POST", f"{TRAPS}/{once.n}/replay")
    assert (again["outcome"], again["reason"], again["frames"]) == ("passed", "", [])


async def test_what_was_stopped_is_made_again_on_the_code_that_is_live_now(host: Host) -> None:
    await stop(host, "boom")
    (boom,) = await host.traps("bank")
    mended = module({**BANK, "version": "1.1.0"}, {"Account.boom": "!that was mended"})
    await host.deploy(source("bank", mended, "1.1.0"))
    again = await said(host, "POST", f"{TRAPS}/{boom.n}/replay")
    assert (again["outcome"], again["same"]) == ("error", False)
    assert "that was mended" in again["reason"]
    assert again["revision"].startswith("bank@1.1.0+")
    with pytest.raises(GuestError):
        await host.call(await host.create("Account"), "close")
    old, new = (await said(host, "GET", TRAPS))["items"]
    assert (old["revision"][:10], new["revision"][:10]) == ("bank@1.0.0", "bank@1.1.0")
    assert new["n"] > old["n"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/aegis/api/components/bonk/traps", 404),
        ("POST", "/aegis/api/components/bonk/traps/1/replay", 404),
        ("POST", f"{TRAPS}/999999/replay", 404),
        ("POST", f"{TRAPS}/-1/replay", 404),
        ("POST", f"{TRAPS}/\u0661/replay", 404),
        ("POST", f"{TRAPS}/{'9' * 5000}/replay", 404),
        ("POST", f"{TRAPS}/1/repeat", 404),
        ("POST", "/aegis/api/components/bank/trips/1/replay", 404),
        ("GET", f"{TRAPS}/1/replay", 405),
    ],
)
async def test_what_is_no_stopped_call_is_refused(
    host: Host, method: str, path: str, status: int
) -> None:
    assert (await call(host, method, path)).status == status


async def test_without_the_token_nobody_sees_or_repeats_a_call(host: Host) -> None:
    await stop(host, "boom")
    (boom,) = await host.traps("bank")
    for method, path in (("GET", TRAPS), ("POST", f"{TRAPS}/{boom.n}/replay")):
        assert (await call(host, method, path, token="no")).status == 401


async def test_a_view_hears_what_a_sandbox_costs_and_stopped_after_its_cursor(host: Host) -> None:
    topics: frozenset[Topic] = frozenset({"figures", "status"})
    first = host.monitor.frame(0, topics)
    assert first.status is not None
    (bank,) = first.status.components
    assert (bank.language, bank.guest and bank.guest.imports) == ("wasm", ("clock",))
    (line,) = first.guests
    assert (line.component, line.cost.calls, line.traps) == ("bank", 0, ())
    assert host.monitor.frame(first.cursor, topics).guests == ()
    await stop(host, "close")
    second = host.monitor.frame(first.cursor, topics)
    (line,) = second.guests
    assert (line.cost.calls, line.traps) == (1, None)
    await stop(host, "boom")
    for since in (second.cursor, first.cursor, 0):
        (line,) = host.monitor.frame(since, topics).guests
        assert line.cost.stopped == {"unreachable": 1}
        assert line.traps is not None
        (trap,) = line.traps
        assert trap.frames == ("inner", "kaboom", "invoke")
    await host.undeploy("bank")
    assert host.monitor.frame(0, topics).guests == ()


async def test_two_views_hear_of_each_change_whoever_looks_first(host: Host) -> None:
    topics: frozenset[Topic] = frozenset({"figures"})
    cursors = [host.monitor.frame(0, topics).cursor] * 2
    for calls in range(1, 5):
        await stop(host, "close")
        order = (0, 1) if calls % 2 else (1, 0)
        for view in order:
            frame = host.monitor.frame(cursors[view], topics)
            cursors[view] = frame.cursor
            (line,) = frame.guests
            assert line.cost.calls == calls


async def test_a_plan_and_a_split_tell_that_the_language_is_another(host: Host) -> None:
    text = "from aegis import Model\nclass Shelf(Model):\n    owner: str\n"
    before = Source.of("shelf", "1.0.0", text)
    shelf = {"name": "shelf", "version": "1.1.0"}
    model = {"fields": {"owner": {"type": "string"}}}
    after = source("shelf", module({**shelf, "models": {"Shelf": model}}), "1.1.0")
    await host.deploy(before)
    planned = await host.plan(after)
    (changed,) = (item for item in planned.items if item.kind == "component")
    told = {aspect.name: (aspect.before, aspect.after) for aspect in changed.aspects}
    assert told["language"] == ("python", "wasm")
    split = await host.split(after, weight=50)
    assert (split.live.language, split.candidate.language) == ("python", "wasm")
