"""The command with modules in WebAssembly: checked, signed, planned and sent to a real server."""

import asyncio
import hashlib

import pytest

from aegis.adapters.components.polyglot import PolyglotLoader
from aegis.adapters.sources.anywhere import Anywhere
from aegis.adapters.trust.keys import KeyFiles
from aegis.cli import main
from aegis.core.manifest import read_manifest
from aegis.testing import memory_host
from tests.serve.process import NOTES
from tests.wasm.shop import built, manifest, shop


@pytest.fixture
def aegis(tmp_path, monkeypatch, capfd):
    """Runs the command in this process, in a folder of its own."""
    monkeypatch.chdir(tmp_path)

    def run(*words, code=0):
        ended = 0
        try:
            main([*map(str, words)])
        except SystemExit as end:
            ended = end.code
        done = "".join(capfd.readouterr())
        assert ended == code, done
        return done

    return run


@pytest.mark.parametrize("name", ["shop.wasm", "shop.wat"])
def test_a_module_is_checked_and_fetched(aegis, tmp_path, name):
    content = shop().encode() if name.endswith(".wat") else built(shop())
    (tmp_path / name).write_bytes(content)
    assert "shop 1.0.0" in aegis("check", name)
    assert "is sound: Order" in aegis("check", ".")
    assert name in aegis("fetch", name, "--to", "there")
    assert (tmp_path / "there" / name).read_bytes() == content


def test_what_is_wrong_with_a_module_is_told_by_its_file(aegis, tmp_path):
    (tmp_path / "a.wasm").write_bytes(built(shop())[:200])
    (tmp_path / "b.wat").write_text(shop().replace("(local $i i32)", "(locl $i i32)"))
    (tmp_path / "c.wat").write_text("(module)")
    said = aegis("check", "a.wasm", "b.wat", "c.wat", "no.wasm", code=2)
    assert "a.wasm: it cannot be compiled" in said
    assert "b.wat: b: line " in said
    assert "(locl $i i32)" in said
    assert "c.wat: it is a plain module and exports no 'memory'" in said
    assert "there is no" in said


async def test_a_new_component_in_text_of_webassembly_is_sound_and_does_what_it_says(
    aegis, tmp_path
):
    run = asyncio.to_thread
    assert "my-orders is in my-orders" in await run(aegis, "new", "my-orders", "--wat")
    assert "my-orders 0.1.0" in await run(aegis, "check", "my-orders")
    (tmp_path / "my-orders" / "my_orders.wat").rename(tmp_path / "my-orders.wat")
    async with memory_host(sources=Anywhere(loader=PolyglotLoader())) as host:
        await host.deploy("my-orders.wat")
        order = await host.create("MyOrder", grams=21)
        await host.wait(order, 5)
        assert (await host.get("MyOrder", order.id)).price == 42


@pytest.mark.parametrize("name", ["shop.wasm", "build/shop.wasm", "shop.wat"])
def test_a_module_is_signed_with_an_aegis_toml_beside_it(aegis, tmp_path, monkeypatch, name):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    content = shop().encode() if name.endswith(".wat") else built(shop())
    folder = tmp_path / "shop"
    (folder / name).parent.mkdir(parents=True)
    (folder / name).write_bytes(content)
    aegis("keys", "new", "me")
    assert "aegis.toml cannot be read" in aegis("sign", folder, code=2)
    assert "it is its aegis.toml that is signed" in aegis("sign", folder / name, code=2)
    (folder / "aegis.toml").write_text(manifest(path=name))
    aegis("sign", folder)
    said = read_manifest((folder / "aegis.toml").read_bytes())
    assert said.files == {name: hashlib.sha256(content).hexdigest()}
    (folder / name).write_bytes(content + b" ")
    assert f"{name} is not what the manifest says" in aegis("check", folder, code=2)


def test_a_module_is_sent_to_a_server_with_and_without_a_manifest(
    aegis, serve, tmp_path, monkeypatch
):
    key = KeyFiles(tmp_path / "keys").new("me")
    (tmp_path / "aegis.toml").write_text(
        f'[trust]\nunsigned = ["upload:shop"]\n[trust.pins]\n"upload:pay" = ["{key}"]\n'
    )
    server = serve([NOTES], "--ephemeral", cwd=tmp_path)
    with server.ready() as client:
        monkeypatch.setenv("AEGIS_TOKEN", server.token())
        to = ("--url", server.address())
        (tmp_path / "shop.wat").write_text(shop())
        assert "+ shop 1.0.0" in aegis("plan", "shop.wat", *to)
        assert aegis("deploy", "shop.wat", *to).startswith("shop 1.0.0")
        assert " serves already" in aegis("deploy", "shop.wat", *to)
        assert client.post("/aegis/api/models/shop-orders", json={}).status_code == 201
        (tmp_path / "two").mkdir()
        (tmp_path / "two" / "shop.wasm").write_bytes(built(shop("1.1.0")))
        (tmp_path / "two" / "aegis.toml").write_text(manifest("1.1.0"))
        assert "shop 1.1.0" in aegis("deploy", "two", *to)
        assert "shop 1.0.0" in aegis("rollback", "shop", *to)
        (tmp_path / "pay.wasm").write_bytes(built(shop(name="pay")))
        assert "it is not signed" in aegis("deploy", "pay.wasm", *to, code=2)
        (tmp_path / "bad.wasm").write_bytes(b"\x7fELF")
        assert "it is no WebAssembly" in aegis("deploy", "bad.wasm", *to, code=2)
        found = client.get("/aegis/api/components").json()["components"]
        assert {one["name"]: one["version"] for one in found}["shop"] == "1.0.0"
