"""A module in WebAssembly is sent as it is, and runs only when its name may be deployed here."""

import pytest

from aegis.adapters.clock import SystemClock
from aegis.adapters.components.polyglot import PolyglotLoader
from aegis.adapters.sources.anywhere import Anywhere
from aegis.adapters.storage.memory import MemoryStore
from aegis.adapters.trust.pinned import PinnedTrust
from aegis.core.trust import Trusted
from aegis.engine.host import Host
from tests.sources import zipped
from tests.wasm.shop import built, manifest, served, shop

PLACE = "/aegis/api/deployments"
WASM = {"content_type": "application/wasm"}
ZIP = {"content_type": "application/zip"}


class Watched(PolyglotLoader):
    """Notes what it was given."""

    def __init__(self):
        super().__init__()
        self.given = []

    def load(self, source):
        self.given.append(source.name)
        return super().load(source)

    def describe(self, binary, name):
        self.given.append(name)
        return super().describe(binary, name)


@pytest.fixture
def loader():
    return Watched()


@pytest.fixture
async def host(loader):
    async with Host(
        store=MemoryStore(),
        clock=SystemClock(),
        loader=loader,
        sources=Anywhere(loader=loader),
        trust=PinnedTrust(Trusted(unsigned=("upload:shop",))),
    ) as host:
        yield host


async def test_a_module_is_planned_and_deployed_once(host, call):
    target, body = f"{PLACE}?name=shop&version=1.0.0", built(shop())
    plan = await call("POST", f"{PLACE}/plan?name=shop&version=1.0.0", body=body, **WASM)
    assert plan.status == 200
    assert plan.json["plan"]["problems"] == []
    assert "shop" not in host.engine.registry.live
    made = await call("POST", target, body=body, **WASM)
    assert made.status == 201
    assert made.json["deployment"]["origin"] == "upload:shop"
    assert await served(host) == "DONE"
    again = await call("POST", target, body=body, **WASM)
    assert (again.status, again.json["same"]) == (200, True)


@pytest.mark.parametrize("path", ["shop.wasm", "build/shop.wasm", "shop.wat"])
async def test_a_zip_with_a_module_is_deployed(host, call, path):
    content = shop() if path.endswith(".wat") else built(shop())
    packed = zipped({"aegis.toml": manifest(path=path), path: content})
    assert (await call("POST", PLACE, body=packed, **ZIP)).status == 201
    assert await served(host) == "DONE"
    source = host.engine.registry.live["shop"].source
    assert source.text == (shop() if path.endswith(".wat") else "")


@pytest.mark.parametrize(
    ("query", "body", "status", "said"),
    [
        ("", b"x", 400, "the name is missing"),
        ("?name=shop", b"x", 400, "the version is missing"),
        ("?name=Shop&version=1.0.0", b"x", 400, "'Shop' is no name"),
        ("?name=shop&version=one", b"x", 400, "'one' is no version"),
        ("?name=shop&version=1.0.0", b"", 400, "the body is empty"),
        ("?name=shop&version=1.0.0&text=1", b"x", 400, "no parameter 'text'"),
        ("?name=shop&version=1.0.0", b"x", 422, "it is no WebAssembly"),
        ("?name=shop&version=1.0.0", b"\0asm\x01\0\0\0\x01", 422, "it cannot be compiled"),
        ("?name=shop&version=1.0.1", None, 422, "it describes itself as shop 1.0.0, and was taken"),
        ("?name=pay&version=1.0.0", None, 403, "nobody is trusted for what comes from upload:pay"),
    ],
)
async def test_what_cannot_be_deployed_is_told_and_what_serves_goes_on(
    host, call, loader, query, body, status, said
):
    first = built(shop(status="OLD"))
    made = await call("POST", f"{PLACE}?name=shop&version=1.0.0", body=first, **WASM)
    assert made.status == 201
    loader.given.clear()
    content = built(shop()) if body is None else body
    for target in (PLACE, f"{PLACE}/plan"):
        answer = await call("POST", f"{target}{query}", body=content, **WASM)
        assert answer.status == status, answer.json
        assert said in answer.json["detail"]
    assert await served(host) == "OLD"
    if status == 403:
        assert loader.given == []


async def test_a_zip_that_says_nothing_of_its_module_never_runs(host, call, loader):
    answer = await call("POST", PLACE, body=zipped({"shop.wasm": built(shop())}), **ZIP)
    assert answer.status == 403
    assert "only its code tells" in answer.json["detail"]
    assert loader.given == []
    assert [one.who for one in await host.audit() if one.action == "refuse"] == ["http"]
