"""A component in versions whose records do not fit each other, for tests of migrations."""

from tests.engine.shop import until

V1 = """
from typing import Protocol
from aegis import Model, adapter, command, config, port, idempotency_key


class Partner(Protocol):
    async def do(self, what: str, order: str) -> str: ...


class Desk(Partner):
    def __init__(self, say: object = config("say")) -> None:
        self.say = say

    async def do(self, what: str, order: str) -> str:
        return await self.say(what, order, idempotency_key())


class Order(Model, endpoint="orders"):
    total: str = "1.50"
    note: str = ""
    paid: str | None = None
    ready: bool = False
    shipped: str | None = None

    @port(consumes="order.created", produces="order.paid", retries=1, backoff=5)
    async def pay(self, partner: Partner = adapter()) -> "Order":
        return self.update(paid=await partner.do("pay", self.id))

    @pay.undo
    async def refund(self, partner: Partner = adapter()) -> "Order":
        await partner.do("refund", self.id)
        return self.update(paid=None)

    @port(consumes=pay, produces="order.shipped", when=lambda order: order.ready)
    async def ship(self, partner: Partner = adapter()) -> "Order":
        return self.update(shipped=await partner.do("ship", self.id))

    @command
    def release(self) -> "Order":
        return self.update(ready=True)

    @command(undo=True)
    def cancel(self) -> "Order":
        return self
"""

MIGRATE = """
    @classmethod
    def migrate(cls, old: dict[str, Any]) -> "Order":
        total = old.pop("total")
        return cls(**old, cents=round(float(total) * 100))
"""

UNMIGRATE = """
    @classmethod
    def unmigrate(cls, new: dict[str, Any]) -> dict[str, Any]:
        cents = new.pop("cents")
        return {**new, "total": f"{cents / 100:.2f}"}
"""

# Cents in the place of a total, and a shipment that names itself otherwise.
BARE = (
    V1.replace('total: str = "1.50"', "cents: int = 150")
    .replace("from typing import Protocol", "from typing import Any, Protocol")
    .replace('partner.do("ship", self.id)', 'partner.do(f"ship {self.cents}", self.id)')
)
V2 = BARE + MIGRATE
BOTH = V2 + UNMIGRATE


async def still(host):
    """Wait until every open flow waits for something."""
    runs = host._deploys.flows.runs
    await until(lambda: not any(run.tasks or run.compensator for run in runs()))
