"""Steps that need several events, that are called otherwise by now, and that undo a flow."""

import pytest

from aegis.adapters.storage.sqlite import SqliteStore
from aegis.core.errors import ComponentError, ConflictError
from aegis.core.flow import FlowState, StepState
from aegis.testing import memory_host
from tests.engine.shop import TEXT as SHOP
from tests.engine.shop import Desk, quiet, states, until

FAN = """
from aegis import Event, Model, command, emit, port


class Order(Model, endpoint="orders"):
    paid: bool = False
    billed: bool = False
    packed: str = ""
    ready: bool = True

    @port(consumes="order.created", produces="order.paid")
    async def pay(self) -> "Order":
        return self.update(paid=True)

    @port(consumes="order.created", produces="order.billed")
    async def bill(self) -> "Order":
        return self.update(billed=True)

    @port(consumes=(pay, bill), join=True, produces="order.packed", when=lambda order: order.ready)
    def pack(self, event: Event) -> "Order":
        return self.update(packed=f"{self.packed}{event.type} ")

    @command
    def get_ready(self) -> "Order":
        return self.update(ready=True)
"""

OUTSIDE = """
from aegis import Event, Model, port


class Order(Model, endpoint="orders"):
    shipped: int = 0

    @port(consumes="order.created", produces="order.paid")
    async def pay(self) -> "Order":
        return self

    @port(consumes=("order.paid", "customs.cleared"), join=True, by="id")
    def ship(self) -> "Order":
        return self.update(shipped=self.shipped + 1)
"""


async def test_a_join_runs_once_when_all_of_its_events_have_come(host):
    await host.deploy("orders", "1.0.0", FAN)
    order = await host.create("Order")
    await quiet(host)
    found = await host.get("Order", order.id)
    assert (found.paid, found.billed) == (True, True)
    assert found.packed in {"order.paid ", "order.billed "}
    flow, steps = (await host.flows(order))[0]
    assert flow.state is FlowState.COMPLETED
    assert sorted(step.port for step in steps) == ["bill", "pack", "pay"]
    (pack,) = (step for step in steps if step.port == "pack")
    assert pack.joined.keys() == {"order.paid", "order.billed"}
    assert pack.cause in pack.joined.values()


async def test_a_join_waits_for_its_condition_as_well(host):
    await host.deploy("orders", "1.0.0", FAN)
    order = await host.create("Order", ready=False)
    await until(lambda: host.status().events == 3)
    assert (await states(host, order))[1]["pack"] is StepState.WAITING
    await host.call(order, "get_ready")
    await quiet(host)
    assert (await states(host, order))[1]["pack"] is StepState.DONE


@pytest.mark.parametrize("first", ["the flow", "the outside"])
async def test_an_event_from_outside_joins_the_flow_of_its_record(host, first):
    await host.deploy("orders", "1.0.0", OUTSIDE)
    order = await host.create("Order", id="o1")
    await until(lambda: host.status().events == 2)
    assert (await host.get("Order", "o1")).shipped == 0
    await host.publish("customs.cleared", id="o1")
    await quiet(host)
    assert (await host.get("Order", "o1")).shipped == 1
    assert len(await host.flows(order)) == 1


async def test_what_has_come_of_a_join_survives_the_host(tmp_path):
    async with memory_host(store=SqliteStore(tmp_path)) as host:
        await host.deploy("orders", "1.0.0", OUTSIDE)
        await host.create("Order", id="o1")
        await until(lambda: host.status().events == 2)
    async with memory_host(store=SqliteStore(tmp_path)) as host:
        await host.deploy("orders", "1.0.0", OUTSIDE)
        await host.publish("customs.cleared", id="o1")
        await quiet(host)
        assert (await host.get("Order", "o1")).shipped == 1


async def test_a_join_of_one_event_is_refused(host):
    with pytest.raises(ComponentError, match="name them all in `consumes`"):
        await host.deploy(
            "orders", "1.0.0", FAN.replace("consumes=(pay, bill), join", "consumes=pay, join")
        )


