"""Partners that answer later: a step asks, waits, and goes on with the event that comes."""

import asyncio
from datetime import timedelta

import pytest

from aegis.adapters.storage.memory import MemoryStore
from aegis.adapters.storage.sqlite import SqliteStore
from aegis.core.errors import BusyError, ComponentError, ConflictError, InvalidError, NotFoundError
from aegis.core.flow import FlowState, StepState
from aegis.testing import EagerClock, memory_host
from tests.engine.shop import Desk, quiet, states, until
from tests.fakes import GatedStore, SteppedClock

TEXT = """
from typing import Protocol

from aegis import Event, Model, Refused, Waiting, adapter, command, config, idempotency_key, port, waiting


class Partner(Protocol):
    async def do(self, what: str, order: str) -> str: ...


class Counter(Partner):
    def __init__(self, say: object = config("say")) -> None:
        self.say = say

    async def do(self, what: str, order: str) -> str:
        return await self.say(what, order, idempotency_key())


class Order(Model, endpoint="orders"):
    address: str | None = None
    status: str = "NEW"
    tracking: str = ""

    @port(consumes="order.created", produces="order.picked", retries=1, backoff=3)
    async def pick(self, partner: Partner = adapter()) -> "Order | Waiting":
        await partner.do("pick", self.id)
        return waiting(
            "warehouse.picked", "warehouse.short", by="order_id", deadline=DEADLINE,
            record=self.update(status="PICKING"),
        )

    @pick.answer
    def picked(self, event: Event) -> "Order":
        if event.type == "warehouse.short":
            raise Refused("nothing left")
        return self.update(address=event.data["address"], status="PICKED")

    @pick.undo
    async def recall(self, partner: Partner = adapter()) -> "Order":
        await partner.do("recall", self.id)
        return self.update(address=None)

    @port(consumes=pick, produces="order.delivered")
    async def track(self, partner: Partner = adapter()) -> "Order | Waiting":
        await partner.do("track", self.id)
        return waiting("carrier.tracked", deadline=DEADLINE)

    @track.answer
    async def tracked(self, event: Event, partner: Partner = adapter()) -> "Order | Waiting":
        await partner.do("thank", self.id)
        now = self.update(tracking=event.data["status"])
        if event.data["status"] != "delivered":
            return waiting("carrier.tracked", deadline=DEADLINE, record=now)
        return now

    @command(undo=True)
    def cancel(self) -> None: ...
"""


def text(deadline=3600.0):
    return TEXT.replace("DEADLINE", str(deadline))


@pytest.fixture
def desk():
    return Desk()


@pytest.fixture
async def shop(desk):
    async with memory_host(values={"say": desk}) as host:
        await host.deploy("orders", "1.0.0", text())
        yield host


async def asked(host, order, port):
    """Wait until a port of the order waits for its answer."""

    def is_asked():
        return any(
            step.port == port and step.state is StepState.ASKED
            for run in host._deploys.flows.runs()
            if run.flow.record == order.id
            for step in run.steps.values()
        )

    await until(is_asked)


async def test_the_step_waits_and_its_record_says_so(shop):
    order = await shop.create("Order")
    await asked(shop, order, "pick")
    flow, steps = (await shop.flows(order))[0]
    assert flow.state is FlowState.RUNNING
    (step,) = steps
    assert step.wait.events == ("warehouse.picked", "warehouse.short")
    assert step.wait.by == "order_id"
    assert step.due > flow.created
    assert (await shop.get("Order", order.id)).status == "PICKING"
    assert "order.picked" not in [event.type for event in await shop.events()]


async def test_the_answer_is_taken_and_the_flow_goes_on(shop, desk):
    order = await shop.create("Order")
    await asked(shop, order, "pick")
    await shop.publish("warehouse.picked", order_id=order.id, address="Mill Lane")
    await asked(shop, order, "track")
    await shop.publish("carrier.tracked", order.id, status="on its way")
    await until(lambda: desk.asked("thank") == 1)
    await asked(shop, order, "track")
    await shop.publish("carrier.tracked", order.id, status="delivered")
    await quiet(shop)
    found = await shop.get("Order", order.id)
    assert (found.address, found.status, found.tracking) == ("Mill Lane", "PICKED", "delivered")
    assert await states(shop, order) == (
        FlowState.COMPLETED,
        {"pick": StepState.DONE, "track": StepState.DONE},
    )
    assert desk.told == ["pick", "track", "thank", "thank"]


