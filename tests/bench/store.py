"""How many commits a second the embedded store takes, beside a plain loop of SQLite: `python -m tests.bench.store`."""

import argparse
import asyncio
import os
import sqlite3
import tempfile
import time
from pathlib import Path

from aegis.adapters.clock import SystemClock
from aegis.adapters.storage.sqlite import SqliteStore
from aegis.core.query import Query, Term
from aegis.core.record import Record
from aegis.protocols import Commit, Entry, Put

DOC = (
    b'{"id":"%b","customer_id":"c-%d","total":"129.90","status":"PENDING","note":"'
    + b"n" * 280
    + b'"}'
)


def commit(clock, number):
    id, now = clock.id(), clock.stamp()
    doc = DOC % (id.encode(), number)
    record = Record(model="orders.Order", id=id, revision=1, created=now, updated=now, doc=doc)
    entry = Entry(clock.id(), "order.created", id, None, now, doc)
    return Commit(puts=[Put(record, 0)], events=[entry])


def raw(directory, seconds, group):
    """A loop without threads: a record and an event, `group` of them in a transaction."""
    db = sqlite3.connect(directory / "raw.db", isolation_level=None)
    db.executescript(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"
        "CREATE TABLE IF NOT EXISTS records (model TEXT, id TEXT, revision INTEGER, created TEXT,"
        " updated TEXT, doc TEXT, PRIMARY KEY (model, id)) WITHOUT ROWID;"
        "CREATE TABLE IF NOT EXISTS events (seq INTEGER PRIMARY KEY, id TEXT UNIQUE, type TEXT,"
        " subject TEXT, flow TEXT, time TEXT, doc TEXT)"
    )
    clock, done = SystemClock(), 0
    start = time.perf_counter()
    while (passed := time.perf_counter() - start) < seconds:
        commits = [commit(clock, done + index) for index in range(group)]
        db.execute("BEGIN IMMEDIATE")
        db.executemany(
            "INSERT INTO records VALUES (?, ?, ?, ?, ?, ?)",
            [
                (r.model, r.id, 1, r.created, r.updated, r.doc.decode())
                for c in commits
                for r in [c.puts[0].record]
            ],
        )
        db.executemany(
            "INSERT INTO events VALUES (NULL, ?, ?, ?, ?, ?, ?)",
            [
                (e.id, e.type, e.subject, e.flow, e.time, e.doc.decode())
                for c in commits
                for e in c.events
            ],
        )
        db.execute("COMMIT")
        done += group
    db.close()
    return done / passed


async def grouped(store, seconds, clients):
    """`clients` coroutines that commit one after the other; rate, p50 and p99 in ms, group size."""
    clock, latencies = SystemClock(), []
    commits, batches = store.commits, store.batches
    end = time.perf_counter() + seconds

    async def client():
        while (begun := time.perf_counter()) < end:
            await store.commit(commit(clock, len(latencies)))
            latencies.append(time.perf_counter() - begun)

    await asyncio.gather(*(client() for _ in range(clients)))
    latencies.sort()
    return (
        len(latencies) / seconds,
        latencies[len(latencies) // 2] * 1e3,
        latencies[len(latencies) * 99 // 100] * 1e3,
        (store.commits - commits) / (store.batches - batches),
    )


async def measure(directory, seconds, kind=SqliteStore):
    print(f"{'':28}{'commits/s':>10}{'p50 ms':>9}{'p99 ms':>9}{'group':>7}{'of raw':>8}")
    for clients in (1, 32, 64):
        base = await asyncio.to_thread(raw, directory, seconds, clients)
        print(f"raw loop, {clients:3} a transaction {base:10,.0f}")
        store = kind(directory / f"store-{clients}")
        await store.open()
        rate, p50, p99, size = await grouped(store, seconds, clients)
        await store.close()
        print(
            f"store,    {clients:3} in flight     {rate:10,.0f}{p50:9.2f}{p99:9.2f}{size:7.1f}"
            f"{rate / base:8.2f}"
        )


async def fill(directory, records):
    clock, store, ids = SystemClock(), SqliteStore(directory), []
    await store.open()
    for start in range(0, records, 1000):
        commits = [commit(clock, start + index) for index in range(1000)]
        ids += [c.puts[0].record.id for c in commits]
        await asyncio.gather(*map(store.commit, commits))
    return store, ids


async def reading(directory, records):
    store, ids = await fill(directory, records)
    start = time.perf_counter()
    for id in ids[:: max(1, records // 20_000)]:
        store.get("orders.Order", id)
    each = (time.perf_counter() - start) / len(ids[:: max(1, records // 20_000)])
    print(f"get, spread over {records:,}: {each * 1e6:.1f} us")
    queries = {
        "first page by id": Query(),
        "equality filter": Query(where=(Term("customer_id", "c-77"),)),
        "sorted by a field": Query(sort=(Term("total", kind="number", descending=True),)),
    }
    for name, query in queries.items():
        start = time.perf_counter()
        await store.list("orders.Order", query)
        print(f"list, {name}: {(time.perf_counter() - start) * 1e3:.1f} ms")
    start = time.perf_counter()
    await store.count("orders.Order")
    print(f"count: {(time.perf_counter() - start) * 1e3:.1f} ms")
    await store.close()


def opening(directory):
    """The second opening follows a process that ended without closing."""
    for way in ("a clean close", "a kill"):
        if pid := os.fork():
            os.waitpid(pid, 0)
        else:
            asyncio.run(_open(directory, way, then_die=True))
    asyncio.run(_open(directory, "a kill", then_die=False))


async def _open(directory, way, *, then_die):
    store, clock = SqliteStore(directory), SystemClock()
    start = time.perf_counter()
    await store.open()
    passed = (time.perf_counter() - start) * 1e3
    records = await store.count("orders.Order")
    print(f"open {records:,} after {way}: {passed:.0f} ms", flush=True)
    if then_die:
        await asyncio.gather(*(store.commit(commit(clock, number)) for number in range(500)))
        os._exit(0)
    await store.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement")
    parser.add_argument("--records", type=int, default=100_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="aegis-bench-") as directory:
        asyncio.run(measure(Path(directory), options.seconds))
        asyncio.run(reading(Path(directory) / "many", options.records))
        opening(Path(directory) / "many")


if __name__ == "__main__":
    main()
