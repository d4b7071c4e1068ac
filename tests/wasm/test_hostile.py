"""Guests that want to harm the host are stopped, one after the other, and harm nobody.

`AEGIS_GUESTS` says how many: 100 here, 10,000 in `make soak`.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import logging
import os
import random
import resource
import threading
from collections.abc import AsyncGenerator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from aegis.adapters.components.wasm.guest import ERROR, WasmGuest
from aegis.adapters.components.wasm.machine import Limits, Machine
from aegis.core.errors import GuestError
from tests.wasm.hostile import DOES, ODD, wat
from tests.wasm.modules import ECHO, component, module
from tests.wasm.sandbox import DESCRIBED, called, guest

GUESTS = int(os.environ.get("AEGIS_GUESTS", "100"))
LIMITS = Limits(seconds=0.02)


async def answers(what: str, arguments: tuple[Any, ...]) -> str:
    return ""


@pytest.fixture(scope="module")
def machine() -> Machine:
    return Machine()


@pytest.fixture
async def good(machine: Machine) -> AsyncGenerator[WasmGuest]:
    """A guest that only wants to answer."""
    one = guest(machine, component(DESCRIBED, bodies={"echo": ECHO}))
    yield one
    one.close()


@pytest.fixture(params=["module", "component"])
async def bad(machine: Machine, request: pytest.FixtureRequest) -> AsyncGenerator[WasmGuest]:
    """A guest that can do everything but good."""
    one = guest(machine, wat(request.param), LIMITS)
    yield one
    one.close()


async def tried(bad: WasmGuest, name: str) -> None:
    """It is stopped for what it does, and the next call of it is served."""
    said = DOES[name][1]
    if said:
        with pytest.raises(GuestError, match=said):
            await called(bad, name, serve=answers)
    else:
        with suppress(GuestError):
            await called(bad, name, serve=answers)
    assert await called(bad, "echo", name) == (name, False)


@pytest.mark.parametrize("name", DOES)
async def test_a_hostile_call_is_stopped_while_another_guest_answers(
    bad: WasmGuest, good: WasmGuest, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    trying = asyncio.create_task(tried(bad, name))
    answered = 0
    while not trying.done():
        assert await called(good, "echo", "on") == ("on", False)
        answered += 1
    await trying
    assert answered


@pytest.mark.parametrize("name", ODD)
async def test_a_module_that_is_odd_is_stopped_and_never_trusted(
    machine: Machine, name: str
) -> None:
    odd = ODD[name]
    one = guest(machine, odd.wat, LIMITS)
    for _ in range(2):
        if odd.said:
            with pytest.raises(GuestError, match=odd.said):
                await called(one, "echo", "on and on")
        else:
            assert await called(one, "echo", "on and on") == ("on and on", False)
    one.close()


async def test_a_guest_that_logs_on_does_not_fill_the_log(
    machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    one = guest(machine, wat("module"), Limits(seconds=0.2))
    with pytest.raises(GuestError):
        await called(one, "logs on", serve=answers)
    assert len(caplog.records) < 300
    await asyncio.sleep(0.02)
    await called(one, "logs 60 MiB", serve=answers)
    assert "of its lines" in caplog.text
    assert max(len(record.getMessage()) for record in caplog.records) < 5000
    one.close()


async def test_what_it_writes_is_one_line_of_the_log(
    machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    forged = """(data (i32.const 64) "paid\\n2026-11-27 ERROR broke in\\1b[2J")"""
    body = "(call $host_log (i32.const 1) (i32.const 64) (i32.const 34)) (i64.const 0)"
    text = module(DESCRIBED, calls=["host.log"], functions=forged, bodies={"log": body})
    one = guest(machine, text)
    with caplog.at_level(logging.INFO):
        await called(one, "log")
    assert caplog.messages == ["paid 2026-11-27 ERROR broke in [2J"]
    one.close()


async def test_an_error_is_cut_to_what_people_may_read(machine: Machine) -> None:
    fails = f"""(drop (memory.grow (i32.const 16)))
        (memory.fill (i32.const 65536) (i32.const 97) (i32.const 1000000))
        (i64.const {(65536 << 32) | 1_000_000 | 1 << 31})"""
    one = guest(machine, component(DESCRIBED, bodies={"fails": fails}))
    text, failed = await called(one, "fails")
    assert failed
    assert text == "a" * ERROR
    one.close()


async def test_fuel_ends_what_computes_too_much_however_fast_it_is(machine: Machine) -> None:
    for kind in ("module", "component"):
        one = guest(machine, wat(kind), Limits(seconds=10, fuel=1_000_000))
        for _ in range(2):
            with pytest.raises(GuestError, match="used up its fuel"):
                await called(one, "loops")
            assert await called(one, "echo", "on") == ("on", False)
        one.close()


async def test_many_at_once_hold_their_calls_open_and_are_let_go(
    machine: Machine, good: WasmGuest
) -> None:
    bad = [guest(machine, wat("component"), LIMITS) for _ in range(5)]

    async def never(what: str, arguments: tuple[Any, ...]) -> str:
        await asyncio.Event().wait()
        return ""

    async def holds(one: WasmGuest) -> None:
        async with asyncio.timeout(0.3):
            await called(one, "asks on", serve=never)

    before = threading.active_count()
    holding = [asyncio.create_task(holds(one)) for one in bad for _ in range(20)]
    await asyncio.sleep(0.1)
    assert await called(good, "echo", "on") == ("on", False)
    found = await asyncio.gather(*holding, return_exceptions=True)
    assert all(isinstance(one, TimeoutError) for one in found)
    for one in bad:
        one.close()
    async with asyncio.timeout(10):
        while threading.active_count() > before + 2:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def resident() -> float:
    """MiB of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


async def test_very_many_hostile_calls_leave_nothing_behind(
    machine: Machine, good: WasmGuest, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    names = itertools.cycle(random.Random(7).sample(list(DOES), len(DOES)))
    kinds = itertools.cycle(["module", "component", "component"])
    sizes, counts = [], []
    bad = good
    for number in range(GUESTS):
        if number % 50 == 0:  # another revision, as a deploy would bring it
            if bad is not good:
                bad.close()
            bad = guest(machine, wat(next(kinds)), LIMITS, fresh=number % 100 == 0)
        name = next(names)
        _, (text, failed) = await asyncio.gather(tried(bad, name), called(good, "echo", name))
        assert (text, failed) == (name, False)
        if number % max(1, GUESTS // 10) == 0:
            gc.collect()
            sizes.append(resident())
            counts.append(threading.active_count())
    bad.close()
    print([f"{size:.0f} MiB" for size in sizes], counts)
    assert max(counts) <= counts[0] + 4
    if GUESTS >= 10_000:
        half = sizes[len(sizes) // 2 :]
        assert max(half) <= 1.1 * min(half)
