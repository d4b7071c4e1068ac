"""A flow is progressing, waiting for a named thing, undone, or it says where it stopped."""

import asyncio

import pytest

from aegis import Refused, event
from aegis.core.errors import ConflictError, NotFoundError, PortError
from aegis.core.flow import FlowState, StepState
from aegis.engine import attempt
from aegis.testing import EagerClock, memory_host
from tests.engine.shop import TEXT, never, quiet, states, until
from tests.fakes import GatedStore


async def test_ports_run_in_the_order_of_their_events_once_each(shop, desk):
    order = await shop.create("Order")
    flow = await shop.wait(order, 5)
    assert flow.state is FlowState.COMPLETED
    assert desk.calls == [("pay", "1"), ("pack", "2"), ("ship", "3")]
    order = await shop.get("Order", order.id)
    assert (order.paid, order.shipped, order.status) == ("ok", "ok", "COMPLETE")
    events = await shop.events()
    assert [e.type for e in events] == [
        "order.created",
        "order.paid",
        "order.packed",
        "order.shipped",
    ]
    assert [e.cause for e in events] == [None, *(e.id for e in events[:-1])]
    assert {e.flow for e in events} == {flow.id}


async def test_one_event_sets_off_every_port_that_consumes_it(host):
    await host.deploy(
        "a",
        "1.0.0",
        """
from aegis import Model, port
class Job(Model, endpoint="jobs"):
    left: int = 0
    right: int = 0
    both: int = 0
    @port(consumes="job.created", produces="job.left")
    def go_left(self) -> "Job":
        return self.update(left=self.left + 1)
    @port(consumes="job.created", produces="job.right")
    def go_right(self) -> "Job":
        return self.update(right=self.right + 1)
    @port(consumes=("job.left", "job.right"))
    def join(self) -> "Job":
        return self.update(both=self.both + 1)
""",
    )
    job = await host.create("Job")
    await host.wait(job, 5)
    job = await host.get("Job", job.id)
    assert (job.left, job.right, job.both) == (1, 1, 2)


@pytest.mark.parametrize("release", ["command", "patch"])
async def test_a_step_waits_for_its_condition_until_a_change_fulfils_it(shop, desk, release):
    order = await shop.create("Order", approved=False)
    await until(lambda: desk.told == ["pay"])
    state, steps = await states(shop, order)
    while "pack" not in steps:
        await asyncio.sleep(0)
        state, steps = await states(shop, order)
    assert (state, steps["pack"]) == (FlowState.RUNNING, StepState.WAITING)
    await shop.update(await shop.get("Order", order.id), note="not yet")
    assert desk.told == ["pay"]
    order = await shop.get("Order", order.id)
    if release == "command":
        await shop.call(order, "approve")
    else:
        await shop.update(order, approved=True)
    assert (await shop.wait(order, 5)).state is FlowState.COMPLETED
    assert desk.told == ["pay", "pack", "ship"]


async def test_a_waiting_step_survives_a_redeploy_and_hears_the_new_condition(shop, desk):
    order = await shop.create("Order", approved=False, note="vip")
    await until(lambda: desk.told == ["pay"])
    await shop.deploy("orders", "1.0.0", TEXT + "\n# edited\n")
    assert shop.status().flows_open == 1
    await shop.deploy(
        "orders", "1.0.0", TEXT.replace("order.approved)", "order.approved or order.note == 'vip')")
    )
    assert (await shop.wait(order, 5)).state is FlowState.COMPLETED
    assert desk.told == ["pay", "pack", "ship"]


async def test_a_failing_attempt_is_repeated_after_growing_pauses_with_the_same_key(
    shop, desk, clock
):
    async def twice(number):
        return OSError("line is dead") if number < 3 else "third"

    desk.replies["pay"] = twice
    order = await shop.create("Order")
    assert (await shop.wait(order, 5)).state is FlowState.COMPLETED
    assert clock.slept == [7, 14]
    assert desk.calls[:3] == [("pay", "1")] * 3
    assert (await shop.get("Order", order.id)).paid == "third"


async def test_exhausted_retries_undo_the_last_step_too_since_its_outcome_is_unknown(shop, desk):
    desk.replies["ship"] = OSError("sea is rough")
    order = await shop.create("Order")
    flow = await shop.wait(order, 5)
    assert flow.state is FlowState.COMPENSATED
    assert "sea is rough" in flow.error
    assert "ship" in flow.error
    await quiet(shop)
    assert desk.told == ["pay", "pack", "ship", "ship", "recall", "unpack", "refund"]
    assert [key for _, key in desk.calls] == ["1", "2", "3", "3", "3", "2", "1"]


