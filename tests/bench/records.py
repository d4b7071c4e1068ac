"""Creates, reads and lists of very many records: how fast, and how much memory they take.

`AEGIS_RECORDS=1000000 python -m tests.bench records` is what has to be reached: a minute, 1 GB.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path

import msgspec

from aegis.adapters.clock import SystemClock
from aegis.adapters.storage.sqlite import SqliteStore
from aegis.core.caching import Caching
from aegis.core.record import Record
from aegis.protocols import Commit, Put
from aegis.testing import memory_host
from tests.bench.figure import Figure
from tests.bench.program import told
from tests.bench.query import INDEX, STATES, TEXT

# Of the large store; the other has FEW.
RECORDS = int(os.environ.get("AEGIS_RECORDS", "50000"))
FEW = 10_000
IN_FLIGHT = 64
SECONDS = 4.0
CACHE = 8 << 20
PAGES = 5  # what opening may read beyond that of few records, in MiB
ASKED = {"status": "SHIPPED", "total__ge": 900, "sort": "total", "limit": 50}
MODEL = TEXT.replace("INDEX", INDEX)


def measure(directory: Path) -> list[Figure]:
    figures = [*asyncio.run(_creates(directory / "creates")), *asyncio.run(_hits())]
    sizes = {FEW: directory / "few", RECORDS: directory / "many"}
    opened = {}
    for count, place in sizes.items():
        asyncio.run(_fill(place, count))
        told(f"  {count:,} records")
        for part in ("open", "ask"):
            line = subprocess.run(  # a process of its own: its memory and its reads are the figure
                [sys.executable, "-m", "tests.bench.records", part, str(place)],
                check=True,
                capture_output=True,
                text=True,
            ).stdout
            opened[part, count] = msgspec.json.decode(line, type=dict[str, float])
    few, many = opened["open", FEW], opened["open", RECORDS]
    asked, before = opened["ask", RECORDS], opened["ask", FEW]
    return [
        *figures,
        Figure(
            name=f"list of {RECORDS:,}: filter, range, sort, limit 50",
            value=asked["list"],
            unit="ms",
            most=50.0,
        ),
        Figure(
            name=f"memory that reading 40,000 of {RECORDS:,} takes more than of {FEW:,}",
            value=asked["resident"] - before["resident"],
            unit="MiB",
            most=24.0,
            note=f"a cache of {CACHE >> 20} MiB",
        ),
        Figure(
            name=f"open {RECORDS:,} records",
            value=many["seconds"] * 1e3,
            unit="ms",
            note=f"{FEW:,}: {few['seconds'] * 1e3:.0f} ms",
        ),
        Figure(
            name=f"read by opening, beyond {FEW:,} records",
            value=many["read"] - few["read"],
            unit="MiB",
            most=PAGES,
        ),
        Figure(name="  memory", value=many["resident"] - few["resident"], unit="MiB", most=PAGES),
    ]


async def _creates(place: Path) -> list[Figure]:
    """Durable creates in process, 64 in flight, of a model without ports."""
    rates = []
    async with memory_host(store=SqliteStore(place), clock=SystemClock()) as host:
        await host.deploy("orders", "1.0.0", TEXT.replace(", INDEX", ""))
        order = host.spec("Order").cls
        for _ in range(2):
            done = 0
            began = time.perf_counter()

            async def client(end: float = began + SECONDS) -> None:
                nonlocal done
                while time.perf_counter() < end:
                    await host.create(order, customer_id="c-1", total="129.90", status="PENDING")
                    done += 1

            await asyncio.gather(*(client() for _ in range(IN_FLIGHT)))
            rates.append(done / (time.perf_counter() - began))
    note = f"twice: {rates[0]:,.0f} and {rates[1]:,.0f}"
    name = f"durable creates a second, {IN_FLIGHT} in flight"
    return [Figure(name=name, value=max(rates), least=7_000, note=note)]


async def _hits() -> list[Figure]:
    """Get by id from the cache, beside a lookup in a dict and encoding what it gives."""
    async with memory_host() as host:
        await host.deploy("orders", "1.0.0", TEXT.replace(", INDEX", ""))
        spec = host.spec("Order")
        made = [
            await host.create("Order", customer_id=f"c-{n}", total="129.90", status="PENDING")
            for n in range(1_000)
        ]
        plain, ids = {one.id: one for one in made}, [one.id for one in made]
        encode, engine = msgspec.json.Encoder(decimal_format="string").encode, host.engine

        def bare() -> None:
            for id in ids:
                encode(plain[id])

        def cached() -> None:
            for id in ids:
                spec.shown(engine.get(spec, id))

        took = [_best(bare), _best(cached)]
        name = "get by id from cache, beside a dict lookup and encode"
        note = f"{took[1] / 1e-6:.2f} us beside {took[0] / 1e-6:.2f} us"
        return [Figure(name=name, value=took[1] / took[0], unit="x", most=5.0, note=note)]


def _best(work) -> float:
    took = []
    for _ in range(50):
        began = time.perf_counter()
        work()
        took.append((time.perf_counter() - began) / 1_000)
    return min(took)


async def _fill(place: Path, count: int) -> None:
    store = SqliteStore(place)
    async with memory_host(store=store) as host:
        await host.deploy("orders", "1.0.0", MODEL)
        now = "2026-11-23T10:00:00.000Z"
        for start in range(0, count, 1_000):
            puts = [
                Put(
                    Record(
                        model="orders.Order",
                        id=f"{n:08}",
                        revision=1,
                        created=now,
                        updated=now,
                        doc=b'{"id":"%08d","customer_id":"c-%d","total":"%d.%02d","status":"%b",'
                        b'"note":"%b"}'
                        % (
                            n,
                            n % 500,
                            n * 7919 % 1000,
                            n % 100,
                            STATES[n % 4].encode(),
                            b"n" * 200,
                        ),
                    ),
                    0,
                )
                for n in range(start, min(count, start + 1_000))
            ]
            await store.commit(Commit(puts=puts))


async def _part(part: str, place: Path) -> dict[str, float]:
    """What a process of its own finds: `resident` and `read` in MiB, `list` in ms."""
    store = SqliteStore(place)
    before = _read()
    began = time.perf_counter()
    async with memory_host(store=store, caching=Caching(bytes=CACHE)) as host:
        found = {"seconds": time.perf_counter() - began, "read": _read() - before}
        if part == "ask":
            await host.deploy("orders", "1.0.0", MODEL)
            took = []
            for _ in range(9):
                began = time.perf_counter()
                assert len(await host.query("Order", **ASKED)) == 50
                took.append((time.perf_counter() - began) * 1e3)
            found["list"] = sorted(took)[4]
            count = await host.count("Order")
            for n in range(40_000):
                await host.get("Order", f"{n * 7919 % count:08}")
            (cache,) = host.status().caches
            assert cache.bytes <= CACHE
        found["resident"] = _resident()
    return found


def _resident() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def _read() -> float:
    """Bytes that this process asked the system for, from the disk or its cache, in MiB."""
    lines = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(lines["rchar"]) / 2**20


if __name__ == "__main__":
    print(msgspec.json.encode(asyncio.run(_part(sys.argv[1], Path(sys.argv[2])))).decode())
