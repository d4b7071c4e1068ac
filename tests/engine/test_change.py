"""Several components at once: everything that a change says happens in one swap, or nothing."""

import asyncio

import pytest

from aegis.core.component import Source
from aegis.core.errors import AegisError, ClosedError, ComponentError, NotFoundError
from aegis.engine.plan import Change
from aegis.testing import memory_host


def source(name, version="1.0.0", endpoint=None, more="", fields="text: str = ''"):
    return Source.of(
        name,
        version,
        "from typing import Protocol\nfrom aegis import Model, adapter, config, port\n"
        f"class {name.capitalize()}(Model, endpoint={endpoint or name!r}):\n    {fields}\n{more}",
    )


PENS = """
    @port()
    async def write(self, pen: "Pen" = adapter()):
        return self.update(text=await pen.ink())

class Pen(Protocol):
    async def ink(self) -> str: ...

class Quill(Pen):
    def __init__(self, colour: str = config("colour", "black")) -> None:
        self.colour = colour
    async def ink(self) -> str:
        return f"quill {self.colour}"

class Pencil(Pen):
    async def ink(self) -> str:
        return "pencil"
"""


def live(host):
    return {name: r.version for name, r in host.engine.registry.live.items()}


async def written(host):
    return (await host.run(await host.create("notes.Notes"), "write")).text


async def test_components_come_go_and_swap_endpoints_in_one_swap(host):
    await host.change(Change(sources=(source("left"), source("right"), source("old"))))
    engines = [host.engine]
    seen = asyncio.create_task(watch_engines(host, engines))
    deployments = await host.change(
        Change(
            sources=(
                source("left", "2.0.0", endpoint="right"),
                source("right", "2.0.0", endpoint="left"),
                source("new"),
            ),
            gone=frozenset({"old"}),
        ),
        who="a test",
    )
    seen.cancel()
    assert live(host) == {"left": "2.0.0", "right": "2.0.0", "new": "1.0.0"}
    assert [(d.component, d.who) for d in deployments] == [
        *(("left", "a test"), ("right", "a test"), ("new", "a test"))
    ]
    assert [d.number for d in deployments] == [4, 5, 6]
    stored = {d.component: d.version for d in await host.store.deployments() if d.live}
    assert stored == live(host)
    # Whoever looked saw all of the old, or all of the new.
    assert {tuple(sorted(e.registry.live)) for e in engines} <= {
        ("left", "old", "right"),
        ("left", "new", "right"),
    }


async def watch_engines(host, engines):
    while True:
        await asyncio.sleep(0)
        engines.append(host.engine)


@pytest.mark.parametrize(
    ("bad", "kind", "said"),
    [
        (Change(sources=(source("good"), source("bad", more="1 / 0\n"))), ComponentError, "bad"),
        (
            Change(sources=(source("good"), source("bad", endpoint="kept"))),
            ComponentError,
            "'bad' is refused: endpoint 'kept'",
        ),
        (
            Change(sources=(source("good"), source("kept", "2.0.0", fields="other: int"))),
            ComponentError,
            "stored record",
        ),
        (Change(sources=(source("good"),), gone=frozenset({"kep"})), NotFoundError, "did you mean"),
        (
            Change(sources=(source("one", endpoint="kept"), source("two", endpoint="kept"))),
            ComponentError,
            "component 'two': endpoint 'kept'",
        ),
        (Change(sources=(source("good"),), values={"colour": []}), ComponentError, "colour"),
        (
            Change(sources=(source("good"),), bindings={"notes.Pen": "Pencl"}),
            ComponentError,
            "did you mean 'Pencil'",
        ),
    ],
)
async def test_a_change_that_cannot_be_made_whole_leaves_all_as_it_was(host, bad, kind, said):
    await host.change(
        Change(
            sources=(source("kept"), source("notes", more=PENS)),
            bindings={"notes.Pen": "Quill"},
            values={"colour": "red"},
        )
    )
    await host.create("kept.Kept", text="x")
    engine, stored = host.engine, await host.store.deployments()
    with pytest.raises(kind) as refused:
        await host.change(bad)
    assert said in str(refused.value)
    assert host.engine is engine
    assert await host.store.deployments() == stored
    assert await written(host) == "quill red"


async def test_what_a_change_does_not_name_serves_on_with_the_new_values_and_bindings(host):
    notes = source("notes", more=PENS)
    await host.change(
        Change(sources=(notes,), values={"colour": "red"}, bindings={"notes.Pen": "Quill"})
    )
    revision = host.engine.registry.live["notes"]
    assert await host.change(Change(sources=(notes,), values={"colour": "blue"})) != []
    assert await written(host) == "quill blue"
    assert await host.change(Change(values={"colour": "green"})) == []
    assert await written(host) == "quill green"
    assert await host.change(Change(bindings={"notes.Pen": "Pencil"})) == []
    assert await written(host) == "pencil"
    assert host.engine.registry.live["notes"].digest == revision.digest


async def test_a_host_becomes_what_another_one_is():
    async with memory_host() as one, memory_host() as other:
        await one.deploy("left", "1.0.0", source("left").text)
        await one.configure({"colour": "blue"})
        await one.bind("notes.Pen", "Quill")
        await one.deploy("notes", "1.1.0", source("notes", more=PENS).text)
        await other.change(one.setup())
        assert other.setup() == one.setup()
        assert await written(other) == "quill blue"
        assert await other.change(one.setup()) == []


async def test_a_closed_host_changes_no_more():
    async with memory_host() as host:
        pass
    with pytest.raises(ClosedError) as refused:
        await host.change(Change(sources=(source("left"),)))
    assert isinstance(refused.value, AegisError)
