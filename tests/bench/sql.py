"""How long an analyst waits: 7,000 orders with 60,000 events and their flows, on disk."""

from __future__ import annotations

import asyncio
import statistics
import time
from decimal import Decimal
from pathlib import Path

from aegis.adapters.clock import SystemClock
from aegis.adapters.storage.sqlite import SqliteStore
from aegis.core.component import ENCODER
from aegis.core.event import Event
from aegis.core.flow import Flow, FlowState, Step, StepState
from aegis.core.record import Record
from aegis.engine.host import Host
from aegis.protocols import Commit, Entry, Put
from aegis.testing import memory_host
from tests.bench.figure import Figure
from tests.bench.machine import Foreign
from tests.bench.program import told

ORDERS = 7_000
EVENTS = 60_000
STEPS = 8
ROUNDS = 21
CHANGES = 100  # between two questions, in the last rounds

TEXT = """
from decimal import Decimal
from aegis import Model

class Order(Model, endpoint="orders"):
    customer_id: str
    total: Decimal
    status: str = "PENDING"
    note: str = ""
"""
QUESTION = """
    select customer_id, count(*) as orders, sum(total) as total from orders
    where status = 'PENDING' group by all order by total desc limit 10
"""
JOINED = """
    select type, count(*), sum(total) from events join orders on subject = orders.id
    group by all order by all
"""


def measure(directory: Path) -> list[Figure]:
    foreign = Foreign()
    first, later, joined, changed = asyncio.run(_measured(directory))
    share = f"foreign CPU {foreign.share():.0%}"
    return [
        Figure(
            name=f"the first question, over {ORDERS:,} orders and {EVENTS:,} events",
            value=first,
            unit="ms",
            most=5_000,
            note=f"with {ORDERS:,} flows of {STEPS} steps; {share}",
        ),
        Figure(name="a later one", value=statistics.median(later), unit="ms", most=50),
        Figure(name="one that joins both", value=statistics.median(joined), unit="ms", most=100),
        Figure(
            name=f"one after {CHANGES} changes",
            value=statistics.median(changed),
            unit="ms",
            most=100,
        ),
    ]


async def _measured(directory: Path) -> tuple[float, list[float], list[float], list[float]]:
    """Milliseconds of the first question, of later ones, and of those after some changes."""
    async with memory_host(store=SqliteStore(directory / "data")) as host:
        await host.deploy("shop", "1.0.0", TEXT)
        ids = await _fill(host)
        first = await _asked(host, QUESTION)
        later = [await _asked(host, QUESTION) for _ in range(ROUNDS)]
        joined = [await _asked(host, JOINED) for _ in range(ROUNDS)]
        changed = []
        for turn in range(ROUNDS):
            for id in ids[turn * CHANGES : (turn + 1) * CHANGES]:
                await host.update(await host.get("Order", id), status=f"PAID {turn}")
            changed.append(await _asked(host, QUESTION))
        ((count,),) = (
            await host.sql("select count(*) from orders where status like 'PAID%'")
        ).rows()
        assert count == ROUNDS * CHANGES
        ((count,),) = (await host.sql("select count(*) from steps")).rows()
        assert count == ORDERS * STEPS
    told(f"  the first {first:,.0f} ms, later {statistics.median(later):.1f} ms")
    return first, later, joined, changed


async def _asked(host: Host, question: str) -> float:
    began = time.perf_counter()
    (await host.sql(question)).rows()
    return (time.perf_counter() - began) * 1e3


async def _fill(host: Host) -> list[str]:
    """Store what so many orders leave behind; their ids."""
    clock = SystemClock()
    ids = [clock.id() for _ in range(ORDERS)]
    each, more = divmod(EVENTS, ORDERS)
    for begin in range(0, ORDERS, 500):
        numbers = range(begin, min(begin + 500, ORDERS))
        commits = [_commit(clock, n, ids[n], each + (n < more)) for n in numbers]
        await asyncio.gather(*map(host.store.commit, commits))
    return ids


def _commit(clock: SystemClock, number: int, id: str, events: int) -> Commit:
    now, flow, root = clock.stamp(), clock.id(), clock.id()
    data = {
        "id": id,
        "customer_id": f"c-{number % 300}",
        "total": Decimal(number % 20_000) / 100,
        "status": "PENDING",
        "note": "n" * 100,
    }
    record = Record(
        model="shop.Order", id=id, revision=1, created=now, updated=now, doc=ENCODER.encode(data)
    )
    commit = Commit(puts=[Put(record, 0)])
    for n in range(events):
        event = Event(
            id=root if n == 0 else clock.id(),
            source="/aegis/components/shop/models/Order",
            type="order.created" if n == 0 else f"order.step{n}",
            subject=id,
            time=now,
            data={"id": id, "revision": 1, "changed": {} if n else data},
            flow=flow,
            cause=root if n else None,
        )
        doc = ENCODER.encode(event)
        commit.events.append(Entry(event.id, event.type, id, flow, now, doc, 0, event.cause))
    about = {"model": "shop.Order", "record": id}
    commit.flows.append(
        Flow(
            id=flow,
            root=root,
            component="shop",
            version="1.0.0",
            digest="d",
            state=FlowState.COMPLETED,
            created=now,
            updated=now,
            **about,
        )
    )
    commit.steps += [
        Step(
            flow=flow,
            n=n,
            port=f"step{n}",
            cause=root,
            key=clock.id(),
            state=StepState.DONE,
            updated=now,
            **about,
        )
        for n in range(STEPS)
    ]
    return commit
