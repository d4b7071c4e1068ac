"""The tutorial served by a real `aegis-serve`, to be killed and started again."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Self

from tests.orders.sandbox import NOTEBOOK, NOTEBOOKS, Sandbox, ask

TOKEN = "sesame"


def free_port() -> int:
    """A port that is free now: a server that is started again has to have the same."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Served:
    """A server process of one data directory, whatever process that is at the moment."""

    def __init__(
        self, data: Path, sandbox: Sandbox, log: Path, *, notebook: Path = NOTEBOOK
    ) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._sandbox = sandbox
        self._log = log
        self._command = [sys.executable, "-m", "aegis_kernel.serve", str(notebook)]
        self._command += ["--port", str(self.port), "--token", TOKEN, "--data", str(data)]
        self._command += ["-p", "partners", sandbox.url]

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self.kill()

    def start(self) -> None:
        """Start a process, back when every component serves."""
        self.launch()
        self.wait()

    def wait(self) -> None:
        """Return when every component serves."""
        deadline = time.monotonic() + 60
        while not self._ready():
            assert self._process.poll() is None, self._log.read_text()
            assert time.monotonic() < deadline, self._log.read_text()
            time.sleep(0.05)

    def launch(self) -> None:
        """Start a process, and wait for nothing."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)

    def _ready(self) -> bool:
        try:
            return ask("GET", f"{self.url}/readyz")[0] == 200
        except OSError:
            return False

    def kill(self) -> None:
        """As a power cut would."""
        self._process.kill()
        self._process.wait()

    def stop(self) -> int:
        """As an operator would; the exit code."""
        os.kill(self._process.pid, signal.SIGTERM)
        return self._process.wait(60)

    def ask(self, method: str, path: str, value: object = None, **headers: str) -> tuple[int, Any]:
        """Status and decoded JSON of a request with the token."""
        given = {name.replace("_", "-"): text for name, text in headers.items()}
        return ask(method, self.url + path, value, {"Authorization": f"Bearer {TOKEN}", **given})

    def purchases(self, limit: int) -> subprocess.Popen[str]:
        """The program that sends the first `limit` purchases, under way."""
        return subprocess.Popen(
            [
                *(sys.executable, str(NOTEBOOKS / "purchases.py"), "--quiet"),
                *("--url", self.url, "--token", TOKEN),
                *("--partners", self._sandbox.url, "--limit", str(limit)),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
