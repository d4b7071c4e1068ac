"""Mistakes that both type checkers must report: each line with one says so at its end."""

# ruff: noqa: B018, F841
from decimal import Decimal
from typing import Protocol

from aegis import Model, adapter, command, on, port


class Payments(Protocol):
    async def authorize(self, order_id: str) -> str: ...


class Order(Model, endpoint=5):  # mistake
    total: Decimal
    status: str = "PENDING"

    @port(consumes="order.created", timeout="5")  # mistake
    async def authorize(self, payments: Payments = adapter()) -> "Order":
        await payments.authorise(self.id)  # mistake
        await payments.authorize(self.total)  # mistake
        return self

    @port(consumes=5)  # mistake
    async def pick(self) -> "Order":
        return self

    @authorize.undo(tries=5)  # mistake
    async def void(self) -> "Order":
        return self

    @command(produce="x.y")  # mistake
    def cancel(self) -> "Order":
        return "canceled"  # mistake

    @command
    def close(self, why: str = "") -> "Order":
        return self


class Wall(Model, concurrency="none"):  # mistake
    color: str = "white"


class Half(Payments):
    async def authorize(self, order_id: int) -> str:  # mistake
        return ""


@on(5)  # mistake
def heard() -> None: ...


async def use() -> None:
    Order(status="OPEN")  # mistake
    Order(total="five")  # mistake
    Order(Decimal(1))  # mistake
    order = Order(total=Decimal(1))
    order.total = Decimal(2)  # mistake
    order.totl  # mistake
    await order.authorize("sandbox")  # mistake
    order.close(1)  # mistake
    changed: str = order.update(total=Decimal(3))  # mistake
