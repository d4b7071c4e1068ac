"""Both kinds of modules are called alike, and whatever waits for one has a way out."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
import weakref
from collections.abc import Iterator
from typing import Any

import pytest

from aegis.adapters.components.wasm import guest as guests
from aegis.adapters.components.wasm.guest import MOST, WasmGuest
from aegis.adapters.components.wasm.machine import Limits, Machine
from aegis.adapters.components.wasm.native import imports_kept
from aegis.core.errors import GuestError
from tests.wasm.modules import CALLS, ECHO, component, module
from tests.wasm.sandbox import DESCRIBED, called, echoed, guest, threads, until

ABIS = {"module": module, "component": component}
TEXTS = """
    (data (i32.const 64) "name") (data (i32.const 80) "text")
"""
# Each calls one function of the host, with "name" and "text" where it takes texts.
ONE, TWO = "(i32.const 64) (i32.const 4)", "(i32.const 80) (i32.const 4)"
NOTHING = "(i64.const 0)"
BODIES = {
    "echo": ECHO,
    "log": f"(call $host_log (i32.const 2) {ONE}) {NOTHING}",
    "config": f"(call $host_config {ONE})",
    "emit": f"(call $host_emit {ONE} (i32.const 0) (i32.const 0) {TWO})",
    "emit of": f"(call $host_emit {ONE} {ONE} {TWO})",
    "call": f"(call $host_call {ONE} {TWO})",
    "call twice": f"(drop (call $host_call {ONE} {TWO})) (call $host_call {TWO} {ONE})",
    "now": """(if (result i64) (i64.eq (call $clock_now) (i64.const 1700000000000))
        (then (i64.const 0x4000000004)) (else (i64.const 0)))""",
    "get": f"(call $keys_get {ONE})",
    "set": f"(call $keys_set {ONE} {TWO})",
    "unset": f"(call $keys_set {ONE} (i32.const 0) (i32.const 0))",
    "list": f"(call $keys_list {ONE} (i32.const 4294967295))",
    "fetch": f"(call $http_fetch {ONE})",
    "spin": "(loop br 0) (i64.const 0)",
    "trap": "unreachable",
    "ask and spin": f"(drop (call $host_call {ONE} {TWO})) (loop br 0) (i64.const 0)",
    "ask on": f"(loop (drop (call $host_call {ONE} {TWO})) br 0) (i64.const 0)",
}


@pytest.fixture(scope="module")
def machine() -> Machine:
    return Machine()


@pytest.fixture(scope="module", params=ABIS)
def wat(request: pytest.FixtureRequest) -> str:
    return ABIS[request.param](
        DESCRIBED, {"no": "!not now"}, calls=list(CALLS), functions=TEXTS, bodies=BODIES
    )


@pytest.fixture
def one(machine: Machine, wat: str) -> Iterator[WasmGuest]:
    made = guest(machine, wat, Limits(seconds=0.05))
    yield made
    made.close()


async def test_texts_of_any_length_and_language_come_back_as_they_are(one: WasmGuest) -> None:
    for text in ("", "a", "Grüße 🐢" * 10, "x" * 50_000):
        assert await called(one, "echo", text) == (text, False)
    assert await called(one, "no") == ("not now", True)


async def test_each_function_of_the_host_gets_and_gives_what_the_contract_says(
    one: WasmGuest, caplog: pytest.LogCaptureFixture
) -> None:
    async def serve(what: str, arguments: tuple[Any, ...]) -> str:
        return "1700000000000" if what == "clock.now" else await echoed(what, arguments)

    with caplog.at_level(logging.INFO):
        assert await called(one, "log") == ("", False)
    assert [(r.levelname, r.getMessage()) for r in caplog.records] == [("WARNING", "name")]
    assert await called(one, "config", settings={"name": 3}) == ("3", False)
    said = "no configuration value 'name' is described for this call"
    assert await called(one, "config") == (said, True)
    assert (await one.call("emit", "", serve)).emitted == [("name", None, "text")]
    assert (await one.call("emit of", "", serve)).emitted == [("name", "name", "text")]
    assert await called(one, "call") == ("host.call['name', 'text']", False)
    assert await called(one, "call twice") == ("host.call['text', 'name']", False)
    assert await called(one, "now", serve=serve) == ("name", False)
    assert await called(one, "get") == ("keys.get['name']", False)
    assert await called(one, "set") == ("keys.set['name', 'text']", False)
    assert await called(one, "unset") == ("keys.set['name', None]", False)
    assert await called(one, "list") == ("keys.list['name', 4294967295]", False)
    assert await called(one, "fetch") == ("http.fetch['name']", False)


async def test_what_no_text_can_say_reaches_a_guest_as_a_question_mark(one: WasmGuest) -> None:
    async def serve(what: str, arguments: tuple[Any, ...]) -> str:
        return "half \ud800"

    assert await called(one, "call", serve=serve) == ("half ?", False)


async def test_what_the_host_raises_is_told_and_a_call_after_it_is_served(one: WasmGuest) -> None:
    async def serve(what: str, arguments: tuple[Any, ...]) -> str:
        raise ValueError("no card")

    assert await called(one, "call", serve=serve) == ("ValueError: no card", True)
    assert await called(one, "echo", "on") == ("on", False)


async def test_time_stands_still_while_the_host_answers_and_goes_on_afterwards(
    one: WasmGuest,
) -> None:
    async def late(what: str, arguments: tuple[Any, ...]) -> str:
        await asyncio.sleep(0.1)
        return "late"

    async def nothing(what: str, arguments: tuple[Any, ...]) -> str:
        return ""

    assert await called(one, "call", serve=late) == ("late", False)
    with pytest.raises(GuestError, match=r"longer than 0\.05 s"):
        await called(one, "ask and spin", serve=late)
    # Each answer is no new time, however small what is left.
    with pytest.raises(GuestError, match=r"longer than 0\.05 s|more than 10,000 times"):
        await called(one, "ask on", serve=nothing)


async def test_calls_that_wait_for_others_of_the_same_guest_do_not_wait_for_ever(
    one: WasmGuest,
) -> None:
    async def deep(what: str, arguments: tuple[Any, ...]) -> str:
        await asyncio.sleep(0.02)  # until all threads there may be have asked
        return str((await called(one, "call", serve=within))[0])

    async def within(what: str, arguments: tuple[Any, ...]) -> str:
        return str((await called(one, "echo", "found"))[0])

    async with asyncio.timeout(10):
        many = await asyncio.gather(*(called(one, "call", serve=deep) for _ in range(3 * MOST)))
    assert many == [("found", False)] * (3 * MOST)


async def test_a_caller_that_goes_leaves_nobody_waiting(one: WasmGuest) -> None:
    asked = asyncio.Event()

    async def never(what: str, arguments: tuple[Any, ...]) -> str:
        asked.set()
        await asyncio.Event().wait()
        return ""

    for name in ("call", "call twice", "ask on", "spin"):
        asked.clear()
        caller = asyncio.create_task(called(one, name, serve=never))
        if name == "spin":
            await asyncio.sleep(0.01)
        else:
            await asked.wait()
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        assert await called(one, "echo", name) == (name, False)
    await until(lambda: not one._waits)
    one.close()
    await until(lambda: not threads(one))


async def test_what_is_unloaded_tells_all_who_wait_for_it(machine: Machine, wat: str) -> None:
    one = guest(machine, wat, Limits(seconds=0.1))
    asked = asyncio.Event()

    async def never(what: str, arguments: tuple[Any, ...]) -> str:
        asked.set()
        await asyncio.sleep(0.2)
        return ""

    asks = asyncio.create_task(called(one, "call", serve=never))
    await asked.wait()
    spins = asyncio.create_task(called(one, "spin"))
    queued = [asyncio.create_task(called(one, "echo")) for _ in range(5)]
    await asyncio.sleep(0.02)
    one.close()
    one.close()
    async with asyncio.timeout(10):
        found = await asyncio.gather(asks, spins, *queued, return_exceptions=True)
    said = [str(one) for one in found]
    assert "its component was unloaded" in said[0]
    assert "longer than 0.1 s" in said[1]
    assert all("is unloaded" in one for one in said[2:])
    for call in (called(one, "echo"), asyncio.to_thread(one.call_now, "describe")):
        with pytest.raises(GuestError, match="is unloaded"):
            await call
    await until(lambda: not threads(one))


def test_a_loop_that_has_ended_keeps_no_thread(machine: Machine, wat: str) -> None:
    one = guest(machine, wat)
    asked = threading.Event()

    async def never(what: str, arguments: tuple[Any, ...]) -> str:
        asked.set()
        await asyncio.Event().wait()
        return ""

    loop = asyncio.new_event_loop()
    caller = loop.create_task(called(one, "call", serve=never))
    while not asked.is_set():
        loop.run_until_complete(asyncio.sleep(0.001))
    loop.close()
    one.close()
    asyncio.run(until(lambda: not threads(one)))
    caller.get_coro().close()  # as it is when nobody knows the task any more
    caller._log_destroy_pending = False


async def test_who_waits_on_a_thread_of_his_own_needs_none_of_the_guest(one: WasmGuest) -> None:
    freed = asyncio.Event()

    async def held(what: str, arguments: tuple[Any, ...]) -> str:
        await freed.wait()
        return ""

    waiting = [asyncio.create_task(called(one, "call", serve=held)) for _ in range(2 * MOST)]
    await until(lambda: len(one._waits) == MOST)
    assert threads(one) == MOST
    async with asyncio.timeout(10):
        text, failed = await asyncio.to_thread(one.call_now, "invoke", "echo", "aside")
        assert (text, failed) == ("aside", False)
        with pytest.raises(GuestError, match=r"longer than 0\.05 s"):
            await asyncio.to_thread(one.call_now, "invoke", "spin", "")
        freed.set()
        await asyncio.gather(*waiting)


async def test_nothing_keeps_a_guest_that_is_closed(machine: Machine, wat: str) -> None:
    gc.collect()
    before = imports_kept()
    one = guest(machine, wat)
    assert await called(one, "call twice") == ("host.call['text', 'name']", False)
    with pytest.raises(GuestError):
        await called(one, "trap")
    assert imports_kept() > before
    seen, name = weakref.ref(one), f"aegis-{one.label}"
    one.close()
    del one

    def has_gone() -> bool:
        gc.collect()
        is_there = any(thread.name == name for thread in threading.enumerate())
        return not is_there and seen() is None and imports_kept() <= before

    await until(has_gone)


async def test_the_clock_of_a_machine_ends_when_nobody_runs(wat: str) -> None:
    machine = Machine()
    one = guest(machine, wat)
    await called(one, "echo")
    ticker = machine._ticker
    assert ticker is not None
    assert ticker.is_alive()
    await until(lambda: not ticker.is_alive())
    assert await called(one, "echo", "again") == ("again", False)
    one.close()


SLEEPS = """
    (data (i32.const 200) "\\00\\00\\00\\00\\00\\00\\00\\00\\00\\00\\00\\00\\00\\00\\00\\00\\01\\00\\00\\00")
    (func $sleep (result i64)
      (i64.store (i32.const 224) (i64.const 800000000))
      (drop (call $poll (i32.const 200) (i32.const 300) (i32.const 1) (i32.const 400)))
      (i64.const 0))
"""
POLL = """(import "wasi_snapshot_preview1" "poll_oneoff"
    (func $poll (param i32 i32 i32 i32) (result i32)))"""


async def test_one_that_sleeps_where_no_epoch_ends_it_is_left_behind(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guests, "LOST", 2)
    wat = module(
        DESCRIBED, imports=POLL, functions=SLEEPS, bodies={"echo": ECHO, "sleep": "(call $sleep)"}
    )
    one = guest(machine, wat, Limits(seconds=0.02))
    async with asyncio.timeout(10):
        assert await called(one, "echo", "on") == ("on", False)
        with pytest.raises(GuestError, match="did not come back from WASI"):
            await called(one, "sleep")
        assert threads(one) >= 1
        assert await called(one, "echo", "on") == ("on", False)
        with pytest.raises(GuestError, match="did not come back from WASI"):
            await asyncio.to_thread(one.call_now, "invoke", "sleep", "")
        with pytest.raises(GuestError, match=r"2 calls of .* have not come back"):
            await called(one, "echo")
        await until(lambda: not one._lost)
        assert await called(one, "echo", "on") == ("on", False)
    one.close()
    await until(lambda: not threads(one))
