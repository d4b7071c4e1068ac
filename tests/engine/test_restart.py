"""What was acknowledged survives a kill, and goes on from where it stopped, once."""

import asyncio
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from aegis.adapters.storage.memory import MemoryStore
from aegis.adapters.storage.sqlite import SqliteStore
from aegis.core.flow import FlowState
from aegis.testing import memory_host
from tests.engine.shop import TEXT, Desk, quiet, until
from tests.fakes import GatedStore

ROOT = Path(__file__).parents[2]

# Creates the order o-1, and kills itself when the partner is asked for `at`, or after the answer.
VICTIM = """
import asyncio, os, signal, sys
from pathlib import Path
from aegis.adapters.storage.sqlite import SqliteStore
from aegis.testing import memory_host
from tests.engine.shop import TEXT, Desk

directory, at, refused = sys.argv[1:4]

def die():
    os.kill(os.getpid(), signal.SIGKILL)

async def main():
    desk = Desk()
    async def answer(what, order, key):
        with open(directory + ".calls", "a") as calls:
            calls.write(f"{what} {key.rpartition('.')[2]}\\n")
            calls.flush()
        if what == at:
            die()
        if what == refused:
            from aegis import Refused
            raise Refused("no")
        return "ok"
    async with memory_host(values={"say": answer}, store=SqliteStore(Path(directory))) as host:
        await host.deploy("orders", "1.0.0", TEXT)
        order = await host.create("Order", id="o-1", approved=at != "approve")
        await host.wait(order, 0.3 if at == "approve" else 20)
        die()

asyncio.run(main())
"""


