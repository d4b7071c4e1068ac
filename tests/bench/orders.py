"""Orders with eight durable ports at 64 connections, answered at once or at the end of their flow."""

from __future__ import annotations

import json
import sqlite3
import statistics
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tests.bench.figure import Figure
from tests.bench.machine import SERVER, Foreign
from tests.bench.program import MODELS, Hammered, Program, Served, hammer, told, until_true

CONNECTIONS = 64
SECONDS = 4.0
ROUNDS = 3
BODY = json.dumps({"customer": "c-1", "total": "129.90"})
# 600 orders a second were asked for where a bare handler of Tornado answered 5,600 gets a second:
# the share is what another machine, or this one on another day, can be held to.
SHARE = 600 / 5600
WAYS = {"answered at once": "", "answered at the end (wait=30)": "wait=30"}

# Of a step: from when the event that sets it off was written to when its result was. One commit,
# the adapter's call and all waiting for others lie between; times are stored to the millisecond.
_STEPS = """
SELECT json_extract(s.doc, '$.updated'), e.time FROM steps s
JOIN events e ON e.id = json_extract(s.doc, '$.cause')
JOIN flows f ON f.id = s.flow WHERE f.created >= ?
"""
_FLOWS = "SELECT created, json_extract(doc, '$.updated'), state FROM flows WHERE created >= ?"


@dataclass(frozen=True)
class Round:
    rate: float
    steps: list[float]
    unfinished: int
    hammered: Hammered
    foreign: float
    bare: float  # gets a second of a bare Tornado handler, right after


def measure(directory: Path) -> list[Figure]:
    rounds: dict[str, list[Round]] = {way: [] for way in WAYS}
    with Program("baseline", str(SERVER)) as bare:
        bare.tell({"GET": BODY, "POST": BODY})
        base = f"{bare.hear()['address']}/orders"
        for number in range(ROUNDS):
            for way, prefer in WAYS.items():
                found = _round(directory / f"{number} {way}", prefer, base)
                rounds[way].append(found)
                told(
                    f"  {way}: {found.rate:,.0f} orders/s, a bare handler {found.bare:,.0f} gets/s; "
                    f"foreign CPU {found.foreign:.0%}"
                )
    return [figure for way, found in rounds.items() for figure in _figures(way, found)]


def _figures(way: str, rounds: list[Round]) -> list[Figure]:
    middle = sorted(rounds, key=lambda found: found.rate)[len(rounds) // 2]
    p50 = statistics.median(_at(found.steps, 50) for found in rounds)
    p99 = statistics.median(_at(found.steps, 99) for found in rounds)
    failed = sum(found.hammered.failed + found.unfinished for found in rounds)
    answer = f"answer p50 {middle.hammered.p50:.0f} ms, p99 {middle.hammered.p99:.0f} ms"
    foreign = f"foreign CPU up to {max(found.foreign for found in rounds):.0%}"
    return [
        Figure(
            name=f"orders, {way}",
            value=middle.rate,
            unit="/s",
            least=600,
            note=f"{answer}; {foreign}",
        ),
        Figure(
            name="  as a share of bare gets",
            value=statistics.median(found.rate / found.bare for found in rounds),
            least=round(SHARE, 3),
            note=f"bare handler {statistics.median(r.bare for r in rounds):,.0f} gets/s",
        ),
        Figure(name="  step p50", value=p50, unit="ms", most=10, note="stored times, 1 ms"),
        Figure(name="  step p99", value=p99, unit="ms"),
        Figure(name="  failed or unfinished", value=failed, most=1),
    ]


def _round(data: Path, prefer: str, bare: str) -> Round:
    data.mkdir(parents=True)
    with Served(data, "order") as served:
        orders = f"{served.address}{MODELS}/orders"

        def run(seconds: float) -> Hammered:
            return hammer(
                orders,
                data,
                connections=CONNECTIONS,
                seconds=seconds,
                body=BODY,
                prefer=prefer,
            )

        db = sqlite3.connect(f"file:{data / 'aegis.db'}?mode=ro", uri=True)

        def idle() -> bool:
            return not db.execute("SELECT 1 FROM flows WHERE state = 'running' LIMIT 1").fetchone()

        def done() -> bool:
            """Nothing runs, nor is there a request still waiting for its turn to begin."""
            if not idle():
                return False
            time.sleep(0.2)
            return idle()

        run(1)
        until_true(done, "the end of the warm-up's orders")
        began = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        foreign = Foreign(served.pid)
        hammered = run(SECONDS)
        share = foreign.share()
        until_true(done, "the end of all orders")
        flows = db.execute(_FLOWS, (began,)).fetchall()
        steps = [_seconds(end) - _seconds(start) for end, start in db.execute(_STEPS, (began,))]
        db.close()
    paced = hammer(bare, data, connections=CONNECTIONS, seconds=1)
    took = max(_seconds(flow[1]) for flow in flows) - min(_seconds(flow[0]) for flow in flows)
    complete = sum(flow[2] == "completed" for flow in flows)
    return Round(complete / took, sorted(steps), len(flows) - complete, hammered, share, paced.rate)


def _seconds(stamp: str) -> float:
    return datetime.fromisoformat(stamp).timestamp()


def _at(ordered: list[float], percent: int) -> float:
    """A percentile in ms of a list in seconds."""
    return ordered[len(ordered) * percent // 100] * 1e3