async def test_it_is_one_causation_tree_from_the_request_to_the_last_event(shop):
    order = await shop.create("Order")
    await asked(shop, order, "pick")
    await shop.publish("warehouse.picked", order_id=order.id, address="Mill Lane")
    await asked(shop, order, "track")
    await shop.publish("carrier.tracked", order.id, status="delivered")
    await quiet(shop)
    events = {event.type: event for event in await shop.events()}
    flow = events["order.created"].flow
    assert events["warehouse.picked"].cause == events["order.created"].id
    assert events["order.picked"].cause == events["warehouse.picked"].id
    assert events["order.delivered"].cause == events["carrier.tracked"].id
    assert {event.flow for event in events.values()} == {flow}
    assert [events[name].step for name in ("order.picked", "order.delivered")] == [1, 2]


async def test_an_answer_before_the_question_is_kept_for_it(shop, desk):
    order = await shop.create("Order", id="o1")
    await shop.publish("carrier.tracked", "o1", status="delivered")
    await asked(shop, order, "pick")
    await shop.publish("warehouse.picked", order_id="o1", address="Mill Lane")
    await quiet(shop)
    assert (await states(shop, order))[0] is FlowState.COMPLETED
    assert await shop.store.unclaimed() == []


async def test_an_answer_while_the_partner_is_still_being_asked_is_taken(shop, desk):
    async def answer_at_once(_):
        await shop.publish("warehouse.picked", order_id="o1", address="at once")
        return "ok"

    desk.replies["pick"] = answer_at_once
    order = await shop.create("Order", id="o1")
    await asked(shop, order, "track")
    assert (await shop.get("Order", "o1")).address == "at once"
    assert await shop.store.unclaimed() == []


@pytest.mark.parametrize("said", [("on its way", "delivered"), ("delivered", "delivered")])
async def test_a_second_answer_may_come_at_any_moment_around_the_question(shop, desk, said):
    """The first comes before the question is stored, the second any number of turns after it."""
    telling = []

    async def tell(id, turns):
        for _ in range(turns):
            await asyncio.sleep(0)
        await shop.publish("carrier.tracked", id, status=said[1])

    async def track(number):
        id = f"o{number - 1}"
        await shop.publish("carrier.tracked", id, status=said[0])
        telling.append(asyncio.create_task(tell(id, number)))
        return "ok"

    desk.replies["track"] = track
    orders = []
    for n in range(40):
        order = await shop.create("Order", id=f"o{n}")
        await asked(shop, order, "pick")
        await shop.publish("warehouse.picked", order_id=order.id, address="Mill Lane")
        await until(lambda n=n: len(telling) == n + 1 and telling[n].done())
        orders.append(order)
    await quiet(shop)
    for order in orders:
        assert (await states(shop, order))[0] is FlowState.COMPLETED
        assert (await shop.get("Order", order.id)).tracking == "delivered"


async def test_the_same_answer_twice_has_one_effect(shop, desk):
    order = await shop.create("Order")
    await asked(shop, order, "pick")
    said = {"order_id": order.id, "address": "Mill Lane"}
    first = await shop.publish("warehouse.picked", key="w-1", source="/warehouse", **said)
    again = await shop.publish("warehouse.picked", key="w-1", source="/warehouse", **said)
    other = await shop.publish("warehouse.picked", key="w-1", source="/other", **said)
    assert first == again != other
    await asked(shop, order, "track")
    assert [e.type for e in await shop.events("order.*")].count("order.picked") == 1
    assert desk.told == ["pick", "track"]
    # The second one from elsewhere is for nobody, and kept in case somebody asks.
    assert [one.event for one in await shop.store.unclaimed()] == [other]


