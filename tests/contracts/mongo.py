"""A server that speaks MongoDB's wire protocol, as a process of its own."""

import asyncio
import contextlib
import gc
import os
import signal
import socket
import subprocess
import sysconfig
import time
import warnings
from pathlib import Path

PROGRAM = Path(sysconfig.get_path("scripts")) / "secantusd-py"


def alone(story):
    """Run a story in which a server is away: PyMongo leaves sockets to be collected then."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "unclosed", ResourceWarning)
        asyncio.run(story)
        gc.collect()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class MongoServer:
    """The server with its data in `directory`; it can be killed and started again."""

    def __init__(self, directory):
        self.port = free_port()
        self.url = f"mongodb://127.0.0.1:{self.port}/?directConnection=true"
        self._directory = directory
        self._process = None

    def start(self):
        self._process = subprocess.Popen(
            [
                *(PROGRAM, "--host", "127.0.0.1", "--port", str(self.port)),
                *("--storage-path", self._directory, "--sync-on-commit"),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        end = time.monotonic() + 30
        while time.monotonic() < end:
            assert self._process.poll() is None, "the server has ended"
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
                return
            time.sleep(0.02)
        raise AssertionError("the server does not listen")

    def kill(self):
        """End it as a power cut would end the process."""
        if self._process is not None:
            os.kill(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def is_up(self):
        return self._process is not None
