"""Orders in a host with or without its monitor: `python -m tests.bench.monitored CORE yes|no`.

Says in a line of JSON what an order costs in microseconds of CPU, all in one process and in memory;
with the monitor also what the frames of one view cost at a thousand events a second.
"""

import asyncio
import json
import os
import sys
import time
from pathlib import Path

import msgspec

from aegis.core.wire import Topic
from aegis.engine import deploys, resident
from aegis.engine.host import Host
from aegis.engine.monitor import Monitor
from aegis.testing import memory_host

COMPONENT = Path(__file__).parent / "components" / "order.py"
DATA = {"customer": "c-1", "total": "129.90"}
ORDERS = 600
AT_ONCE = 16
EVENTS = 1_000  # a second, for frames
EVENTS_OF_AN_ORDER = 9
SECONDS = 4.0
FRAMES = 10  # a second
TOPICS: frozenset[Topic] = frozenset(("status", "figures", "events", "flows", "failed", "log"))


class Deaf(Monitor):
    """Hears of everything, and keeps nothing."""

    def meter(self, id, source="", target="", label=""):
        return Nothing(id)

    def stored(self, draft, last):
        pass

    def flow(self, run):
        pass

    def _lagged(self, late, said):
        pass


class Nothing:
    """A meter and a span that measure nothing."""

    def __init__(self, id):
        self.id = id

    def begin(self, source=None, label=None, about=None, gate=None):
        return self

    def end(self, error=None):
        pass

    def guard(self, gate, state):
        pass


async def orders(host: Host, count: int) -> None:
    async def one() -> None:
        await host.wait(await host.create("Order", **DATA))

    for _ in range(count // AT_ONCE):
        await asyncio.gather(*(one() for _ in range(AT_ONCE)))


async def frames(host: Host) -> dict[str, float]:
    """What frames take while events come at their rate: CPU ms of each, and share of a core."""
    spent, sizes, cursor = [], [], host.monitor.frame(0, TOPICS).cursor
    first, began = host.store.last_seq(), time.perf_counter()
    for number in range(round(SECONDS * FRAMES)):
        await orders(host, round(EVENTS / EVENTS_OF_AN_ORDER / FRAMES / AT_ONCE + 0.5) * AT_ONCE)
        await asyncio.sleep(max(0.0, began + (number + 1) / FRAMES - time.perf_counter()))
        before = time.thread_time()
        frame = host.monitor.frame(cursor, TOPICS)
        sizes.append(len(msgspec.json.encode(frame)))
        spent.append(time.thread_time() - before)
        cursor = frame.cursor
    took = time.perf_counter() - began
    spent.sort()
    return {
        "events": (host.store.last_seq() - first) / took,
        "p50": spent[len(spent) // 2] * 1e3,
        "p99": spent[len(spent) * 99 // 100] * 1e3,
        "share": sum(spent) / took,
        "size": sum(sizes) / len(sizes),
    }


async def main(heard: bool) -> None:
    if not heard:
        deploys.Monitor = Deaf
        resident.metered = lambda instance, *_, **__: instance
    async with memory_host(recordings=False) as host:
        await host.deploy("order", "1.0.0", COMPONENT.read_text())
        await orders(host, ORDERS // 3)
        began = time.process_time()
        await orders(host, ORDERS)
        found = {"order": (time.process_time() - began) / ORDERS * 1e6}
        if heard:
            found |= await frames(host)
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    os.sched_setaffinity(0, {int(sys.argv[1])})
    asyncio.run(main(sys.argv[2] == "yes"))
