"""A served notebook with components from elsewhere: locked, followed, killed, and without a source."""

import hashlib
import os
import signal
import subprocess
import sys
import time

import httpx
import pytest

from aegis.adapters.components.lockfile import read_lock
from tests.hub import Hub
from tests.serve.process import NOTES, Serving, write

CODE = """\
from aegis import Model
from shared import PRICE

class {model}(Model, endpoint="{endpoint}"):
    text: str = "{version}"
    price: int = PRICE
"""
MANIFEST = """\
[component]
name = "{name}"
version = "{version}"
{kind} = ["code.py"]
{more}
[component.files]
"code.py" = "{digest}"
"""
SHARED = """
[component.dependencies]
shared = {source = "github:acme/shared", version = "^1"}
"""


@pytest.fixture
def hub():
    with Hub() as hub:
        commit(hub, "shared", "1.0.0", "PRICE = 3\n", kind="services")
        release(hub, "orders", "1.2.0")
        release(hub, "parcels", "0.1.0")
        yield hub


def release(hub, name, version):
    code = CODE.format(model=name[:-1].title(), endpoint=name, version=version)
    commit(hub, name, version, code, more=SHARED)


def commit(hub, name, version, code, *, kind="models", more=""):
    digest = hashlib.sha256(code.encode()).hexdigest()
    said = MANIFEST.format(name=name, version=version, digest=digest, kind=kind, more=more)
    hub.repo(f"acme/{name}").commit({"code.py": code, "aegis.toml": said}, tag=f"v{version}")


@pytest.fixture
def folder(tmp_path, hub):
    """Where the notebook is, with the hub as its GitHub."""

    def say(components):
        (tmp_path / "aegis.toml").write_text(
            f'[trust]\nunsigned = ["github:acme/*"]\n[sources.github]\napi = "{hub.github}"\n'
            f"[components]\n{components}\n"
        )
        return tmp_path

    return say


def live(client):
    shown = client.get("/aegis/api/components").json()
    return {one["name"]: one["version"] for one in shown["components"]}


def locked(folder):
    content = (folder / "aegis.lock").read_bytes()
    return {name: one.version for name, one in read_lock(content, "aegis.lock").items()}


def until(true, said, seconds=30):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, said()
        time.sleep(0.02)


def aegis(folder, *words, expect=0):
    done = subprocess.run(
        [sys.executable, "-m", "aegis.cli", *words],
        capture_output=True, text=True, check=False, cwd=folder,
    )  # fmt: skip
    assert done.returncode == expect, done.stderr
    return done.stdout + done.stderr


BOTH = 'orders = "github:acme/orders@^1.2"\nparcels = "github:acme/parcels@*"'


def test_a_locked_host_starts_without_its_sources(serve, folder, hub):
    where = folder(BOTH)
    first = serve([NOTES])
    with first.ready() as client:
        assert live(client) == {"notes": "1.0.0", "orders": "1.2.0", "parcels": "0.1.0"}
        assert client.post("/aegis/api/models/orders", json={}).json()["text"] == "1.2.0"
    assert first.end() == 0
    assert locked(where) == {"orders": "1.2.0", "parcels": "0.1.0"}
    before = (where / "aegis.lock").read_bytes()
    assert b"shared" in before
    release(hub, "orders", "1.3.0")
    commit(hub, "shared", "1.1.0", "PRICE = 4\n", kind="services")
    hub.close()
    second = serve(None)
    with second.ready() as client:
        assert live(client) == {"notes": "1.0.0", "orders": "1.2.0", "parcels": "0.1.0"}
        assert [one["text"] for one in client.get("/aegis/api/models/orders").json()["items"]] == [
            "1.2.0"
        ]
        assert client.post("/aegis/api/models/parcels", json={}).json()["price"] == 3
    assert second.end() == 0
    assert (where / "aegis.lock").read_bytes() == before


def test_one_source_that_is_down_keeps_no_other_away(serve, folder, hub):
    folder(BOTH)
    down = hub.fail("/github/repos/acme/parcels/*", status=503)
    serving = serve([NOTES])
    address = serving.address()
    serving.expect("serving notes 1.0.0, orders 1.2.0|serving orders 1.2.0, notes 1.0.0")
    ready = httpx.get(f"{address}/readyz")
    assert ready.status_code == 503
    assert ready.json()["missing"][0].startswith("component parcels: github:acme/parcels")
    assert "parcels" in serving.said
    down.times = 0
    with serving.ready() as client:
        assert live(client) == {"notes": "1.0.0", "orders": "1.2.0", "parcels": "0.1.0"}
    assert serving.end() == 0


