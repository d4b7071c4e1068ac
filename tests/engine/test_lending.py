"""An adapter of another component: exported, granted, fitting, and of its owner's newest code."""

import asyncio

import pytest

from aegis.core.errors import ComponentError, GrantError
from aegis.core.graph import graph_of
from aegis.testing import memory_host
from tests.engine.shop import quiet

PAYMENTS = """
import asyncio
from typing import Protocol
from aegis import config, service

LOG = []

class Gateway(Protocol):
    def name(self) -> str: ...

class Card(Protocol):
    async def charge(self, order_id: str, amount: int) -> str: ...

class Loopback(Gateway):
    def name(self) -> str:
        return "v1"

class CardPayments(Card):
    def __init__(self, gateway: Gateway = service()) -> None:
        self.gateway, self.secret, self.closed = gateway, "s3cret", False
    async def open(self) -> None:
        LOG.append("open")
    async def close(self) -> None:
        LOG.append("close")
        self.closed = True
    async def charge(self, order_id: str, amount: int) -> str:
        if order_id == "slow":
            SLOW.set()
            await GO.wait()
        assert not self.closed
        return f"{self.gateway.name()} {order_id} {amount}"

SLOW, GO = asyncio.Event(), asyncio.Event()

__exports__ = ["CardPayments"]
"""
ORDERS = """
from typing import Protocol
from aegis import Model, adapter, command, port

class Payments(Protocol):
    async def charge(self, order_id: str, amount: int) -> str: ...

class Order(Model, endpoint="orders"):
    paid: str = ""
    seen: str = ""

    @port(consumes="order.created", produces="order.paid", retries=2)
    async def pay(self, payments: Payments = adapter()) -> "Order":
        return self.update(paid=await payments.charge(self.id, 5))

    @command
    async def look(self, payments: Payments = adapter()) -> "Order":
        return self.update(seen=str([hasattr(payments, "secret"), hasattr(payments, "charge")]))

    @command
    async def slowly(self, payments: Payments = adapter()) -> "Order":
        return self.update(seen=await payments.charge("slow", 1))

__grants__ = {"payments": ["CardPayments"]}
"""
BOUND = {"orders.Payments": "payments.CardPayments"}
GRANTS = ["payments.CardPayments"]


def log(host):
    return host.engine.registry.live["payments"].module.LOG


async def both(host):
    await host.deploy("payments", "1.0.0", PAYMENTS)
    await host.deploy("orders", "1.0.0", ORDERS, grants=GRANTS)


async def paid(host, id):
    await host.create("Order", id=id)
    await quiet(host)
    return (await host.get("Order", id)).paid


async def test_an_exported_adapter_of_another_does_a_protocol_and_shows_nothing_else():
    async with memory_host(bindings=BOUND) as host:
        await both(host)
        assert await paid(host, "a") == "v1 a 5"
        order = await host.call(await host.get("Order", "a"), "look")
        assert order.seen == "[False, True]"
        assert log(host) == ["open"]
        graph = graph_of(host.engine.registry)
        nodes = {node.id for node in graph.nodes}
        assert {edge.target for edge in graph.edges if edge.source.startswith("port:")} <= nodes
        assert "part:payments.CardPayments" in nodes
        assert (await host.replay(order)).same


async def test_a_new_version_of_the_owner_rebinds_at_once_and_calls_in_flight_end_on_the_old():
    async with memory_host(bindings=BOUND) as host:
        await both(host)
        await paid(host, "a")
        old = host.engine.registry.live["payments"].module
        call = asyncio.create_task(host.call(await host.get("Order", "a"), "slowly"))
        await old.SLOW.wait()
        await host.deploy("payments", "2.0.0", PAYMENTS.replace('"v1"', '"v2"'))
        assert await paid(host, "b") == "v2 b 5"
        assert old.LOG == ["open"]
        old.GO.set()
        assert (await call).seen == "v1 slow 1"
        for n in range(3, 8):
            await host.deploy("payments", f"{n}.0.0", PAYMENTS.replace('"v1"', f'"v{n}"'))
            assert await paid(host, f"c{n}") == f"v{n} c{n} 5"
        for _ in range(100):
            await asyncio.sleep(0)
        assert old.LOG == ["open", "close"]
        await host.rollback("payments")
        assert await paid(host, "d") == "v6 d 5"


async def test_a_rollback_of_the_user_uses_the_owner_as_it_is_now():
    async with memory_host(bindings=BOUND) as host:
        await both(host)
        await host.deploy("orders", "1.1.0", ORDERS + "\n# newer\n")
        await host.deploy("payments", "2.0.0", PAYMENTS.replace('"v1"', '"v2"'))
        await host.rollback("orders")
        assert await paid(host, "a") == "v2 a 5"


