"""The programs that a measurement needs, each a process that ends with the block that started it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from tests.bench.machine import CLIENT, ROOT, SERVER, environment, python
from tests.bench.served import TOKEN

HEADERS = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
COMPONENTS = Path(__file__).parent / "components"
MODELS = "/aegis/api/models"


class Program:
    """A child that takes lines of JSON and answers with lines of JSON."""

    def __init__(self, module: str, *arguments: str | Path) -> None:
        self._process = subprocess.Popen(
            python("-m", f"tests.bench.{module}", *arguments),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=environment(),
        )
        self.pid = self._process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Let it end by itself; cut it when it does not."""
        self._pipe(self._process.stdin).close()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._pipe(self._process.stdout).close()

    def tell(self, message: Any) -> None:
        pipe = self._pipe(self._process.stdin)
        pipe.write(json.dumps(message) + "\n")
        pipe.flush()

    def hear(self) -> Any:
        line = self._pipe(self._process.stdout).readline()
        if not line:
            raise RuntimeError(f"{self._process.args} ended with {self._process.wait()}")
        return json.loads(line)

    def kill(self) -> None:
        """End it as a power cut would."""
        self._process.kill()
        self._process.wait()

    @staticmethod
    def _pipe(pipe: IO[str] | None) -> IO[str]:
        assert pipe is not None
        return pipe


class Served(Program):
    """A host with some components of `components/`, on the server's core."""

    def __init__(self, data: Path, *components: str) -> None:
        super().__init__("served", str(SERVER), data)
        self.address: str = self.hear()["address"]
        for name in components:
            self.deploy(name, (COMPONENTS / f"{name}.py").read_text())

    def deploy(self, name: str, text: str) -> float:
        """Milliseconds that `Host.deploy` took."""
        self.tell({"name": name, "version": "1.0.0", "text": text})
        return float(self.hear()["ms"])


class Load(Program):
    """Connections that send requests one after the other until they are told to end.

    `requests` are (name, method, path, body), taken in turn by every connection.
    """

    def __init__(
        self, address: str, connections: int, requests: list[tuple[str, str, str, str]]
    ) -> None:
        super().__init__("load", str(CLIENT))
        self.tell(
            {
                "address": address,
                "connections": connections,
                "requests": requests,
                "headers": HEADERS,
            }
        )
        self.hear()  # it has begun

    def end(self) -> dict[str, Timed]:
        self.tell("end")
        return {name: Timed(**timed) for name, timed in self.hear().items()}


@dataclass(frozen=True)
class Timed:
    """Requests of one name: their number, how many failed and how, and latencies in ms."""

    count: int
    failed: int
    failure: str
    p50: float
    p99: float
    longest: float


@dataclass(frozen=True)
class Hammered:
    """What wrk says: requests a second, latencies in ms, answers other than 2xx or cut."""

    rate: float
    p50: float
    p99: float
    failed: int


def hammer(
    url: str, directory: Path, *, connections: int, seconds: float, body: str = "", prefer: str = ""
) -> Hammered:
    """wrk on the client's core: POST when there is a body, else GET."""
    headers = {**HEADERS, **({"Prefer": prefer} if prefer else {})}
    command = ["taskset", "-c", str(CLIENT), "wrk", "-t1", f"-c{connections}", f"-d{seconds:g}s"]
    command += ["--latency", "--timeout", "60s"]
    for name, value in headers.items():
        command += ["-H", f"{name}: {value}"]
    if body:
        script = directory / "post.lua"
        script.write_text(f'wrk.method = "POST"\nwrk.body = [[{body}]]\n')
        command += ["-s", str(script)]
    said = subprocess.run([*command, url], check=True, capture_output=True, text=True).stdout
    errors = re.search(
        r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", said
    )
    others = re.search(r"Non-2xx or 3xx responses: (\d+)", said)
    return Hammered(
        rate=float(_found(r"Requests/sec:\s+([\d.]+)", said)),
        p50=_milliseconds(_found(r"\s50%\s+(\S+)", said)),
        p99=_milliseconds(_found(r"\s99%\s+(\S+)", said)),
        failed=sum(map(int, errors.groups() if errors else ())) + int(others[1] if others else 0),
    )


def _found(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    if match is None:
        raise RuntimeError(f"wrk said something else:\n{text}")
    return match[1]


def _milliseconds(text: str) -> float:
    match = re.fullmatch(r"([\d.]+)(us|ms|s|m)", text)
    if match is None:
        raise RuntimeError(f"{text!r} is no time")
    return float(match[1]) * {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 6e4}[match[2]]


def ask(method: str, url: str, body: str | None = None) -> str:
    """One request by the bench itself; the body of the answer, which must be a 2xx."""
    request = urllib.request.Request(
        url, data=None if body is None else body.encode(), headers=HEADERS, method=method
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return str(answer.read().decode())


def until_true(condition: Any, what: str, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise RuntimeError(f"{what} did not come within {seconds:g} s")
        time.sleep(0.005)


def told(text: str) -> None:
    """What is under way, for who waits."""
    print(text, file=sys.stderr, flush=True)
