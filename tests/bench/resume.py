"""A journal of 100,000 events with 10,000 open flows: how long until all go on after kill -9.

As a program, `python -m tests.bench.resume CORE fill|open|many DIRECTORY`, it is the child that is
measured; `many` is what tests.bench.memory asks for.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import resource
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from aegis.adapters.clock import SystemClock
from aegis.adapters.storage.sqlite import SqliteStore
from aegis.engine.host import Host
from aegis.testing import memory_host
from tests.bench.figure import Figure
from tests.bench.machine import SERVER, Foreign
from tests.bench.program import COMPONENTS, Program, told
from tests.engine.shop import until

EVENTS = 100_000
OPEN = 10_000
OF_A_FLOW = 4  # events of a parcel that was shipped
AT_ONCE = 64
ROUNDS = 3

Answer = Callable[[str, str, str], Awaitable[str]]


def measure(directory: Path) -> list[Figure]:
    rounds = []
    for number in range(ROUNDS):
        data = directory / str(number)
        with Program("resume", str(SERVER), "fill", data) as filling:
            filled = filling.hear()
            filling.kill()
        size = sum(path.stat().st_size for path in data.iterdir()) / 2**20
        foreign = Foreign()
        with Program("resume", str(SERVER), "open", data) as opening:
            found = opening.hear()
        share = foreign.share()
        told(
            f"  {filled['events']:,} events, {found['flows']:,} open flows, {size:.0f} MiB: "
            f"ready after {found['ready']:.2f} s, all ended after {found['ended']:.2f} s; "
            f"foreign CPU {share:.0%}"
        )
        rounds.append({**found, "foreign": share})
    middle = sorted(rounds, key=lambda found: found["ready"])[ROUNDS // 2]
    return [
        Figure(
            name=f"{EVENTS:,} events, {OPEN:,} open flows: ready after kill -9",
            value=middle["ready"],
            unit="s",
            most=3,
            note=f"no flow waits for its code; longest of {ROUNDS}: "
            f"{max(r['ready'] for r in rounds):.2f} s, CPU {middle['used']:.2f} s with imports; "
            f"foreign CPU up to {max(r['foreign'] for r in rounds):.0%}",
        ),
        Figure(name="  of that Host.open", value=middle["opened"], unit="s"),
        Figure(name="  the first step is taken", value=middle["first"], unit="s"),
        Figure(name="  every flow has taken a step", value=middle["moved"], unit="s"),
        Figure(name="  every flow has ended", value=middle["ended"], unit="s", note="3 steps each"),
        Figure(name="  flows lost", value=sum(OPEN - r["flows"] for r in rounds), most=1),
        Figure(name="  flows not completed", value=sum(r["unfinished"] for r in rounds), most=1),
    ]


def hosted(directory: Path, answer: Answer) -> AbstractAsyncContextManager[Host]:
    return memory_host(store=SqliteStore(directory), clock=SystemClock(), values={"answer": answer})


async def ship(host: Host, count: int) -> None:
    """Take `count` parcels through all of their ports, some at a time."""

    async def client(many: int) -> None:
        for _ in range(many):
            await host.wait(await host.create("Parcel", customer="c"))

    await asyncio.gather(*(client(count // AT_ONCE) for _ in range(AT_ONCE)))


def resident() -> int:
    """Bytes of memory that this process holds."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def say(**fields: float) -> None:
    print(json.dumps(fields), flush=True)


async def fill(directory: Path) -> None:
    async def answer(operation: str, parcel: str, customer: str) -> str:
        if customer == "slow":
            await asyncio.Event().wait()
        return operation

    async with hosted(directory, answer) as host:
        await host.deploy("parcel", "1.0.0", (COMPONENTS / "parcel.py").read_text())
        await ship(host, -(-(EVENTS - OPEN) // OF_A_FLOW // AT_ONCE) * AT_ONCE)
        for _ in range(0, OPEN, 100):
            await asyncio.gather(*(host.create("Parcel", customer="slow") for _ in range(100)))
        say(events=host.store.last_seq())
        await asyncio.Event().wait()  # until it is killed


async def take_over(directory: Path) -> None:
    asked = shipped = 0
    over = asyncio.Event()
    first = moved = 0.0
    flows = OPEN

    async def answer(operation: str, parcel: str, customer: str) -> str:
        nonlocal asked, shipped, first, moved
        if operation == "weigh":
            asked += 1
            if asked == 1:
                first = time.perf_counter() - began
            if asked == flows:
                moved = time.perf_counter() - began
        shipped += operation == "ship"
        if shipped == flows:
            over.set()
        return operation

    began = time.perf_counter()
    async with hosted(directory, answer) as host:
        opened = time.perf_counter() - began
        flows = host.status().flows_open
        left = [flow.id for flow, _ in await host.store.open_flows()]
        await host.resume()
        assert not host.missing()
        ready = time.perf_counter() - began
        used = time.process_time()
        await over.wait()  # to ask how many are open costs, when they are many
        await until(lambda: host.status().flows_open == 0)
        ended = time.perf_counter() - began
        states = [found[0].state for id in left if (found := await host.flow(id))]
        say(
            opened=opened,
            ready=ready,
            used=used,
            first=first,
            moved=moved,
            ended=ended,
            flows=flows,
            unfinished=sum(state != "completed" for state in states),
        )


async def many(directory: Path) -> None:
    """Parcels by the thousand; after each order to go on the resident memory in bytes."""

    async def answer(operation: str, parcel: str, customer: str) -> str:
        return operation

    async with hosted(directory, answer) as host:
        await host.deploy("parcel", "1.0.0", (COMPONENTS / "parcel.py").read_text())
        while line := await asyncio.to_thread(sys.stdin.readline):
            await ship(host, json.loads(line))
            gc.collect()
            say(resident=resident(), events=host.store.last_seq())


if __name__ == "__main__":
    os.sched_setaffinity(0, {int(sys.argv[1])})
    asyncio.run({"fill": fill, "open": take_over, "many": many}[sys.argv[2]](Path(sys.argv[3])))
