"""Whether memory stays flat over 100,000 flows, each with three ports, on disk."""

from __future__ import annotations

from pathlib import Path

from tests.bench.figure import Figure
from tests.bench.machine import SERVER
from tests.bench.program import Program, told
from tests.bench.resume import AT_ONCE, OF_A_FLOW

FLOWS = 100_000
PARTS = 10
# The caches of records and pages fill up first: 50,000 records is what a host keeps in memory.
WARM = 6


def measure(directory: Path) -> list[Figure]:
    each = FLOWS // PARTS // AT_ONCE * AT_ONCE
    sizes = []
    with Program("resume", str(SERVER), "many", directory / "data") as program:
        for number in range(WARM + PARTS):
            program.tell(each)
            found = program.hear()
            sizes.append(found["resident"])
            told(f"  {(number + 1) * each:,} flows: {sizes[-1] / 2**20:.0f} MiB resident")
            assert found["events"] == (number + 1) * each * OF_A_FLOW
    warm, last = sizes[WARM - 1], sizes[-1]
    return [
        Figure(
            name=f"memory that {PARTS * each:,} flows leave behind, each",
            value=(last - warm) / (PARTS * each),
            unit="B",
            most=100,
            note=f"{warm / 2**20:.0f} MiB after {WARM * each:,} flows, {last / 2**20:.0f} MiB at "
            "the end",
        ),
        Figure(name="  resident at the end", value=last / 2**20, unit="MiB"),
    ]
