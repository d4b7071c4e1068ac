"""How long it takes to begin: `aegis-serve`, a kernel, `import aegis`, a store with much in it.

As a program, `python -m tests.bench.start fill|open DIRECTORY`, it is the child that is measured.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import KernelManager

from tests.bench.figure import Figure
from tests.bench.machine import ROOT, Foreign, environment, python
from tests.bench.program import Program, told, until_true

RECORDS = 100_000
HEAVY = ("tornado", "sqlite3", "duckdb", "IPython")


def measure(directory: Path) -> list[Figure]:
    foreign = Foreign()
    figures = [
        *_serve(directory / "serve"),
        *_kernels(directory / "kernels"),
        *_import(),
        *_open(directory / "store"),
    ]
    told(f"  foreign CPU {foreign.share():.0%}")
    return figures


def _serve(data: Path) -> list[Figure]:
    ready, again = [], []
    for number in range(5):
        # The first run makes its data directory, the second finds it there.
        ready.append(_once(data / str(number)))
        again.append(_once(data / str(number)))
    note = f"{min(ready):.2f} to {max(ready):.2f} s"
    return [
        Figure(
            name="aegis-serve notebooks/orders.ipynb to /readyz 200",
            value=statistics.median(ready),
            unit="s",
            most=2,
            note=note,
        ),
        Figure(name="  with data of an earlier run", value=statistics.median(again), unit="s"),
    ]


def _once(data: Path) -> float:
    port = _free_port()
    began = time.perf_counter()
    process = subprocess.Popen(
        [
            *python("-m", "aegis_kernel.serve", ROOT / "notebooks" / "orders.ipynb"),
            *("--no-token", "--port", str(port), "--data", str(data)),
        ],
        env=environment(),
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )

    def ready() -> bool:
        if process.poll() is not None:
            raise RuntimeError(f"aegis-serve ended: {process.communicate()[1]}")
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, ConnectionError):
            return False

    try:
        until_true(ready, "/readyz 200")
        return time.perf_counter() - began
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)


def _kernels(folder: Path) -> list[Figure]:
    """Ours beside the stock one, by turns, so that both meet the same noise."""
    shutil.copytree(ROOT / "aegis_kernel" / "kernelspec", folder / "kernels" / "aegis")
    pairs = [(_kernel("python3", folder), _kernel("aegis", folder)) for _ in range(9)]
    stock, ours = (statistics.median(times) for times in zip(*pairs, strict=True))
    return [
        Figure(
            name="kernel to its first reply",
            value=statistics.median(own - other for other, own in pairs) * 1e3,
            unit="ms",
            most=150,
            note=f"beyond the stock kernel: {ours * 1e3:.0f} ms, {stock * 1e3:.0f} ms",
        )
    ]


def _kernel(name: str, folder: Path) -> float:
    environment = {**os.environ, "JUPYTER_PATH": str(folder), "AEGIS_EPHEMERAL": "1"}
    specs = KernelSpecManager(kernel_dirs=[str(folder / "kernels")])
    manager = KernelManager(kernel_name=name, kernel_spec_manager=specs)
    began = time.perf_counter()
    manager.start_kernel(cwd=str(folder), env=environment, stderr=subprocess.DEVNULL)
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=60)
        return time.perf_counter() - began
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def _import() -> list[Figure]:
    loaded = f"import aegis, sys; print([n for n in {HEAVY!r} if n in sys.modules])"
    heavy = json.loads(_run(loaded)[1].replace("'", '"'))
    pairs = [(_run("pass")[0], _run("import aegis")[0]) for _ in range(15)]
    bare, full = (statistics.median(times) for times in zip(*pairs, strict=True))
    return [
        Figure(
            name="import aegis",
            value=(full - bare) * 1e3,
            unit="ms",
            most=150,
            note=f"beyond the {bare * 1e3:.0f} ms of a bare interpreter",
        ),
        Figure(name="  heavy modules it loads", value=len(heavy), most=1, note=" ".join(heavy)),
    ]


def _run(code: str) -> tuple[float, str]:
    began = time.perf_counter()
    done = subprocess.run(
        python("-c", code), check=True, capture_output=True, text=True, env=environment()
    )
    return time.perf_counter() - began, done.stdout


def _open(data: Path) -> list[Figure]:
    with Program("start", "fill", data) as filling:
        filling.hear()
        filling.kill()
    killed, closed = [], []
    for _ in range(3):
        with Program("start", "open", data) as opening:
            killed.append(opening.hear())
            opening.tell("close")
            opening.hear()
        with Program("start", "open", data) as opening:
            closed.append(opening.hear())
            opening.tell("write")
            opening.hear()
            opening.kill()
    found = {opened["records"] for opened in killed + closed}
    counted = f"{min(found):,} to {max(found):,} records"
    return [
        Figure(
            name=f"opening a host of {RECORDS:,} records",
            value=max(opened["ms"] for opened in closed),
            unit="ms",
            most=1000,
            note=f"longest of 3; {counted}",
        ),
        Figure(
            name="  after kill -9",
            value=max(opened["ms"] for opened in killed),
            unit="ms",
            most=1000,
            note="longest of 3",
        ),
    ]


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


async def _child(what: str, directory: Path) -> None:
    from aegis.bootstrap import build_host
    from aegis.configuration import Config
    from tests.bench.store import commit, fill

    def say(**fields: float) -> None:
        print(json.dumps(fields), flush=True)

    if what == "fill":
        await fill(directory, RECORDS)
        say(filled=RECORDS)
        await asyncio.Event().wait()
    began = time.perf_counter()
    host = build_host(Config(data=directory))
    await host.open()
    took = (time.perf_counter() - began) * 1e3
    say(ms=took, records=await host.store.count("orders.Order"))
    if json.loads(sys.stdin.readline()) == "write":
        for start in range(0, 2000, 200):  # what the next one finds in the log
            writes = [commit(host.clock, start + number) for number in range(200)]
            await asyncio.gather(*map(host.store.commit, writes))
        say(written=2000)
        os.kill(os.getpid(), signal.SIGSTOP)  # until it is killed
    await host.close()
    say(closed=1)


if __name__ == "__main__":
    asyncio.run(_child(sys.argv[1], Path(sys.argv[2])))
