"""What a sandbox costs is counted on its threads: computing, waiting, memory, and what stopped it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from aegis.core.errors import GuestError
from aegis.core.guest import Guest
from aegis.engine.host import Host
from aegis.testing import memory_host
from tests.wasm.modules import component, module, source

SAID: dict[str, Any] = {
    "name": "mill",
    "version": "1.0.0",
    "limits": {"seconds": 0.2, "memory": 1 << 20},
    "models": {
        "Sack": {
            "fields": {"grain": {"type": "string", "default": ""}},
            "commands": {"grind": {}, "spin": {}, "grow": {}, "fall": {}},
        }
    },
}
# `grind` counts to some millions, `grow` takes a page more each time.
WAT = module(
    SAID,
    functions="""
        (func $grind (result i64) (local $n i32)
          (loop $on
            (local.set $n (i32.add (local.get $n) (i32.const 1)))
            (br_if $on (i32.lt_u (local.get $n) (i32.const 20000000))))
          (i64.const 0))
        (func $spin (result i64) (loop br 0) (i64.const 0))
        (func $grow (result i64) (drop (memory.grow (i32.const 1))) (i64.const 0))
        (func $fall (result i64) (call $fall))
    """,
    bodies={f"Sack.{name}": f"(call ${name})" for name in ("grind", "spin", "grow", "fall")},
)


@pytest.fixture
async def host() -> AsyncGenerator[Host]:
    async with memory_host() as host:
        await host.deploy(source("mill", WAT))
        yield host


def guest(host: Host) -> Guest:
    found = host.engine.registry.live["mill"].guest
    assert found is not None
    return found


async def test_nothing_was_spent_before_the_first_call(host: Host) -> None:
    cost = guest(host).cost
    assert (cost.calls, cost.seconds, cost.stopped) == (0, 0.0, {})
    assert (cost.wait_p50, cost.wait_p99, cost.instances, cost.memory) == (None, None, 0, 0)


async def test_who_waits_for_a_turn_is_counted_apart_from_who_computes(host: Host) -> None:
    sacks = [await host.create("Sack") for _ in range(4)]
    calls = asyncio.gather(*(host.call(sack, "grind") for sack in sacks))
    most = 0
    while not calls.done():
        most = max(most, guest(host).cost.queued)
        await asyncio.sleep(0.0005)
    await calls
    cost = guest(host).cost
    assert (cost.calls, cost.queued) == (4, 0)
    assert most >= 2
    assert cost.wait_p50 is not None
    assert cost.wait_p99 is not None
    # The last of them waited for the three before it, and nobody computes while another one does.
    each = cost.seconds / 4 * 1e3
    assert each > 0
    assert cost.wait_p99 > each
    assert cost.threads >= 1


async def test_memory_is_that_of_the_instances_that_live(host: Host) -> None:
    sack = await host.create("Sack")
    await host.call(sack, "grow")
    before = guest(host).cost
    assert (before.instances, before.memory) == (1, 3 << 16)
    await host.call(sack, "grow")
    assert guest(host).cost.memory == 4 << 16
    with pytest.raises(GuestError):
        await host.call(sack, "fall")
    after = guest(host).cost
    assert (after.instances, after.memory) == (0, 0)


async def test_stops_are_counted_by_what_stopped_them(host: Host) -> None:
    sack = await host.create("Sack")
    for name in ("spin", "fall", "fall"):
        with pytest.raises(GuestError):
            await host.call(sack, name)
    cost = guest(host).cost
    assert (cost.calls, cost.stopped) == (3, {"time": 1, "stack": 2})
    # What is stopped at its limit has computed as long as that.
    assert cost.seconds >= 0.19


async def test_a_component_tells_of_itself_all_but_its_memory(host: Host) -> None:
    said = {**SAID, "name": "press", "models": {"Olive": {"fields": {}, "commands": {"turn": {}}}}}
    await host.deploy(source("press", component(said, {"Olive.turn": "!stuck"})))
    olive = await host.create("Olive")
    with pytest.raises(GuestError):
        await host.call(olive, "turn")
    found = host.engine.registry.live["press"].guest
    assert found is not None
    assert found.status.kind == "component"
    assert (found.cost.calls, found.cost.instances, found.cost.memory) == (1, 1, None)
