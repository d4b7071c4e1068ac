"""A port call beside a bare await, a durable step beside its commit, and many steps in flight."""

from __future__ import annotations

from pathlib import Path

from tests.bench.called import IN_FLIGHT
from tests.bench.figure import Figure
from tests.bench.machine import SERVER, Foreign
from tests.bench.program import Program, told


def measure(directory: Path) -> list[Figure]:
    foreign = Foreign()
    with Program("called", str(SERVER), directory) as program:
        found = program.hear()
    share = foreign.share()
    told(f"  foreign CPU {share:.0%}")
    return [
        Figure(
            name="port call with breaker, deadline, key and histogram to a bare await",
            value=found["ask ratio"],
            most=15,
            note=f"{found['ask port']:.2f} us and {found['ask bare']:.2f} us of CPU, of an adapter "
            "that waits for a turn of the loop",
        ),
        Figure(
            name="  what that adds to the call of an adapter that answers at once",
            value=found["answer port"] - found["answer bare"],
            unit="us",
            note=f"{found['answer port']:.2f} us to {found['answer bare']:.3f} us",
        ),
        Figure(
            name="a durable step to its commit alone",
            value=found["step ratio"],
            most=2,
            note=f"{found['step']:.3f} ms and {found['commit']:.3f} ms, one after the other",
        ),
        Figure(
            name=f"durable steps a second with {IN_FLIGHT} orders in flight",
            value=found["rate"],
            least=10_000,
            note=f"in process, {found['cpu']:.0f} us of CPU a step; foreign CPU {share:.0%}",
        ),
        Figure(
            name="  of them without a disk",
            value=found["memory rate"],
            note=f"{found['memory cpu']:.0f} us of CPU a step",
        ),
    ]