def killed(directory: Path, at: str, refused: str = "") -> list[str]:
    """Run the victim to its death; the calls its partners saw."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(VICTIM), str(directory), at, refused],
        cwd=ROOT,
        env={"PYTHONPATH": f"{ROOT / 'runtime'}:{ROOT}", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    return Path(f"{directory}.calls").read_text().splitlines()


@pytest.mark.parametrize("at", ["pay", "pack", "ship"])
async def test_a_flow_goes_on_from_the_step_at_which_its_process_was_killed(tmp_path, at):
    directory = tmp_path / "data"
    before = killed(directory, at)
    desk = Desk()
    async with memory_host(values={"say": desk}, store=SqliteStore(directory)) as host:
        assert host.status().waiting == ("component orders@1.0.0",)
        assert host.missing() == ["component orders@1.0.0"]
        assert desk.calls == []  # nothing runs by itself
        await host.deploy("orders", "1.0.0", TEXT)
        order = await host.get("Order", "o-1")
        assert (await host.wait(order, 5)).state is FlowState.COMPLETED
        assert host.missing() == []
    names = ["pay", "pack", "ship"]
    seen = before + [" ".join(call) for call in desk.calls]
    n = names.index(at) + 1
    # asked once each, and once more with the same key where it was cut
    assert seen == [f"{name} {i}" for i, name in enumerate(names[:n], 1)] + [
        f"{name} {i}" for i, name in enumerate(names, 1) if i >= n
    ]


@pytest.mark.parametrize("at", ["unpack", "refund"])
async def test_an_undo_goes_on_from_where_its_process_was_killed(tmp_path, at):
    directory = tmp_path / "data"
    before = killed(directory, at, "ship")
    assert before[-1].startswith(at)
    desk = Desk()
    async with memory_host(values={"say": desk}, store=SqliteStore(directory)) as host:
        assert host.missing() == ["component orders@1.0.0"]
        (label,) = await host.resume()
        assert label.startswith("orders@1.0.0+")
        order = await host.get("Order", "o-1")
        flow = (await host.flows(order))[0][0]
        assert (await host.wait(flow.id, 5)).state is FlowState.COMPENSATED
        await quiet(host)
        assert (await host.get("Order", "o-1")).status == "CANCELED"
    assert desk.told == {"unpack": ["unpack", "refund"], "refund": ["refund"]}[at]


async def test_an_order_that_waits_for_its_approval_waits_on_after_a_kill(tmp_path):
    directory = tmp_path / "data"
    killed(directory, "approve")
    desk = Desk()
    async with memory_host(values={"say": desk}, store=SqliteStore(directory)) as host:
        await host.deploy("orders", "1.0.0", TEXT)
        order = await host.get("Order", "o-1")
        assert (await host.wait(order, 0.02)).state is FlowState.RUNNING
        await host.call(order, "approve")
        assert (await host.wait(order, 5)).state is FlowState.COMPLETED
    assert desk.told == ["pack", "ship"]


async def test_cancel_after_a_kill_undoes_a_step_of_unknown_outcome_as_well(tmp_path):
    directory = tmp_path / "data"
    killed(directory, "pay")
    desk = Desk()
    gate = asyncio.Event()

    async def held(_):
        await gate.wait()

    desk.replies["pay"] = held
    async with memory_host(values={"say": desk}, store=SqliteStore(directory)) as host:
        await host.deploy("orders", "1.0.0", TEXT)
        order = await host.get("Order", "o-1")
        await host.call(order, "cancel")
        flow = (await host.flows(order))[0][0]
        assert (await host.wait(flow.id, 5)).state is FlowState.COMPENSATED
    assert desk.told[-1] == "refund"


async def stopped(desk, *texts):
    """A store in which an order of version 1.0.0 waits for its approval."""
    store = MemoryStore()
    async with memory_host(values={"say": desk}, store=store) as host:
        for text in texts or (TEXT,):
            await host.deploy("orders", "1.0.0", text)
        order = await host.create("Order", approved=False)
        await until(lambda: desk.told == ["pay"])
    return store, order


async def test_resume_loads_what_open_flows_wait_for_beside_a_newer_version():
    desk = Desk()
    store, order = await stopped(desk)
    async with memory_host(values={"say": desk}, store=store) as host:
        await host.deploy("orders", "2.0.0", TEXT.replace('do("pack"', 'do("wrap"'))
        assert host.status().waiting == ("component orders@1.0.0",)
        (label,) = await host.resume()
        assert label.startswith("orders@1.0.0+")
        assert host.status().waiting == ()
        assert host.engine.registry.live["orders"].version == "2.0.0"
        await host.call(order, "approve")
        assert (await host.wait(order, 5)).state is FlowState.COMPLETED
    assert desk.told == ["pay", "pack", "ship"]


async def test_resume_takes_the_newest_code_of_the_version_not_the_one_that_began_the_flow():
    desk = Desk()
    store, order = await stopped(desk)
    async with memory_host(values={"say": desk}, store=store) as host:
        await host.deploy("orders", "1.0.0", TEXT.replace('do("pack"', 'do("healed"'))
    async with memory_host(values={"say": desk}, store=store) as host:
        await host.resume()
        await host.call(order, "approve")
        assert (await host.wait(order, 5)).state is FlowState.COMPLETED
    assert desk.told == ["pay", "healed", "ship"]


ITEMS = """
from aegis import Model
class Item(Model, endpoint="items"):
    box: str
"""
BOXES = """
from aegis import Model, port
class Box(Model, endpoint="boxes"):
    items: int = 0
    @port(consumes="item.created", by="box")
    def fill(self) -> "Box":
        return self.update(items=self.items + 1)
