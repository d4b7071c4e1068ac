"""The API of a real kernel while its cells sleep, compute and print."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import KernelManager

from tests.bench.figure import Figure
from tests.bench.machine import Foreign, environment, python
from tests.bench.program import COMPONENTS, MODELS, TOKEN, Load, ask, told

CONNECTIONS = 8
SECONDS = 4.0
BODY = json.dumps({"customer": "c-1", "total": "129.90"})
CELLS = {
    "no cell": "",
    "a cell that sleeps": f"import time\ntime.sleep({SECONDS})",
    "a cell that computes": f"""
import time
end = time.monotonic() + {SECONDS}
while time.monotonic() < end:
    sum(number * number for number in range(1_000))
""",
    "a cell that prints 10,000 lines": """
for number in range(10_000):
    print("line", number, "of a cell that has much to say")
""",
}


def measure(directory: Path) -> list[Figure]:
    figures = []
    with kernel(directory) as (pid, client):
        component = (COMPONENTS / "note.py").read_text()
        run(client, f"%%component note 1.0.0\n{component}")
        address = run(client, "print(host.address)").strip()
        one = json.loads(ask("POST", f"{address}{MODELS}/notes", BODY))["id"]
        requests = [
            ("GET", "GET", f"{MODELS}/notes/{one}", ""),
            ("POST", "POST", f"{MODELS}/notes", BODY),
        ]
        for name, cell in CELLS.items():
            with Load(address, CONNECTIONS, requests) as load:
                foreign = Foreign(pid, load.pid)
                runs, end = 0, time.monotonic() + SECONDS
                if not cell:
                    time.sleep(SECONDS)
                while cell and time.monotonic() < end:
                    run(client, cell)
                    runs += 1
                timed = load.end()
                share = foreign.share()
            told(f"  {name}: foreign CPU {share:.0%}")
            for kind, most in (("GET", 30.0), ("POST", 60.0)):
                found = timed[kind]
                note = f"p50 {found.p50:.1f}, longest {found.longest:.0f} ms, {found.count:,} calls"
                note += f", {found.failed} failed: {found.failure}" if found.failed else ""
                note += f"; cell run {runs} times" if runs > 1 else ""
                figures.append(
                    Figure(
                        name=f"{kind} p99, {name}",
                        value=found.p99,
                        unit="ms",
                        most=most if cell else None,
                        note=f"{note}; foreign CPU {share:.0%}",
                    )
                )
    return figures


@contextmanager
def kernel(directory: Path) -> Iterator[tuple[int, BlockingKernelClient]]:
    """The process of a kernel, started as Jupyter does, and a client of it."""
    spec = directory / "kernels" / "bench"
    spec.mkdir(parents=True)
    argv = python("-m", "aegis_kernel", "-f", "{connection_file}")
    (spec / "kernel.json").write_text(json.dumps({"argv": argv, "display_name": "Bench"}))
    specs = KernelSpecManager(kernel_dirs=[str(spec.parent)])
    manager = KernelManager(kernel_name="bench", kernel_spec_manager=specs)
    manager.start_kernel(
        cwd=str(directory),
        env=environment(AEGIS_TOKEN=TOKEN, AEGIS_DATA=str(directory / "data")),
        stderr=subprocess.DEVNULL,  # where it would tell how to connect
    )
    client = manager.blocking_client()
    try:
        client.start_channels()
        client.wait_for_ready(timeout=60)
        yield int(manager.provisioner.pid), client
    finally:
        client.stop_channels()
        manager.shutdown_kernel()


def run(client: BlockingKernelClient, cell: str) -> str:
    """Run a cell to its end, reading all it says; its standard output."""
    said: list[str] = []

    def hear(message: dict) -> None:
        if message["msg_type"] == "stream" and message["content"]["name"] == "stdout":
            said.append(message["content"]["text"])

    reply = client.execute_interactive(cell, output_hook=hear, timeout=120)
    if reply["content"]["status"] != "ok":
        raise RuntimeError("\n".join(reply["content"].get("traceback", [str(reply["content"])])))
    return "".join(said)
