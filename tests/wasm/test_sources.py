"""One .wasm or .wat is a component with nothing beside it, wherever it comes from."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aegis.adapters.components.polyglot import PolyglotLoader
from aegis.adapters.sources.anywhere import Anywhere
from aegis.adapters.sources.tree import Limits
from aegis.bootstrap import build_host
from aegis.configuration import read
from aegis.core.bundle import Bundle
from aegis.core.errors import (
    ComponentError,
    DigestError,
    InvalidError,
    ManifestError,
    SourceError,
    TrustError,
)
from aegis.core.manifest import read_manifest
from aegis.testing import memory_host
from tests.engine.shop import until
from tests.engine.test_answers import asked
from tests.hub import Hub, forges
from tests.sources import zipped
from tests.wasm.modules import module
from tests.wasm.shop import built, manifest, served, shop

SHOP = shop()
WASM = built(SHOP)
MANIFEST = manifest()


@pytest.fixture
def loader() -> PolyglotLoader:
    return PolyglotLoader()


@pytest.fixture
def here(tmp_path: Path, loader: PolyglotLoader) -> Anywhere:
    return Anywhere(directory=tmp_path, loader=loader)


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as hub:
        yield hub


# --- one file ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["shop.wasm", "build/release.wasm", "shop.wat", "other.wat"])
async def test_a_file_of_this_machine_says_its_name_itself(
    tmp_path: Path, here: Anywhere, name: str
) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(WASM if name.endswith(".wasm") else SHOP.encode())
    (found,) = await here.fetch(name)
    assert (found.manifest.name, found.manifest.version) == ("shop", "1.0.0")
    assert found.is_derived
    source = found.source()
    assert (source.text, source.binary) == ("" if name.endswith(".wasm") else SHOP, WASM)
    async with memory_host(sources=here) as host:
        await host.deploy(name)
        assert await served(host) == "DONE"
        again = Bundle.of(host.engine.registry.live["shop"].source, "cell:shop")
        assert again.source().binary == WASM
        assert again.source().text == source.text
        (same,) = await host.fetch("cell:shop")
        assert same.source.digest == source.digest


async def test_a_folder_gives_its_modules_and_of_a_text_and_its_product_the_text(
    tmp_path: Path, here: Anywhere
) -> None:
    (tmp_path / "shop.wat").write_text(SHOP)
    (tmp_path / "shop.wasm").write_bytes(b"what an older build left: describe, invoke")
    (tmp_path / "pay.wasm").write_bytes(built(shop(name="pay")))
    (tmp_path / "core.wasm").write_bytes(built("(module)"))
    (tmp_path / "notes.py").write_text('__version__ = "1.0.0"\nfrom aegis import Model\n')
    found = await here.fetch(".")
    assert {one.manifest.name: one.paths for one in found} == {
        "notes": ("notes.py",),
        "pay": ("pay.wasm",),
        "shop": ("shop.wat",),
    }
    (chosen,) = await here.fetch(".#pay")
    assert chosen.paths == ("pay.wasm",)
    (tmp_path / "two.wasm").write_bytes(WASM)
    with pytest.raises(InvalidError, match=r"shop.wat and two.wasm are both shop"):
        await here.fetch(".")


async def test_a_manifest_names_a_module_and_nothing_runs_to_read_it(
    tmp_path: Path, here: Anywhere
) -> None:
    (tmp_path / "aegis.toml").write_text(MANIFEST)
    (tmp_path / "shop.wasm").write_bytes(built("(module (func $f unreachable) (start $f))"))
    (found,) = await here.fetch(".")
    assert (found.paths, found.is_derived) == (("shop.wasm",), False)
    (tmp_path / "shop.wasm").write_bytes(WASM)
    async with memory_host(sources=here) as host:
        await host.deploy(".")
        assert await served(host) == "DONE"


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ('models = ["shop.wasm", "orders.py"]', r"'shop.wasm' is a whole component, and 'orders"),
        ('models = ["a.wasm"]\nservices = ["b.wat"]', r"'a.wasm' is a whole .* 'b.wat' is named"),
        ('models = ["shop.wasm"]\ndependencies = {idna = ">=3"}', "imports no libraries of Python"),
        ('models = ["shop.wast"]', r"'shop.wast' is no code .*\.wasm or \.wat"),
        ('models = ["../shop.wasm"]', "is no path below the folder"),
    ],
)
def test_what_a_manifest_cannot_say_of_a_module_is_refused(table: str, said: str) -> None:
    with pytest.raises(ManifestError, match=said):
        read_manifest(f'[component]\nname = "shop"\nversion = "1.0.0"\n{table}\n'.encode())


# --- what is not local ---------------------------------------------------------------------------


async def test_what_comes_from_elsewhere_runs_only_when_its_digest_was_said(
    hub: Hub, loader: PolyglotLoader
) -> None:
    repo = hub.repo("acme/modules")
    repo.commit({"shop.wasm": WASM, "README.md": "A shop."}, tag="v1.0.0")
    digest = hashlib.sha256(WASM).hexdigest()
    ran: list[str] = []

    class Watched(PolyglotLoader):
        def describe(self, binary: bytes, name: str) -> Any:
            ran.append(name)
            return super().describe(binary, name)

    sources = Anywhere(forges=forges(hub), loader=Watched())
    async with memory_host(sources=sources) as host:
        for address in (
            "github:acme/modules/shop.wasm",
            "github:acme/modules@v1.0.0",
            f"github:acme/modules#sha256={digest}",
        ):
            with pytest.raises(TrustError, match=r"what it is only its code tells.*#sha256="):
                await host.plan(address)
        with pytest.raises(DigestError):
            await host.plan(f"github:acme/modules/shop.wasm#sha256={'0' * 64}")
        assert ran == []
        await host.deploy(f"github:acme/modules/shop.wasm#sha256={digest}")
        assert len(ran) == 1
        assert await served(host) == "DONE"
        refused = [one for one in await host.audit() if one.action == "refuse"]
        assert len(refused) == 4  # the wrong digest, too


async def test_a_host_fetches_a_described_module_from_a_repository_and_follows_its_tags(
    hub: Hub, loader: PolyglotLoader
) -> None:
    repo = hub.repo("acme/shop")
    digest = hashlib.sha256(WASM).hexdigest()
    files = f'[component.files]\n"shop.wasm" = "{digest}"\n'
    repo.commit({"shop.wasm": WASM, "aegis.toml": MANIFEST + files}, tag="v1.0.0")
    async with memory_host(sources=Anywhere(forges=forges(hub), loader=loader)) as host:
        await host.deploy("github:acme/shop@^1")
        assert await served(host) == "DONE"
        newer = built(shop("1.1.0", status="SENT"))
        said = (MANIFEST + files).replace("1.0.0", "1.1.0")
        repo.commit({"shop.wasm": newer, "aegis.toml": said}, tag="v1.1.0")
        with pytest.raises(DigestError, match=r"shop.wasm is not what the manifest says"):
            await host.deploy("github:acme/shop@^1")
        assert await served(host) == "DONE"
        said = said.replace(digest, hashlib.sha256(newer).hexdigest())
        repo.commit({"aegis.toml": said}, tag="v1.1.1")
        with pytest.raises(ManifestError, match=r"the tag says version 1.1.1"):
            await host.deploy("github:acme/shop@^1")
        repo.commit({"README.md": "sent"}, tag="v1.1.0")
        assert (await host.deploy("github:acme/shop@^1.1.0 <1.1.1")).version == "1.1.0"
        assert await served(host) == "SENT"


async def test_a_zip_that_was_sent_needs_a_manifest_and_never_runs_unasked(
    here: Anywhere,
) -> None:
    async with memory_host(sources=here) as host:
        with pytest.raises(TrustError, match="only its code tells"):
            await host.receive(zipped({"shop.wasm": WASM}))
        with pytest.raises(TrustError, match="only its code tells"):
            await host.receive(zipped({"shop.wat": SHOP}))
        source = await host.receive(zipped({"aegis.toml": MANIFEST, "shop.wasm": WASM}))
        assert not source.is_local
        await host.deploy(source)
        assert await served(host) == "DONE"


async def test_a_module_may_be_larger_than_other_files_and_not_than_all(
    hub: Hub, tmp_path: Path, loader: PolyglotLoader
) -> None:
    hub.repo("acme/modules").commit({"shop.wasm": WASM})
    (tmp_path / "shop.wasm").write_bytes(WASM)
    packed = zipped({"shop.wasm": WASM})
    addresses = (
        "shop.wasm",
        f"github:acme/modules/shop.wasm#sha256={hashlib.sha256(WASM).hexdigest()}",
        f"{hub.files('shop.zip', packed)}#sha256={hashlib.sha256(packed).hexdigest()}",
    )

    def within(**limits: int) -> Anywhere:
        limited = Limits(**limits)
        return Anywhere(directory=tmp_path, forges=forges(hub), limits=limited, loader=loader)

    for address in addresses:
        (found,) = await within(file=64).fetch(address)
        assert found.binary == WASM
        with pytest.raises((ManifestError, SourceError), match="MiB"):
            await within(total=len(WASM) - 1).fetch(address)


async def test_nothing_of_a_module_can_be_imported(hub: Hub, tmp_path: Path) -> None:
    hub.repo("acme/shop").commit({"shop.wasm": WASM, "aegis.toml": digested(WASM)}, tag="v1.0.0")
    (tmp_path / "user").mkdir()
    (tmp_path / "user" / "user.py").write_text("import shop\nfrom aegis import Model\n")
    (tmp_path / "user" / "aegis.toml").write_text(
        '[component]\nname = "user"\nversion = "1.0.0"\nmodels = ["user.py"]\n'
        '[component.dependencies]\nshop = {source = "github:acme/shop", version = "^1"}\n'
    )
    (tmp_path / "aegis.toml").write_text(
        f'[sources.github]\napi = "{hub.github}"\n[trust]\nunsigned = ["github:acme/*"]\n'
    )
    async with build_host(read(tmp_path, data=None)) as host:
        with pytest.raises(ComponentError, match=r"shop from .* is in WebAssembly: there is noth"):
            await host.plan(str(tmp_path / "user"))


def digested(content: bytes) -> str:
    """A manifest with the digest of its module."""
    return f'{MANIFEST}[component.files]\n"shop.wasm" = "{hashlib.sha256(content).hexdigest()}"\n'


# --- kept ----------------------------------------------------------------------------------------


async def test_after_a_restart_its_open_flows_go_on_with_the_code_of_the_store(
    tmp_path: Path,
) -> None:
    said = {
        "name": "shop",
        "version": "1.0.0",
        "models": {
            "Order": {
                "fields": {"status": {"type": "string", "default": "NEW"}},
                "ports": {
                    "pay": {
                        "consumes": ["order.created"],
                        "produces": "order.paid",
                        "answer": {"events": ["bank.paid"]},
                    }
                },
            }
        },
    }
    answers = {
        "Order.pay": '{"wait": {"events": ["bank.paid"], "by": "order", "deadline": 600}}',
        "Order.pay.answer": '{"record": {"status": "PAID"}}',
    }
    path = tmp_path / "shop.wasm"
    path.write_bytes(built(module(said, answers)))
    config = read(tmp_path, data=tmp_path / "data")
    async with build_host(config) as host:
        before = await host.deploy(str(path))
        order = await host.create("shop.Order")
        await asked(host, order, "pay")
    path.unlink()
    async with build_host(config) as host:
        source = await host.store.source(before.digest)
        assert source is not None
        assert source.binary == built(module(said, answers))
        (resumed,) = await host.resume()
        assert resumed.startswith("shop@1.0.0+")
        await host.publish("bank.paid", order.id, order=order.id)
        await until(lambda: not host.status().flows_open)
        deployed = await host.deploy(source)
        assert deployed.digest == before.digest
        assert (await host.get("shop.Order", order.id)).status == "PAID"


# --- a short text --------------------------------------------------------------------------------

SHORT = """\
;; version = "1.0.0"
;; [models.Order]
;; commands.finish = {}
;; fields.status = {type = "string", default = "NEW"}
;; [texts]
;; done = '{"record": {"status": "DONE"}}'

