"""A flow that neither moves nor waits for a named thing raises an alarm."""

import asyncio

import pytest

from aegis.adapters.clock import SystemClock
from aegis.adapters.components.python import PythonLoader
from aegis.adapters.storage.memory import MemoryStore
from aegis.core.flow import StepState
from aegis.core.port import REQUIRED
from aegis.engine.deploys import Limits
from aegis.engine.host import Host
from tests.engine.shop import TEXT, Desk, never, quiet, until


@pytest.fixture
async def shop():
    desk = Desk()
    parts = {"store": MemoryStore(), "clock": SystemClock(), "loader": PythonLoader()}
    limits = Limits(grace=0.1, look=0.02)
    async with Host(
        **parts, limits=limits, lookup=lambda key: {"say": desk}.get(key, REQUIRED)
    ) as host:
        await host.deploy("orders", "1.0.0", TEXT)
        yield host, desk


def run_of(host, order):
    return next(run for run in host._deploys.flows.runs() if run.flow.record == order.id)


async def looks(host, count=3):
    """Wait until the open flows were looked at so often."""
    patrol, seen = host._deploys.patrol, asyncio.Event()
    look, left = patrol.look, count

    def counted():
        nonlocal left
        look()
        left -= 1
        if left == 0:
            seen.set()

    patrol.look = counted
    await seen.wait()
    patrol.look = look


async def strand(host, order, port):
    """Make a step that waits for its condition one that is ready and that nobody takes."""
    run = run_of(host, order)
    (step,) = (step for step in run.steps.values() if step.port == port)
    step.state = StepState.READY
    return run, step


async def test_a_step_that_nobody_takes_is_an_alarm_and_the_host_is_not_ready(shop):
    host, _ = shop
    order = await host.create("Order", approved=False)
    await until(lambda: any(s.port == "pack" for s in run_of(host, order).steps.values()))
    told = asyncio.ensure_future(host.expect("flow.stranded", timeout=5))
    await asyncio.sleep(0)
    run, step = await strand(host, order, "pack")
    event = await told
    why = "step pack is ready, and nobody takes it"
    assert host.missing() == [f"flow {run.flow.id}: {why}"]
    assert event.data == {
        "flow": run.flow.id,
        "model": "orders.Order",
        "record": order.id,
        "why": why,
    }
    assert any(why in problem for problem in host.status().problems)
    # It is told once, and taken back when it moves.
    await looks(host)
    assert len(await host.events("flow.stranded")) == 1
    host._deploys.flows.steps.start(run, step)
    await quiet(host)
    await until(lambda: host.missing() == [])
    assert host.status().problems == ()


async def test_a_flow_with_nothing_left_to_do_that_did_not_end_is_one(shop):
    host, _ = shop
    order = await host.create("Order", approved=False)
    await until(lambda: any(s.port == "pack" for s in run_of(host, order).steps.values()))
    run = run_of(host, order)
    for step in run.steps.values():
        step.state = StepState.DONE
    await until(lambda: "no step is open" in str(host.missing()))


async def test_what_waits_for_a_named_thing_is_none(shop):
    host, desk = shop
    desk.replies["pack"] = never
    waiting = await host.create("Order", approved=False)
    busy = await host.create("Order")
    await until(lambda: desk.told.count("pack") == 1)
    await looks(host)
    assert host.missing() == []
    assert run_of(host, waiting).flow.id != run_of(host, busy).flow.id
    await host.undeploy("orders")
    await looks(host)
    assert await host.events("flow.stranded") == []


async def test_a_flow_that_the_host_gave_up_on_is_one(shop):
    host, _ = shop
    order = await host.create("Order", approved=False)
    await until(lambda: any(s.port == "pack" for s in run_of(host, order).steps.values()))
    run_of(host, order).give_up("someone to look at step pack: see the log")
    await until(lambda: host._deploys.patrol.stranded != {})
    assert "someone to look at step pack" in str(host.missing())
    await host.resume()
    await until(lambda: host.missing() == [])
