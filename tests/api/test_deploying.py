"""What a view may ask of an address: a plan, a gate, a deploy, a split; and how it hears of them."""

import asyncio
import base64
import zlib

import pytest

from aegis.adapters.graph import svg
from aegis.api.answers import Answers
from aegis.core import wire
from aegis.core.errors import (
    ComponentError,
    ConflictError,
    InvalidError,
    NotFoundError,
    SourceError,
)
from aegis.testing import memory_host
from tests.engine.shop import until
from tests.fakes import ShelfSources

ORDERS = "github:acme/orders"
TEXT = """
from aegis import Model, command, port

class Order(Model, endpoint="orders"):
    name: str = ""
    steps: int = 0

    @port(consumes="order.created", produces="order.packed")
    def pack(self) -> "Order":
        return self.update(steps=self.steps + 1)

    @command(produces="order.named")
    def say(self) -> "Order":
        return self.update(name="said")
"""
# Packs twice as much, and names nothing any more.
OTHER = TEXT.replace("self.steps + 1", "self.steps + 2").partition("    @command")[0]
TOPICS = frozenset({"status", "figures", "gates"})


@pytest.fixture
def shelf():
    shelf = ShelfSources()
    shelf.release(ORDERS, "1.0.0", TEXT)
    return shelf


@pytest.fixture
async def host(shelf):
    async with memory_host(sources=shelf) as host:
        await host.deploy(f"{ORDERS}@1.0.0")
        yield host


@pytest.fixture
def ask(host):
    answers = Answers(
        host, svg.render, compare=lambda plan: svg.render(plan.graph, marks=plan.marks)
    )
    yield answers.to
    answers.close()


def seen(host):
    (component,) = host.monitor.status().components
    return component


def gates(host):
    return host.monitor.frame(0, TOPICS).gates


async def orders(host, count):
    for n in range(count):
        order = await host.create("Order", id=f"o{n}")
        await host.wait(order, 5)


async def test_a_plan_tells_words_and_a_picture_and_changes_nothing(host, shelf, ask):
    shelf.release(ORDERS, "1.1.0", OTHER)
    before = host.monitor.status()
    plan = await ask(wire.PlanAsk(source=ORDERS))
    assert (plan.component, plan.before, plan.version) == ("orders", "1.0.0", "1.1.0")
    assert plan.fits
    assert not plan.nothing
    signs = [line.sign for line in plan.lines]
    assert "!" in signs
    assert "-" in signs
    assert any("orders.Order.say is gone" in line.text for line in plan.lines if line.sign == "!")
    drawn = zlib.decompress(base64.b64decode(plan.data)).decode()
    assert drawn.startswith("<svg")
    assert "removed" in drawn
    assert host.monitor.status() == before


async def test_a_plan_of_what_serves_is_nothing_and_has_no_picture(ask):
    plan = await ask(wire.PlanAsk(source=ORDERS))
    assert plan.nothing
    assert plan.data is None


@pytest.mark.parametrize(
    ("address", "text", "error"),
    [
        ("github:acme/none", None, SourceError),
        (ORDERS, "from aegis import Nothing", ComponentError),
        (ORDERS, "(", ComponentError),
    ],
)
async def test_what_cannot_be_had_or_loaded_is_told(host, shelf, ask, address, text, error):
    if text is not None:
        shelf.release(ORDERS, "1.1.0", text)
    for what in (
        wire.PlanAsk(source=address),
        wire.DeployAsk(source=address),
        wire.SplitAsk(source=address, weight=10),
    ):
        with pytest.raises(error):
            await ask(what)
    assert seen(host).version == "1.0.0"


