"""A host deploys what it fetches, and what it cannot have changes nothing."""

import pytest

from aegis.adapters.components.lockfile import TomlLockfile
from aegis.adapters.sources.anywhere import Anywhere
from aegis.core.errors import AegisError, ComponentError, InvalidError, SourceError
from aegis.core.lock import Wanted
from aegis.testing import memory_host
from tests.hub import Hub, forges
from tests.sources import orders

SHIPPING = """\
__version__ = "0.1.0"
from aegis import Model

class Parcel(Model, endpoint="parcels"):
    weight: int = 1
"""


@pytest.fixture
def hub():
    with Hub() as hub:
        yield hub


async def test_an_address_is_deployed_and_the_same_again_changes_nothing(hub):
    repo = hub.repo("acme/orders")
    repo.commit(orders("1.2.0"), tag="v1.2.0")
    async with memory_host(sources=Anywhere(forges=forges(hub))) as host:
        first = await host.deploy("github:acme/orders@^1.2")
        assert (first.component, first.version) == ("orders", "1.2.0")
        assert first.origin == "github:acme/orders@^1.2"
        assert (await host.deploy("github:acme/orders@^1.2")).number == first.number
        repo.commit(orders("1.3.0"), tag="v1.3.0")
        assert (await host.deploy("github:acme/orders@^1.2")).version == "1.3.0"
        order = await host.create("orders.Order")
        assert order.total == 3


async def test_what_cannot_be_fetched_or_loaded_leaves_what_serves(hub, tmp_path):
    repo = hub.repo("acme/orders")
    repo.commit(orders("1.2.0"), tag="v1.2.0")
    async with memory_host(sources=Anywhere(forges=forges(hub))) as host:
        await host.deploy("github:acme/orders")
        broken = {
            "syntax": ({"orders.py": '__version__ = "2.0.0"\ndef f(:\n'}, "line 2"),
            "import": ({"orders.py": '__version__ = "2.0.0"\nimport absent\n'}, "absent"),
            "version": ({"orders.py": "__version__ = two()\n"}, "is no version"),
            "nothing": ({"orders.py": None}, "has no component"),
            "manifest": ({"aegis.toml": "[component"}, "aegis.toml cannot be read"),
        }
        for branch, (files, said) in broken.items():
            repo.commit(files, branch=branch)
            with pytest.raises(AegisError) as refused:
                await host.deploy(f"github:acme/orders@{branch}")
            assert said in str(refused.value)
        hub.close()
        with pytest.raises(SourceError, match="cannot be read"):
            await host.deploy("github:acme/orders")
        assert host.engine.registry.live["orders"].version == "1.2.0"
        assert (await host.create("orders.Order")).total == 3


async def test_of_several_components_one_is_named(tmp_path):
    (tmp_path / "shipping.py").write_text(SHIPPING)
    (tmp_path / "returns.py").write_text(SHIPPING.replace("parcels", "returns"))
    async with memory_host(sources=Anywhere(directory=tmp_path)) as host:
        with pytest.raises(InvalidError, match=r"has 2 components: returns, shipping"):
            await host.deploy(".")
        assert (await host.deploy(".#shipping")).component == "shipping"


async def test_the_live_component_of_a_cell_is_an_address():
    async with memory_host() as host:
        await host.deploy("shipping", "0.1.0", SHIPPING, imports={"rates.py": "RATE = 2\n"})
        (found,) = await host.fetch("cell:shipping")
        assert found.source is host.engine.registry.live["shipping"].source
        assert found.bundle.files == {
            "shipping.py": SHIPPING.encode(),
            "rates.py": b"RATE = 2\n",
        }
        assert found.bundle.is_local
        assert found.bundle.source().text == SHIPPING
        number = host.engine.registry.live["shipping"]
        await host.deploy("cell:shipping")
        assert host.engine.registry.live["shipping"] is number
        with pytest.raises(InvalidError, match="did you mean 'shipping'"):
            await host.fetch("cell:shiping")
        with pytest.raises(SourceError, match="fetches nothing"):
            await host.fetch("github:acme/orders")


async def test_a_component_that_never_ends_its_import_is_not_run_by_a_fetch(tmp_path):
    (tmp_path / "orders.py").write_text('__version__ = "1.0.0"\nwhile True: pass\n')
    async with memory_host(sources=Anywhere(directory=tmp_path)) as host:
        (found,) = await host.fetch("orders.py")
        assert found.source.version == "1.0.0"


async def test_files_that_import_each_other_in_a_circle_are_told(tmp_path):
    (tmp_path / "orders.py").write_text('__version__ = "1.0.0"\nfrom a import A\n')
    (tmp_path / "a.py").write_text("from b import B\nA = 1\n")
    (tmp_path / "b.py").write_text("from a import A\nB = 1\n")
    async with memory_host(sources=Anywhere(directory=tmp_path)) as host:
        with pytest.raises(ComponentError, match=r"cannot import name 'A'|circular"):
            await host.deploy("orders.py")


async def test_what_is_locked_starts_without_a_network(hub, tmp_path):
    repo = hub.repo("acme/orders")
    repo.commit(orders("1.2.0"), tag="v1.2.0")
    wanted = {"orders": Wanted(source="github:acme/orders@^1.2")}

    def host():
        sources = Anywhere(forges=forges(hub), folder=tmp_path / "cache")
        lockfile = TomlLockfile(tmp_path / "aegis.lock")
        return memory_host(sources=sources, components=wanted, lockfile=lockfile)

    async with host() as first:
        await first.begin()
        assert first.engine.registry.live["orders"].version == "1.2.0"
    repo.commit(orders("1.3.0"), tag="v1.3.0")
    hub.close()
    async with host() as second:
        await second.begin()
        assert second.engine.registry.live["orders"].version == "1.2.0"
        assert (await second.create("orders.Order")).total == 3
    hub.open()
    hub.behave()
    async with host() as third:
        await third.begin()
        assert hub.asked == []
        await third.lock(None)
    async with host() as fourth:
        await fourth.begin()
        assert fourth.engine.registry.live["orders"].version == "1.3.0"
