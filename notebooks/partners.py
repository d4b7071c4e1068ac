"""The sandbox partners of the order tutorial: payment, stock, warehouse, carrier, address, proof.

    python notebooks/partners.py --port 8099 --ledger .aegis/partners.ledger

They are made up, but they behave: what they did is in a ledger that is on disk before they answer,
a request whose Idempotency-Key they know gets the answer it got the first time, and undoing
something twice, or something that never happened, does no harm.

Warehouse, carrier and proof take a request that says where to `reply`, and answer later: with
events that they post there, again and again until they are taken.

    POST /payment/authorize         {"order": "...", "amount": "12.50", "card": "..."}
    POST /warehouse/pick            {"order": "...", "reply": {"address": "...", "token": "..."}}
    PUT  /settings/carrier          {"fail": "silent", "times": 3, "delay": 0.5}
    GET  /ledger?order=...          what was done for one order, in sequence
    GET  /ledger/summary            totals; POST {"orders": [...]} for some orders only
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import os
import signal
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast
from urllib.parse import parse_qs, urlsplit

import msgspec

NOTHING = Decimal("0.00")
REASONS = {
    200: b"OK",
    202: b"Accepted",
    400: b"Bad Request",
    404: b"Not Found",
    409: b"Conflict",
    500: b"Server Error",
}


class Reply(msgspec.Struct, frozen=True):
    """Where a partner's later answer goes: the host's address, and what it wants to see."""

    address: str
    token: str = ""


class Ask(msgspec.Struct, frozen=True):
    """What a partner is asked: for which order, and what the operation needs to know."""

    order: str
    amount: Decimal | None = None
    card: str = ""
    address: str = ""
    items: list[dict[str, Any]] = []
    reply: Reply | None = None


class Setting(msgspec.Struct, forbid_unknown_fields=True):
    """How a partner behaves: seconds until it answers, and how it fails for the next `times` calls.

    It can `decline` (answers no, does nothing), be in `error` (does nothing), be `silent` (does
    what it was asked, and never answers) or `mute` (takes the request, does it, and never tells).
    `later` is seconds before each event of a later answer; those can be told `twice`, once more
    under the same id and once under another, or `backwards`, the last one first.
    """

    delay: float = 0.0
    later: float = 0.02
    tells: Literal["once", "twice", "backwards"] = "once"
    fail: Literal["decline", "error", "silent", "mute"] | None = None
    times: int | None = None

    def next_failure(self) -> str | None:
        """How the call that has just come in fails, if it does."""
        if self.fail is None or self.times == 0:
            return None
        if self.times is not None:
            self.times -= 1
        return self.fail


class Entry(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line of the ledger.

    `outcome` says what came of the request: it was `done`, `declined`, or the answer to a `repeat`;
    an undo has `undone` something or found `nothing` to undo.
    """

    operation: str
    order: str
    key: str
    outcome: Literal["done", "declined", "undone", "nothing", "repeat"]
    answer: dict[str, str] = {}
    amount: Decimal | None = None


# What each partner does, and with which operation it takes that back.
UNDO = {
    "address/validate": None,
    "payment/authorize": "payment/void",
    "payment/capture": "payment/refund",
    "inventory/reserve": "inventory/return",
    "warehouse/pick": "warehouse/recall",
    "carrier/ship": "carrier/return_shipment",
    "carrier/track": None,
    "proof/fetch": "proof/return_delivery",
}
UNDOES = {undo: done for done, undo in UNDO.items() if undo}
# The event that answers later, and what of it changes from one to the next.
TELLS: dict[str, tuple[str, list[dict[str, str]]]] = {
    "warehouse/pick": ("warehouse.picked", [{}]),
    "carrier/ship": ("carrier.shipped", [{}]),
    "carrier/track": ("carrier.tracked", [{"status": "out_for_delivery"}, {"status": "delivered"}]),
    "proof/fetch": ("delivery.proven", [{}]),
}


