"""Lists of 50,000 records by what was asked, with the index that the model declares, and without."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

from aegis.adapters.storage.sqlite import SqliteStore
from aegis.core.clause import any_of
from aegis.core.record import Record
from aegis.engine.host import Host
from aegis.protocols import Commit, Put
from aegis.testing import memory_host
from tests.bench.figure import Figure
from tests.bench.program import told

RECORDS = 50_000
MOST = 50.0  # ms, with an index
REPEATS = 9

TEXT = """
from decimal import Decimal
from aegis import Model

class Order(Model, endpoint="orders", INDEX):
    customer_id: str
    total: Decimal
    status: str
    note: str = ""
"""
INDEX = 'index=("status,total", "customer_id", "-total")'
STATES = ("PENDING", "APPROVED", "SHIPPED", "CANCELED")
ASKED: dict[str, Any] = {
    "filter, sort, limit 50": {"status": "APPROVED", "sort": "total", "limit": 50},
    "filter, range, sort, limit 50": {
        "status": "SHIPPED", "total__ge": 900, "sort": "total", "limit": 50,
    },
    "filter by one of 500, limit 50": {"customer_id": "c-77", "limit": 50},
    "all, the largest first, limit 50": {"sort": "-total", "limit": 50},
}  # fmt: skip


def measure(directory: Path) -> list[Figure]:
    return asyncio.run(_measure(directory))


async def _measure(directory: Path) -> list[Figure]:
    store = SqliteStore(directory / "data")
    figures = []
    async with memory_host(store=store) as host:
        await host.deploy("orders", "1.0.0", TEXT.replace(", INDEX", ""))
        await _fill(store)
        told(f"  {RECORDS:,} records")
        for name, asked in ASKED.items():
            figures.append(
                Figure(name=f"{name}, no index", value=await _ms(host, asked), unit="ms")
            )
        scan = {"clauses": (any_of(total__lt=5, note__contains="77"),), "limit": 50}
        figures.append(Figure(name="any_of two, no index", value=await _ms(host, scan), unit="ms"))
        began = time.perf_counter()
        await host.deploy("orders", "1.1.0", TEXT.replace("INDEX", INDEX))
        made = time.perf_counter() - began
        figures.append(Figure(name="a deploy that makes three indexes", value=made, unit="s"))
        figures += [
            Figure(name=name, value=await _ms(host, asked), unit="ms", most=MOST)
            for name, asked in ASKED.items()
        ]
        began = time.perf_counter()
        await host.count("Order", status="APPROVED")
        counted = (time.perf_counter() - began) * 1e3
        figures.append(Figure(name="count of a filter", value=counted, unit="ms", most=MOST))
    return figures


async def _ms(host: Host, asked: dict[str, Any]) -> float:
    """The median of some repeats, values of the author's class included."""
    took = []
    clauses = asked.get("clauses", ())
    named = {name: value for name, value in asked.items() if name != "clauses"}
    for _ in range(REPEATS):
        began = time.perf_counter()
        found = await host.query("Order", *clauses, **named)
        took.append((time.perf_counter() - began) * 1e3)
        assert len(found) == asked["limit"]
    return sorted(took)[REPEATS // 2]


async def _fill(store: SqliteStore) -> None:
    now = "2026-11-23T10:00:00.000Z"
    for start in range(0, RECORDS, 1_000):
        puts = [
            Put(
                Record(
                    model="orders.Order",
                    id=f"{n:08}",
                    revision=1,
                    created=now,
                    updated=now,
                    doc=b'{"id":"%08d","customer_id":"c-%d","total":"%d.%02d","status":"%b",'
                    b'"note":"%b%d"}'
                    % (n, n % 500, n * 7919 % 1000, n % 100, STATES[n % 4].encode(), b"n" * 200, n),
                ),
                0,
            )
            for n in range(start, start + 1_000)
        ]
        await store.commit(Commit(puts=puts))