async def test_a_timeout_cancels_the_attempt_and_none_ever_runs_beside_it(shop, desk):
    desk.replies["ship"] = never
    order = await shop.create("Order")
    flow = await shop.wait(order, 5)
    assert flow.state is FlowState.COMPENSATED
    assert desk.asked("ship") == 2
    assert desk.asked("recall") == 1
    assert (desk.running, desk.most) == (0, 1)


async def test_an_attempt_that_swallows_its_cancellation_is_named_and_never_doubled(
    shop, desk, monkeypatch
):
    monkeypatch.setattr(attempt, "STUBBORN", 0.05)
    gate = asyncio.Event()

    async def stubborn(number):
        if number > 1:
            return "second"
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            await gate.wait()
            raise
        return "never"

    desk.replies["ship"] = stubborn
    order = await shop.create("Order")
    await until(lambda: desk.asked("ship") == 1)
    await until(lambda: shop.status().waiting == ("port ship, which ignores its cancellation",))
    assert desk.asked("ship") == 1
    gate.set()
    assert (await shop.wait(order, 5)).state is FlowState.COMPLETED
    assert shop.status().waiting == ()
    assert desk.most == 1


async def test_a_refusal_keeps_its_event_is_not_retried_and_leaves_nothing_of_its_step_to_undo(
    shop, desk
):
    desk.replies["ship"] = Refused("embargo", emit=event("ship.refused", to="Atlantis"))
    order = await shop.create("Order")
    flow = await shop.wait(order, 5)
    assert (flow.state, flow.error) == (FlowState.COMPENSATED, "ship: embargo")
    assert desk.told == ["pay", "pack", "ship", "unpack", "refund"]
    (said,) = await shop.events("ship.refused")
    assert (said.data, said.subject) == ({"to": "Atlantis"}, order.id)
    _, steps = await states(shop, order)
    assert steps["ship"] is StepState.REFUSED


async def test_a_failing_undo_is_repeated_by_its_own_policy(shop, desk, clock):
    async def once(number):
        return OSError("bank is closed") if number == 1 else "ok"

    desk.replies |= {"ship": Refused("no"), "refund": once}
    order = await shop.create("Order")
    assert (await shop.wait(order, 5)).state is FlowState.COMPENSATED
    assert desk.asked("refund") == 2
    assert clock.slept == [3]


async def test_an_undo_that_fails_for_good_says_at_which_step_and_can_be_continued(shop, desk):
    desk.replies |= {"ship": Refused("no"), "unpack": OSError("box is stuck")}
    order = await shop.create("Order")
    flow = await shop.wait(order, 5)
    assert flow.state is FlowState.COMPENSATION_FAILED
    assert flow.error == "undo of pack: OSError: box is stuck"
    _, steps = await states(shop, order)
    assert steps == {
        "pay": StepState.DONE,
        "pack": StepState.UNDO_FAILED,
        "ship": StepState.REFUSED,
    }
    (told,) = await shop.events("order.compensation_failed")
    assert told.subject == order.id
    assert desk.asked("refund") == 0

    await shop.continue_undo(flow.id)  # still stuck: it fails again, and says so again
    assert (await shop.wait(flow.id, 5)).state is FlowState.COMPENSATION_FAILED
    desk.replies["unpack"] = "ok"
    await shop.continue_undo(flow.id)
    assert (await shop.wait(flow.id, 5)).state is FlowState.COMPENSATED
    assert desk.told[-2:] == ["unpack", "refund"]
    with pytest.raises(ConflictError, match="is compensated"):
        await shop.continue_undo(flow.id)
    with pytest.raises(NotFoundError):
        await shop.continue_undo("none")


async def test_cancel_cuts_the_attempt_under_way_and_undoes_it_as_unknown(shop, desk):
    await shop.deploy("orders", "1.0.0", TEXT.replace("timeout=0.05", "timeout=60"))
    desk.replies["ship"] = never
    order = await shop.create("Order")
    await until(lambda: desk.asked("ship") == 1)
    await shop.call(order, "cancel")
    flow = await shop.wait((await shop.flows(order))[0][0].id, 5)
    assert (flow.state, flow.error) == (FlowState.COMPENSATED, "undone by cancel")
    assert desk.told == ["pay", "pack", "ship", "recall", "unpack", "refund"]
    _, steps = await states(shop, order)
    assert set(steps.values()) == {StepState.UNDONE}
    await quiet(shop)
    found = await shop.get("Order", order.id)
    assert (found.status, found.note, found.paid) == ("CANCELED", "canceled", None)


async def test_cancel_while_a_step_waits_drops_it_and_undoes_the_rest(shop, desk):
    order = await shop.create("Order", approved=False)
    await until(lambda: desk.told == ["pay"])
    await shop.call(order, "cancel")
    assert (await shop.wait((await shop.flows(order))[0][0].id, 5)).state is FlowState.COMPENSATED
    assert desk.told == ["pay", "refund"]
    _, steps = await states(shop, order)
    assert steps.get("pack", StepState.DROPPED) is StepState.DROPPED


