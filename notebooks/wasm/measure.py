"""Measures the samples: how large they are, how long they take to compile and begin, and a call.

    python notebooks/wasm/measure.py                 all of them
    python notebooks/wasm/measure.py c/tariff        one, or some

`compile` is what a component costs that the host never saw, `again` what one costs that it keeps
the compiled code of; `begin` is a new instance of it with its first call. A call passes about 1 KB
in. It is measured as the host makes it, in the component's own thread, so a good part of it is the
way there and back. Each figure is the best of several: what the machine did besides does not count.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from build import build

from aegis.adapters.components.wasm.guest import WasmGuest
from aegis.adapters.components.wasm.instance import world_of
from aegis.adapters.components.wasm.machine import Limits, Machine
from aegis.core.component import Source

CALLS = 2000
PADDING = "x" * 900


def about(record: Mapping[str, Any], event: str, data: Mapping[str, Any]) -> dict[str, Any]:
    """What a port or a listener is called with."""
    told = {"id": "1", "type": event, "subject": "o-1", "data": data}
    return {"record": {"id": "o-1", **record}, "event": told, "key": "1.1"}


SHIPPING = (
    "Shipment.pick_order.answer",
    about({"order_id": "o-1"}, "warehouse.picked", {"address": PADDING}),
)
ITEMS = [{"item_id": "lamp" * 20, "price": "329.95", "qty": 1}] * 8
ASKED: Mapping[str, tuple[str, dict[str, Any]]] = {
    "javascript/shipping": SHIPPING,
    "go/shipping": SHIPPING,
    "assemblyscript/fraud": ("score", about({}, "order.created", {"changed": {"items": ITEMS}})),
    "c/tariff": ("ByWeight.fee", {"arguments": {"grams": 1200, "country": "DE", "note": PADDING}}),
    "wat/labels": ("Label.print", about({"order_id": PADDING}, "label.created", {})),
}
SETTINGS = {"tariff.home": "AT", "tariff.begin": 390, "tariff.kilo": 125}


async def nobody(what: str, _: tuple[Any, ...]) -> str:
    """Answers what a sample asks; none of these asks anything."""
    raise NotImplementedError(what)


def best(times: int, do: Callable[[], object]) -> float:
    """Seconds of the fastest of some times."""
    found = []
    for _ in range(times):
        began = time.perf_counter()
        do()
        found.append(time.perf_counter() - began)
    return min(found)


async def measure(name: str) -> str:
    """The line of one sample."""
    path = build(name)
    binary = path.read_bytes()
    source = Source.of(name.partition("/")[2], "1.0.0", "", binary=binary)
    with TemporaryDirectory() as folder:
        kept = Path(folder)
        first = best(3, lambda: Machine().compiled(binary))
        Machine(kept).compiled(binary)
        again = best(3, lambda: Machine(kept).compiled(binary))
    machine = Machine()
    compiled = machine.compiled(binary)
    world = world_of(machine, compiled, source)
    function, given = ASKED[name]
    text = json.dumps(given, separators=(",", ":"))

    def begin() -> None:
        guest = WasmGuest(machine, compiled, world, Limits(), source)
        guest.call_now("describe")
        guest.close()

    new = best(20, begin)
    guest = WasmGuest(machine, compiled, world, Limits(), source)
    calls = []
    for _ in range(CALLS):
        began = time.perf_counter()
        answer = await guest.call(function, text, nobody, SETTINGS)
        calls.append(time.perf_counter() - began)
        if answer.failed:
            raise RuntimeError(f"{name} says {answer.text}")
    guest.close()
    calls.sort()
    return (
        f"{name:24} {len(binary) / 1000:>8,.1f} KB {first * 1e3:>7,.0f} ms {again * 1e3:>6,.1f} ms "
        f"{new * 1e3:>6.1f} ms {calls[CALLS // 2] * 1e6:>6,.0f} us"
    )


async def main(names: Sequence[str]) -> None:
    """Measure some samples, or all."""
    print(f"{'':24} {'size':>11} {'compile':>10} {'again':>9} {'begin':>9} {'call':>9}")
    for name in names or ASKED:
        print(await measure(name), flush=True)
    print(f"median of {CALLS} calls; load of the machine {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    logging.disable()
    asyncio.run(main(sys.argv[1:]))
