"""Sends the purchases of `data/cdnow-sample.txt` through a running server and checks what came out.

    python notebooks/purchases.py --token TOKEN

That finds the server which `make serve` started. Any other is named with `--url` and the address
that it prints: host, port and token are taken from there.
Each purchase becomes an order of a customer who is created first. Every request carries an
Idempotency-Key of its own, so the server may be killed and started again meanwhile: what had no
answer is simply sent again. Running the program twice buys nothing twice.
The exit code is 1 when an order is not COMPLETE, or when the ledger of the sandbox partners shows
another sum, or anything done twice.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec
from tqdm import tqdm

FILE = Path(__file__).parent / "data" / "cdnow-sample.txt"
# A server says here where it listens, so that a second one can name the first.
OWNER = Path(__file__).parent / ".aegis" / "orders" / "serve" / "owner.lock"
STEPS = (
    "address/validate",
    "payment/authorize",
    "inventory/reserve",
    "warehouse/pick",
    "carrier/ship",
    "carrier/track",
    "proof/fetch",
    "payment/capture",
)


class Purchase(msgspec.Struct, frozen=True):
    """One line of the file. `line` counts from 1, `amount` is in US dollars."""

    line: int
    customer: str
    amount: Decimal

    def order(self, customer_id: str) -> dict[str, Any]:
        """The order that the purchase becomes; whom it goes to is known by its customer."""
        return {
            "customer_id": customer_id,
            "items": [{"item_id": f"cd-{self.line}", "price": str(self.amount), "qty": 1}],
            "auto_checkout": True,
        }


def read_purchases(file: Path = FILE) -> list[Purchase]:
    """All purchases, in the order of the file."""
    purchases = []
    for line, text in enumerate(file.read_text().splitlines(), 1):
        _, customer, _day, _count, amount = text.split()
        purchases.append(Purchase(line, customer, Decimal(amount)))
    return purchases


def made_up(customer: str) -> dict[str, str]:
    """Details of a customer whom nobody knows: the same for the same id, and no real card."""
    dice = random.Random(customer)
    first = dice.choice(("Ada", "Ben", "Chloe", "Dai", "Elif", "Femi", "Greta", "Hugo", "Ines"))
    last = dice.choice(("Abbott", "Brandt", "Costa", "Dubois", "Egede", "Fox", "Garcia", "Holm"))
    street = dice.choice(("High Street", "Mill Lane", "Station Road", "Harbour View"))
    return {
        "first_name": first,
        "last_name": last,
        "email": f"{first}.{last}.{customer}@example.com".lower(),
        "address": f"{dice.randrange(1, 200)} {street}, Springfield",
        "card": f"test-card-{customer}",
    }


def served_address() -> str | None:
    """Where the tutorial is served, as its data directory tells."""
    try:
        owner = msgspec.json.decode(OWNER.read_bytes(), type=dict[str, Any])
    except (OSError, msgspec.DecodeError):
        return None
    return owner.get("address") or None


class UnreachableError(Exception):
    """Nobody answered for as long as we were ready to wait."""


class WrongError(Exception):
    """The server answered, but not what it should."""


@dataclass
class Connection:
    """A connection that stays open, and is made anew when it broke.

    Whatever gets no answer, or a 503, is sent again, for at most `patience` seconds. A server that
    has a path `ready` is asked there first, because one that starts may not know its models yet.
    """

    url: str
    token: str = ""
    ready: str = ""
    patience: float = 60.0
    retries: int = 0
    _streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def json(
        self, method: str, path: str, value: object = None, headers: dict[str, str] | None = None
    ) -> Any:
        """The decoded answer. Raises WrongError for another status than 2xx, UnreachableError."""
        deadline = time.monotonic() + self.patience
        body = b"" if value is None else msgspec.json.encode(value)
        while True:
            try:
                if self._streams is None and self.ready:
                    status, _ = await self._send("GET", self.ready, b"", {})
                    if status != 200:
                        raise ConnectionRefusedError("it is not ready")
                status, text = await self._send(method, path, body, headers or {})
            except (OSError, EOFError) as error:
                self.close()
                if time.monotonic() > deadline:
                    raise UnreachableError(f"{self.url} does not answer: {error}") from error
            else:
                if 200 <= status < 300:
                    return msgspec.json.decode(text)
                if status != 503 or time.monotonic() > deadline:
                    raise WrongError(
                        f"{method} {path} got {status}: {text.decode(errors='replace')}"
                    )
            self.retries += 1
            await asyncio.sleep(0.1)

    async def _send(
        self, method: str, path: str, body: bytes, headers: dict[str, str]
    ) -> tuple[int, bytes]:
        place = urlsplit(self.url)
        if self._streams is None:
            self._streams = await asyncio.open_connection(place.hostname, place.port)
        reader, writer = self._streams
        lines = [f"{method} {path} HTTP/1.1", f"Host: {place.netloc}"]
        if self.token:
            lines.append(f"Authorization: Bearer {self.token}")
        if body:
            lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {text}" for name, text in headers.items()]
        writer.write("\r\n".join((*lines, "", "")).encode() + body)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0])
        text = await reader.readexactly(length)
        if b"\r\nconnection: close" in head:
            self.close()
        return int(head[9:12]), text

    def close(self) -> None:
        """Hang up; the next request opens a new connection."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


