"""Deploys without end while a host serves: `python -m tests.engine.swapping DATA DEPLOYS`.

A real store, a real HTTP server, eight connections. Every tenth deploy is broken in another way.
Prints one line of JSON: what was called, what went wrong, and the memory after each deploy.
"""

import asyncio
import builtins
import gc
import json
import logging
import sys
from collections import Counter
from pathlib import Path

from aegis.bootstrap import build_host, dedicate, start_server
from aegis.configuration import Config
from aegis.core.errors import AegisError

ORDERS = """
from typing import Protocol
from aegis import Model, adapter, command, emit, port

EDITION = %d

class Partner(Protocol):
    async def do(self, what: str, order: str) -> str: ...

class Desk(Partner):
    async def do(self, what: str, order: str) -> str:
        asked(what, order)
        return what

class Order(Model, endpoint="orders"):
    paid: str = ""
    shipped: str = ""
    touched: int = 0

    @port(consumes="order.created", produces="order.paid", retries=0)
    async def pay(self, partner: Partner = adapter()) -> "Order":
        return self.update(paid=await partner.do("pay", self.id))

    @port(consumes=pay, produces="order.shipped", retries=0)
    async def ship(self, partner: Partner = adapter()) -> "Order":
        return self.update(shipped=await partner.do("ship", self.id))

    @command
    def touch(self) -> "Order":
        return self.update(touched=self.touched + 1)
"""
LEDGER = """
from aegis import Event, Model, emit, on

EDITION = %d

class Line(Model, endpoint="lines"):
    count: int = 0

@on("order.shipped")
async def note(event: Event) -> None:
    emit("line.noted", event.subject, edition=EDITION)

@on("stock.moved")
async def move(event: Event) -> None:
    emit("line.moved", event.subject, edition=EDITION)
"""
BREAKS = [
    lambda text: text + "\ndef broken(:\n",
    lambda text: text + "\n1 / 0\n",
    lambda text: text + "\nimport no_such_package_at_all\n",
    lambda text: text.replace("class Desk(Partner)", "class Desk"),
    lambda text: text.replace('paid: str = ""', "paid: int = 0"),
    lambda text: text.replace('endpoint="orders"', 'endpoint="lines"'),
    lambda text: text + "\nraise SystemExit(3)\n",
    lambda text: text.replace(
        "order: str) -> str:\n        asked", "o: str) -> str:\n        asked"
    ),
    lambda text: text.replace("def ship(self, partner", "def ship(self, box: str, partner"),
]
# Fills what caches pages of the database before anything is measured: it is bounded.
FILLER = """
from aegis import Model

class Page(Model, endpoint="pages"):
    text: str
"""
PAGES, PAGE = 10_000, "x" * 3_500
# Of fewer deploys memory says nothing.
MANY = 1000
CONNECTIONS = 8


class Connection:
    """One connection that is kept; requests one after the other."""

    def __init__(self, address):
        self.host, port = address.removeprefix("http://").split(":")
        self.port = int(port)
        self.reader = None

    async def ask(self, method, path, body=b"", **headers):
        """Status and body of an answer."""
        if self.reader is None:
            self.reader, self.writer = await asyncio.open_connection(self.host, self.port)
        lines = [f"{method} {path} HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}"]
        lines += ["Content-Type: application/json", *(f"{k}: {v}" for k, v in headers.items())]
        self.writer.write("\r\n".join([*lines, "", ""]).encode() + body)
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(head.partition("content-length: ")[2].partition("\r\n")[0] or 0)
        return int(head.split()[1]), await self.reader.readexactly(length)


