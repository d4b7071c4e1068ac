"""What it costs to tell listeners in the host's own code of an event, beside calling them."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable
from pathlib import Path

from aegis.core.component import ENCODER
from aegis.core.event import Event
from aegis.engine.broker import Broker
from aegis.protocols import Entry
from aegis.testing import memory_host
from tests.bench.figure import Figure
from tests.bench.machine import Foreign
from tests.bench.program import told

ROUNDS = 21
CALLS = 20_000
HEARD = 3


def measure(_: Path) -> list[Figure]:
    foreign = Foreign()
    plain, inline, glob = asyncio.run(_measured())
    share = foreign.share()
    told(f"  {ROUNDS} rounds of {CALLS:,} events; foreign CPU {share:.0%}")
    # Turn by turn, so that what else the machine does hits both.
    return [
        Figure(
            name=f"an event to {HEARD} inline listeners, to {HEARD} calls",
            value=statistics.median(one / other for one, other in zip(inline, plain, strict=True)),
            unit="x",
            most=10,
            note=f"{statistics.median(inline):.0f} ns and {statistics.median(plain):.0f} ns, once "
            f"it is stored; foreign CPU {share:.0%}",
        ),
        Figure(name="  where they listen by globs", value=statistics.median(glob), unit="ns"),
    ]


async def _measured() -> tuple[list[float], list[float], list[float]]:
    """Nanoseconds of three calls, of an event to three listeners by name, and by globs."""
    event = Event(
        id="1", source="/bench", type="order.paid", time="2026-01-01T00:00:00.000Z", data={"n": 1}
    )
    entry = Entry(event.id, event.type, None, None, event.time, ENCODER.encode(event))
    heard = [_listener() for _ in range(HEARD)]

    def call() -> None:
        first, second, third = heard
        for _ in range(CALLS):
            first(event)
            second(event)
            third(event)

    async with memory_host() as host:
        broker: Broker = host._deploys.broker
        listening = [host.listen("order.paid", one) for one in heard]

        def publish() -> None:
            entries, events = [entry], [(event, None)]
            for _ in range(CALLS):
                broker.publish(entries, 1, events)

        plain, inline, glob = [], [], []
        for _ in range(ROUNDS):
            plain.append(_timed(call))
            inline.append(_timed(publish))
        for one in listening:
            one.stop()
        for one in heard:
            host.listen("order.*", one)
        glob = [_timed(publish) for _ in range(ROUNDS)]
    return plain, inline, glob


def _listener() -> Callable[[Event], None]:
    def hear(event: Event) -> None:
        event.data  # noqa: B018 -- it looks at it

    return hear


def _timed(work: Callable[[], None]) -> float:
    """Nanoseconds of one of the CALLS that `work` makes."""
    began = time.perf_counter_ns()
    work()
    return (time.perf_counter_ns() - began) / CALLS
