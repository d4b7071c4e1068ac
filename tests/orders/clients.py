"""Clients who order, approve and cancel, and write down whatever they were answered."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from http.client import HTTPException
from pathlib import Path
from typing import NamedTuple

from tests.orders.served import Served

ORDERS = "/aegis/api/models/orders"
KINDS = ("auto", "auto", "approve", "regret", "cancel", "cancel", "both", "forget")
"""What a client does with an order after its creation; `regret` cancels what waits for approval."""


class Said(NamedTuple):
    """One answer: what was asked of which order under which key, and what came back.

    `what` is `create`, `approve` or `cancel`, `amount` what the order costs, `revision` that of the
    answered record, `tries` how often it was sent until somebody answered.
    """

    what: str
    key: str
    order: str
    amount: str
    status: int
    revision: int | None
    tries: int


class Book:
    """The clients' ledger: lines are added, none is ever changed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()

    def note(self, said: Said) -> None:
        with self._lock, self.path.open("a") as lines:
            lines.write(json.dumps(said) + "\n")

    def read(self) -> list[Said]:
        return [Said(*json.loads(line)) for line in self.path.read_text().splitlines()]


class Clients:
    """A crowd, each of whom makes one order after the other until told to stop.

    Who gets no answer, or a 503, asks again under the same Idempotency-Key until somebody answers.
    """

    def __init__(self, served: Served, book: Book, dice: random.Random, *, crowd: int) -> None:
        self._served = served
        self._book = book
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(crowd)
        self._seeds = [dice.random() for _ in range(crowd)]
        self._clients: list[Future[None]] = []

    def start(self) -> None:
        """Let everybody begin."""
        for n, seed in enumerate(self._seeds):
            dice = random.Random(seed)
            self._clients.append(self._pool.submit(self._client, f"client-{n}", dice))

    def check(self) -> None:
        """Raise what a client fell over."""
        for client in self._clients:
            if client.done():
                client.result()

    def stop(self) -> None:
        """Return when every client has its last answer."""
        self._stop.set()
        for client in self._clients:
            client.result()
        self._pool.shutdown()

    def remember(self) -> None:
        """Approve what was forgotten, and ask everything once more, under the same keys."""
        answers = self._book.read()
        for said in answers:
            if said.key.endswith(".forget"):
                self.command("approve", said.key, said.order, said.amount)
        for said in answers:
            if said.what == "create":
                self.create(said.key, said.amount)
            elif said.status < 300:
                self.command(said.what, said.key.partition("!")[0], said.order, said.amount)

    def _client(self, name: str, dice: random.Random) -> None:
        number = 0
        while not self._stop.is_set():
            number += 1
            self._one(f"{name}-{number}.{dice.choice(KINDS)}", dice)
            self._stop.wait(dice.uniform(0, 0.3))

    def _one(self, name: str, dice: random.Random) -> None:
        """Create an order, and do something with it."""
        kind = name.rpartition(".")[2]
        amount = f"{dice.randrange(100000) / 100:.2f}"
        if dice.random() < 0.1:
            _at_once(*[lambda: self.create(name, amount)] * 2)
        order = self.create(name, amount)

        def ask(what: str) -> None:
            self.command(what, name, order, amount)

        if order and kind not in {"auto", "forget"}:
            time.sleep(dice.uniform(0, 0.6))
            if kind == "both":
                _at_once(lambda: ask("approve"), lambda: ask("cancel"))
            else:
                ask("approve" if kind == "approve" else "cancel")

    def create(self, name: str, amount: str) -> str:
        """The id of the order that is made under this key, whose end is its kind."""
        body = {
            "items": [{"item_id": "lamp", "price": amount}],
            "shipping_address": "7 mill lane",
            "card": "test-card-1",
            "auto_checkout": name.endswith((".auto", ".cancel")),
        }
        return self._insist("create", name, "", amount, ORDERS, body)

    def command(self, what: str, name: str, order: str, amount: str) -> None:
        """Approve or cancel an order."""
        path = f"{ORDERS}/{order}/commands/{what}"
        self._insist(what, f"{name}!{what}", order, amount, path, None)

    def _insist(
        self, what: str, key: str, order: str, amount: str, path: str, value: object
    ) -> str:
        """Ask until somebody answers, and write that down; the id of the order."""
        tries = 0
        while True:
            tries += 1
            try:
                status, answer = self._served.ask("POST", path, value, Idempotency_Key=key)
            except (OSError, HTTPException, ValueError):
                status, answer = 503, {}
            if status != 503:
                break
            time.sleep(0.05)
        order = order or answer.get("id", "")
        revision = answer.get("_meta", {}).get("revision")
        self._book.note(Said(what, key, order, amount, status, revision, tries))
        return order


def _at_once(*calls: Callable[[], object]) -> None:
    with ThreadPoolExecutor(len(calls)) as pool:
        for done in [pool.submit(call) for call in calls]:
            done.result()