async def test_it_can_be_bound_while_the_host_runs_and_both_can_come_in_one_change():
    from aegis.core.component import Source
    from aegis.core.grant import Grants
    from aegis.engine.plan import Change

    own = ORDERS + "\nclass Own(Payments):\n    async def charge(self, order_id: str, amount: int)"
    own += ' -> str:\n        return "own"\n'
    async with memory_host(grants={"orders": tuple(GRANTS)}) as host:
        sources = (Source.of("orders", "1.0.0", own), Source.of("payments", "1.0.0", PAYMENTS))
        await host.change(Change(sources=sources, bindings=BOUND))
        assert await paid(host, "a") == "v1 a 5"
        await host.bind("orders.Payments", "Own")
        assert await paid(host, "b") == "own"
        await host.bind("orders.Payments", "payments.CardPayments")
        assert await paid(host, "c") == "v1 c 5"
        assert host.engine.registry.grants == Grants(said={"orders": tuple(GRANTS)})


@pytest.mark.parametrize(
    ("bound", "payments", "orders", "grants", "said"),
    [
        ("payments.CardPayments", PAYMENTS, ORDERS, [], "nobody granted it"),
        (
            "payments.CardPayments",
            PAYMENTS,
            ORDERS.replace('{"payments": ["CardPayments"]}', "{}"),
            GRANTS,
            "does not ask for CardPayments of payments",
        ),
        (
            "payments.CardPayments",
            PAYMENTS.replace('["CardPayments"]', "[]"),
            ORDERS,
            GRANTS,
            "payments does not export CardPayments: say exports.adapters",
        ),
        ("payments.Cardpayments", PAYMENTS, ORDERS, GRANTS, "did you mean 'CardPayments'"),
        ("paiments.CardPayments", PAYMENTS, ORDERS, GRANTS, "paiments is not there"),
        (
            "payments.CardPayments",
            PAYMENTS,
            ORDERS.replace("order_id: str, amount", "order: str, amount"),
            GRANTS,
            "CardPayments.charge takes",
        ),
        (
            "payments.CardPayments",
            PAYMENTS,
            ORDERS.replace(
                "async def charge", "async def refund(self) -> None: ...\n    async def charge"
            ),
            GRANTS,
            "misses the method 'refund'",
        ),
    ],
)
async def test_one_that_may_not_or_cannot_be_used_is_refused_by_name(
    bound, payments, orders, grants, said
):
    async with memory_host(bindings={"orders.Payments": bound}) as host:
        await host.deploy("payments", "1.0.0", payments)
        with pytest.raises(ComponentError, match=said):
            await host.deploy("orders", "1.0.0", orders, grants=grants)
        assert log(host) == []


async def test_a_revoke_counts_at_the_next_call_of_the_adapter():
    async with memory_host(bindings=BOUND) as host:
        await both(host)
        await host.revoke("orders", "payments.CardPayments")
        assert await paid(host, "a") == ""
        (failed,) = await host.failed()
        assert "orders may not use CardPayments of payments" in failed.error
        with pytest.raises(GrantError):
            await host.run(await host.get("Order", "a"), "pay")
        await host.grant("orders", "payments.CardPayments")
        assert await paid(host, "b") == "v1 b 5"


@pytest.mark.parametrize(
    ("new", "said"),
    [
        (PAYMENTS.replace('["CardPayments"]', "[]"), "does not export CardPayments"),
        (PAYMENTS.replace("CardPayments", "CreditPayments"), "no adapter of it"),
        (PAYMENTS.replace("order_id: str, amount", "order_id: str, cents"), "takes"),
    ],
)
async def test_an_owner_cannot_withdraw_what_is_bound(new, said):
    async with memory_host(bindings=BOUND) as host:
        await both(host)
        with pytest.raises(ComponentError, match=f"orders.Payments is bound to .*{said}"):
            await host.deploy("payments", "2.0.0", new)
        with pytest.raises(
            ComponentError, match="orders uses its adapter CardPayments as Payments"
        ):
            await host.undeploy("payments")
        assert await paid(host, "a") == "v1 a 5"
        await host.undeploy("orders")
        await host.undeploy("payments")


async def test_two_that_use_each_others_adapters_are_refused():
    other = PAYMENTS.replace("class CardPayments(Card):", "class CardPayments(Card):\n    x = 1\n")
    other += """
from aegis import Model, adapter, command
class Maker(Protocol):
    async def make(self) -> str: ...
class Bill(Model):
    @command
    async def go(self, maker: Maker = adapter()) -> "Bill":
        return self
"""
    orders = (
        ORDERS
        + """
class Work(Protocol):
    async def make(self) -> str: ...
class Maker(Work):
    async def make(self) -> str:
        return ""
"""
    )
    async with memory_host(bindings={**BOUND, "payments.Maker": "orders.Maker"}) as host:
        with pytest.raises(ComponentError, match="orders is not there"):
            await host.deploy("payments", "1.0.0", other)
        from aegis.core.component import Source
        from aegis.engine.plan import Change

        sources = (Source.of("payments", "1.0.0", other), Source.of("orders", "1.0.0", orders))
        await host.grant("orders", *GRANTS)
        with pytest.raises(ComponentError, match="in a circle"):
            await host.change(Change(sources=sources))
