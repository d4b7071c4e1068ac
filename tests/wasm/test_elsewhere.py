"""A module that a host is to have comes from the web or a repository, and is there without them."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from aegis.adapters.components.lockfile import read_lock
from aegis.bootstrap import build_host
from aegis.configuration import read
from aegis.core.errors import DigestError, TrustError
from aegis.core.manifest import FILE, SIGNATURE
from aegis.engine.host import Host
from tests.hub import Hub
from tests.signed import Owner
from tests.sources import zipped
from tests.wasm.shop import built, manifest, served, shop

WASM = built(shop())
DIGEST = hashlib.sha256(WASM).hexdigest()


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as hub:
        yield hub


@asynccontextmanager
async def at(folder: Path, hub: Hub, more: str = "") -> AsyncGenerator[Host]:
    """A host of a folder, with the hub as its GitHub, that has begun."""
    text = f'{more}\n[sources.github]\napi = "{hub.github}"\n'
    (folder / "aegis.toml").write_text(text)
    async with build_host(read(folder, data=folder / "data")) as host:
        await host.begin()
        yield host


async def test_a_module_on_the_web_is_known_by_its_digest(tmp_path: Path, hub: Hub) -> None:
    url = hub.files("shop.wasm", WASM)
    async with at(tmp_path, hub, '[trust]\nunsigned = ["http://127.0.0.1:*/"]\n') as host:
        with pytest.raises(TrustError, match=r"only its code tells.*#sha256="):
            await host.plan(url)
        with pytest.raises(DigestError, match="another sha256"):
            await host.plan(f"{url}#sha256={'0' * 64}")
        await host.deploy(f"{url}#sha256={DIGEST}")
        assert await served(host) == "DONE"


async def test_a_zip_of_a_digest_may_have_a_module_with_nothing_beside_it(
    tmp_path: Path, hub: Hub
) -> None:
    packed = zipped({"top/shop.wasm": WASM, "top/README.md": "A shop."})
    url = hub.files("shop.zip", packed)
    async with at(tmp_path, hub) as host:
        with pytest.raises(TrustError, match="only its code tells"):
            await host.plan(url)
        await host.deploy(f"{url}#sha256={hashlib.sha256(packed).hexdigest()}")
        assert await served(host) == "DONE"


@pytest.mark.parametrize("path", ["shop.wasm", "shop.wat", "build/shop.wasm"])
async def test_a_signed_module_comes_from_a_folder_on_the_web_and_from_a_repository(
    tmp_path: Path, hub: Hub, path: str
) -> None:
    owner = Owner()
    content = shop().encode() if path.endswith(".wat") else WASM
    digest = hashlib.sha256(content).hexdigest()
    said = f'{manifest(path=path)}[component.files]\n"{path}" = "{digest}"\n'.encode()
    files = {path: content, FILE: said, SIGNATURE: owner.sign(said)}
    url = hub.folder("shop", files)
    hub.repo("acme/shop").commit(files, tag="v1.0.0")
    pins = f'[trust.pins]\n"github:acme/*" = ["{owner.key}"]\n"{url}" = ["{owner.key}"]\n'
    async with at(tmp_path, hub, pins) as host:
        for address in (url, "github:acme/shop@^1"):
            assert (await host.plan(address)).problems == ()
            deployment = await host.deploy(address)
            assert deployment.signed is not None
            assert deployment.signed.key == owner.key
            assert await served(host) == "DONE"
            await host.undeploy("shop")
        hub.repo("acme/shop").commit({path: content + b"\n", "README.md": "x"}, tag="v1.0.1")
        with pytest.raises(TrustError, match=f"{path} is not what the manifest says"):
            await host.deploy("github:acme/shop@v1.0.1")


async def test_what_a_host_is_to_have_is_locked_and_there_without_its_source(
    tmp_path: Path, hub: Hub
) -> None:
    url = hub.files("shop.wasm", WASM)
    (tmp_path / "pay.wat").write_text(shop(name="pay"))
    wanted = f'[components]\nshop = "{url}#sha256={DIGEST}"\npay = "pay.wat"\n'
    async with at(tmp_path, hub, wanted) as host:
        assert host.missing() == []
        assert await served(host) == "DONE"
    locked = read_lock((tmp_path / "aegis.lock").read_bytes(), "aegis.lock")
    assert locked["shop"].resolved == f"sha256={DIGEST}"
    hub.close()
    async with at(tmp_path, hub, wanted) as host:
        assert host.missing() == []
        assert set(host.engine.registry.live) == {"shop", "pay"}
        assert await served(host) == "DONE"


async def test_a_module_that_is_followed_comes_in_its_next_version(
    tmp_path: Path, hub: Hub
) -> None:
    repo = hub.repo("acme/shop")

    def release(version: str, status: str) -> None:
        content = built(shop(version, status=status))
        digest = hashlib.sha256(content).hexdigest()
        said = f'{manifest(version)}[component.files]\n"shop.wasm" = "{digest}"\n'
        repo.commit({"shop.wasm": content, FILE: said}, tag=f"v{version}")

    release("1.0.0", "OLD")
    more = '[trust]\nunsigned = ["github:acme/*"]\n[gate]\nlast = 1\n'
    more += '[components]\nshop = {source = "github:acme/shop@^1", follow = true}\n'
    async with at(tmp_path, hub, more) as host:
        assert await served(host) == "OLD"
        release("1.1.0", "NEW")
        followed = await host.follow("shop")
        assert (followed.newest, followed.held) == ("1.1.0", None)
        assert await served(host) == "NEW"
        release("1.2.0", "NEWER")
        repo.commit({"shop.wasm": b"\0asm\x01\0\0\0"}, tag="v1.2.0")
        followed = await host.follow("shop")
        assert followed.held == "1.2.0"
        assert "shop.wasm is not what the manifest says" in str(followed)
        assert await served(host) == "NEW"
