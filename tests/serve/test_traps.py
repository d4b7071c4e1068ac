"""`aegis traps` against a real server: what a sandbox stopped is listed, and made again."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from tests.wasm.modules import module

WAT = module(
    {
        "name": "bank",
        "version": "1.0.0",
        "models": {"Account": {"fields": {}, "commands": {"open": {}}}},
    },
    functions="(func $vault (result i64) unreachable)",
    bodies={"Account.open": "(call $vault)"},
)
BANK = f"""
import contextlib, wasmtime
from aegis.core.component import Source
wat = {WAT!r}
binary = bytes(wasmtime.wat2wasm(wat))
host.deploy(Source.of("bank", "1.0.0", wat, origin="bank.wat", binary=binary))
with contextlib.suppress(Exception):
    host.call(host.create("Account", id="a-secret"), "open")
"""


@pytest.fixture
def aegis(serve: Any) -> Callable[..., subprocess.CompletedProcess[str]]:
    server = serve([BANK], "--ephemeral")
    server.ready().close()

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        where = ("--url", server.address(), "--token", server.token())
        command = [sys.executable, "-m", "aegis.cli", *words, *where]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    return run


def test_an_operator_lists_what_was_stopped_and_makes_it_again(
    aegis: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    head, *frames = aegis("traps", "bank").stdout.splitlines()
    number, _, _, function, reason = head.split(maxsplit=4)
    assert function == "Account.open:"
    assert reason == "it ended itself: `unreachable` was reached"
    names = [frame.split()[0] for frame in frames]
    assert names == ["vault", "invoke"]
    assert "(bank.wat, line " in frames[0]
    again = aegis("traps", "bank", "--replay", number)
    assert again.returncode == 0
    told, *same = again.stdout.splitlines()
    assert "Account.open: stopped as then: it ended itself" in told
    assert same == frames
    for done in (aegis("traps", "bonk"), aegis("traps", "bank", "--replay", "999")):
        assert done.returncode == 2
        assert "aegis: " in done.stderr
    assert "a-secret" not in head + told