async def test_a_partner_that_says_no_leaves_nothing_to_undo(shop, desk):
    order = await shop.create("Order")
    await asked(shop, order, "pick")
    await shop.publish("warehouse.short", order_id=order.id)
    await quiet(shop)
    assert await states(shop, order) == (FlowState.COMPENSATED, {"pick": StepState.REFUSED})
    assert desk.told == ["pick"]


async def test_cancel_while_it_waits_undoes_what_was_asked_with_the_same_key(shop, desk):
    order = await shop.create("Order")
    await asked(shop, order, "pick")
    await shop.call(order, "cancel")
    await quiet(shop)
    assert await states(shop, order) == (FlowState.COMPENSATED, {"pick": StepState.UNDONE})
    assert desk.calls == [("pick", "1"), ("recall", "1")]
    await shop.publish("warehouse.picked", order_id=order.id, address="too late")
    assert (await shop.get("Order", order.id)).address is None


async def test_a_silent_partner_is_asked_again_and_then_it_is_undone(desk):
    clock = EagerClock()
    async with memory_host(values={"say": desk}, clock=clock) as host:
        await host.deploy("orders", "1.0.0", text(0.05))
        order = await host.create("Order")
        await quiet(host)
        flow, steps = (await host.flows(order))[0]
        assert flow.state is FlowState.COMPENSATED
        assert steps[0].attempts == 2
        assert "got no warehouse.picked or warehouse.short until" in flow.error
        assert desk.calls == [("pick", "1"), ("pick", "1"), ("recall", "1")]


async def test_an_answer_method_that_fails_is_retried_and_then_undone(shop, desk):
    order = await shop.create("Order")
    await asked(shop, order, "pick")
    await shop.publish("warehouse.picked", order_id=order.id)  # no address in it
    await quiet(shop)
    flow, steps = (await shop.flows(order))[0]
    assert (flow.state, steps[0].state, steps[0].attempts) == (
        FlowState.COMPENSATED,
        StepState.UNDONE,
        2,
    )
    assert "KeyError" in flow.error


async def test_a_wait_survives_the_host(tmp_path, desk):
    async with memory_host(store=SqliteStore(tmp_path), values={"say": desk}) as host:
        await host.deploy("orders", "1.0.0", text())
        order = await host.create("Order")
        await asked(host, order, "pick")
        await host.publish("carrier.tracked", order.id, status="delivered")
    async with memory_host(store=SqliteStore(tmp_path), values={"say": desk}) as host:
        # The answer comes before the code is back.
        await host.publish("warehouse.picked", order_id=order.id, address="Mill Lane")
        await host.deploy("orders", "1.0.0", text())
        await quiet(host)
        assert (await states(host, order))[0] is FlowState.COMPLETED
        assert desk.told == ["pick", "track", "thank"]


async def test_a_deadline_that_passes_while_the_host_is_down_is_seen_after(tmp_path, desk):
    async with memory_host(store=SqliteStore(tmp_path), values={"say": desk}) as host:
        await host.deploy("orders", "1.0.0", text(0.3))
        order = await host.create("Order")
        await asked(host, order, "pick")
    async with memory_host(store=SqliteStore(tmp_path), values={"say": desk}) as host:
        await host.deploy("orders", "1.0.0", text(0.3))
        await quiet(host)
        assert (await states(host, order))[0] is FlowState.COMPENSATED
        assert desk.told == ["pick", "pick", "recall"]


async def test_events_of_the_host_itself_cannot_be_told_from_outside(shop):
    for name in ("breaker.opened", "flow.stranded", "schedule.fired"):
        with pytest.raises(InvalidError, match="of the host itself"):
            await shop.publish(name)
    with pytest.raises(InvalidError, match="cannot be the source"):
        await shop.publish("order.created", source="/aegis/components/orders/models/Order")
    # What looks like an event of a model is not one: its source says so.
    await shop.publish("order.created", "o1")
    assert shop.status().flows_open == 0


