"""What a port call and a durable step cost: `python -m tests.bench.called CORE FOLDER`.

Says a line of JSON: microseconds of CPU of a port call and of a bare await of the same method of the
same adapter, milliseconds of a step and of its commit alone, and steps a second.
"""

import asyncio
import json
import os
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from aegis.adapters.clock import SystemClock
from aegis.adapters.storage.memory import MemoryStore
from aegis.adapters.storage.sqlite import SqliteStore
from aegis.bootstrap import dedicate
from aegis.engine.attempt import attempt, returned
from aegis.engine.gate import admit
from aegis.engine.host import Host
from aegis.engine.work import Work
from aegis.protocols import Commit, Store
from aegis.testing import memory_host

COMPONENTS = Path(__file__).parent / "components"
BODY = b'{"customer": "c-1", "total": "129.90"}'
PORTS = 8  # of the order
CALLS = 20_000
ROUNDS = 5
ALONE = 60  # orders one after the other
IN_FLIGHT = 64
ORDERS = 960  # with so many at a time


async def calls(host: Host) -> dict[str, float]:
    """Microseconds of CPU of a call of each port, and of a bare await of what it awaits."""
    await host.deploy("paid", "1.0.0", (COMPONENTS / "paid.py").read_text())
    order = await host.create("Payment")
    spec = host.spec("Payment")
    resident = host.engine.resident(spec)
    desk: Any = resident.revision.names["Desk"]()
    found: dict[str, float] = {}
    for name in ("ask", "answer"):
        port = spec.ports[f"by_{name}"]
        call, meter, method = port.call, host.monitor.port(spec, port), getattr(desk, name)
        policy = host.engine.policy(port.policies)

        async def ported(
            call: Any = call, meter: Any = meter, port: Any = port, policy: Any = policy
        ) -> None:
            """As the host calls it: let through by the breaker, measured, in time, with a key."""
            work = Work(key=order.id, label="bench", model=spec.key, subject=order.id)
            admit(resident.gates(call), work)
            span = meter.begin(None, about=order.id)
            arguments = resident.adapters(call)
            after = await attempt(call, order, arguments, policy.timeout, work, port.name)
            returned(spec, port.name, after, order)
            span.end()

        async def bare(method: Any = method) -> None:
            await method(order.id, "key")

        pairs = [(await _cpu(bare), await _cpu(ported)) for _ in range(ROUNDS)]
        found[f"{name} bare"] = min(alone for alone, _ in pairs)
        found[f"{name} port"] = min(called for _, called in pairs)
        found[f"{name} ratio"] = statistics.median(called / alone for alone, called in pairs)
    return found


async def _cpu(function: Callable[[], Awaitable[None]]) -> float:
    began = time.process_time()
    for _ in range(CALLS):
        await function()
    return (time.process_time() - began) / CALLS * 1e6


async def begin(host: Host) -> str:
    """Create an order as the HTTP API does; its flow."""
    spec = host.spec("order.Order")
    outcome = await host.engine.create(spec, spec.create_decoder.decode(BODY))
    assert outcome.flow is not None
    return outcome.flow


class Copying(SqliteStore):
    """Keeps what is committed."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.kept: list[Commit] = []

    def commit(self, commit: Commit) -> Awaitable[int]:
        self.kept.append(commit)
        return super().commit(commit)


async def steps(folder: Path) -> dict[str, float]:
    """Milliseconds of a step of an order alone, and of its commit in another, equal store."""
    text = (COMPONENTS / "order.py").read_text()
    store, other = Copying(folder / "steps"), SqliteStore(folder / "commits")
    taken, committed = [], []
    await other.open()
    async with memory_host(store=store, clock=SystemClock()) as host:
        await host.deploy("order", "1.0.0", text)
        for _ in range(ALONE):
            for commit in store.kept:
                await other.commit(commit)
            store.kept.clear()
            flow = await begin(host)
            began = time.perf_counter()
            await host.wait(flow)
            taken.append((time.perf_counter() - began) / PORTS)
            created, *rest = store.kept
            store.kept.clear()
            await other.commit(created)
            began = time.perf_counter()
            for commit in rest:
                await other.commit(commit)
            committed.append((time.perf_counter() - began) / PORTS)
            commits = len(rest)
    await other.close()
    return {
        "step": statistics.median(taken) * 1e3,
        "commit": statistics.median(committed) * 1e3,
        "step ratio": statistics.median(a / b for a, b in zip(taken, committed, strict=True)),
        "commits": commits,
    }


async def rate(store: Store) -> tuple[float, float]:
    """Steps a second with so many orders in flight, and the CPU of one in microseconds."""
    found = []
    async with memory_host(store=store, clock=SystemClock()) as host:
        await host.deploy("order", "1.0.0", (COMPONENTS / "order.py").read_text())

        async def orders(count: int) -> None:
            for _ in range(count):
                await host.wait(await begin(host))

        for _ in range(ROUNDS):
            began, spent = time.perf_counter(), time.process_time()
            await asyncio.gather(*(orders(ORDERS // IN_FLIGHT) for _ in range(IN_FLIGHT)))
            took = time.perf_counter() - began
            cpu = (time.process_time() - spent) / ORDERS / PORTS * 1e6
            found.append((ORDERS * PORTS / took, cpu))
    return max(rate for rate, _ in found), min(cpu for _, cpu in found)


async def main(folder: Path) -> None:
    dedicate()
    async with memory_host(clock=SystemClock()) as host:
        found = await calls(host)
    found |= await steps(folder)
    found["rate"], found["cpu"] = await rate(SqliteStore(folder / "rate"))
    found["memory rate"], found["memory cpu"] = await rate(MemoryStore())
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    os.sched_setaffinity(0, {int(sys.argv[1])})
    asyncio.run(main(Path(sys.argv[2])))
