"""GET by id and durable POST at 32 connections, beside a bare Tornado handler that stores nothing."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.bench.figure import Figure
from tests.bench.machine import DISTURBED, SERVER, Foreign, cpu
from tests.bench.program import MODELS, Hammered, Program, Served, ask, hammer, told

CONNECTIONS = 32
SECONDS = 2.0
ROUNDS = 5
PATIENCE = 5  # rounds more, when others used the machine
BODY = json.dumps({"customer": "c-1", "total": "129.90"})


@dataclass(frozen=True)
class Round:
    """The four runs that are compared, made one right after the other."""

    runs: dict[str, Hammered]
    costs: dict[str, float]  # microseconds of CPU that a request cost its server
    foreign: float


def measure(directory: Path) -> list[Figure]:
    with Served(directory / "data", "note") as served, Program("baseline", str(SERVER)) as bare:
        notes = f"{served.address}{MODELS}/notes"
        posted = ask("POST", notes, BODY)
        one = f"{notes}/{json.loads(posted)['id']}"
        bare.tell({"GET": ask("GET", one), "POST": posted})
        base = f"{bare.hear()['address']}/notes"

        def run(server: Program, url: str, body: str = "") -> tuple[Hammered, float]:
            before = cpu(server.pid)
            found = hammer(url, directory, connections=CONNECTIONS, seconds=SECONDS, body=body)
            return found, (cpu(server.pid) - before) / (found.rate * SECONDS) * 1e6

        runs: dict[str, Callable[[], tuple[Hammered, float]]] = {
            "bare GET": lambda: run(bare, base),
            "GET": lambda: run(served, one),
            "bare POST": lambda: run(bare, base, BODY),
            "POST": lambda: run(served, notes, BODY),
        }
        for warm_up in runs.values():
            warm_up()
        rounds: list[Round] = []
        quiet = 0
        while quiet < ROUNDS and len(rounds) < ROUNDS + PATIENCE:
            foreign = Foreign(served.pid, bare.pid)
            found = {name: one_run() for name, one_run in runs.items()}
            measured = {name: run for name, (run, _) in found.items()}
            costs = {name: cost for name, (_, cost) in found.items()}
            rounds.append(Round(measured, costs, foreign.share()))
            quiet += rounds[-1].foreign <= DISTURBED
            rates = ", ".join(f"{name} {run.rate:,.0f}" for name, run in measured.items())
            told(f"  {rates} a second; foreign CPU {rounds[-1].foreign:.0%}")
    kept = sorted(rounds, key=lambda found: found.foreign)[:ROUNDS]
    others = f"foreign CPU up to {max(found.foreign for found in kept):.0%}"
    return [
        _ratio(kept, "GET", 1.5, others),
        _ratio(kept, "POST", 0.6, others),
        *(_rate(kept, name) for name in runs),
        Figure(
            name="failed",
            value=sum(run.failed for found in rounds for run in found.runs.values()),
            most=1,
        ),
    ]


def _ratio(rounds: list[Round], name: str, least: float, note: str) -> Figure:
    ratios = [found.runs[name].rate / found.runs[f"bare {name}"].rate for found in rounds]
    spread = f"{min(ratios):.2f} to {max(ratios):.2f}; {note}"
    return Figure(
        name=f"{name} / bare {name}", value=statistics.median(ratios), least=least, note=spread
    )


def _rate(rounds: list[Round], name: str) -> Figure:
    found = sorted((found.runs[name] for found in rounds), key=lambda run: run.rate)
    middle = found[len(found) // 2]
    cost = statistics.median(found.costs[name] for found in rounds)
    note = f"p50 {middle.p50:.1f} ms, p99 {middle.p99:.0f} ms, {cost:.0f} us of CPU each"
    return Figure(name=name, value=middle.rate, unit="/s", note=note)
