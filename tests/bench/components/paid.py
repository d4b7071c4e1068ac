"""A payment whose partner answers at once, or after a turn of the loop, as whoever is asked does."""

import asyncio
from typing import Protocol

from aegis import Model, adapter, idempotency_key, port


class Bank(Protocol):
    async def ask(self, payment: str, key: str) -> str: ...
    async def answer(self, payment: str, key: str) -> str: ...


class Desk(Bank):
    async def ask(self, payment: str, key: str) -> str:
        await asyncio.sleep(0)
        return key

    async def answer(self, payment: str, key: str) -> str:
        return key


class Payment(Model):
    paid: str | None = None

    @port(timeout=5)
    async def by_ask(self, bank: Bank = adapter()) -> None:
        await bank.ask(self.id, idempotency_key())

    @port(timeout=5)
    async def by_answer(self, bank: Bank = adapter()) -> None:
        await bank.answer(self.id, idempotency_key())
