"""A guest without a host: the sandbox alone, for tests that try to break it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import wasmtime

from aegis.adapters.components.wasm.guest import WasmGuest
from aegis.adapters.components.wasm.instance import world_of
from aegis.adapters.components.wasm.machine import Limits, Machine
from aegis.core.component import Source

DESCRIBED = {"name": "thing", "version": "1.0.0"}
Serve = Callable[[str, tuple[Any, ...]], Awaitable[str]]


def guest(
    machine: Machine, wat: str | bytes, limits: Limits | None = None, **how: Any
) -> WasmGuest:
    """What runs a module in WAT (or one that is compiled to bytes already)."""
    binary = wat if isinstance(wat, bytes) else bytes(wasmtime.wat2wasm(wat))
    source = Source.of("thing", "1.0.0", "", origin="test", binary=binary)
    limits = limits or Limits()
    compiled = machine.compiled(binary, fuel=limits.fuel is not None)
    return WasmGuest(machine, compiled, world_of(machine, compiled, source), limits, source, **how)


async def echoed(what: str, arguments: tuple[Any, ...]) -> str:
    """Answers what a guest asks with what it asked."""
    return f"{what}{list(arguments)}"


async def called(
    one: WasmGuest, name: str, text: str = "", serve: Serve = echoed, **more: Any
) -> Any:
    """What a call gives, and whether that is an error."""
    given = await one.call(name, text, serve, more.get("settings"))
    return given.text, given.failed


def threads(one: WasmGuest) -> int:
    """How many threads a guest has."""
    return sum(thread.name == f"aegis-{one.label}" for thread in threading.enumerate())


async def until(holds: Callable[[], bool]) -> None:
    """Wait until something holds; it is a hang when it does not for long."""
    async with asyncio.timeout(10):  # threads of guests know no event of it
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.005)
