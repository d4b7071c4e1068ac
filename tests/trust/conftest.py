"""The command `aegis` as a process, and a component of somebody who signs it."""

import os
import subprocess
import sys

import pytest

from tests.signed import CODE

TOML = """\
# What acme sells.
[component]
name = "orders"      # as in the shop
version = "1.0.0"
models = ["orders.py"]

[server]
port = 0
"""


class Done:
    """What a run of the command wrote."""

    def __init__(self, process):
        self.out = process.stdout
        self.said = process.stderr


@pytest.fixture
def aegis(tmp_path):
    """Runs the command: `aegis("keys", "new", "acme")`; keys are below `tmp_path`."""

    def run(*words, expect=0, **environment):
        known = {**os.environ, "XDG_CONFIG_HOME": str(tmp_path / "config"), **environment}
        done = subprocess.run(
            [sys.executable, "-m", "aegis.cli", *map(str, words)],
            capture_output=True,
            text=True,
            check=False,
            env=known,
            stdin=subprocess.DEVNULL,
        )
        assert done.returncode == expect, done.stderr
        assert "Traceback" not in done.stderr
        return Done(done)

    return run


@pytest.fixture
def folder(tmp_path):
    """A component in a folder, not signed yet."""
    made = tmp_path / "orders"
    made.mkdir()
    (made / "aegis.toml").write_text(TOML)
    (made / "orders.py").write_bytes(CODE)
    return made
