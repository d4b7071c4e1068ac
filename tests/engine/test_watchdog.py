"""The watchdog names the code that blocks the loop."""

from __future__ import annotations

import asyncio
import re

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


async def test_an_adapter_that_blocks_the_loop_is_named_with_its_line() -> None:
    async with memory_host() as host:
        await host.deploy("bakery", "1.0.0", TEXT, origin="cell 3")
        loaf = await host.create("Loaf", kind="rye")
        await host.wait(loaf, 5)
        # The loop is free again before the watchdog's thread has written down that it was not.
        async with asyncio.timeout(5):
            while not (said := host.status().problems):  # noqa: ASYNC110 -- a thread tells no Event
                await asyncio.sleep(0.01)
    assert len(said) == 1, said
    assert re.fullmatch(
        r"bakery: SlowOven\.bake \(line 18 of cell 3\) blocked the host for [\d.]+ s", said[0]
    )