async def test_cancel_during_a_pause_does_not_wait_for_its_end(desk):
    clock = SlowPause()
    async with memory_host(values={"say": desk}, clock=clock) as host:
        await host.deploy("orders", "1.0.0", TEXT)
        desk.replies["pay"] = OSError("dead")
        order = await host.create("Order")
        await until(lambda: clock.slept == [7])
        await host.call(order, "cancel")
        flow = await host.wait((await host.flows(order))[0][0].id, 2)
        assert flow.state is FlowState.COMPENSATED
        assert desk.told == ["pay", "refund"]


class SlowPause(EagerClock):
    """Every pause lasts for ever."""

    async def sleep(self, seconds):
        self.slept.append(seconds)
        await asyncio.sleep(3600)


async def test_a_host_that_closes_does_not_wait_for_pauses_and_tells_those_who_wait(desk):
    clock = SlowPause()
    async with memory_host(values={"say": desk}, clock=clock) as host:
        await host.deploy("orders", "1.0.0", TEXT)
        desk.replies["pay"] = OSError("dead")
        order = await host.create("Order")
        waiting = asyncio.ensure_future(host.wait(order))
        await until(lambda: clock.slept == [7])
        await asyncio.wait_for(host.close(), 3)
        assert (await waiting).state is FlowState.RUNNING


async def test_cancel_while_a_result_is_being_stored_undoes_it_and_sets_off_nothing(desk):
    """The step is done outside, its commit waits behind the cancel's: the next must not start."""
    store = GatedStore()
    answered = asyncio.Event()

    async def pay(_):
        await answered.wait()
        return "ok"

    desk.replies["pay"] = pay
    async with memory_host(values={"say": desk}, store=store) as host:
        await host.deploy("orders", "1.0.0", TEXT)
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
        assert desk.told == ["pay", "refund"]
        first, *others = await host.flows(order)
        assert first[0].state is FlowState.COMPENSATED
        assert {step.port for _, steps in others for step in steps} == {"canceled"}


async def test_cancel_of_a_finished_flow_undoes_nothing(shop, desk):
    order = await shop.create("Order")
    await shop.wait(order, 5)
    await shop.call(order, "cancel")
    await asyncio.sleep(0.01)
    assert desk.told == ["pay", "pack", "ship"]
    assert [flow.state for flow, _ in await shop.flows(order)] == [FlowState.COMPLETED]


async def test_the_end_of_an_undo_is_an_event_that_ports_consume(shop, desk):
    desk.replies["pay"] = Refused("no card")
    order = await shop.create("Order")
    await shop.wait(order, 5)
    await quiet(shop)
    (told,) = await shop.events("order.compensated")
    first, second = await shop.flows(order)
    assert told.data == {"flow": first[0].id, "error": "pay: no card"}
    assert [step.port for step in second[1]] == ["canceled"]
    assert (await shop.get("Order", order.id)).status == "CANCELED"


async def test_wait_gives_up_after_its_timeout_and_shows_how_the_flow_stands(shop):
    order = await shop.create("Order", approved=False)
    flow = await shop.wait(order, 0.02)
    assert flow.state is FlowState.RUNNING
    with pytest.raises(NotFoundError, match="no such flow"):
        await shop.wait("no such flow")


async def test_a_record_with_an_open_flow_cannot_be_deleted(shop):
    order = await shop.create("Order", approved=False)
    with pytest.raises(ConflictError, match="open flow") as refused:
        await shop.delete(order)
    assert refused.value.status == 409
    await shop.call(order, "approve")
    await shop.wait(order, 5)
    await shop.delete(order)
    with pytest.raises(NotFoundError):
        await shop.get("Order", order.id)


async def test_an_edited_cell_heals_an_order_that_is_being_retried(shop, desk):
    healed = asyncio.Event()

    async def broken(number):
        await healed.wait()
        return OSError("typo")

    desk.replies["pya"] = broken
    await shop.deploy("orders", "1.0.0", TEXT.replace('"pay", self.id', '"pya", self.id'))
    order = await shop.create("Order")
    await until(lambda: desk.told == ["pya"])
    await shop.deploy("orders", "1.0.0", TEXT)
    healed.set()
    assert (await shop.wait(order, 5)).state is FlowState.COMPLETED
    assert desk.calls == [("pya", "1"), ("pay", "1"), ("pack", "2"), ("ship", "3")]


