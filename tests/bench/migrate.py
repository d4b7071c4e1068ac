"""How long a migration takes and lets calls wait: 100,000 records on disk, under load."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from aegis.adapters.clock import SystemClock
from aegis.adapters.storage.sqlite import SqliteStore
from aegis.core.component import ENCODER
from aegis.core.record import Record
from aegis.engine.host import Host
from aegis.protocols import Commit, Put
from aegis.testing import memory_host
from tests.bench.figure import Figure
from tests.bench.machine import Foreign
from tests.bench.program import told

RECORDS = 100_000
CALLERS = 16
BETWEEN = 0.02  # seconds that each of them rests between two calls

V1 = """
from aegis import Model

class Order(Model, endpoint="orders"):
    customer: str = ""
    total: str = "0.00"
    note: str = ""

class Bell(Model, endpoint="bells"):
    tone: str = ""
"""
V2 = V1.replace("from aegis", "from typing import Any\nfrom aegis", 1).replace(
    '    total: str = "0.00"\n    note: str = ""\n',
    """    cents: int = 0
    note: str = ""

    @classmethod
    def migrate(cls, old: dict[str, Any]) -> "Order":
        cents = round(float(old.pop("total")) * 100)
        return cls(**old, cents=cents)

    @classmethod
    def unmigrate(cls, new: dict[str, Any]) -> dict[str, Any]:
        return {**new, "total": f"{new.pop('cents') / 100:.2f}"}
""",
)


def measure(folder: Path) -> list[Figure]:
    """Fill a store, migrate it while callers read and write, and take it back."""
    foreign = Foreign()
    figures = asyncio.run(_measured(folder))
    share = foreign.share()
    return [*figures, Figure(name="foreign CPU", value=share * 100, unit="%")]


async def _measured(folder: Path) -> list[Figure]:
    store = SqliteStore(folder / "migrate")
    async with memory_host(store=store, clock=SystemClock(), recordings=False) as host:
        await host.deploy("orders", "1.0.0", V1)
        await _fill(host)
        told(f"  {RECORDS:,} records are stored")
        begun = time.perf_counter()
        found = await host.preview("orders", "2.0.0", V2)
        previewed = time.perf_counter() - begun
        assert found.fits, found.problems
        waits = {"read": 0.0, "write": 0.0, "lag": 0.0, "calls": 0.0}
        failures: list[str] = []
        stop = asyncio.Event()
        callers = [
            asyncio.create_task(_call(host, n, waits, failures, stop)) for n in range(CALLERS)
        ]
        lag = asyncio.create_task(_lag(waits, stop))
        took = {}
        for name, move in (
            ("migrate", host.deploy("orders", "2.0.0", V2)),
            ("take back", host.rollback("orders")),
        ):
            await asyncio.sleep(0.5)
            begun = time.perf_counter()
            deployment = await move
            took[name] = time.perf_counter() - begun
            await asyncio.sleep(0.3)  # who waited tells of it
            assert deployment.migrated is not None
            assert deployment.migrated.records >= RECORDS
            told(f"  {name}: {took[name]:.2f} s, calls waited {waits}")
            took[f"{name}, waited"] = max(waits["read"], waits["write"])
            took[f"{name}, lag"] = waits["lag"]
            waits |= {"read": 0.0, "write": 0.0, "lag": 0.0}
        await asyncio.sleep(0.2)
        stop.set()
        await asyncio.gather(*callers, lag)
    return [
        Figure(
            name="failed calls",
            value=len(failures),
            most=1,
            note=failures[0] if failures else f"of {waits['calls']:,.0f}",
        ),
        Figure(name="records previewed", value=RECORDS / previewed, unit="/s"),
        Figure(name="records migrated", value=RECORDS / took["migrate"], unit="/s"),
        Figure(name="  longest wait of a call", value=took["migrate, waited"], unit="s"),
        Figure(name="  longest hold of the loop", value=took["migrate, lag"] * 1e3, unit="ms"),
        Figure(name="records taken back", value=RECORDS / took["take back"], unit="/s"),
        Figure(name="  longest wait of a call", value=took["take back, waited"], unit="s"),
        Figure(name="  longest hold of the loop", value=took["take back, lag"] * 1e3, unit="ms"),
    ]


async def _fill(host: Host) -> None:
    now = host.clock.stamp()
    for begin in range(0, RECORDS, 5000):
        puts = []
        for n in range(begin, begin + 5000):
            doc = ENCODER.encode(
                {
                    "id": f"o{n}",
                    "customer": f"c{n % 500}",
                    "total": f"{n / 100:.2f}",
                    "note": "x" * 80,
                }
            )
            record = Record(
                model="orders.Order", id=f"o{n}", revision=1, created=now, updated=now, doc=doc
            )
            puts.append(Put(record, 0))
        await host.store.commit(Commit(puts=puts))


async def _call(
    host: Host, n: int, waits: dict[str, float], failures: list[str], stop: asyncio.Event
) -> None:
    """Read, create and change until it is to stop; how long a call took at most."""
    turn = 0
    while not stop.is_set():
        turn += 1
        begun = time.perf_counter()
        kind = "write" if turn % 3 == 0 else "read"
        try:
            if kind == "write":
                id = f"o{(n * 6131 + turn) % RECORDS}"
                await host.update(await host.get("Order", id), note=f"{n} {turn}")
            elif turn % 3 == 1:
                await host.get("Order", f"o{(n * 7919 + turn) % RECORDS}")
            else:
                await host.create("Bell", tone=f"{turn}")
        except Exception as error:
            failures.append(repr(error))
        waited = time.perf_counter() - begun
        waits[kind] = max(waits[kind], waited)
        waits["calls"] += 1
        await asyncio.sleep(BETWEEN)


async def _lag(waits: dict[str, float], stop: asyncio.Event) -> None:
    """How long the loop could not go on at most."""
    while not stop.is_set():
        begun = time.perf_counter()
        await asyncio.sleep(0.005)
        waits["lag"] = max(waits["lag"], time.perf_counter() - begun - 0.005)