async def test_what_is_deployed_is_what_was_looked_at(host, shelf, ask):
    shelf.release(ORDERS, "1.1.0", OTHER)
    plan = await ask(wire.PlanAsk(source=ORDERS))
    shelf.release(ORDERS, "1.1.0", OTHER + "\n# another")
    for what in (
        wire.DeployAsk(source=ORDERS, digest=plan.digest),
        wire.SplitAsk(source=ORDERS, digest=plan.digest, weight=10),
        wire.GateAsk(source=ORDERS, digest=plan.digest),
    ):
        with pytest.raises(ConflictError, match="other code now") as caught:
            await ask(what)
        assert caught.value.hint == "plan it again"
    assert seen(host).version == "1.0.0"
    done = await ask(wire.DeployAsk(source=ORDERS))
    assert done.text == "orders 1.1.0 serves now"
    component = seen(host)
    assert (component.version, component.who) == ("1.1.0", "panel")
    assert component.previous.startswith("orders@1.0.0+")
    assert component.since
    await ask(wire.RollbackAsk(component="orders"))
    assert seen(host).version == "1.0.0"


async def test_a_split_is_begun_weighed_promoted_and_told_in_frames(host, shelf, ask):
    shelf.release(ORDERS, "1.1.0", TEXT + "\n# new")
    whole = host.monitor.frame(0, TOPICS)
    assert whole.splits == ()
    with pytest.raises(NotFoundError, match="not split"):
        await ask(wire.WeighAsk(component="orders", weight=10))
    with pytest.raises(InvalidError):
        await ask(wire.SplitAsk(source=ORDERS, weight=101))
    done = await ask(wire.SplitAsk(source=ORDERS, weight=50))
    assert done.text == "orders 1.1.0 gets 50 %, 1.0.0 the rest"
    frame = host.monitor.frame(whole.cursor, TOPICS)
    ((split),) = frame.splits
    assert (split.live.version, split.candidate.version) == ("1.0.0", "1.1.0")
    assert (split.live.calls, split.candidate.calls, split.candidate.p50) == (0, 0, None)
    assert host.monitor.frame(frame.cursor, TOPICS).splits is None
    await orders(host, 20)
    moved = host.monitor.frame(frame.cursor, TOPICS)
    ((split),) = moved.splits
    assert split.live.calls > 0
    assert split.candidate.calls > 0
    assert split.candidate.p50 <= split.candidate.p99
    # Each side made the record and took the step.
    assert split.live.calls + split.candidate.calls == 40
    assert host.monitor.frame(moved.cursor, TOPICS).splits is None
    await ask(wire.WeighAsk(component="orders", weight=12.5))
    ((split),) = host.monitor.frame(moved.cursor, TOPICS).splits
    assert (split.live.weight, split.candidate.weight) == (87.5, 12.5)
    assert (await ask(wire.PromoteAsk(component="orders"))).text == "orders 1.1.0 serves all now"
    assert host.monitor.frame(moved.cursor, TOPICS).splits == ()
    assert seen(host).version == "1.1.0"


async def test_a_split_is_dropped(host, shelf, ask):
    shelf.release(ORDERS, "1.1.0", TEXT + "\n# new")
    await ask(wire.SplitAsk(source=ORDERS, weight=50))
    assert (await ask(wire.DropAsk(component="orders"))).text == "orders 1.0.0 serves all again"
    assert host.monitor.splits() == ()
    with pytest.raises(NotFoundError):
        await ask(wire.DropAsk(component="orders"))


async def test_a_gate_answers_at_once_and_its_way_and_verdict_come_in_frames(host, shelf, ask):
    await orders(host, 4)
    shelf.release(ORDERS, "1.1.0", OTHER)
    plan = await ask(wire.PlanAsk(source=ORDERS))
    await ask(wire.GateAsk(source=ORDERS, digest=plan.digest))
    (run,) = gates(host)
    assert (run.state, run.digest) == ("running", plan.digest)
    with pytest.raises(ConflictError, match="under way"):
        await ask(wire.GateAsk(source=ORDERS))
    await until(lambda: gates(host)[0].state != "running")
    cursor = host.monitor.cursor
    (run,) = gates(host)
    assert run.state == "done"
    assert not run.passes
    assert (run.done, run.total) == (8, 8)
    assert "4 differ" in run.text
    assert {one.verdict for one in run.diverging} == {"differs"}
    assert all(one.rows for one in run.diverging)
    assert "steps=2" in str([row.now for one in run.diverging for row in one.rows])
    assert host.monitor.frame(cursor, TOPICS).gates == ()
    assert seen(host).version == "1.0.0"


