"""A small component for tests of where components come from."""

from __future__ import annotations

from typing import Any

import wasmtime

from tests.wasm.modules import module


def shop(version: str = "1.0.0", *, status: str = "DONE", name: str = "shop") -> str:
    """WAT of a component with a command."""
    said: dict[str, Any] = {
        "name": name,
        "version": version,
        "models": {
            "Order": {
                "endpoint": f"{name}-orders",
                "fields": {"status": {"type": "string", "default": "NEW"}},
                "commands": {"finish": {}},
            }
        },
    }
    return module(said, {"Order.finish": f'{{"record":{{"status":"{status}"}}}}'})


def built(wat: str) -> bytes:
    """The module that a text is."""
    return bytes(wasmtime.wat2wasm(wat))


def manifest(version: str = "1.0.0", path: str = "shop.wasm") -> str:
    """An aegis.toml of it."""
    return f'[component]\nname = "shop"\nversion = "{version}"\nmodels = ["{path}"]\n'


async def served(host: Any) -> str:
    """What the component's own code makes of a record."""
    order = await host.create("shop.Order")
    await host.call(order, "finish")
    status: str = (await host.get("shop.Order", order.id)).status
    return status
