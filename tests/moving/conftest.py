"""Data directories with orders in them, and the command `aegis` as a process."""

import asyncio
import shutil
import subprocess
import sys
from pathlib import Path

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


def open_shop(directory):
    """A host on a directory (None: in memory), to be opened."""
    return memory_host(
        store=None if directory is None else SqliteStore(directory),
        values={"say": Desk()},
        clock=EagerClock(),
    )


@pytest.fixture
def shop_on():
    """Opens a host on a directory (None: in memory) for the shop."""
    return open_shop


@pytest.fixture(scope="session")
def filled(tmp_path_factory):
    """A data directory with 30 orders that have been through their flow, and a key."""
    directory = tmp_path_factory.mktemp("filled") / "data"

    async def fill():
        async with open_shop(directory) as host:
            await host.deploy("orders", "1.0.0", TEXT)
            for n in range(30):
                order = await host.create(
                    "Order", id=f"o{n:02}", total=f"{n}.10", note=f"number {n}"
                )
                await host.wait(order)

    asyncio.run(fill())
    AesCipher(kept_key(directory)).seal(b"x", b"y")  # makes the file
    return directory


@pytest.fixture
def data(filled, tmp_path):
    """A copy of it, which nobody owns."""
    return Path(shutil.copytree(filled, tmp_path / "data"))


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
