"""Nothing of a replaced revision stays: classes, adapters, modules, libraries, loggers, lines."""

import gc
import linecache
import logging
import os
import resource
import sys
import weakref
from pathlib import Path

from aegis.adapters.components.python import PythonLoader
from aegis.adapters.libraries.shelf import Shelf
from aegis.adapters.storage.sqlite import SqliteStore
from aegis.core.component import Source
from aegis.testing import memory_host
from tests.engine.shop import until
from tests.index import installed, wheel

# 1,000 of them with AEGIS_CENSUS=1000, which looks at the memory of the process, too.
DEPLOYS = int(os.environ.get("AEGIS_CENSUS", "200"))
LONG = DEPLOYS >= 1000

TEXT = """
import logging
from decimal import Decimal
from typing import Annotated, Protocol
import attrs
import left.deep
from msgspec import Struct
from aegis import Event, Model, adapter, command, config, on, port, relation, service, unique
from rules import rate, Size

log = logging.getLogger(__name__)

@attrs.define
class Box:
    size: int = attrs.field(default=1, converter=int)

class Line(Struct):
    what: str
    price: Decimal

class Net(Protocol):
    def send(self, text: str) -> str: ...

class Wire(Net):
    def __init__(self, speed: int = config("speed", 3)) -> None:
        self.speed = speed
    def send(self, text: str) -> str:
        return text

class Payments(Protocol):
    async def pay(self, order: str) -> str: ...

class Cards(Payments):
    def __init__(self, net: Net = service()) -> None:
        self.net = net
    async def pay(self, order: str) -> str:
        log.debug("pays")
        return self.net.send(f"paid-NUMBER")

class Customer(Model, endpoint="customers"):
    name: str = ""
    orders = relation("Order", by="customer", many=True)

class Order(Model, endpoint="orders"):
    customer: str | None = None
    status: str = "new"
    size: Size = Size.SMALL
    code: Annotated[str | None, unique] = None
    lines: list[Line] = []
    total: Decimal = Decimal(0)

    owner = relation("Customer", via="customer")

    @port(consumes="order.created", produces="order.paid")
    async def pay(self, payments: Payments = adapter()) -> "Order":
        assert left.deep.twice(Box("2").size) == 4
        return self.update(status=await payments.pay(self.id), total=rate(self.total))

    @pay.undo
    async def unpay(self, payments: Payments = adapter()) -> None: ...

    @command
    def rename(self, code: str) -> "Order":
        return self.update(code=code)

@on("order.paid")
async def heard(event: Event) -> None: ...
"""
RULES = """
import enum
from decimal import Decimal
import left
class Size(enum.Enum):
    SMALL = "small"
def rate(total):
    return total + Decimal(left.ONE)
"""
LEFT = {
    "left/__init__.py": "ONE = 1\n",
    "left/deep.py": """
import atexit, functools, logging, weakref
logging.getLogger(__name__).addHandler(logging.NullHandler())
class Deep: ...
@functools.lru_cache
def twice(x):
    return x * 2
atexit.register(twice, 1)
""",
}  # fmt: skip


def of_ours():
    """How many names of ours the process keeps, by where."""
    ours = "aegis_components.census_r"
    return {
        "modules": sum(name.startswith(ours) for name in list(sys.modules)),
        "loggers": sum(name.startswith(ours) for name in logging.root.manager.loggerDict),
        "lines": sum("census_r" in name for name in list(linecache.cache)),
    }


def settled(one):
    """Whether no more is there than the live revision and the one before it have."""
    return all(count <= 2 * one[where] for where, count in of_ours().items())


def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


async def test_of_many_revisions_one_old_one_is_alive_and_the_process_keeps_no_names(tmp_path):
    shelf, refs, sizes, first = Shelf(None), [], [], {}
    libraries = tuple(
        shelf.put(data, "a wheel").library
        for data in (wheel("left", "1.0", LEFT), installed("attrs", "999.1"))
    )
    kept = [shelf.find(one.sha256) for one in libraries]
    # What is stored would grow in memory, and is not what is counted.
    async with memory_host(store=SqliteStore(tmp_path / "data")) as host:
        host._deploys.loader = PythonLoader(shelf.wheel)
        for number in range(DEPLOYS):
            text = TEXT.replace("NUMBER", str(number))
            await host.deploy(
                Source.of(
                    "census",
                    "1.0.0",
                    text,
                    imports={"rules.py": RULES},
                    libraries=libraries,
                )
            )
            if number < 100 or number == DEPLOYS - 1:
                order = await host.create("Order", total="1")
                assert (await host.wait(order, 5)).state == "completed"
                await host.call(order, "rename", code=str(number))
                last = order.id
            # What is remembered of events and records up to a bound would be counted.
            assert (await host.get("Order", last)).status.startswith("paid")
            live = host.engine.registry.live["census"]
            adapters = host.engine.residents[live]
            root = live.module.__name__
            modules = [sys.modules[name] for name in list(sys.modules) if name.startswith(root)]
            assert len(modules) >= 5
            classes = [spec.cls for spec in live.models] + [part.cls for part in live.parts]
            names = vars(live.module)
            classes += [names["Line"], names["Size"], names["Box"], names["left"].deep.Deep]
            refs.append([weakref.ref(one) for one in (live, adapters, *modules, *classes)])
            del live, adapters, modules, classes, names
            order = None
            if number % (DEPLOYS // 10) == 0:
                first.update(first or of_ours())
                await until(lambda: settled(first))
                gc.collect()
                refs = [[ref for ref in some if ref() is not None] for some in refs]
                sizes.append(resident())

        def alive():
            gc.collect()
            return [
                number
                for number, revision in enumerate(refs)
                if any(one() is not None for one in revision)
            ]

        await until(lambda: len(alive()) <= 2)
        assert alive() == [DEPLOYS - 2, DEPLOYS - 1]
        assert (await host.rollback("census")).number == DEPLOYS + 1
    assert of_ours() == {"modules": 0, "loggers": 0, "lines": 0}
    if LONG:
        # Python 3.11 itself keeps the name of every file that `compile` was ever given.
        half = sizes[len(sizes) // 2 :]
        print([f"{size / 2**20:.0f}" for size in sizes])
        assert max(half) <= 1.05 * min(half)
    assert len(kept) == 2
