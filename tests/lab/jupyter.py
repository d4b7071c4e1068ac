"""A Jupyter server for tests: JupyterLab and Notebook 7 over one folder, its kernels, its pages."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from urllib.error import URLError
from urllib.parse import quote
from urllib.request import Request, urlopen

from jupyter_client.blocking import BlockingKernelClient

T = TypeVar("T")

ROOT = Path(__file__).parents[2]
KERNELSPEC = ROOT / "aegis_kernel" / "kernelspec"
EXTENSION = ROOT / "labextension" / "dist"


def announced(process: subprocess.Popen[str], pattern: str) -> str:
    """What a program prints that matches `pattern`: where it listens."""
    assert process.stdout is not None
    said = []
    for line in process.stdout:
        said.append(line)
        found = re.search(pattern, line)
        if found:
            return found[0]
    raise AssertionError(f"{process.args} ended without saying where it listens: {''.join(said)}")


def until(ask: Callable[[], T], what: str, patience: float = 30) -> T:
    """What `ask` says, as soon as it is anything."""
    deadline = time.monotonic() + patience
    while not (answer := ask()):
        assert time.monotonic() < deadline, what
        time.sleep(0.05)
    return answer


class Jupyter:
    """A server in a folder of its own, with the kernelspec and the extension of this very tree.

    Nothing of the person who runs the tests gets in: neither settings nor workspaces nor kernels.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "notebooks"
        self.folder.mkdir(parents=True)
        self._runtime = folder / "runtime"
        self._token = secrets.token_hex()
        share = folder / "share"
        shutil.copytree(KERNELSPEC, share / "kernels" / "aegis")
        shutil.copytree(EXTENSION, share / "labextensions" / "aegis-lab")
        # Lab asks once whether it may fetch news; whoever looks at a picture wants to see it all.
        _settings(folder, "apputils-extension/notification", {"fetchNews": "false"})
        said = folder / "jupyter.log"
        self._log = said.open("w")
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "jupyterlab",
                "--no-browser",
                "--allow-root",
                "--ServerApp.port=0",
                f"--IdentityProvider.token={self._token}",
                f"--ServerApp.root_dir={self.folder}",
            ],
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={
                **os.environ,
                "JUPYTER_PATH": str(share),
                "JUPYTER_CONFIG_DIR": str(folder / "config"),
                "JUPYTER_RUNTIME_DIR": str(self._runtime),
                "JUPYTERLAB_SETTINGS_DIR": str(folder / "settings"),
                "JUPYTERLAB_WORKSPACES_DIR": str(folder / "workspaces"),
            },
        )
        address = re.compile(r"http://(localhost|127\.0\.0\.1):\d+")
        self.address = until(lambda: address.search(said.read_text()), "it does not start")[0]
        # It may say where it listens a moment before it does.
        until(self._answers, f"{self.address} does not answer")

    def _answers(self) -> bool:
        try:
            urlopen(f"{self.address}/api").close()
        except URLError:
            return False
        return True

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(30)
        self._log.close()

    def lab(self, document: str = "", workspace: str = "default") -> str:
        """The address of a Lab, with a document open or with none."""
        tree = f"/tree/{quote(document)}" if document else ""
        return f"{self.address}/lab/workspaces/{workspace}{tree}?token={self._token}"

    def notebook(self, document: str) -> str:
        """The address of a document in Notebook 7."""
        return f"{self.address}/notebooks/{quote(document)}?token={self._token}"

    def write(self, name: str, *cells: str, kernel: str = "aegis") -> Path:
        """Put a notebook with these code cells where the server finds it."""
        path = self.folder / name
        document = {
            "nbformat": 4,
            "nbformat_minor": 5,
            "metadata": {
                "kernelspec": {"name": kernel, "display_name": kernel, "language": "python"}
            },
            "cells": [
                {
                    "id": f"cell-{n}",
                    "cell_type": "code",
                    "metadata": {},
                    "execution_count": None,
                    "outputs": [],
                    "source": cell,
                }
                for n, cell in enumerate(cells)
            ],
        }
        path.write_text(json.dumps(document))
        return path

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """Ask the server's REST API."""
        request = Request(
            f"{self.address}/api/{path}",
            data=None if body is None else json.dumps(body).encode(),
            method=method,
            headers={"Authorization": f"token {self._token}"},
        )
        with urlopen(request, timeout=60) as answer:
            return json.loads(answer.read() or "null")

    def start(self, document: str, kernel: str = "aegis") -> Kernel:
        """Start the kernel of a document that is open nowhere."""
        session = self.ask(
            "POST",
            "sessions",
            {
                "path": document,
                "name": document,
                "type": "notebook",
                "kernel": {"name": kernel},
            },
        )
        return Kernel(self, session)

    def started(self, document: str) -> Kernel:
        """The kernel of a document that a page has opened, as soon as there is one."""

        def found() -> Any:
            sessions = self.ask("GET", "sessions")
            return next((s for s in sessions if s["path"] == document and s["kernel"]), None)

        session = until(found, f"no kernel was started for {document}")
        return Kernel(self, session)

    @property
    def runtime(self) -> Path:
        return self._runtime


