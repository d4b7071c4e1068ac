"""The machine that is measured on: its cores, who else uses them, and what is installed."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import resource
import sqlite3
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
CORES = sorted(os.sched_getaffinity(0))
SERVER, CLIENT = CORES[0], CORES[-1]
# Of all cores' time. A round with more of it is measured again, as long as there is patience.
DISTURBED = 0.15

_TICK = os.sysconf("SC_CLK_TCK")


def python(*arguments: str | Path) -> list[str]:
    return [sys.executable, *map(str, arguments)]


def environment(**more: str) -> dict[str, str]:
    """Programs of the bench find the sources wherever they are run."""
    path = os.pathsep.join([str(ROOT / "runtime"), str(ROOT)])
    return {**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1", **more}


class Foreign:
    """How much of the machine programs use that are not of the bench, from now to `share()`."""

    def __init__(self, *pids: int) -> None:
        self._pids = pids
        self._began = time.perf_counter()
        self._busy, self._own = _busy(), self._ours()

    def share(self) -> float:
        """The part of all cores' time that others had, 0 to 1."""
        used = _busy() - self._busy - (self._ours() - self._own)
        return max(0.0, used / (time.perf_counter() - self._began) / (os.cpu_count() or 1))

    def _ours(self) -> float:
        """CPU seconds of this process, of its children that ended, and of `pids`."""
        mine = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return sum(u.ru_utime + u.ru_stime for u in mine) + sum(map(cpu, self._pids))


def cpu(pid: int) -> float:
    """Seconds that a process and its threads have run."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


def _busy() -> float:
    """CPU seconds that all programs have had since the machine started."""
    user, nice, system, _idle, _iowait, irq, softirq, *_ = map(
        int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    )
    return (user + nice + system + irq + softirq) / _TICK


def pace() -> float:
    """Milliseconds of CPU that a million additions in Python take: how fast the machine is now.

    A virtual machine may have half its speed a minute later, and nothing else shows it.
    """
    best = float("inf")
    for _ in range(3):
        began, total = time.process_time(), 0
        for number in range(1_000_000):
            total += number
        best = min(best, time.process_time() - began)
    return best * 1e3


def described() -> dict[str, str]:
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    versions = " ".join(
        f"{name} {importlib.metadata.version(name)}" for name in ("msgspec", "tornado", "ipykernel")
    )
    return {
        "machine": f"{len(CORES)} cores of {model}, {platform.system()} {platform.release()}",
        "versions": f"Python {platform.python_version()} {versions} SQLite {sqlite3.sqlite_version}",
        "load": " ".join(f"{load:.1f}" for load in os.getloadavg()),
    }
