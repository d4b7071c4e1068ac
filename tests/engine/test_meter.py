"""Adapters and services are measured per caller, and notice nothing of it."""

import asyncio
import gc
import weakref

import pytest

from aegis.engine.monitor import LOOP
from aegis.testing import memory_host
from tests.engine.shop import until

ALL = frozenset({"figures"})

TEXT = """
import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol
from aegis import Model, adapter, blocking, command, config, service

class Wire(Protocol):
    def send(self, text: str) -> str: ...

class Tin(Wire):
    def __init__(self) -> None:
        self.sent = []
    def send(self, text: str) -> str:
        self.sent.append(text)
        return text.upper()

class Shelf(Protocol):
    name: str
    async def put(self, what: str) -> str: ...
    def count(self) -> int: ...
    def slow(self, what: str) -> str: ...
    def later(self) -> object: ...
    def each(self) -> AsyncIterator[int]: ...
    def task(self) -> asyncio.Task: ...
    async def bad(self) -> None: ...

class Wood(Shelf):
    def __init__(self, wire: Wire = service(), tell: object = config("tell")) -> None:
        self.wire, self.tell, self.things, self.name = wire, tell, [], "wood"
    def open(self) -> None:
        self.tell("opened", self)
    @property
    def size(self) -> int:
        return len(self.things)
    def __len__(self) -> int:
        return self.size
    async def put(self, what: str) -> str:
        self.things.append(what)
        self.count()
        return self.wire.send(what)
    def count(self) -> int:
        return len(self.things)
    @blocking
    def slow(self, what: str) -> str:
        return self.wire.send(what)
    def later(self) -> object:
        return self.put("later")
    async def each(self) -> AsyncIterator[int]:
        for n in range(3):
            yield n
    def task(self) -> asyncio.Task:
        return asyncio.ensure_future(self.put("task"))
    async def bad(self) -> None:
        raise OSError("no room")

class Box(Model, endpoint="boxes"):
    @command
    async def use(self, shelf: Shelf = adapter(), tell: object = None) -> None:
        assert await shelf.put("a") == "A"
        assert shelf.count() == 1
        assert await shelf.slow("b") == "B"
        assert await shelf.later() == "LATER"
        assert [n async for n in shelf.each()] == [0, 1, 2]
        async for n in shelf.each():
            break
        assert await shelf.task() == "TASK"
        assert (len(shelf), shelf.size, shelf.name) == (3, 3, "wood")
        assert isinstance(shelf, Wood) and issubclass(type(shelf), Wood)
        shelf.name = "oak"

    @command
    async def fail(self, shelf: Shelf = adapter()) -> None:
        assert shelf.name == "oak"
        await shelf.bad()
""".replace(", tell: object = None", "")

USE = "uses:command:boxes.Box.use>part:boxes.Wood"
FAIL = "uses:command:boxes.Box.fail>part:boxes.Wood"
SEND = "uses:part:boxes.Wood>part:boxes.Tin"


@pytest.fixture
async def boxes():
    opened = []
    tell = {"tell": lambda what, who: opened.append(type(who).__name__)}
    async with memory_host(values=tell) as host:
        await host.deploy("boxes", "1.0.0", TEXT)
        assert opened == ["Wood"]
        yield host


async def test_every_kind_of_method_is_measured_once_and_works_as_before(boxes):
    box = await boxes.create("Box")
    await boxes.call(box, "use")
    # What a @blocking method did is told by its thread.
    await until(lambda: boxes.monitor.frame(0, ALL).figures[SEND].calls == 4)
    figures = boxes.monitor.frame(0, ALL).figures
    # put, count, slow, later, each and task; not the count() that put() itself makes.
    assert (figures[USE].calls, figures[USE].errors, figures[USE].running) == (6, 0, 0)
    assert figures[SEND].running == 0


async def test_each_caller_has_figures_of_its_own_and_errors_are_told(boxes):
    box = await boxes.create("Box")
    await boxes.call(box, "use")
    with pytest.raises(Exception, match="OSError"):
        await boxes.call(box, "fail")
    figures = boxes.monitor.frame(0, ALL).figures
    assert (figures[FAIL].calls, figures[FAIL].errors) == (1, 1)
    assert figures[FAIL].error == "OSError: no room"
    assert figures[FAIL].state == "failing"
    assert figures[USE].errors == 0


async def test_a_trace_goes_through_to_the_services(boxes):
    box = await boxes.create("Box")
    with boxes.monitor.trace() as trace:
        await boxes.call(box, "use")
        await asyncio.sleep(0)
    ends = [(call.source, call.target, call.label) for call in trace.calls]
    assert ends[0] == ("cell", "command:boxes.Box.use", "use")
    assert ("command:boxes.Box.use", "part:boxes.Wood", "slow") in ends
    assert ends.count(("part:boxes.Wood", "part:boxes.Tin", "send")) == 4
    assert all(call.ended is not None for call in trace.calls)


CLOSED = {
    "slots": """
class Wood(Shelf):
    __slots__ = ("n",)
    def __init__(self) -> None:
        self.n = 1
""",
    "builtin": """
class Wood(dict, Shelf):
    n = 1
""",
    "subclass hook": """
class Wood(Shelf):
    n = 1
    def __init_subclass__(cls) -> None:
        raise RuntimeError("somebody inherits")
""",
}


@pytest.mark.parametrize("head", CLOSED.values(), ids=CLOSED)
async def test_what_cannot_be_measured_works_unmeasured(head):
    text = f"""
from typing import Protocol
from aegis import Model, adapter, command

class Shelf(Protocol):
    __slots__ = ()
    async def put(self, what: str) -> int: ...

{head}    async def put(self, what: str) -> int:
        return self.n

class Box(Model, endpoint="boxes"):
    n: int = 0
    @command
    async def use(self, shelf: Shelf = adapter()) -> "Box":
        return self.update(n=await shelf.put("a"))
"""
    async with memory_host() as host:
        await host.deploy("boxes", "1.0.0", text)
        box = await host.create("Box")
        assert (await host.call(box, "use")).n == 1
        figures = host.monitor.frame(0, ALL).figures
        assert USE not in figures
        assert figures["command:boxes.Box.use"].calls == 1
        assert figures.keys() - {LOOP}


async def test_a_replaced_adapter_leaves_with_its_view(boxes):
    first = weakref.ref(boxes.engine.registry.live["boxes"].by_name["Box"].cls)
    adapters = [weakref.ref(p.cls) for p in boxes.engine.registry.live["boxes"].parts]
    box = await boxes.create("Box")
    await boxes.call(box, "use")
    boxes.monitor.frame(0, frozenset({"status", "figures", "events", "flows"}))
    del box
    for n in (1, 2):
        await boxes.deploy("boxes", "1.0.0", TEXT + f"# {n}")

    def gone():
        gc.collect()
        return first() is None and all(ref() is None for ref in adapters)

    await until(gone)