class Account:
    """What stands for one order: its entries, and what was done and not taken back."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.standing: dict[str, Entry] = {}


class Ledger:
    """Everything the partners did, on disk before anybody is told.

    One thread writes: whatever came in while it was busy is written and synced together, so that
    a hundred requests in flight share the price of one sync.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.accounts: defaultdict[str, Account] = defaultdict(Account)
        self.answers: dict[tuple[str, str], Entry] = {}
        self._encoder = msgspec.json.Encoder()
        self._thread = ThreadPoolExecutor(1, "ledger")
        self._waiting: list[tuple[bytes, asyncio.Future[None]]] = []
        self._writing: asyncio.Task[None] | None = None
        self._load()
        self._file = path.open("ab", buffering=0)

    def _load(self) -> None:
        """Read what an earlier run left; a last line that was cut off was never answered."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        text = self.path.read_bytes() if self.path.exists() else b""
        whole = text.rfind(b"\n") + 1
        decoder = msgspec.json.Decoder(Entry)
        for line in text[:whole].splitlines():
            self._note(decoder.decode(line))
        if whole < len(text):
            os.truncate(self.path, whole)

    def _note(self, entry: Entry) -> None:
        account = self.accounts[entry.order]
        account.entries.append(entry)
        if entry.outcome == "repeat":
            return
        self.answers[entry.operation, entry.key] = entry
        if entry.outcome == "done":
            account.standing[entry.operation] = entry
        elif entry.outcome == "undone":
            del account.standing[UNDOES[entry.operation]]

    async def record(self, entry: Entry) -> None:
        """Note the entry at once, return when it is on disk."""
        self._note(entry)
        loop = asyncio.get_running_loop()
        durable: asyncio.Future[None] = loop.create_future()
        self._waiting.append((self._encoder.encode(entry) + b"\n", durable))
        if self._writing is None:
            self._writing = loop.create_task(self._write())
        await durable

    async def _write(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._waiting:
                batch, self._waiting = self._waiting, []
                lines = b"".join(line for line, _ in batch)
                try:
                    await loop.run_in_executor(self._thread, self._sync, lines)
                except OSError as error:
                    for durable in self._still_wanted(batch):
                        durable.set_exception(error)
                else:
                    for durable in self._still_wanted(batch):
                        durable.set_result(None)
        finally:
            self._writing = None

    @staticmethod
    def _still_wanted(
        batch: list[tuple[bytes, asyncio.Future[None]]],
    ) -> Iterator[asyncio.Future[None]]:
        return (durable for _, durable in batch if not durable.done())

    def _sync(self, lines: bytes) -> None:
        self._file.write(lines)
        os.fdatasync(self._file.fileno())

    async def close(self) -> None:
        """Finish what is being written."""
        if self._writing is not None:
            await self._writing
        self._thread.shutdown()
        self._file.close()

    def summary(self, orders: Iterable[str] | None = None) -> dict[str, Any]:
        """Totals over all orders, or over `orders`.

        `captured` counts every capture, `charged` those not refunded; `double` are effects of an
        operation that already stood for the same order, and must be 0.
        """
        names = list(self.accounts) if orders is None else [o for o in orders if o in self.accounts]
        effects: Counter[str] = Counter()
        undone: Counter[str] = Counter()
        declined: Counter[str] = Counter()
        repeats: Counter[str] = Counter()
        captured = charged = held = NOTHING
        double = 0
        for name in names:
            account = self.accounts[name]
            standing: set[str] = set()
            for entry in account.entries:
                if entry.outcome == "done":
                    effects[entry.operation] += 1
                    # What has no undo changes nothing: an order that is tried anew asks it again.
                    double += entry.operation in standing and UNDO[entry.operation] is not None
                    standing.add(entry.operation)
                    if entry.operation == "payment/capture":
                        captured += entry.amount or NOTHING
                elif entry.outcome == "undone":
                    undone[entry.operation] += 1
                    standing.discard(UNDOES[entry.operation])
                elif entry.outcome == "declined":
                    declined[entry.operation] += 1
                elif entry.outcome == "repeat":
                    repeats[entry.operation] += 1
            capture = account.standing.get("payment/capture")
            authorization = account.standing.get("payment/authorize")
            if capture is not None:
                charged += capture.amount or NOTHING
            elif authorization is not None:
                held += authorization.amount or NOTHING
        return {
            "orders": len(names),
            "captured": str(captured),
            "charged": str(charged),
            "held": str(held),
            "effects": dict(sorted(effects.items())),
            "undone": dict(sorted(undone.items())),
            "declined": dict(sorted(declined.items())),
            "repeats": repeats.total(),
            "repeated": dict(sorted(repeats.items())),
            "double": double,
        }


class Partners:
    """What the partners do when they are asked; knows nothing of HTTP."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.settings: dict[str, Setting] = {}
        self.post = Post()
        self._telling: set[asyncio.Task[None]] = set()

    def setting(self, operation: str) -> Setting | None:
        """What was set for the operation; what was set for a partner does not hold for its undo."""
        exact = self.settings.get(operation)
        if exact is not None or operation in UNDOES:
            return exact
        return self.settings.get(operation.partition("/")[0])

    async def ask(self, operation: str, key: str, ask: Ask) -> tuple[int, dict[str, str]] | None:
        """Status and answer, or None when the partner keeps silent."""
        setting = self.setting(operation)
        failure = setting.next_failure() if setting else None
        delay = setting.delay if setting else 0.0
        entry = None
        if failure != "error":
            known = self.ledger.answers.get((operation, key))
            if known is None:
                entry = self._act(operation, key, ask, decline=failure == "decline")
            else:
                entry = Entry(operation, ask.order, key, "repeat", known.answer)
            await self.ledger.record(entry)
        if delay:
            await asyncio.sleep(delay)
        if failure == "silent":
            return None
        if entry is None:
            return 500, {"error": f"{operation} is out of order"}
        if "declined" in entry.answer:
            return 409, entry.answer
        if ask.reply is None or operation not in TELLS:
            return 200, entry.answer
        if failure != "mute":
            task = asyncio.create_task(
                self._tell(operation, key, ask, entry.answer, setting or Setting())
            )
            self._telling.add(task)  # the loop itself holds tasks weakly
            task.add_done_callback(self._telling.discard)
        return 202, {"accepted": "it will be told"}

    async def _tell(
        self, operation: str, key: str, ask: Ask, answer: dict[str, str], setting: Setting
    ) -> None:
        """Answer later: post the events, one after the other."""
        name, changes = TELLS[operation]
        events = [
            {
                "type": name,
                "source": f"/partners/{operation.partition('/')[0]}",
                "id": f"{key}.{number}",
                "data": {"order_id": ask.order, **answer, **change},
            }
            for number, change in enumerate(changes)
        ]
        if setting.tells == "backwards":
            events.reverse()
        if setting.tells == "twice":
            events = [
                e for event in events for e in (event, event, {**event, "id": f"{event['id']}!"})
            ]
        for event in events:
            await asyncio.sleep(setting.later)
            await self.post.send(cast(Reply, ask.reply), msgspec.json.encode(event))

    def _act(self, operation: str, key: str, ask: Ask, *, decline: bool) -> Entry:
        standing = self.ledger.accounts[ask.order].standing
        done = UNDOES.get(operation)
        if done is not None:
            undone = standing.get(done)
            # A refund comes with the capture's key. Another step's effect is not ours to undo.
            if undone is None or undone.key != key:
                return Entry(operation, ask.order, key, "nothing")
            return Entry(operation, ask.order, key, "undone", amount=undone.amount)
        amount = ask.amount
        undo = UNDO[operation]
        if undo is not None and (undo, key) in self.ledger.answers:
            refusal = "it was taken back before it came"
        elif operation == "payment/capture" and "payment/authorize" not in standing:
            refusal = "no authorization stands"
        elif operation == "payment/capture":
            amount, refusal = standing["payment/authorize"].amount, None
        else:
            refusal = "declined" if decline else None
        if decline:
            refusal = "declined"
        if refusal is not None:
            return Entry(operation, ask.order, key, "declined", {"declined": refusal})
        return Entry(operation, ask.order, key, "done", self._answer(operation, ask), amount)

    def _answer(self, operation: str, ask: Ask) -> dict[str, str]:
        number = hashlib.sha256(f"{operation} {ask.order}".encode()).hexdigest()[:10]
        match operation:
            case "address/validate":
                return {"address": " ".join(ask.address.split()).title()}
            case "payment/authorize":
                return {"authorization": f"auth-{number}"}
            case "payment/capture":
                return {"confirmation": f"paid-{number}"}
            case "inventory/reserve":
                return {"reservation": f"kept-{number}"}
            case "warehouse/pick":
                return {"address": f"Gate {int(number[:2], 16) % 12 + 1}, 7 Warehouse Row"}
            case "carrier/ship":
                return {"shipment": f"ship-{number}"}
            case "carrier/track":
                return {"tracking": f"trac-{number}", "status": "delivered"}
            case _:
                return {"proof": f"signed-{number}"}


