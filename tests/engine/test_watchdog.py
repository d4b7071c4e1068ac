"""The watchdog names the code that blocks the loop, or holds the whole interpreter."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import AsyncIterator, Callable

import pytest

from aegis.engine.host import Host
from aegis.testing import memory_host

TEXT = """
import time
from typing import Protocol
from aegis import Model, adapter, port

class Oven(Protocol):
    async def bake(self) -> None: ...

class Loaf(Model, endpoint="loaves"):
    kind: str

    @port(consumes="loaf.created", retries=0)
    async def bake(self, oven: Oven = adapter()) -> None:
        await oven.bake()

class SlowOven(Oven):
    async def bake(self) -> None:
        time.sleep(0.5)
"""


@pytest.fixture
async def host() -> AsyncIterator[Host]:
    async with memory_host() as host:
        yield host


async def problems(host: Host) -> tuple[str, ...]:
    """What is wrong, once something is."""
    # The loop is free again before the watchdog's thread has written down that it was not.
    async with asyncio.timeout(10):
        while not (said := host.status().problems):  # noqa: ASYNC110 -- a thread tells no Event
            await asyncio.sleep(0.01)
    return said


def hold(seconds: float) -> None:
    """Call what computes in C for so long, and lets nobody else run meanwhile."""
    count = 1_000_000
    while True:
        numbers, began = range(count), time.monotonic()
        sum(numbers)
        if time.monotonic() - began > seconds:
            return
        count *= 2


async def beside(call: Callable[[], None]) -> None:
    """Call in a thread of its own, as a cell runs beside the host."""
    thread = threading.Thread(target=call)
    thread.start()
    while thread.is_alive():  # noqa: ASYNC110 -- a thread tells no Event
        await asyncio.sleep(0.01)
    thread.join()


async def test_an_adapter_that_blocks_the_loop_is_named_with_its_line(host: Host) -> None:
    await host.deploy("bakery", "1.0.0", TEXT, origin="cell 3")
    loaf = await host.create("Loaf", kind="rye")
    await host.wait(loaf, 5)
    said = await problems(host)
    assert len(said) == 1, said
    assert re.fullmatch(
        r"bakery: SlowOven\.bake \(line 18 of cell 3\) blocked the host for [\d.]+ s", said[0]
    )
    frame = host.monitor.frame(0, frozenset(("status", "figures", "log")))
    figure = frame.figures["loop"]
    assert figure.errors == 1
    assert figure.error == said[0]
    assert figure.p99 is not None
    assert figure.p99 > 100
    assert frame.status is not None
    assert [(one.source, one.text) for one in frame.status.problems] == [("lag", said[0])]
    assert any(line.level == "error" and said[0] in line.text for line in frame.log)


async def test_a_cell_that_holds_the_interpreter_is_named(host: Host) -> None:
    host.monitor.watch(lambda: "cell 7 (line 3: sum(range(10**9)))")
    await asyncio.sleep(0.3)
    async with asyncio.timeout(30):
        # Where the machine itself keeps this process waiting nobody is blamed: then once more.
        while not (said := host.status().problems):
            await beside(lambda: hold(0.3))
            await asyncio.sleep(0.2)
    assert len(said) == 1, said
    assert re.fullmatch(
        r"cell 7 \(line 3: sum\(range\(10\*\*9\)\)\) held the interpreter for [\d.]+ s", said[0]
    )


async def test_a_cell_that_only_waits_is_not_blamed(host: Host) -> None:
    host.monitor.watch(lambda: "cell 7 (line 1: time.sleep(1))")
    time.sleep(0.5)  # noqa: ASYNC251 -- something that is nobody's blocks the loop
    await asyncio.sleep(0.3)
    assert host.status().problems == ()


async def test_who_cannot_say_it_does_no_harm(host: Host) -> None:
    def broken() -> str:
        raise RuntimeError("no idea")

    host.monitor.watch(broken)
    await beside(lambda: hold(0.3))
    await asyncio.sleep(0.3)
    assert host.status().problems == ()
    await host.deploy("bakery", "1.0.0", TEXT, origin="cell 3")
    await host.wait(await host.create("Loaf", kind="rye"), 5)
    assert len(await problems(host)) == 1