async def test_an_answer_nobody_waits_for_is_a_failure_in_the_end(desk, monkeypatch):
    monkeypatch.setattr("aegis.engine.answers.KEPT", timedelta(seconds=0.05))
    async with memory_host(values={"say": desk}) as host:
        await host.deploy("orders", "1.0.0", text())
        order = await host.create("Order")
        await asked(host, order, "pick")
        await host.publish("warehouse.picked", order_id=order.id, address="Mill Lane")
        late = await host.publish("warehouse.picked", order_id=order.id, address="again")
        lost = await host.publish("warehouse.picked", order_id="nobody", address="x")
        await until(lambda: host.status().failed == 1)
        (failed,) = await host.failed()
        assert (failed.id, failed.kind, failed.what) == (
            f"answer:{lost}",
            "answer",
            "warehouse.picked",
        )
        assert late != lost
        assert await host.store.unclaimed() == []
        assert (await host.input(failed)).data["address"] == "x"
        with pytest.raises(ConflictError, match="as it came"):
            await host.retry(failed, data={"order_id": order.id})
        (group,) = await host.failed_groups()
        assert (group.kind, group.ids) == ("answer", (failed.id,))
        monkeypatch.setattr("aegis.engine.answers.KEPT", timedelta(hours=1))
        assert await host.retry(failed) == "kept for another hour"
        other = await host.create("Order", id="nobody")
        await asked(host, other, "track")
        assert await host.failed() == []
        with pytest.raises(NotFoundError):
            await host.retry(failed)


async def test_code_that_waits_says_who_takes_the_answer(host):
    broken = text().replace("    @pick.answer\n", "")
    with pytest.raises(ComponentError, match=r"waits for warehouse.picked.*mark the method"):
        await host.deploy("orders", "1.0.0", broken)


async def test_code_without_the_answer_that_flows_wait_for_is_refused(shop):
    order = await shop.create("Order")
    await asked(shop, order, "pick")
    head, _, rest = text().partition("    @pick.answer")
    _, _, rest = rest.partition("    @pick.undo")
    begin, _, end = head.partition("return waiting(")
    without = f"{begin}return self\n\n    @pick.undo{rest}"
    assert end
    with pytest.raises(ComponentError, match=r"the answer of orders\.Order\.pick is gone"):
        await shop.deploy("orders", "1.0.0", without)
    await shop.publish("warehouse.picked", order_id=order.id, address="Mill Lane")
    await asked(shop, order, "track")


async def test_undo_can_be_asked_for_and_only_of_what_is_under_way(shop, desk):
    order = await shop.create("Order")
    await asked(shop, order, "pick")
    flow, _ = (await shop.flows(order))[0]
    await shop.undo(flow.id)
    await quiet(shop)
    assert desk.told == ["pick", "recall"]
    assert await shop.failed() == []
    with pytest.raises(ConflictError, match="not under way"):
        await shop.undo(flow.id)
    with pytest.raises(NotFoundError):
        await shop.undo("nothing")


async def test_an_answer_that_comes_before_the_code_is_back_is_kept_for_it(tmp_path, desk):
    async with memory_host(store=SqliteStore(tmp_path), values={"say": desk}) as host:
        await host.deploy("orders", "1.0.0", text())
    async with memory_host(store=SqliteStore(tmp_path), values={"say": desk}) as host:
        # Nothing that is loaded says that anybody waits for such events.
        await host.publish("warehouse.picked", order_id="o1", address="Mill Lane")
        await host.deploy("orders", "1.0.0", text())
        order = await host.create("Order", id="o1")
        await asked(host, order, "track")
        await host.publish("nobody.knows")
        assert await host.store.unclaimed() == []


async def test_cancel_before_it_is_asked_again_undoes_what_a_silent_partner_may_have_done(desk):
    """Also when it was an earlier process that asked."""
    store, clock = MemoryStore(), SteppedClock()
    async with memory_host(store=store, clock=clock, values={"say": desk}) as host:
        await host.deploy("orders", "1.0.0", text(10))
        order = await host.create("Order")
        await asked(host, order, "pick")
    clock.advance(11)
    async with memory_host(store=store, clock=clock, values={"say": desk}) as host:
        await host.deploy("orders", "1.0.0", text(10))
        await until(lambda: clock.sleeping)
        await host.call(order, "cancel")
        await quiet(host)
        assert await states(host, order) == (FlowState.COMPENSATED, {"pick": StepState.UNDONE})
    assert desk.told == ["pick", "recall"]