# --- renamed ports ------------------------------------------------------------------------------


async def test_a_step_that_waits_goes_on_under_the_new_name_of_its_port():
    desk = Desk()
    async with memory_host(values={"say": desk}) as host:
        await host.deploy("orders", "1.0.0", SHOP)
        order = await host.create("Order", approved=False)
        await until(lambda: host.status().events == 2)
        renamed = SHOP.replace("def pack(", "def wrap(").replace("@pack.", "@wrap.")
        renamed = renamed.replace("consumes=pack", "consumes=wrap")
        with pytest.raises(ComponentError, match=r"port orders\.Order\.pack is gone.*was="):
            await host.deploy("orders", "1.0.0", renamed)
        await host.deploy(
            "orders",
            "1.0.0",
            renamed.replace('produces="order.packed"', 'was="pack", produces="order.packed"'),
        )
        await host.call(order, "approve")
        await quiet(host)
        assert await states(host, order) == (
            FlowState.COMPLETED,
            {"pay": StepState.DONE, "wrap": StepState.DONE, "ship": StepState.DONE},
        )


# --- undo by an event -----------------------------------------------------------------------------

CHARGED_BACK = """
    @port(consumes="bank.charged_back", by="order", undo=True, produces="order.charged_back")
    def charged_back(self) -> "Order":
        return self.update(note="charged back")
"""


async def test_an_event_undoes_the_open_flow_of_its_record():
    desk = Desk()
    async with memory_host(values={"say": desk}) as host:
        await host.deploy("orders", "1.0.0", SHOP + CHARGED_BACK)
        order = await host.create("Order", approved=False)
        await until(lambda: host.status().events == 2)
        await host.publish("bank.charged_back", order=order.id)
        await quiet(host)
        assert desk.told == ["pay", "refund"]
        assert (await host.get("Order", order.id)).note == "charged back"
        assert (await states(host, order))[0] is FlowState.COMPENSATED
        assert (await states(host, order, 1))[0] is FlowState.COMPLETED
        assert await host.failed() == []


async def test_such_an_event_does_nothing_to_flows_that_ended():
    desk = Desk()
    async with memory_host(values={"say": desk}) as host:
        await host.deploy("orders", "1.0.0", SHOP + CHARGED_BACK)
        order = await host.create("Order")
        await quiet(host)
        await host.publish("bank.charged_back", order=order.id)
        await quiet(host)
        assert (await states(host, order))[0] is FlowState.COMPLETED
        assert desk.told == ["pay", "pack", "ship"]


# --- an undo that cannot be done --------------------------------------------------------------------


async def test_a_failed_undo_can_be_skipped_and_the_steps_before_it_are_undone():
    desk = Desk()
    async with memory_host(values={"say": desk}) as host:
        await host.deploy("orders", "1.0.0", SHOP)
        desk.replies["ship"] = desk.replies["unpack"] = RuntimeError("no line")
        order = await host.create("Order")
        await quiet(host)
        flow, _ = (await host.flows(order))[0]
        assert flow.state is FlowState.COMPENSATION_FAILED
        assert "undo of pack" in flow.error
        await host.skip_undo(flow.id)
        await quiet(host)
        state, steps = await states(host, order)
        assert state is FlowState.COMPENSATED
        assert steps == {
            "pay": StepState.UNDONE,
            "pack": StepState.UNDO_SKIPPED,
            "ship": StepState.UNDONE,
        }
        ended, _ = (await host.flows(order))[0]
        assert ended.error.endswith("(skipped)")
        assert desk.told.count("unpack") == 1
        with pytest.raises(ConflictError, match="only a failed undo"):
            await host.skip_undo(flow.id)
        # It ended undone, and still waits on the failed list to be tried anew.
        assert [one.kind for one in await host.failed()] == ["flow"]