def test_a_notebook_needs_no_component_of_its_own(serve, folder, hub):
    folder(BOTH)
    hub.close()
    serving = serve(["x = 1"])
    serving.expect("serving nothing yet")
    hub.open()
    with serving.ready() as client:
        assert live(client) == {"orders": "1.2.0", "parcels": "0.1.0"}
    assert serving.end() == 0


def test_only_what_is_locked_is_taken_where_that_is_said(serve, folder, hub):
    where = folder(BOTH)
    refused = serve([NOTES], "--locked")
    assert refused.exit_code() == 2
    assert "aegis.lock does not have orders (github:acme/orders@^1.2), parcels" in refused.said
    assert "orders 1.2.0" in aegis(where, "lock")
    assert "as it was" in aegis(where, "lock")
    release(hub, "orders", "1.3.0")
    commit(hub, "shared", "1.1.0", "PRICE = 4\n", kind="services")
    # On a machine that has nothing of it yet, the code of the lock is fetched, and no other.
    serving = serve(None, "--locked", "--ephemeral")
    with serving.ready() as client:
        assert live(client)["orders"] == "1.2.0"
        assert client.post("/aegis/api/models/orders", json={}).json()["price"] == 3
    assert serving.end() == 0
    assert "orders 1.2.0 -> 1.3.0" in aegis(where, "lock", "--upgrade", "orders")
    assert locked(where) == {"orders": "1.3.0", "parcels": "0.1.0"}
    assert "did you mean 'orders'" in aegis(where, "lock", "--upgrade", "order", expect=2)


def test_versions_are_asked_and_followed_from_a_shell(serve, folder, hub):
    where = folder(BOTH)
    serving = serve([NOTES])
    with serving.ready() as client:
        host = ("--to", serving.address(), "--token", serving.token())
        assert "every 30 s" in aegis(where, "follow", "orders", "--every", "30", *host)
        release(hub, "orders", "1.3.0")
        assert "1.3.0 follows" in aegis(where, "follow", "orders", "--every", "20", *host)
        said = aegis(where, "versions", "orders", *host)
        assert "1.3.0, 1.2.0" in said
        assert said.startswith("orders: orders@1.3.0+")
        assert live(client)["orders"] == "1.3.0"
        assert "no more" in aegis(where, "unfollow", "orders", *host)
    assert serving.end() == 0
    assert locked(where)["orders"] == "1.3.0"


def test_a_host_that_is_killed_while_it_follows_goes_on_with_a_whole_version(serve, folder, hub):
    where = folder('orders = {source = "github:acme/orders@^1", follow = true, every = 1}')
    newest = 2
    serving = serve([NOTES])
    for turn in range(2):
        with serving.ready() as client:
            before = live(client)["orders"]
            newest += 1
            release(hub, "orders", f"1.{newest}.0")
            hub.behave()
            until(lambda: any("tarball" in one.path for one in hub.asked), str)
            time.sleep(0.01 * turn)
        os.kill(serving.process.pid, signal.SIGKILL)
        serving.process.wait()
        assert int(before.split(".")[1]) <= int(locked(where)["orders"].split(".")[1]) <= newest
        serving = serve(None)
    with serving.ready() as client:
        until(lambda: live(client)["orders"] == f"1.{newest}.0", lambda: serving.said)
    assert serving.end() == 0
    assert locked(where)["orders"] == f"1.{newest}.0"
    assert {path.name for path in where.glob(".aegis.lock*")} <= {".aegis.lock.new"}


def test_a_broken_lock_is_told_and_nothing_starts(serve, folder, hub):
    where = folder(BOTH)
    (where / "aegis.lock").write_text("format = 1\n[components.orders\n")
    refused = serve([NOTES])
    assert refused.exit_code() == 2
    assert "aegis.lock cannot be read" in refused.said


@pytest.mark.parametrize("words", [["--watch"], ["--watch", "--ephemeral"]])
def test_a_saved_notebook_leaves_what_is_from_elsewhere(serve, folder, hub, tmp_path, words):
    folder(BOTH)
    serving = serve([NOTES], *words)
    with serving.ready() as client:
        hub.close()
        write(tmp_path / "shop.ipynb", NOTES.replace("1.0.0", "1.1.0"), "host.create('Order')")
        serving.expect("is live")
        assert live(client) == {"notes": "1.1.0", "orders": "1.2.0", "parcels": "0.1.0"}
        # The cell had the component, and what it did was done in memory.
        assert client.get("/aegis/api/models/orders").json()["items"] == []
    assert serving.end() == 0


def test_a_host_of_its_own_folder_is_no_other(tmp_path, hub):
    """What a folder without [components] serves has no lock."""
    serving = Serving(write(tmp_path / "shop.ipynb", NOTES))
    with serving.ready() as client:
        assert live(client) == {"notes": "1.0.0"}
    assert serving.end() == 0
    assert not (tmp_path / "aegis.lock").exists()
