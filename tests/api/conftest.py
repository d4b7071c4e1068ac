"""A real host in memory with a small shop in it, and a caller that talks to its router as values."""

import inspect
import json
from typing import Any

import pytest

from aegis.adapters.cipher import AesCipher, random_key
from aegis.adapters.clock import SystemClock
from aegis.adapters.components.python import PythonLoader
from aegis.adapters.storage.memory import MemoryStore
from aegis.adapters.vault import AesVault, MemoryKeeper
from aegis.api.request import Request
from aegis.api.router import Router
from aegis.engine.deploys import Limits
from aegis.engine.host import Host

SHOP = '''
import asyncio
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Literal, Protocol

from aegis import Meta, Model, Refused, adapter, command, port


@dataclass
class Address:
    city: str
    lines: list[str]


class Payments(Protocol):
    async def authorize(self, customer: str) -> str: ...


class Order(Model, endpoint="orders"):
    """A purchase."""

    customer: str
    total: Decimal
    quantity: Annotated[int, Meta(ge=1)] = 1
    status: Literal["PENDING", "AUTHORIZED", "CANCELED"] = "PENDING"
    rush: bool = False
    note: str | None = None
    address: Address | None = None
    tags: list[str] = []

    @port(consumes="order.created", produces="order.authorized", retries=0)
    async def authorize(self, payments: Payments = adapter()) -> "Order":
        """Ask the bank."""
        await payments.authorize(self.customer)
        return self.update(status="AUTHORIZED")

    @port(produces="order.priced")
    def price(self, percent: int = 10) -> "Order":
        """Raise the total by so many percent."""
        return self.update(total=self.total * (100 + percent) / 100)

    @command(produces="order.canceled")
    def cancel(self, reason: str) -> "Order":
        """Give it up."""
        if self.status == "CANCELED":
            raise Refused("it is canceled already")
        return self.update(status="CANCELED", note=reason)

    @command
    def hurry(self) -> "Order":
        return self.update(rush=True)

    @command
    def explode(self) -> "Order":
        raise RuntimeError("the secret recipe is tea")


class Bank(Payments):
    async def authorize(self, customer: str) -> str:
        if customer == "slow":
            await asyncio.sleep(0.05)
        if customer == "stuck":
            await asyncio.sleep(3600)
        if customer == "broke":
            raise Refused("no money")
        return "ok"


class Note(Model, endpoint="notes"):
    """Something written down."""

    text: str
    stars: float = 0.0
    price: Annotated[Decimal, Meta(ge=0)] = Decimal(1)
    rank: Annotated[int | None, Meta(description="among all")] = None
'''


class Answer:
    """A response as a test reads it."""

    def __init__(self, response):
        self.response = response
        self.status = response.status
        self.headers = dict(response.headers)
        self.body = response.body

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Caller:
    """Sends requests to a router the way a server does."""

    def __init__(self, router):
        self.router = router

    async def __call__(
        self, method, target, data=..., *, body=b"", on_hurry=lambda press: None, **headers
    ):
        path, _, query = target.partition("?")
        known = {"host": "localhost:8000"}
        if data is not ...:
            body = json.dumps(data).encode()
            known["content-type"] = "application/json"
        known |= {name.lower().replace("_", "-"): value for name, value in headers.items()}
        answer = self.router.handle(Request(method, path, query, known, body, on_hurry))
        return Answer(await answer if inspect.isawaitable(answer) else answer)


@pytest.fixture
def shop_text():
    return SHOP


@pytest.fixture
async def host():
    parts = {"store": MemoryStore(), "clock": SystemClock(), "loader": PythonLoader()}
    parts |= {"cipher": AesCipher(random_key()), "scratch": MemoryStore}
    parts.setdefault("vault", AesVault(MemoryKeeper()))
    async with Host(**parts, limits=Limits(grace=0.1)) as host:
        await host.deploy("shop", "1.0.0", SHOP)
        yield host


@pytest.fixture
def caller():
    return Caller


@pytest.fixture
def call(host):
    return Caller(Router(host, token=None))