class Post:
    """Posts events to hosts, over connections that stay open."""

    def __init__(self) -> None:
        self._idle: defaultdict[str, list[Line]] = defaultdict(list)

    async def send(self, to: Reply, event: bytes) -> None:
        """Post an event until it is taken, or refused for good: a host may be away for a while."""
        for attempt in range(600):
            if attempt:
                await asyncio.sleep(min(0.1 * attempt, 2.0))
            try:
                if await self._post(to, event) < 500:
                    return
            except (OSError, EOFError, ValueError):
                continue

    async def _post(self, to: Reply, event: bytes) -> int:
        place = urlsplit(to.address)
        idle = self._idle[place.netloc]
        line = idle.pop() if idle else None
        reader, writer = line or await asyncio.open_connection(place.hostname, place.port)
        try:
            writer.write(
                f"POST /aegis/api/events HTTP/1.1\r\nHost: {place.netloc}\r\n"
                f"Authorization: Bearer {to.token}\r\n"
                "Content-Type: application/cloudevents+json\r\n"
                f"Content-Length: {len(event)}\r\n\r\n".encode()
                + event
            )
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
            await reader.readexactly(length)
        except BaseException:
            writer.close()
            raise
        idle.append((reader, writer))
        return int(head[9:12])


Line = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Answer = tuple[int, Any] | None


