"""What guests cost, and what hostile ones can do: `python -m tests.bench.guests calls|hostile DATA`.

`calls` says a line of JSON with microseconds. `hostile` says the address of a host that serves
notes; for each line it reads it lets hostile guests run for that many seconds, and says what came.
"""

import asyncio
import contextlib
import json
import logging
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import wasmtime
from wasmtime import component as wc

from aegis.adapters.components.wasm.guest import WasmGuest
from aegis.adapters.components.wasm.machine import Limits, Machine
from aegis.bootstrap import build_host, dedicate, start_server
from aegis.configuration import Config
from aegis.core.errors import GuestError
from aegis.testing import memory_host
from tests.bench.served import TOKEN
from tests.wasm.hostile import DOES, wat
from tests.wasm.modules import ECHO, component, source
from tests.wasm.sandbox import DESCRIBED, guest

COMPONENTS = Path(__file__).parent / "components"
TEXT = json.dumps({"text": "x" * 1010})  # 1 KB
CALLS = 1_000
ROUNDS = 15
SECONDS = 0.05  # what a hostile guest may compute
MODEL = {
    "name": "echo",
    "version": "1.0.0",
    "models": {
        "Echo": {
            "fields": {"text": {"type": "string", "default": ""}},
            "commands": {"say": {"arguments": {"text": {"type": "string"}}}},
        }
    },
}


async def calls() -> dict[str, float]:
    """Microseconds of a call with 1 KB in and out, by each way; they take turns."""
    machine = Machine()
    text = component(DESCRIBED, bodies={"echo": ECHO})
    inline, own = guest(machine, text, inline=True), guest(machine, text)
    bare = _bare(text)

    async def direct() -> None:
        for _ in range(CALLS):
            bare("echo", TEXT)

    def by(one: WasmGuest) -> Callable[[], Awaitable[None]]:
        async def call() -> None:
            for _ in range(CALLS):
                await one.call("echo", TEXT, _nothing)

        return call

    async with memory_host() as host:
        # Says what the fields are to be, and what it was given: 1 KB in and out.
        said = json.dumps({"record": {"text": "x" * 1000}})
        await host.deploy(source("echo", component(MODEL, {"Echo.say": said})))
        record = await host.create("Echo")

        async def commanded() -> None:
            for _ in range(CALLS // 10):
                await host.call(record, "say", text="x" * 1000)

        ways: dict[str, tuple[Callable[[], Awaitable[None]], int]] = {
            "bare": (direct, CALLS),
            "inline": (by(inline), CALLS),
            "own": (by(own), CALLS),
            "command": (commanded, CALLS // 10),
        }
        taken: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(ROUNDS):
            for name, (way, count) in ways.items():
                began = time.perf_counter()
                await way()
                taken[name].append((time.perf_counter() - began) / count * 1e6)
    template, begun = own._template, []
    for _ in range(200):
        began = time.perf_counter()
        template.instance(1.0).call("invoke", ("echo", TEXT), 1 << 20)
        begun.append((time.perf_counter() - began) * 1e6)
    for one in (inline, own):
        one.close()
    found = {name: statistics.median(some) for name, some in taken.items()}
    for name in ("inline", "own", "command"):
        pairs = zip(taken[name], taken["bare"], strict=True)
        found[f"{name} ratio"] = statistics.median(one / other for one, other in pairs)
    return {**found, "begin": statistics.median(begun)}


def _bare(text: str) -> Callable[..., Any]:
    """`invoke` of a component as wasmtime-py alone calls it."""
    engine = wasmtime.Engine()
    store, made = wasmtime.Store(engine), wc.Component(engine, text)
    function = wc.Linker(engine).instantiate(store, made).get_func(store, "invoke")
    assert function is not None

    def call(*texts: str) -> Any:
        found = function(store, *texts)
        function.post_return(store)
        return found.payload

    return call


async def _nothing(what: str, arguments: tuple[Any, ...]) -> str:
    return ""


async def hostile(data: Path) -> None:
    """Serve notes while hostile guests run, each kind in turn."""
    logging.disable(logging.CRITICAL)
    config = Config(data=data, token=TOKEN)
    loop = asyncio.get_running_loop()
    lines = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    machine = Machine()
    guests = {kind: guest(machine, wat(kind), Limits(seconds=SECONDS)) for kind in KINDS}
    async with build_host(config) as host:
        server = await start_server(host, config)
        await host.deploy("note", "1.0.0", (COMPONENTS / "note.py").read_text())
        dedicate()  # as aegis-serve does
        print(json.dumps({"address": server.address}), flush=True)
        while line := await lines.readline():
            print(json.dumps(await _run(guests, float(line))), flush=True)
        await server.close()
    for one in guests.values():
        one.close()


KINDS = ("module", "component")


async def _run(guests: dict[str, WasmGuest], seconds: float) -> dict[str, Any]:
    """Milliseconds that the loop was late meanwhile, and by how much each guest was over time.

    0 seconds are each kind once; -1 is nobody for a second.
    """
    lags: list[float] = []
    over: dict[str, list[float]] = {}
    sampling = asyncio.create_task(_lag(lags))
    end = time.perf_counter() + abs(seconds)
    while time.perf_counter() < end:
        if seconds < 0:
            await asyncio.sleep(0.1)
            continue
        for kind, one in guests.items():
            for name in DOES:
                began = time.perf_counter()
                with contextlib.suppress(GuestError):
                    await one.call(name, "", _nothing)
                late = time.perf_counter() - began - SECONDS
                over.setdefault(f"{kind} that {name}", []).append(max(0.0, late) * 1e3)
    sampling.cancel()
    lags.sort()
    return {
        "p99": lags[len(lags) * 99 // 100],
        "longest": lags[-1],
        "over": {name: statistics.median(some) for name, some in over.items()},
        "longest over": {name: max(some) for name, some in over.items()},
        "calls": sum(map(len, over.values())),
    }


async def _lag(lags: list[float]) -> None:
    while True:
        due = time.perf_counter() + 0.001
        await asyncio.sleep(0.001)
        lags.append((time.perf_counter() - due) * 1e3)


if __name__ == "__main__":
    if sys.argv[1] == "calls":
        print(json.dumps(asyncio.run(calls())))
    else:
        asyncio.run(hostile(Path(sys.argv[2])))