class Load:
    """What is called all the while, and what came of it."""

    def __init__(self, address):
        self.address = address
        self.orders, self.moved = [], []
        self.calls, self.failed = 0, []
        self.stop = False

    async def run(self, number):
        connection = Connection(self.address)
        while not self.stop:
            made = json.loads(await self._ask(connection, "POST", "/models/orders", b"{}", 201))
            self.orders.append(made["id"])
            await self._ask(connection, "GET", f"/models/orders/{made['id']}", b"", 200)
            where = f"/models/orders/{made['id']}/commands/touch"
            await self._ask(connection, "POST", where, b"", 200)
            subject = f"{number}.{len(self.moved)}"
            event = json.dumps({"type": "stock.moved", "subject": subject, "data": {}}).encode()
            await self._ask(connection, "POST", "/events", event, 201)
            self.moved.append(subject)
            await asyncio.sleep(0.01)
        connection.writer.close()

    async def _ask(self, connection, method, path, body, wanted):
        status, answer = await connection.ask(method, f"/aegis/api{path}", body)
        self.calls += 1
        if status != wanted:
            self.failed.append(f"{method} {path}: {status} {answer[:200]!r}")
            return b'{"id": "none"}'
        return answer


def memory():
    """Bytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


async def pages(host):
    """Every page, so that readers have them in their cache."""
    found = await host.list("Page", limit=500)
    while found:
        yield found
        if found.next is None:
            return
        found = await host.query("Page", limit=500, cursor=found.next)


async def main(data, count):
    logging.disable(logging.CRITICAL)
    partner = Counter()
    builtins.asked = lambda what, order: partner.update([(what, order)])
    config = Config(data=data, token=None, port=0)
    wrong, sizes, refused = [], [], 0
    async with build_host(config) as host:
        heard = Counter()
        host.listen("line.*", lambda event: heard.update([(event.type, event.subject)]))
        await host.deploy("orders", "1.0.0", ORDERS % 0)
        await host.deploy("ledger", "1.0.0", LEDGER % 0)
        await host.deploy("filler", "1.0.0", FILLER)
        for _ in range(PAGES // 500 if count >= MANY else 0):
            await asyncio.gather(*(host.create("Page", text=PAGE) for _ in range(500)))
        async for _ in pages(host):
            pass
        server = await start_server(host, config)
        dedicate()
        load = Load(server.address)
        tasks = [asyncio.create_task(load.run(n)) for n in range(CONNECTIONS)]
        for n in range(1, count + 1):
            name, text = ("orders", ORDERS) if n % 2 else ("ledger", LEDGER)
            try:
                if n % 10 == 9:
                    await host.deploy("orders", "1.0.0", BREAKS[n // 10 % len(BREAKS)](ORDERS % n))
                    wrong.append(f"deploy {n} was not refused")
                else:
                    await host.deploy(name, "1.0.0", text % n)
            except AegisError:
                refused += 1
                if n % 10 != 9:
                    raise
            sizes.append(memory())
            for task in tasks:
                if task.done():
                    task.result()
        load.stop = True
        await asyncio.gather(*tasks)
        async with asyncio.timeout(60):
            while host.status().flows_open or any(one.lag for one in host.status().listeners):  # noqa: ASYNC110 -- it is not worth an event
                await asyncio.sleep(0.02)
        ids = set(load.orders)
        for id in ids:
            order = await host.get("Order", id)
            if (order.paid, order.shipped, order.touched) != ("pay", "ship", 1):
                wrong.append(f"order {id}: {order}")
        for what in ("pay", "ship"):
            odd = [id for id in ids if partner[what, id] != 1]
            wrong += [
                f"the partner was asked {partner[what, id]} times to {what} {id}" for id in odd
            ]
        for type, subjects in (("line.noted", ids), ("line.moved", set(load.moved))):
            odd = [one for one in subjects if heard[type, one] != 1]
            wrong += [f"{type} {heard[type, one]} times for {one}" for one in odd]
        gc.collect()
        await server.close()
    print(
        json.dumps(
            {
                "calls": load.calls,
                "orders": len(ids),
                "moved": len(load.moved),
                "failed": load.failed[:20],
                "refused": refused,
                "wrong": wrong[:20],
                "sizes": sizes,
            }
        )
    )


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
