"""Data directories with orders in them, and the command `aegis` as a process."""

import subprocess
import sys

import pytest

from aegis.adapters.cipher import AesCipher, kept_key
from aegis.adapters.storage.sqlite import SqliteStore
from aegis.testing import EagerClock, memory_host
from tests.engine.shop import TEXT, Desk
from tests.serve.process import Serving, write


@pytest.fixture
def aegis():
    """Runs the command: `aegis("data", "backup", ...)`."""

    def run(*words, expect=0):
        done = subprocess.run(
            [sys.executable, "-m", "aegis.cli", *map(str, words)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == expect, done.stderr
        return done.stderr

    return run


@pytest.fixture
def shop_on():
    """An open host on a directory (None: in memory) that serves the shop."""

    def open_on(directory):
        return memory_host(
            store=None if directory is None else SqliteStore(directory),
            values={"say": Desk()},
            clock=EagerClock(),
        )

    return open_on


@pytest.fixture
async def data(tmp_path, shop_on):
    """A data directory that nobody owns: 30 orders, some of them through their flow, and a key."""
    directory = tmp_path / "data"
    async with shop_on(directory) as host:
        await host.deploy("orders", "1.0.0", TEXT)
        for n in range(30):
            order = await host.create("Order", id=f"o{n:02}", total=f"{n}.10", note=f"number {n}")
            await host.wait(order)
    AesCipher(kept_key(directory)).seal(b"x", b"y")  # makes the file
    return directory


@pytest.fixture
def serving(tmp_path):
    """Serves a notebook by name: `serving("first", cell, ...)`."""
    started = []

    def start(name, *cells):
        started.append(Serving(write(tmp_path / f"{name}.ipynb", *cells)))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            one.process.kill()
            one.process.wait()
