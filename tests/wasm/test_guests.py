"""A component in WebAssembly serves like one in Python, and cannot harm the host."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from decimal import Decimal
from typing import Any

import pytest

from aegis.core.errors import GuestError
from aegis.engine.host import Host
from aegis.testing import memory_host
from tests.wasm.modules import module, source

SHOP: dict[str, Any] = {
    "name": "shop",
    "version": "1.0.0",
    "limits": {"seconds": 0.1},
    "models": {
        "Order": {
            "endpoint": "orders",
            "fields": {
                "total": {"type": "string", "format": "decimal", "default": "0.00"},
                "status": {"enum": ["NEW", "DONE"], "default": "NEW"},
            },
            "ports": {
                "finish": {"consumes": ["order.created"], "produces": "order.finished"},
                "boom": {"retries": 0},
            },
            "commands": {"cancel": {}, "spin": {}},
        }
    },
}
WAT = module(
    SHOP,
    {"Order.finish": '{"record":{"status":"DONE","total":"3.50"}}', "Order.cancel": "!not now"},
    functions="""
        (func $spin (result i64) (loop br 0) (i64.const 0))
        (func $inner (result i64) unreachable)
        (func $kaboom (result i64) call $inner)
    """,
    bodies={"Order.spin": "(call $spin)", "Order.boom": "(call $kaboom)"},
)


@pytest.fixture
async def host() -> AsyncGenerator[Host]:
    async with memory_host() as host:
        await host.deploy(source("shop", WAT))
        yield host


async def test_a_port_is_a_step_that_an_event_sets_off(host: Host) -> None:
    order = await host.create("Order", total="1.00")
    await host.wait(order, 5)
    order = await host.get("Order", order.id)
    assert (order.status, order.total) == ("DONE", Decimal("3.50"))


async def test_an_error_of_the_guest_is_told_as_it_says_it(host: Host) -> None:
    order = await host.create("Order")
    with pytest.raises(GuestError, match=r"Order.cancel: not now"):
        await host.call(order, "cancel")


async def test_a_trap_names_the_functions_of_the_guest_and_the_next_call_is_served(
    host: Host,
) -> None:
    order = await host.create("Order")
    for _ in range(3):
        with pytest.raises(GuestError, match="unreachable") as caught:
            await host.run(order, "boom")
        assert caught.value.fields["frames"] == ["inner", "kaboom", "invoke"]
        with pytest.raises(GuestError, match="not now"):
            await host.call(order, "cancel")


async def test_what_computes_without_end_is_stopped(host: Host) -> None:
    order = await host.create("Order")
    with pytest.raises(GuestError, match=r"computed for longer than 0.1 s, in spin"):
        await host.call(order, "spin")