@dataclass
class Shop:
    """Sends purchases to a server, and remembers what became of them."""

    url: str
    token: str
    wait: int = 30
    states: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    orders: list[str] = field(default_factory=list)
    retries: int = 0
    _customers: dict[str, asyncio.Task[str]] = field(default_factory=dict)

    async def send(self, purchases: list[Purchase], concurrency: int, bar: tqdm[Any]) -> None:
        """Send all of them, `concurrency` at a time."""
        todo = iter(purchases)
        async with asyncio.TaskGroup() as group:
            for _ in range(min(concurrency, len(purchases))):
                group.create_task(self._work(todo, bar))

    async def _work(self, todo: Iterator[Purchase], bar: tqdm[Any]) -> None:
        connection = Connection(self.url, self.token, "/readyz")
        try:
            for purchase in todo:
                customer = await self._customer(purchase.customer, connection)
                begun = time.perf_counter()
                order = await self._buy(purchase, customer, connection)
                self.seconds.append(time.perf_counter() - begun)
                self.states[order["status"]] += 1
                self.orders.append(order["id"])
                bar.update()
        finally:
            self.retries += connection.retries
            connection.close()

    async def _customer(self, number: str, connection: Connection) -> str:
        """The id of the customer; whoever needs it first creates it, the others wait for that."""
        task = self._customers.get(number)
        if task is None:
            task = asyncio.ensure_future(self._create_customer(number, connection))
            self._customers[number] = task
        return await asyncio.shield(task)

    async def _create_customer(self, number: str, connection: Connection) -> str:
        customer = await connection.json(
            "POST",
            "/aegis/api/models/customers",
            made_up(number),
            {"Idempotency-Key": f"cdnow-customer-{number}"},
        )
        return str(customer["id"])

    async def _buy(
        self, purchase: Purchase, customer_id: str, connection: Connection
    ) -> dict[str, Any]:
        """The order, when nothing more will become of it."""
        order: dict[str, Any] = await connection.json(
            "POST",
            "/aegis/api/models/orders",
            purchase.order(customer_id),
            {"Idempotency-Key": f"cdnow-{purchase.line}", "Prefer": f"wait={self.wait}"},
        )
        deadline = time.monotonic() + 2 * self.wait
        while order["status"] not in ("COMPLETE", "CANCELED") and time.monotonic() < deadline:
            await asyncio.sleep(0.05)  # the server did not wait, or was killed while it did
            order = await connection.json("GET", f"/aegis/api/models/orders/{order['id']}")
        return order


def complaints(shop: Shop, purchases: list[Purchase], ledger: dict[str, Any]) -> Iterator[str]:
    """What is not as it must be."""
    count, total = len(purchases), sum(p.amount for p in purchases)
    if shop.states["COMPLETE"] != count:
        yield f"not every order is COMPLETE: {dict(shop.states)}"
    if len(set(shop.orders)) != count:
        yield f"{count} purchases became {len(set(shop.orders))} orders"
    if Decimal(ledger["captured"]) != total:
        yield f"the partners captured {ledger['captured']} instead of {total}"
    if ledger["double"]:
        yield f"the partners did {ledger['double']} things twice"
    for step in STEPS:
        done = ledger["effects"].get(step, 0)
        if done != count:
            yield f"{step} was done {done} times for {count} orders"


async def main(arguments: argparse.Namespace) -> int:
    """Send, report, return the exit code."""
    purchases = read_purchases()[: arguments.limit]
    place = urlsplit(arguments.url)
    token = arguments.token or parse_qs(place.query).get("token", [""])[0]
    shop = Shop(f"{place.scheme}://{place.netloc}", token)
    begun = time.perf_counter()
    with tqdm(total=len(purchases), unit="order", disable=arguments.quiet) as bar:
        try:
            await shop.send(purchases, arguments.concurrency, bar)
        except* (UnreachableError, WrongError) as group:
            bar.close()
            print(group.exceptions[0], file=sys.stderr)
            if " got 401:" in str(group.exceptions[0]):
                print("--token TOKEN takes what the server printed as it started", file=sys.stderr)
            return_code = 1
        else:
            return_code = 0
    if return_code:
        return return_code
    elapsed = time.perf_counter() - begun
    partners = Connection(arguments.partners)
    ledger = await partners.json("POST", "/ledger/summary", {"orders": shop.orders})
    partners.close()
    wrong = list(complaints(shop, purchases, ledger))
    seconds = sorted(shop.seconds)
    half, most = seconds[len(seconds) // 2], seconds[len(seconds) * 99 // 100]
    print(
        f"{shop.states['COMPLETE']:,} of {len(purchases):,} orders are COMPLETE,"
        f" {len(purchases) / elapsed:,.0f} a second,"
        f" p50 {half * 1000:.0f} ms, p99 {most * 1000:.0f} ms"
    )
    print(
        f"The partners captured {Decimal(ledger['captured']):,}, were asked"
        f" {ledger['repeats']} times again, did {ledger['double']} things twice;"
        f" {shop.retries} requests were sent again"
    )
    for complaint in wrong:
        print(f"WRONG: {complaint}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Send real purchases through a running server.")
    parser.add_argument(
        "--url", default=served_address(), help="as aegis-serve prints it (default: %(default)s)"
    )
    parser.add_argument("--token", default=os.environ.get("AEGIS_TOKEN", ""))
    parser.add_argument("--partners", default="http://127.0.0.1:8099")
    parser.add_argument("--limit", type=int, help="only the first LIMIT purchases")
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    chosen = parser.parse_args()
    if not chosen.url:
        parser.error("no server was found: start `make serve`, or name another with --url")
    sys.exit(asyncio.run(main(chosen)))
