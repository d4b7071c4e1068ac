"""A panel on a real kernel: how soon its asks are answered, and what it costs the host."""

from __future__ import annotations

import json
import statistics
import time
from pathlib import Path

from jupyter_client.blocking.client import BlockingKernelClient

from tests.bench.busy import kernel, run
from tests.bench.figure import Figure
from tests.bench.program import COMPONENTS, told
from tests.kernel.view import View, Wire

ASKS = 200
SECONDS = 4.0
ROUNDS = 4
RATE = 1_000
CELLS = {
    "no cell": ("", None),
    "a cell that sleeps": ("import time\ntime.sleep(600)", 50.0),
    "a cell that computes": ("while True: sum(number * number for number in range(1_000))", None),
    "a cell that prints": ("import time\nwhile True: print('a line'); time.sleep(0.001)", None),
}
# Makes records on the host's own loop, and tells which share of a core the whole process took.
DRIVE = """
import asyncio, json, time

async def drive(model, rate, seconds, **data):
    hosted, done, began = host._thread.host, 0, time.perf_counter()
    first, busy = hosted.store.last_seq(), time.process_time()
    while (now := time.perf_counter() - began) < seconds:
        due = int(now * rate)
        await asyncio.gather(*(hosted.create(model, **data) for _ in range(due - done)))
        done = due
        await asyncio.sleep(0.01)
    took = time.perf_counter() - began
    events = (hosted.store.last_seq() - first) / took
    return {"events": events, "share": 100 * (time.process_time() - busy) / took}
"""
# What makes a thousand events a second: model, events of one record, its data.
LOADS = {
    "records": ("Note", 1, "customer='ada', total='2.00'"),
    "flows of 8 steps": ("Order", 9, "customer='ada', total='2.00'"),
}


def measure(directory: Path) -> list[Figure]:
    with kernel(directory) as (_, client):
        for name in ("note", "order"):
            run(client, f"%%component {name} 1.0.0\n{(COMPONENTS / f'{name}.py').read_text()}")
        run(client, DRIVE)
        run(client, "host.create('Note', customer='ada', total='2.00')")
        answers = [_answers(client, *cell) for cell in CELLS.items()]
        return [*answers, *(figure for load in LOADS.items() for figure in _cost(client, *load))]


def _answers(client: BlockingKernelClient, name: str, cell: tuple[str, float | None]) -> Figure:
    """How long asks take while a cell runs, one after the other, with all that Jupyter adds."""
    code, most = cell
    wire = Wire(client)
    view = View(wire).opened()
    running = wire.run(code) if code else None
    wire.pump(0.5)
    times = []
    for _ in range(ASKS):
        began = time.perf_counter()
        id = view.begin("event", seq=1)
        # Message by message: printing cells fill the same socket.
        while not (view.said and view.said[-1].get("id") == id):
            wire.take(client.get_iopub_msg(timeout=30))
        times.append(1e3 * (time.perf_counter() - began))
    view.close()
    if running is not None:
        message = client.session.msg("interrupt_request", {})
        client.control_channel.send(message)
        wire.until(lambda: _ended(wire, running))
    told(f"  {name}: {ASKS} asks")
    times.sort()
    note = f"p50 {statistics.median(times):.1f}, longest {times[-1]:.0f} ms, {ASKS} asks"
    value = times[int(0.99 * ASKS)]
    return Figure(name=f"answer p99, {name}", value=value, unit="ms", most=most, note=note)


def _cost(client: BlockingKernelClient, name: str, load: tuple[str, int, str]) -> list[Figure]:
    """What the host's process takes more of a core while one panel watches."""
    model, each, data = load
    shares: dict[bool, list[float]] = {False: [], True: []}
    rates, sizes, frames = [], [], 0
    for number in range(2 * ROUNDS):
        watched = number % 2 == 1
        wire = Wire(client)
        view = View(wire).opened() if watched else None
        call = f"host._thread.call(drive, '{model}', {RATE / each}, {SECONDS}, {data})"
        running = wire.run(f"print(json.dumps({call}))")
        wire.until(lambda wire=wire, running=running: _ended(wire, running), seconds=60)
        found = json.loads(_printed(wire, running))
        shares[watched].append(found["share"])
        rates.append(found["events"])
        if view is not None:
            frames += len(view.all("frame"))
            sizes += [len(json.dumps(frame)) for frame in view.all("frame")[1:]]
            view.close()
        told(f"  {name}, {'watched' if watched else 'alone'}: {found['share']:.1f} %")
    without, watching = (statistics.median(shares[watched]) for watched in (False, True))
    note = f"{without:.1f} % without, {watching:.1f} % with one, medians of {ROUNDS} rounds"
    note += f"; {statistics.median(rates):,.0f} events/s"
    note += (
        f", {frames / (ROUNDS * SECONDS):.1f} frames/s of {statistics.median(sizes) / 1e3:.1f} kB"
    )
    return [
        Figure(
            name=f"a panel's part of a core, {name}",
            value=watching - without,
            unit="%",
            most=5.0,
            note=note,
        )
    ]


def _ended(wire: Wire, message: dict) -> bool:
    states = [m["content"].get("execution_state") for m in wire.about(message)]
    return "idle" in states


def _printed(wire: Wire, message: dict) -> str:
    said = [m["content"] for m in wire.about(message) if m["msg_type"] == "stream"]
    errors = [m["content"] for m in wire.about(message) if m["msg_type"] == "error"]
    if errors:
        raise RuntimeError("\n".join(errors[0]["traceback"]))
    return "".join(content["text"] for content in said)
