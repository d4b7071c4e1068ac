"""Orders with their steps recorded or not, turn by turn: `python -m tests.bench.recorded CORE`.

Says in a line of JSON what an order costs in microseconds of CPU of all threads, with the embedded
store, and the ratio of the two. Both hosts are in one process, so that what else the machine does
hits both.
"""

import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path

from aegis.adapters.clock import SystemClock
from aegis.adapters.storage.sqlite import SqliteStore
from aegis.bootstrap import dedicate
from aegis.testing import memory_host
from tests.bench.monitored import COMPONENT, DATA

AT_ONCE = 64
ROUNDS = 60
WARM = 10


async def orders(host) -> None:
    async def one() -> None:
        await host.wait(await host.create("Order", **DATA))

    await asyncio.gather(*(one() for _ in range(AT_ONCE)))


async def main() -> dict[str, float]:
    spent: dict[bool, list[float]] = {False: [], True: []}
    async with AsyncExitStack() as stack:
        hosts = {}
        for recordings in spent:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            hosts[recordings] = await stack.enter_async_context(
                memory_host(
                    store=SqliteStore(directory), clock=SystemClock(), recordings=recordings
                )
            )
            await hosts[recordings].deploy("orders", "1.0.0", COMPONENT.read_text())
        for number in range(WARM + ROUNDS):
            for recordings, host in hosts.items():
                began = time.process_time()
                await orders(host)
                if number >= WARM:
                    spent[recordings].append((time.process_time() - began) / AT_ONCE * 1e6)
    pairs = zip(spent[True], spent[False], strict=True)
    return {
        "with": statistics.median(spent[True]),
        "without": statistics.median(spent[False]),
        "ratio": statistics.median(one / other for one, other in pairs),
    }


if __name__ == "__main__":
    os.sched_setaffinity(0, {int(sys.argv[1])})
    dedicate()  # as a process that only serves
    print(json.dumps(asyncio.run(main())), flush=True)