"""


async def test_a_component_that_is_back_after_a_restart_hears_what_it_missed_once():
    store = MemoryStore()
    async with memory_host(store=store) as host:
        await host.deploy("items", "1.0.0", ITEMS)
        await host.deploy("boxes", "1.0.0", BOXES)
        box = await host.create("Box")
        await host.create("Item", box=box.id)
        await quiet(host)
    for _ in range(2):  # the second time it is away for nothing
        async with memory_host(store=store) as host:
            await host.deploy("items", "1.0.0", ITEMS)
            if _ == 0:
                for _ in range(3):
                    await host.create("Item", box=box.id)
            await host.deploy("boxes", "1.0.0", BOXES)
            await quiet(host)
            assert (await host.get("Box", box.id)).items == 4


async def test_events_that_come_while_a_component_comes_back_are_heard_once():
    store = MemoryStore()
    async with memory_host(store=store) as host:
        await host.deploy("items", "1.0.0", ITEMS)
        await host.deploy("boxes", "1.0.0", BOXES)
        box = await host.create("Box")
    async with memory_host(store=store) as host:
        await host.deploy("items", "1.0.0", ITEMS)
        for _ in range(50):
            await host.create("Item", box=box.id)
        back = asyncio.ensure_future(host.deploy("boxes", "1.0.0", BOXES))
        made = 50
        while not back.done():
            await host.create("Item", box=box.id)
            made += 1
            await asyncio.sleep(0)
        await quiet(host)
        assert made > 50
        assert (await host.get("Box", box.id)).items == made


async def test_a_component_that_was_undeployed_is_not_told_what_happened_since():
    store = MemoryStore()
    async with memory_host(store=store) as host:
        await host.deploy("items", "1.0.0", ITEMS)
        await host.deploy("boxes", "1.0.0", BOXES)
        box = await host.create("Box")
        await host.undeploy("boxes")
    async with memory_host(store=store) as host:
        await host.deploy("items", "1.0.0", ITEMS)
        await host.create("Item", box=box.id)
        await host.deploy("boxes", "1.0.0", BOXES)
        await quiet(host)
        assert (await host.get("Box", box.id)).items == 0


async def test_a_host_that_cannot_take_over_its_store_lets_go_of_it(tmp_path, monkeypatch):
    store = SqliteStore(tmp_path)

    async def broken():
        raise ValueError("no flows today")

    monkeypatch.setattr(store, "open_flows", broken)
    with pytest.raises(ValueError, match="no flows"):
        async with memory_host(store=store):
            pass
    async with memory_host(store=SqliteStore(tmp_path)) as host:
        assert host.missing() == []


class LateJournal(GatedStore):
    """A store whose journal is not read while `late` is cleared."""

    def __init__(self):
        super().__init__()
        self.late = asyncio.Event()
        self.late.set()

    async def events(self, after, limit):
        await self.late.wait()
        return await super().events(after, limit)


async def test_what_a_canceled_flow_still_tells_while_its_component_comes_back_begins_nothing():
    """Its step ended behind the cancel and is undone: nothing may follow what it told."""
    store, desk, answered = LateJournal(), Desk(), asyncio.Event()

    async def pay(_):
        await answered.wait()
        return "ok"

    desk.replies["pay"] = pay
    async with memory_host(values={"say": desk}, store=store) as host:
        await host.deploy("orders", "1.0.0", TEXT)
    async with memory_host(values={"say": desk}, store=store) as host:
        store.late.clear()
        back = asyncio.ensure_future(host.deploy("orders", "1.0.0", TEXT))
        await until(lambda: "orders" in host.engine.registry.live)
        order = await host.create("Order")
        await until(lambda: desk.told == ["pay"])
        store.holds = lambda commit: any(f.state == FlowState.COMPENSATING for f in commit.flows)
        cancel = asyncio.ensure_future(host.call(order, "cancel"))
        await store.held.wait()
        answered.set()  # the result now queues behind the cancel
        await asyncio.sleep(0.01)
        store.gate.set()
        await cancel
        await quiet(host)
        store.late.set()
        await back
        await quiet(host)
        assert desk.told == ["pay", "refund"]


PARTS = """
from aegis import Model, command, port
class Part(Model, endpoint="parts"):
    made: int = 0
    halves: int = 0
    @command(produces="part.left")
    def left(self) -> "Part":
        return self.update(halves=self.halves + 1)
    @command(produces="part.right")
    def right(self) -> "Part":
        return self.update(halves=self.halves + 1)
    @port(consumes=("part.left", "part.right"), join=True)
    def fit(self) -> "Part":
        return self.update(made=self.made + 1)
"""


async def test_events_joined_while_a_component_comes_back_are_joined_once():
    store = LateJournal()
    async with memory_host(store=store) as host:
        await host.deploy("parts", "1.0.0", PARTS)
        part = await host.create("Part")
    async with memory_host(store=store) as host:
        store.late.clear()
        back = asyncio.ensure_future(host.deploy("parts", "1.0.0", PARTS))
        await until(lambda: "parts" in host.engine.registry.live)
        await host.call(part, "left")
        await host.call(part, "right")
        await quiet(host)
        store.late.set()
        await back
        await quiet(host)
        assert (await host.get("Part", part.id)).made == 1
