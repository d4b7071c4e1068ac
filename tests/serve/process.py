"""A real `aegis-serve` for tests, and the notebooks that it serves."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx

NOTES = """\
%%component notes 1.0.0
from aegis import Model, config, port
from typing import Protocol

class Note(Model, endpoint="notes"):
    text: str = ""
"""


def cell(source, *tags, id="", kind="code"):
    return {
        "cell_type": kind,
        "id": id,
        "metadata": {"tags": list(tags)} if tags else {},
        "source": source.splitlines(keepends=True),
        "outputs": [],
        "execution_count": None,
    }


def write(path: Path, *cells) -> Path:
    """A notebook of `cells`, each a source or what `cell` makes."""
    made = [each if isinstance(each, dict) else cell(each) for each in cells]
    document = {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": made}
    path.write_text(json.dumps(document))
    return path


class Serving:
    """One process of the command; its standard error is kept."""

    def __init__(self, notebook: Path, *words: str, cwd: Path | None = None):
        number = len(list(notebook.parent.glob("*.log")))
        self.log = notebook.with_suffix(f".{number}.log")
        self.out = notebook.with_suffix(f".{number}.out")
        with self.log.open("wb") as log, self.out.open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "aegis_kernel.serve", str(notebook), *words],
                stdout=out,
                stderr=log,
                cwd=cwd,
                env={**os.environ, "COLUMNS": "120"},
            )

    @property
    def said(self) -> str:
        return self.log.read_text()

    @property
    def printed(self) -> str:
        return self.out.read_text()

    def address(self) -> str:
        """Where it listens, as soon as it says so."""
        return self.expect(r" at (http://[\w.:\[\]]+)").group(1)

    def token(self) -> str:
        return self.expect(r"token=(\w+)").group(1)

    def expect(self, pattern: str, timeout: float = 60) -> re.Match[str]:
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            found = re.search(pattern, self.said)
            if found:
                return found
            assert self.process.poll() is None, self.said
            time.sleep(0.02)
        raise AssertionError(f"{pattern!r} is not in: {self.said}")

    def ready(self) -> httpx.Client:
        """A client with the token, once every component serves."""
        address = self.address()
        deadline = time.monotonic() + 60
        while httpx.get(f"{address}/readyz").status_code != 200:
            assert time.monotonic() < deadline, self.said
            time.sleep(0.02)
        headers = {"Authorization": f"Bearer {self.token()}"} if "token=" in self.said else {}
        return httpx.Client(base_url=address, headers=headers)

    def end(self, number: int = signal.SIGTERM) -> int:
        """Tell it to end; its exit code."""
        self.process.send_signal(number)
        return self.process.wait(60)

    def exit_code(self) -> int:
        """The exit code of a process that ends by itself."""
        return self.process.wait(60)