class Kernel:
    """A kernel of the server: cells are run in it past any page, and it can be done away with."""

    def __init__(self, jupyter: Jupyter, session: dict[str, Any]) -> None:
        self.id: str = session["kernel"]["id"]
        self._jupyter = jupyter
        self._session: str = session["id"]
        self._document: str = session["path"]
        self._client: BlockingKernelClient | None = None

    @property
    def pid(self) -> int:
        """The kernel's process."""
        return until(self._pid, f"no process has the kernel {self.id}")

    def _pid(self) -> int:
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    words = (entry / "cmdline").read_bytes()
                except OSError:
                    continue
                if f"kernel-{self.id}.json".encode() in words:
                    return int(entry.name)
        return 0

    @property
    def is_busy(self) -> bool:
        return bool(self._jupyter.ask("GET", f"kernels/{self.id}")["execution_state"] == "busy")

    def run(self, *cells: str) -> str:
        """Run cells one after the other; what they print. A cell that fails is an error here."""
        client = self._client = self._client or until(self._connect, "the kernel is not ready", 60)
        printed: list[str] = []

        def hear(message: dict[str, Any]) -> None:
            content = message["content"]
            if message["msg_type"] == "stream":
                printed.append(content["text"])
            elif message["msg_type"] == "error":
                raise AssertionError("\n".join(content["traceback"]))

        for cell in cells:
            client.execute_interactive(cell, output_hook=hear, timeout=60)
        return "".join(printed)

    def _connect(self) -> BlockingKernelClient | None:
        file = self._jupyter.runtime / f"kernel-{self.id}.json"
        if not file.exists():
            return None
        client = BlockingKernelClient(connection_file=str(file))
        client.load_connection_file()
        client.start_channels()
        try:
            client.wait_for_ready(timeout=10)
        except RuntimeError:  # it takes a process that has not begun for a dead one
            client.stop_channels()
            return None
        return client

    def send(self, cell: str) -> None:
        """Run a cell without waiting for its end."""
        self.run("")
        assert self._client is not None
        self._client.execute(cell)

    def forget(self) -> None:
        """Leave the kernel's process: it is about to go."""
        if self._client is not None:
            self._client.stop_channels()
            self._client = None

    def restart(self) -> None:
        self.forget()
        self._jupyter.ask("POST", f"kernels/{self.id}/restart")

    def kill(self) -> None:
        """Let the process die as it would for want of memory."""
        pid = self.pid
        self.forget()
        os.kill(pid, signal.SIGKILL)
        until(lambda: self._pid() not in {0, pid}, "no other process took its place")

    def become(self, kernel: str) -> None:
        """Let another kernel take its place, as a person does in the kernel menu."""
        self.forget()
        session = self._jupyter.ask(
            "PATCH", f"sessions/{self._session}", {"kernel": {"name": kernel}}
        )
        self.id = session["kernel"]["id"]

    def stop(self) -> None:
        """End it and its session, and drop the data of its host."""
        self.forget()
        if any(one["id"] == self._session for one in self._jupyter.ask("GET", "sessions")):
            self._jupyter.ask("DELETE", f"sessions/{self._session}")
        shutil.rmtree(self._jupyter.folder / ".aegis" / Path(self._document).stem, True)


def _settings(folder: Path, plugin: str, values: dict[str, Any]) -> None:
    package, name = plugin.split("/")
    path = folder / "settings" / "@jupyterlab" / package
    path.mkdir(parents=True)
    (path / f"{name}.jupyterlab-settings").write_text(json.dumps(values))
