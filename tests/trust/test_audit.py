"""`aegis audit`, of a data directory and of a running host."""

import asyncio
import functools
import json

import pytest

from aegis.adapters.storage.sqlite import SqliteStore
from aegis.bootstrap import build_host, start_server
from aegis.configuration import read
from aegis.testing import memory_host

CUP = "from aegis import Model\nclass Cup(Model): pass\n"


@pytest.fixture
def data(tmp_path):
    async def fill():
        async with memory_host(store=SqliteStore(tmp_path / "data")) as host:
            await host.deploy("cups", "1.0.0", CUP, who="ada", origin="cell 3")
            await host.deploy("cups", "1.1.0", CUP + "# more", who="ada")
            await host.rollback("cups")

    asyncio.run(fill())
    return tmp_path / "data"


def test_a_directory_tells_without_a_host(aegis, data):
    lines = aegis("audit", "--data", data).out.splitlines()
    assert len(lines) == 3
    assert "deploy    cups@1.0.0 by ada from cell 3 sha256" in lines[0]
    (line,) = aegis("audit", "--data", data, "--action", "rollback", "--json").out.splitlines()
    told = json.loads(line)
    assert (told["n"], told["action"], told["about"], told["version"]) == (
        3,
        "rollback",
        "cups",
        "1.0.0",
    )
    assert aegis("audit", "--data", data, "--limit", "1").out.split()[0] == "3"
    assert aegis("audit", "--data", data, "--limit", "1", "--after", "1").out.split()[0] == "2"


def test_a_backup_has_the_log_and_the_pins(aegis, data, tmp_path):
    key = aegis("keys", "new", "acme").out.strip()
    aegis("keys", "pin", "github:acme/*", key, "--data", data)
    before = aegis("audit", "--data", data).out
    aegis("data", "backup", data, tmp_path / "copy", "--quiet")
    aegis("data", "restore", tmp_path / "copy", tmp_path / "again", "--quiet")
    assert aegis("audit", "--data", tmp_path / "again").out == before
    assert aegis("keys", "list", "--data", tmp_path / "again").out == f"github:acme/* {key}\n"
    assert (tmp_path / "again" / "trust.json").stat().st_mode & 0o777 == 0o600


async def test_a_running_host_tells_who_has_its_token(aegis, data, tmp_path):
    config = read(tmp_path, data=data, token="secret")
    async with build_host(config) as host:
        server = await start_server(host, config)
        ask = functools.partial(asyncio.to_thread, aegis, "audit", "--to", server.address)
        lines = (await ask("--token", "secret", "--limit", "2")).out.splitlines()
        assert [line.split()[0] for line in lines] == ["2", "3"]
        shown = await ask(AEGIS_TOKEN="secret")
        assert shown.out == (await asyncio.to_thread(aegis, "audit", "--data", data)).out
        assert "a token is needed" in (await ask(expect=2)).said
        await server.close()


def test_what_is_no_host_is_told(aegis, tmp_path):
    assert "which host?" in aegis("audit", expect=2).said
    assert "no data directory" in aegis("audit", "--data", tmp_path, expect=2).said
    assert "does not answer" in aegis("audit", "--to", "http://127.0.0.1:9", expect=2).said