(func $Order.finish (param $input i64) (result i64)
  (global.get $done))
"""


async def test_a_short_text_in_a_file_is_called_like_the_file(
    tmp_path: Path, here: Anywhere
) -> None:
    (tmp_path / "shop.wat").write_text(SHORT)
    for address in ("shop.wat", "."):
        (found,) = await here.fetch(address)
        assert (found.manifest.name, found.manifest.version) == ("shop", "1.0.0")
    (tmp_path / "other.wat").write_text(f';; name = "shop"\n{SHORT}')
    (tmp_path / "described").mkdir()
    (tmp_path / "described" / "code.wat").write_text(SHORT.partition("\n")[2])
    (tmp_path / "described" / "aegis.toml").write_text(manifest(path="code.wat"))
    async with memory_host(sources=here) as host:
        for address in ("shop.wat", "other.wat", "described"):
            await host.deploy(address)
            assert await served(host) == "DONE"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (SHORT.partition("\n")[2], "it says no version: write"),
        (SHORT.replace("1.0.0", "one"), "'one' is no version"),
        (SHORT.replace('"1.0.0"', "9" * 5000), "its description is no TOML"),
        (SHORT.replace("$Order.finish", "$Order.end"), r"describes Order.finish, and has no funct"),
        (SHORT.replace("$done)", "$gone)"), r"line 9: .*\$gone"),
    ],
)
async def test_what_is_wrong_with_a_short_text_is_told(
    tmp_path: Path, here: Anywhere, text: str, said: str
) -> None:
    (tmp_path / "shop.wat").write_text(text)
    with pytest.raises(ComponentError, match=said):
        await here.fetch("shop.wat")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f";; {'a.' * 200_000}a = 1\n", "more than 100 dots in a line"),
        (f'{SHORT} "' + '\\"' * 200_000, "line 10"),
        (SHORT + "(; " * 5_000, "line 10"),
        (SHORT + "(func $a)" * 20_000, "line 10: duplicate func"),
    ],
    ids=["dots", "quotes", "comments", "functions"],
)
async def test_a_text_that_is_made_to_keep_its_reader_busy_does_not(
    tmp_path: Path, here: Anywhere, text: str, said: str
) -> None:
    (tmp_path / "shop.wat").write_text(text)
    async with asyncio.timeout(30):  # it took minutes
        with pytest.raises(ComponentError, match=said):
            await here.fetch("shop.wat")


async def test_a_short_text_is_what_its_manifest_says(tmp_path: Path, here: Anywhere) -> None:
    (tmp_path / "shop.wat").write_text(SHORT)
    (tmp_path / "aegis.toml").write_text(manifest("1.1.0", path="shop.wat"))
    with pytest.raises(ComponentError, match=r"called 1.1.0 here, and its description says '1.0.0"):
        await here.fetch(".")