async def test_what_does_not_pass_the_gate_is_not_deployed_and_what_does_is(host, shelf, ask):
    await orders(host, 2)
    shelf.release(ORDERS, "1.1.0", OTHER)
    await ask(wire.GateAsk(source=ORDERS, deploy=True))
    await until(lambda: gates(host)[0].state != "running")
    (run,) = gates(host)
    assert (run.passes, run.deployed, len(run.diverging)) == (False, False, 2)
    assert seen(host).version == "1.0.0"
    shelf.release(ORDERS, "1.2.0", TEXT + "\n# only words")
    await ask(wire.GateAsk(source=ORDERS, deploy=True))
    await until(lambda: gates(host)[0].state != "running")
    (run,) = gates(host)
    assert (run.passes, run.deployed) == (True, True)
    assert (seen(host).version, seen(host).who) == ("1.2.0", "panel")


async def test_a_gate_is_canceled_and_ends_with_its_views(host, shelf, ask):
    await orders(host, 3)
    shelf.release(ORDERS, "1.1.0", OTHER.replace("return", "import time; time.sleep(0.05); return"))
    with pytest.raises(NotFoundError):
        await ask(wire.CancelGateAsk(component="orders"))
    await ask(wire.GateAsk(source=ORDERS))
    await asyncio.sleep(0.05)
    await ask(wire.CancelGateAsk(component="orders"))
    await until(lambda: gates(host)[0].state == "canceled")
    await ask(wire.GateAsk(source=ORDERS))
    assert gates(host)[0].state == "running"


async def test_a_gate_of_what_does_not_load_says_why(host, shelf, ask):
    await orders(host, 1)
    shelf.release(ORDERS, "1.1.0", "(")
    await ask(wire.GateAsk(source=ORDERS))
    await until(lambda: gates(host)[0].state == "failed")
    assert "orders" in gates(host)[0].text


async def test_code_that_open_flows_end_on_is_told(host, shelf, ask):
    waits = TEXT.replace("import Model,", "import Event, Model, Waiting, waiting,").replace(
        """-> "Order":
        return self.update(steps=self.steps + 1)
""",
        """-> "Order | Waiting":
        return waiting("box.came", by="order", deadline=3600)

    @pack.answer
    def came(self, event: Event) -> "Order":
        return self.update(steps=1)
""",
    )
    shelf.release(ORDERS, "1.1.0", waits)
    await ask(wire.DeployAsk(source=ORDERS))
    for n in range(2):
        await host.create("Order", id=f"w{n}")
    for version in ("1.2.0", "1.3.0"):
        shelf.release(ORDERS, version, waits + f"\n# {version}")
        await ask(wire.DeployAsk(source=ORDERS))
    (older,) = seen(host).older
    assert older.revision.startswith("orders@1.1.0+")
    assert older.flows == 2


async def test_what_is_followed_and_held_is_told(host, shelf):
    await host.follow("orders", ORDERS, every=60)
    assert seen(host).followed.range == "^1.0.0"
    cursor = host.monitor.cursor
    shelf.release(ORDERS, "1.1.0", "(")
    await host.follow("orders", ORDERS, every=60)
    followed = seen(host).followed
    assert (followed.newest, followed.held) == ("1.1.0", "1.1.0")
    assert followed.why
    assert host.monitor.frame(cursor, TOPICS).status is not None
    await host.unfollow("orders")
    assert seen(host).followed is None