async def test_cancel_while_a_deadline_is_being_noted_does_not_wait_for_the_pause(desk):
    store, clock = GatedStore(), SteppedClock()
    store.holds = lambda commit: any(s.state == StepState.READY and s.n == 1 for s in commit.steps)
    async with memory_host(store=store, clock=clock, values={"say": desk}) as host:
        await host.deploy("orders", "1.0.0", text(10))
        store.gate.set()
        order = await host.create("Order")
        await asked(host, order, "pick")
        store.gate.clear()
        store.held.clear()
        clock.advance(11)
        await store.held.wait()
        cancel = asyncio.ensure_future(host.call(order, "cancel"))
        await asyncio.sleep(0.01)
        store.gate.set()
        await cancel
        await quiet(host)
    assert desk.told == ["pick", "recall"]


async def test_a_step_that_waits_for_its_answer_names_the_version_that_will_take_it(desk):
    store = MemoryStore()
    async with memory_host(store=store, values={"say": desk}) as host:
        await host.deploy("orders", "1.0.0", text())
        order = await host.create("Order")
        await asked(host, order, "pick")
    async with memory_host(store=store, values={"say": desk}) as host:
        await host.deploy("orders", "2.0.0", text())
        assert host.status().waiting == ("component orders@1.0.0",)
        await host.resume()
        assert host.status().waiting == ()
        await host.publish("warehouse.picked", order_id=order.id, address="Mill Lane")
        await asked(host, order, "track")


async def test_a_deadline_that_passes_while_the_code_is_away_waits_for_it_and_keeps_nobody_busy(
    desk,
):
    store, clock = MemoryStore(), SteppedClock()
    async with memory_host(store=store, clock=clock, values={"say": desk}) as host:
        await host.deploy("orders", "1.0.0", text(10))
        order = await host.create("Order")
        await asked(host, order, "pick")
    clock.advance(11)
    async with memory_host(store=store, clock=clock, values={"say": desk}) as host:
        flows = host._deploys.flows
        await until(lambda: not flows.timers)
        for _ in range(10):
            await asyncio.sleep(0)
            assert (len(flows.timers), flows.steps.active) == (0, 0)
        assert host.status().waiting == ("component orders@1.0.0",)
        await host.deploy("orders", "1.0.0", text(10))
        await until(lambda: clock.sleeping)
        clock.advance(5)
        await until(lambda: desk.told == ["pick", "pick"])


async def test_a_step_that_pauses_names_the_version_that_will_take_it_before_the_pause_is_over(
    desk,
):
    store, clock = MemoryStore(), SteppedClock()
    desk.replies["pick"] = OSError("nobody answers")
    async with memory_host(store=store, clock=clock, values={"say": desk}) as host:
        await host.deploy("orders", "1.0.0", text())
        order = await host.create("Order")
        await until(lambda: clock.sleeping)
    del desk.replies["pick"]
    async with memory_host(store=store, clock=clock, values={"say": desk}) as host:
        await host.deploy("orders", "2.0.0", text())
        assert host.status().waiting == ("component orders@1.0.0",)
        await host.resume()
        await until(lambda: clock.sleeping)
        clock.advance(5)
        await asked(host, order, "pick")


async def test_no_more_answers_are_kept_than_there_is_room_for(shop, monkeypatch):
    monkeypatch.setattr("aegis.engine.answers.MOST", 2)
    for number in range(2):
        await shop.publish("warehouse.picked", order_id=f"o{number}", address="Mill Lane")
    with pytest.raises(BusyError, match="which is the limit"):
        await shop.publish("warehouse.picked", key="3", order_id="o3", address="Mill Lane")
    order = await shop.create("Order", id="o1")
    await asked(shop, order, "track")
    # There is room again, and what was refused was not taken for known.
    await shop.publish("warehouse.picked", key="3", order_id="o3", address="Mill Lane")
    assert len(await shop.store.unclaimed()) == 2
