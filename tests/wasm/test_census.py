"""Nothing of a replaced guest stays: threads, instances, modules, classes, what it may call."""

import gc
import logging
import os
import sys
import threading
import weakref

import pytest

from aegis.adapters.components.wasm.native import imports_kept
from aegis.adapters.storage.sqlite import SqliteStore
from aegis.core.errors import ComponentError
from aegis.engine.host import Host
from aegis.testing import memory_host
from tests.engine.shop import until
from tests.wasm.modules import component, module, source

SWAPS = int(os.environ.get("AEGIS_SWAPS", "40"))


def shop(number: int) -> str:
    """One edition: of both kinds in turn, with limits that need the other engine now and then."""
    said = {
        "name": "shop",
        "version": "1.0.0",
        "limits": {"fuel": 1_000_000_000} if number % 7 == 0 else {},
        "fresh": number % 5 == 0,
        "models": {
            "Order": {
                "endpoint": "orders",
                "fields": {
                    "edition": {"type": "integer", "default": number},
                    "lines": {"type": "array", "items": {"type": "object", "properties": {}}},
                },
                "ports": {"finish": {"consumes": ["order.created"], "produces": "order.finished"}},
                "commands": {"boom": {}, "name": {"uses": {"names": "Names"}}},
            }
        },
        "protocols": {"Names": {"name": {"takes": {}, "gives": {"type": "string"}}}},
        "adapters": {"Book": {"does": ["Names"]}},
    }
    named = "(drop (call $host_call (i32.const 64) (i32.const 10) (i32.const 0) (i32.const 0)))"
    make = module if number % 2 else component
    return make(
        said,
        {"Order.finish": "{}", "Book.name": '"Ada"'},
        calls=["host.call", "host.log"],
        functions='(data (i32.const 64) "names.name")',
        bodies={"Order.boom": "unreachable", "Order.name": f"{named} (i64.const 0)"},
    )


BROKEN = module(
    {
        "name": "shop",
        "version": "1.0.0",
        "models": {"Order": {"fields": {"text": {"type": "strin"}}}},
    },
    calls=["host.log"],
)


def of_ours() -> dict[str, int]:
    """How much of guests the process keeps, by what it is."""
    names = [thread.name for thread in threading.enumerate()]
    return {
        "imports": imports_kept(),
        "threads": sum(name.startswith("aegis-shop@") for name in names),
        "modules": sum(name.startswith("aegis_components.shop_r") for name in list(sys.modules)),
        "loggers": sum("shop" in name for name in list(logging.root.manager.loggerDict)),
    }


def more_than(before: dict[str, int], allowed: dict[str, int]) -> dict[str, int]:
    """What of ours there is more of now than before and is allowed, and how many."""
    return {what: n for what, n in of_ours().items() if n > before[what] + allowed.get(what, 0)}


async def used(host: Host) -> None:
    """Its code runs on threads of its own, at two depths, and is stopped."""
    order = await host.create("Order", lines=[])
    assert (await host.wait(order, 5)).state == "completed"
    await host.call(order, "name")
    with pytest.raises(Exception, match="unreachable"):
        await host.call(order, "boom")


async def test_of_many_guests_one_old_one_is_alive_and_the_process_keeps_nothing(tmp_path):
    refs = []
    gc.collect()
    before = of_ours()  # other tests may have left some behind
    async with memory_host(store=SqliteStore(tmp_path / "data")) as host:
        for number in range(SWAPS):
            await host.deploy(source("shop", shop(number)))
            if number % 10 in {0, 5, 7} or number >= SWAPS - 2:
                await used(host)
            if number % 10 == 9:
                await host.rollback("shop")
            if number % 10 == 8:
                with pytest.raises(ComponentError, match="is no type"):
                    await host.deploy(source("shop", BROKEN))
            live = host.engine.registry.live["shop"]
            guest = live.guest
            classes = [spec.cls for spec in live.models] + [part.cls for part in live.parts]
            things = [live, guest, guest._template, live.module, *classes]
            refs.append([weakref.ref(one) for one in things])
            del live, guest, classes, things

        def alive():
            gc.collect()
            return [n for n, some in enumerate(refs) if any(one() is not None for one in some)]

        # Two revisions, with the most that each may have: its functions, and a thread at each depth.
        most = {"imports": 2 * (4 + 1), "threads": 2 * 2, "modules": 2, "loggers": 2}
        await until(lambda: len(alive()) <= 2 and more_than(before, most) == {}, 20)
        await host.undeploy("shop")
        await until(lambda: len(alive()) <= 1, 20)
    none = {"loggers": 1}  # by the component's name, whatever its revisions are
    await until(lambda: not alive() and more_than(before, none) == {}, 20)
