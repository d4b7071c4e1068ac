"""A small shop whose partners are told what to do by each test."""

import asyncio

from aegis.core.flow import FlowState, StepState

TEXT = """
from decimal import Decimal
from typing import Annotated, Protocol

from aegis import Meta, Model, Refused, adapter, command, config, emit, event, idempotency_key, port


class Partner(Protocol):
    async def do(self, what: str, order: str) -> str: ...


class Desk(Partner):
    def __init__(self, say: object = config("say")) -> None:
        self.say = say

    async def do(self, what: str, order: str) -> str:
        return await self.say(what, order, idempotency_key())


class Order(Model, endpoint="orders"):
    total: Annotated[Decimal, Meta(ge=0)] = Decimal(1)
    note: str = ""
    status: str = "PENDING"
    approved: bool = True
    paid: str | None = None
    shipped: str | None = None

    @port(consumes="order.created", produces="order.paid", retries=2, backoff=7, timeout=PAYTIME)
    async def pay(self, partner: Partner = adapter()) -> "Order":
        return self.update(paid=await partner.do("pay", self.id))

    @pay.undo(retries=1, backoff=3)
    async def refund(self, partner: Partner = adapter()) -> "Order":
        await partner.do("refund", self.id)
        return self.update(paid=None)

    @port(consumes=pay, produces="order.packed", retries=0, when=lambda order: order.approved)
    async def pack(self, partner: Partner = adapter()) -> "Order":
        await partner.do("pack", self.id)
        return self

    @pack.undo(retries=0)
    async def unpack(self, partner: Partner = adapter()) -> None:
        await partner.do("unpack", self.id)

    @port(consumes=pack, produces="order.shipped", retries=1, backoff=11, timeout=SHIPTIME)
    async def ship(self, partner: Partner = adapter()) -> "Order":
        return self.update(shipped=await partner.do("ship", self.id), status="COMPLETE")

    @ship.undo(retries=0)
    async def recall(self, partner: Partner = adapter()) -> "Order":
        await partner.do("recall", self.id)
        return self.update(shipped=None)

    @port(consumes="order.compensated")
    def canceled(self) -> "Order":
        return self.update(status="CANCELED")

    @command
    def approve(self) -> "Order":
        return self.update(approved=True)

    @command(undo=True)
    def cancel(self) -> "Order":
        return self.update(note="canceled")
""".replace("PAYTIME", "5").replace("SHIPTIME", "0.05")


class Desk:
    """The other side of every partner: what was asked, and what each thing asked for does.

    A reply is a value, an exception, or an async function of the call's number (from 1).
    """

    def __init__(self):
        self.calls = []
        self.replies = {}
        self.running = 0
        self.most = 0

    async def __call__(self, what, order, key):
        self.calls.append((what, key.rpartition(".")[2]))
        reply = self.replies.get(what, "ok")
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            if callable(reply):
                reply = await reply(self.asked(what))
            if isinstance(reply, BaseException):
                raise reply
            return reply
        finally:
            self.running -= 1

    def asked(self, what):
        return sum(name == what for name, _ in self.calls)

    @property
    def told(self):
        return [name for name, _ in self.calls]


async def never(_):
    await asyncio.sleep(3600)


async def until(true, seconds=5.0):
    """Wait until `true()` holds."""
    async with asyncio.timeout(seconds):
        while not true():  # noqa: ASYNC110 -- any state may be asked for
            await asyncio.sleep(0.001)


async def quiet(host):
    """Wait until no flow is open."""
    await until(lambda: host.status().flows_open == 0)


async def states(host, order, n=0):
    """The states of a record's n-th flow and of its steps by port."""
    flow, steps = (await host.flows(order))[n]
    return FlowState(flow.state), {step.port: StepState(step.state) for step in steps}
