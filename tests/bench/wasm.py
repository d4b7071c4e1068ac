"""What a call of a guest costs, what hostile guests do to everybody else, and 200 swaps of one."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from tests.bench.figure import Figure
from tests.bench.machine import Foreign
from tests.bench.program import MODELS, Load, Program, Served, ask, told
from tests.wasm.modules import component

SECONDS = 8.0
SWAPS = 200
CONNECTIONS = 8
BODY = json.dumps({"customer": "c-1", "total": "129.90"})
PAGE = os.sysconf("SC_PAGE_SIZE")


def measure(directory: Path) -> list[Figure]:
    return [*_calls(), *_hostile(directory / "hostile"), *_swaps(directory / "swaps")]


def _calls() -> list[Figure]:
    foreign = Foreign()
    with Program("guests", "calls") as program:
        found = program.hear()
    share = foreign.share()
    told(f"  calls; foreign CPU {share:.0%}")
    note = f"{{:.0f}} us and {found['bare']:.0f} us, 1 KB in and out; foreign CPU {share:.0%}"
    return [
        Figure(
            name="call inline, to the bare call of wasmtime-py",
            value=found["inline ratio"],
            unit="x",
            most=2,
            note=note.format(found["inline"]),
        ),
        Figure(
            name="  on a thread of its own",
            value=found["own ratio"],
            unit="x",
            most=8,
            note=note.format(found["own"]),
        ),
        Figure(
            name="  a command of a host, which commits",
            value=found["command ratio"],
            unit="x",
            note=note.format(found["command"]),
        ),
        Figure(name="instance and its first call", value=found["begin"] / 1e3, unit="ms", most=1),
    ]


def _hostile(data: Path) -> list[Figure]:
    """While two guests, one after the other, do all that is hostile."""
    with Program("guests", "hostile", data) as program:
        address = program.hear()["address"]
        notes = f"{address}{MODELS}/notes"
        one = json.loads(ask("POST", notes, BODY))["id"]
        requests = [("GET", "GET", f"{MODELS}/notes/{one}", "")]
        program.tell(-1.0)
        quiet = program.hear()
        program.tell(SECONDS)
        alone = program.hear()
        with Load(address, CONNECTIONS, requests) as load:
            foreign = Foreign(program.pid, load.pid)
            program.tell(-1.0)
            program.hear()
            before = load.end()["GET"]
        with Load(address, CONNECTIONS, requests) as load:
            foreign = Foreign(program.pid, load.pid)
            program.tell(SECONDS)
            program.hear()
            timed = load.end()["GET"]
            share = foreign.share()
    told(f"  {alone['calls']} hostile calls; foreign CPU {share:.0%}")
    # While the host answers, the time of a guest stands still.
    computing = [name for name in alone["over"] if not name.endswith("asks on")]
    slowest = max(computing, key=lambda name: alone["over"][name])
    longest = max(computing, key=lambda name: alone["longest over"][name])
    return [
        Figure(
            name="loop lag while a hostile guest runs, p99",
            value=alone["p99"],
            unit="ms",
            most=10,
            note=f"longest {alone['longest']:.0f} ms; without p99 {quiet['p99']:.1f}, longest "
            f"{quiet['longest']:.0f} ms; {alone['calls']} calls of {len(alone['over'])} kinds",
        ),
        Figure(
            name="GET of another component meanwhile, p99",
            value=timed.p99,
            unit="ms",
            note=f"{timed.count:,} calls, {timed.failed} failed, p50 {timed.p50:.1f} ms; without "
            f"p50 {before.p50:.1f}, p99 {before.p99:.1f} ms; foreign CPU {share:.0%}",
        ),
        Figure(
            name="a hostile guest's time over its limit, of the slowest kind",
            value=alone["over"][slowest],
            unit="ms",
            most=100,
            note=f"a {slowest}; longest once {alone['longest over'][longest]:.0f} ms, a {longest}",
        ),
    ]


def _swaps(data: Path) -> list[Figure]:
    """Hot deploys of a component in WebAssembly that is being called all the while."""

    def text(edition: int) -> str:
        model = {
            "endpoint": "orders",
            "fields": {
                "customer": {"type": "string"},
                "total": {"type": "string"},
                "edition": {"type": "integer", "default": edition},
            },
            "ports": {"finish": {"consumes": ["order.created"], "produces": "order.finished"}},
        }
        said = {"name": "guest", "version": "1.0.0", "models": {"Order": model}}
        return component(said, {"Order.finish": "{}"})

    took, wrong, sizes = [], 0, []
    with Served(data) as served:
        orders = f"{served.address}{MODELS}/orders"

        def deploy(edition: int) -> None:
            served.tell({"name": "guest", "version": "1.0.0", "wat": text(edition)})
            took.append(float(served.hear()["ms"]))

        deploy(0)
        one = json.loads(ask("POST", orders, BODY))["id"]
        requests = [
            ("GET", "GET", f"{MODELS}/orders/{one}", ""),
            ("POST", "POST", f"{MODELS}/orders", BODY),
        ]
        with Load(served.address, CONNECTIONS, requests) as load:
            foreign = Foreign(served.pid, load.pid)
            time.sleep(0.5)
            for number in range(SWAPS):
                deploy(number + 1)
                wrong += json.loads(ask("POST", orders, BODY))["edition"] != number + 1
            timed = load.end()
            share = foreign.share()
        # What the load wrote stays in memory up to a bound, so memory is looked at without it.
        for number in range(SWAPS):
            deploy(-number)
            sizes.append(int(Path(f"/proc/{served.pid}/statm").read_text().split()[1]) * PAGE)
    calls = sum(kind.count for kind in timed.values())
    failed = sum(kind.failed for kind in timed.values())
    failure = next((kind.failure for kind in timed.values() if kind.failure), "")
    took.sort()
    half, end = sizes[SWAPS // 2], sizes[-1]
    told(f"  {SWAPS} swaps during {calls:,} calls; foreign CPU {share:.0%}")
    return [
        Figure(
            name=f"failed calls in {SWAPS} swaps",
            value=failed,
            most=1,
            note=failure or f"of {calls:,}; p50 of a deploy {took[len(took) // 2]:.0f} ms",
        ),
        Figure(name="  answers of old code after a swap", value=wrong, most=1),
        Figure(
            name=f"  memory that {SWAPS // 2} more leave behind, each",
            value=(end - half) / (SWAPS // 2) / 1024,
            unit="KiB",
            most=64,
            note=f"{half / 2**20:.0f} and {end / 2**20:.0f} MiB resident",
        ),
    ]
