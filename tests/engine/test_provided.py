"""A component that is deployed with libraries of its own keeps them over restarts, without a network."""

import asyncio

import pytest

from aegis.bootstrap import build_host
from aegis.configuration import Config
from aegis.core.errors import ComponentError
from tests.engine.shop import until
from tests.index import served, wheel

MANIFEST = """
[component]
name = "orders"
version = "1.0.0"
models = ["orders.py"]
[component.dependencies]
left = ">=1"
right = { wheel = "libs/right-1.0-py3-none-any.whl" }
shared = { source = "../shared", version = "^1.0" }
"""
ORDERS = """
import left, right, shared
from aegis import Event, Model, port, waiting
class Order(Model, endpoint="orders"):
    status: str = "new"
    @port(consumes="order.created", produces="order.said")
    def say(self) -> "Order":
        return self.update(status=f"{left.say()} {right.SIDE} {shared.gross(1)}")
    @port(consumes="order.said", produces="order.paid")
    def pay(self) -> "Order":
        return waiting("card.charged")
    @pay.answer
    def paid(self, event: Event) -> "Order":
        import left.late
        return self.update(status=left.late.WHEN)
"""
LEFT = {
    "left/__init__.py": "def say():\n    from . import deep\n    return deep.SIDE\n",
    "left/deep.py": "SIDE = 'left'\n",
    "left/late.py": "WHEN = 'late'\n",
}


@pytest.fixture
def index():
    with served() as index:
        index.put("left", "1.0", LEFT)
        yield index


@pytest.fixture
def places(tmp_path):
    orders, shared = tmp_path / "orders", tmp_path / "shared"
    (orders / "libs").mkdir(parents=True)
    shared.mkdir()
    (orders / "aegis.toml").write_text(MANIFEST)
    (orders / "orders.py").write_text(ORDERS)
    data = wheel("right", "1.0", {"right.py": "SIDE = 'right'\n"})
    (orders / "libs" / "right-1.0-py3-none-any.whl").write_bytes(data)
    (shared / "aegis.toml").write_text(
        '[component]\nname = "shared"\nversion = "1.2.0"\nservices = ["money.py"]\n'
    )
    (shared / "money.py").write_text("import rates\ndef gross(x):\n    return x + rates.VAT\n")
    (shared / "rates.py").write_text("VAT = 19\n")
    return tmp_path


def config(places, index):
    return Config(data=places / "data", overrides={"libraries.index": index.address})


async def said(host):
    """What a new order says."""
    order = await host.create("Order")
    for _ in range(500):
        if (status := (await host.get("Order", order.id)).status) != "new":
            return status
        await asyncio.sleep(0.01)
    raise TimeoutError


async def test_a_host_that_starts_anew_has_the_libraries_that_its_flows_need(places, index):
    async with build_host(config(places, index)) as host:
        deployment = await host.deploy(str(places / "orders"))
        assert await said(host) == "left right 20"
        libraries = host.engine.registry.live["orders"].source.libraries
        assert [(one.name, one.version) for one in libraries] == [
            ("shared", "1.2.0"),
            ("left", "1.0"),
            ("right", "1.0"),
        ]
        index.put("left", "1.1", LEFT)
        assert (await host.deploy(str(places / "orders"))) == deployment
        (places / "shared" / "rates.py").write_text("VAT = 7\n")
        second = await host.deploy(str(places / "orders"))
        assert second.number == deployment.number + 1
        assert (await said(host)).endswith(" 8")
        source = host.engine.registry.live["orders"].source
    index.down = True
    index.asked.clear()
    async with build_host(config(places, index)) as host:
        assert await host.resume() == [f"orders@1.0.0+{source.digest[:8]}"]
        assert host.engine.registry.live["orders"].source.libraries == source.libraries
        (first, second) = await host.list("Order")
        await host.publish("card.charged", second.id)
        await until(lambda: host.status().flows_open == 1)
        assert (await host.get("Order", second.id)).status == "late"
    assert index.asked == []
    for path in (places / "data" / "libraries").glob("*.whl"):
        path.write_bytes(b"PK")
    async with build_host(config(places, index)) as host:
        with pytest.raises(ComponentError) as refused:
            await host.resume()
        assert "the wheel of shared 1.2.0" in str(refused.value)
        assert "is damaged" in str(refused.value)
        assert "deploy the component from its source again" in str(refused.value)
        index.down = False
        await host.deploy(str(places / "orders"))
        await host.publish("card.charged", first.id)
        await until(lambda: host.status().flows_open == 0)


async def test_two_components_share_a_source_each_in_the_version_that_it_asked_for(places, index):
    (places / "billing").mkdir()
    (places / "old").mkdir()
    (places / "old" / "aegis.toml").write_text(
        '[component]\nname = "shared"\nversion = "0.9.0"\nservices = ["money.py"]\n'
    )
    (places / "old" / "money.py").write_text("def gross(x):\n    return x * 100\n")
    (places / "billing" / "aegis.toml").write_text(
        '[component]\nname = "billing"\nversion = "1.0.0"\nmodels = ["bill.py"]\n'
        '[component.dependencies]\nshared = { source = "../old", version = "~0.9" }\n'
    )
    (places / "billing" / "bill.py").write_text(
        "from shared import gross\nfrom aegis import Model\n"
        "class Bill(Model, endpoint='bills'):\n    total: int = gross(1)\n"
    )
    async with build_host(config(places, index)) as host:
        await host.deploy(str(places / "orders"))
        await host.deploy(str(places / "billing"))
        assert (await host.create("Bill")).total == 100
        assert await said(host) == "left right 20"
        (places / "billing" / "aegis.toml").write_text(
            '[component]\nname = "billing"\nversion = "1.0.1"\nmodels = ["bill.py"]\n'
            '[component.dependencies]\nshared = { source = "../shared", version = "~0.9" }\n'
        )
        with pytest.raises(ComponentError, match=r"shared 1\.2\.0, and ~0\.9 is wanted"):
            await host.deploy(str(places / "billing"))
        assert (await host.create("Bill")).total == 100
