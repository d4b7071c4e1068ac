"""How fast a gate tries what was recorded, and how long a GET takes meanwhile."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from aegis.adapters.clock import SystemClock
from aegis.adapters.http.server import start
from aegis.adapters.storage.sqlite import SqliteStore
from aegis.api.router import Router
from aegis.core.component import Source
from aegis.core.rehearsal import Gate
from aegis.testing import memory_host
from tests.bench.figure import Figure
from tests.bench.machine import Foreign
from tests.bench.monitored import COMPONENT, DATA
from tests.bench.program import MODELS, Load, Timed

FLOWS = 400
AT_ONCE = 64
CONNECTIONS = 4


def measure(folder: Path) -> list[Figure]:
    """Record orders, then try a candidate on them while others read."""
    data = folder / "data"
    data.mkdir(exist_ok=True)
    return asyncio.run(_measured(data))


async def _measured(data: Path) -> list[Figure]:
    text = COMPONENT.read_text()
    async with memory_host(store=SqliteStore(data), clock=SystemClock()) as host:
        await host.deploy("orders", "1.0.0", text)
        made = []

        async def one() -> None:
            made.append(await host.create("Order", **DATA))
            await host.wait(made[-1])

        for _ in range(0, FLOWS, AT_ONCE):
            await asyncio.gather(*(one() for _ in range(AT_ONCE)))
        server = await start(Router(host, token=None), "127.0.0.1", 0)
        get = [("GET", "GET", f"{MODELS}/orders/{made[0].id}", "")]
        candidate = Source.of("orders", "1.0.1", text + "\n# another\n")
        gate = Gate(last=2 * len(made), seconds=60)
        try:
            alone = await asyncio.to_thread(_load, server.address, get, 2.0)
            # A thread begins and ends the load: the loop of this one has to answer it.
            with await asyncio.to_thread(Load, server.address, CONNECTIONS, get) as load:
                foreign = Foreign()
                began = time.perf_counter()
                found = await host.rehearse(candidate, gate)
                took = time.perf_counter() - began
                timed = (await asyncio.to_thread(load.end))["GET"]
        finally:
            await server.close()
    note = f"{found.figures()} in {took:.1f} s; foreign CPU {foreign.share():.0%}"
    return [
        Figure(name="flows and requests tried a second", value=found.tried / took, note=note),
        Figure(name="GET while a gate runs, p99", value=timed.p99, unit="ms", most=25,
               note=f"{CONNECTIONS} connections, p50 {timed.p50:.2f} ms"),
        Figure(name="  without one, p99", value=alone.p99, unit="ms"),
        Figure(name="failed calls", value=timed.failed, most=1),
    ]  # fmt: skip


def _load(address: str, requests: list[tuple[str, str, str, str]], seconds: float) -> Timed:
    with Load(address, CONNECTIONS, requests) as load:
        time.sleep(seconds)
        return load.end()["GET"]