class Request(NamedTuple):
    """One request: what is asked, of whom, under which key."""

    method: str
    target: str
    key: str
    body: bytes


class Desk:
    """Where requests come in: finds out what is wanted and puts the answer into words."""

    def __init__(self, partners: Partners) -> None:
        self.partners = partners
        self._ask = msgspec.json.Decoder(Ask)

    async def answer(self, request: Request) -> Answer:
        """Status and JSON value of the answer, None for none at all."""
        method, target, key, body = request
        path, _, query = target.strip("/").partition("?")
        try:
            if path in UNDO or path in UNDOES:
                if method != "POST":
                    return 404, {"error": f"{path} is asked with POST"}
                if not key:
                    return 400, {"error": "an Idempotency-Key is needed"}
                return await self.partners.ask(path, key, self._ask.decode(body))
            if path.startswith("settings/"):
                return self._set(path.removeprefix("settings/"), method, body)
            if path == "settings":
                if method == "DELETE":
                    self.partners.settings.clear()
                return 200, self.partners.settings
            if path == "ledger/summary":
                orders = None
                if method == "POST":
                    orders = msgspec.json.decode(body, type=dict[str, list[str]])["orders"]
                return 200, self.partners.ledger.summary(orders)
            if path == "ledger":
                (order,) = parse_qs(query).get("order", [""])
                account = self.partners.ledger.accounts.get(order)
                return 200, account.entries if account else []
        except (msgspec.DecodeError, KeyError, ValueError) as error:
            return 400, {"error": str(error)}
        return 404, {"error": f"nobody here does {path!r}"}

    def _set(self, name: str, method: str, body: bytes) -> Answer:
        names = {*UNDO, *UNDOES, *(operation.partition("/")[0] for operation in UNDO)}
        if name not in names:
            return 404, {"error": f"no partner and no operation is called {name!r}"}
        if method == "PUT":
            self.partners.settings[name] = msgspec.json.decode(body, type=Setting)
        elif method == "DELETE":
            self.partners.settings.pop(name, None)
        return 200, self.partners.settings.get(name, Setting())


class Door(asyncio.Protocol):
    """One connection: HTTP/1.1 with just what JSON in and JSON out needs, one request at a time.

    A web server would cost several times what the partners themselves do, and the sandbox is to be
    faster than what is measured with it.
    """

    def __init__(self, desk: Desk, tasks: set[asyncio.Task[None]]) -> None:
        self._desk, self._tasks = desk, tasks
        self._buffer = b""
        self._busy = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._busy:
            self._next()

    def _next(self) -> None:
        """Begin the next request, when all of it is there."""
        head, blank, rest = self._buffer.partition(b"\r\n\r\n")
        if not blank:
            return
        start, *lines = head.decode("latin-1").split("\r\n")
        headers = {
            name.lower(): value.strip()
            for name, _, value in (line.partition(":") for line in lines)
        }
        length = int(headers.get("content-length", "0"))
        if len(rest) < length:
            return
        self._busy, self._buffer = True, rest[length:]
        method, target, _ = start.split(" ", 2)
        request = Request(method, target, headers.get("idempotency-key", ""), rest[:length])
        task = asyncio.get_running_loop().create_task(self._reply(request))
        self._tasks.add(task)  # the loop itself holds tasks weakly
        task.add_done_callback(self._tasks.discard)

    async def _reply(self, request: Request) -> None:
        reply = await self._desk.answer(request)
        if reply is None:
            return  # the caller hangs up when it has waited long enough
        status, value = reply
        body = msgspec.json.encode(value)
        self._transport.write(
            b"HTTP/1.1 %d %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
            % (status, REASONS[status], len(body), body)
        )
        self._busy = False
        self._next()


async def serve(
    port: int, ledger: Path, stop: asyncio.Event, ready: Callable[[str], None] = print
) -> None:
    """Serve on loopback until `stop` is set; `ready` gets the address."""
    book = Ledger(ledger)
    desk = Desk(Partners(book))
    tasks: set[asyncio.Task[None]] = set()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Door(desk, tasks), "127.0.0.1", port, backlog=1024)
    ready(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    await stop.wait()
    server.close()
    await book.close()


async def main(arguments: argparse.Namespace) -> None:
    """Serve until the process is told to end."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if arguments.fresh:
        arguments.ledger.unlink(missing_ok=True)

    def ready(address: str) -> None:
        print(f"The sandbox partners listen on {address}", flush=True)

    await serve(arguments.port, arguments.ledger, stop, ready)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Run the sandbox partners of the order tutorial.")
    parser.add_argument("--port", type=int, default=8099, help="0 takes a free one")
    parser.add_argument("--ledger", type=Path, default=Path(".aegis/partners.ledger"))
    parser.add_argument("--fresh", action="store_true", help="begin with an empty ledger")
    asyncio.run(main(parser.parse_args()))