async def test_another_version_keeps_its_flows_until_they_end_and_is_then_unloaded(shop, desk):
    order = await shop.create("Order", approved=False)
    await until(lambda: desk.told == ["pay"])
    new = TEXT.replace('do("pack"', 'do("wrap"')
    await shop.deploy("orders", "2.0.0", new)
    await shop.deploy("orders", "2.0.0", new + "\n# edited\n")  # 1.0.0 is no more the previous
    loaded = [r.version for r in shop.engine.registry.retained]
    assert "1.0.0" in loaded
    await shop.call(order, "approve")
    assert (await shop.wait(order, 5)).state is FlowState.COMPLETED
    assert desk.told == ["pay", "pack", "ship"]
    await until(lambda: "1.0.0" not in [r.version for r in shop.engine.registry.retained])
    order = await shop.create("Order")
    await shop.wait(order, 5)
    assert desk.told[3:] == ["pay", "wrap", "ship"]


async def test_an_old_version_s_flow_stays_on_the_code_that_healed_it(shop, desk):
    """Edited under the same number, then replaced by another version: not back to the broken."""
    order = await shop.create("Order", approved=False)
    await until(lambda: desk.told == ["pay"])
    await shop.deploy("orders", "1.0.0", TEXT.replace('do("pack"', 'do("healed"'))
    await shop.deploy("orders", "2.0.0", TEXT)
    await shop.call(order, "approve")
    await shop.wait(order, 5)
    assert desk.told == ["pay", "healed", "ship"]


async def test_an_adapter_that_is_cancelled_from_within_fails_and_does_not_strand_its_flow(
    shop, desk
):
    async def inner(_):
        task = asyncio.ensure_future(asyncio.sleep(3600))
        asyncio.get_running_loop().call_soon(task.cancel)
        await task

    desk.replies["pay"] = inner
    order = await shop.create("Order")
    flow = await shop.wait(order, 5)
    assert flow.state is FlowState.COMPENSATED
    assert "CancelledError" in flow.error


async def test_an_adapter_that_calls_exit_does_not_end_the_host(shop, desk):
    desk.replies["pay"] = SystemExit(1)
    order = await shop.create("Order")
    assert (await shop.wait(order, 5)).state is FlowState.COMPENSATED
    with pytest.raises(PortError, match="SystemExit"):
        await shop.run(order, "pay")


async def test_a_condition_that_comes_true_while_the_step_is_being_stored_is_not_missed():
    """The waiting record is not the event's own, so no lock orders the two commits."""
    store = GatedStore()
    async with memory_host(store=store) as host:
        await host.deploy(
            "a",
            "1.0.0",
            """
from aegis import Model, port
class Box(Model, endpoint="boxes"):
    ready: bool = False
    full: bool = False
    @port(consumes="item.created", by="box", when=lambda box: box.ready)
    def fill(self) -> "Box":
        return self.update(full=True)
class Item(Model, endpoint="items"):
    box: str
""",
        )
        box = await host.create("Box")
        store.holds = lambda commit: any(p.record.model == "a.Box" for p in commit.puts)
        ready = asyncio.ensure_future(host.update(box, ready=True))
        await store.held.wait()
        await host.create("Item", box=box.id)  # sees the box not ready, and stores a waiting step
        store.gate.set()
        store.holds = lambda commit: False
        await ready
        await quiet(host)
        assert (await host.get("Box", box.id)).full


async def test_a_condition_that_raises_makes_the_step_wait_and_its_mending_lets_it_go(shop, desk):
    await shop.deploy(
        "orders",
        "1.0.0",
        TEXT.replace("when=lambda order: order.approved", "when=lambda o: o.aproved"),
    )
    order = await shop.create("Order")
    await until(lambda: desk.told == ["pay"])
    assert (await shop.wait(order, 0.02)).state is FlowState.RUNNING
    await shop.deploy("orders", "1.0.0", TEXT)
    assert (await shop.wait(order, 5)).state is FlowState.COMPLETED


async def test_many_orders_at_once_each_take_every_step_once(shop, desk):
    orders = await asyncio.gather(*(shop.create("Order") for _ in range(200)))
    flows = await asyncio.gather(*(shop.wait(order, 20) for order in orders))
    assert {flow.state for flow in flows} == {FlowState.COMPLETED}
    assert {name: desk.asked(name) for name in ("pay", "pack", "ship")} == {
        "pay": 200,
        "pack": 200,
        "ship": 200,
    }


async def test_a_port_that_returns_no_record_of_its_model_fails_with_a_hint(host):
    await host.deploy(
        "a",
        "1.0.0",
        """
from aegis import Model, port
class Job(Model, endpoint="jobs"):
    @port(consumes="job.created", retries=0)
    def work(self) -> "Job":
        return {"done": True}
""",
    )
    job = await host.create("Job")
    flow = await host.wait(job, 5)
    assert flow.state is FlowState.COMPENSATED
    assert "returned dict" in flow.error
    assert "self.update" in flow.error
