"""What it costs to watch a host: an order with and without the monitor, and the frames of a view."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

from tests.bench.figure import Figure
from tests.bench.machine import SERVER, Foreign
from tests.bench.program import Program, told

ROUNDS = 5


def measure(_: Path) -> list[Figure]:
    # Turn by turn, so that what else the machine does hits both.
    foreign = Foreign()
    rounds = [(_run("no"), _run("yes")) for _ in range(ROUNDS)]
    share = foreign.share()
    told(f"  {ROUNDS} rounds; foreign CPU {share:.0%}")
    heard = [found for _, found in rounds]
    with Program("recorded", str(SERVER)) as program:
        recorded = dict(program.hear())

    def middle(name: str) -> float:
        return statistics.median(found[name] for found in heard)

    deaf = statistics.median(found["order"] for found, _ in rounds)
    return [
        Figure(
            name="CPU of an order, with the monitor to without",
            value=statistics.median(with_["order"] / without["order"] for without, with_ in rounds),
            most=1.15,
            note=f"{middle('order'):.0f} us with, {deaf:.0f} us without, 8 ports, in memory; "
            f"foreign CPU {share:.0%}",
        ),
        Figure(
            name="CPU of an order, with its steps recorded to not",
            value=recorded["ratio"],
            most=1.10,
            note=f"{recorded['with']:.0f} us with, {recorded['without']:.0f} us without, 8 ports, "
            "turn by turn in one process, with the embedded store",
        ),
        Figure(
            name="frames of a view, share of a core",
            value=100 * middle("share"),
            unit="%",
            most=5,
            note=f"all topics, 10 a second at {middle('events'):,.0f} events/s, as JSON",
        ),
        Figure(name="  a frame p50", value=middle("p50"), unit="ms", note="CPU"),
        Figure(name="  a frame p99", value=middle("p99"), unit="ms", note="CPU"),
        Figure(name="  size", value=middle("size") / 1024, unit="KiB"),
    ]


def _run(monitor: str) -> dict[str, Any]:
    with Program("monitored", str(SERVER), monitor) as program:
        return dict(program.hear())
