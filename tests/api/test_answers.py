"""What a view may ask of failures, undo and the past of a host, and what it is told."""

import base64
import zlib

import pytest

from aegis.adapters.graph import tree
from aegis.api.answers import Answers
from aegis.core import wire
from aegis.core.errors import ConflictError, InvalidError, NotFoundError, Refused
from aegis.core.flow import FlowState
from aegis.testing import memory_host
from tests.engine.shop import TEXT, Desk, states, until

EAR = """
from typing import Protocol
from aegis import Event, Model, adapter, config, on

class Note(Model, endpoint="notes"):
    text: str

class Ear(Protocol):
    async def say(self, event: Event) -> None: ...

class OwnEar(Ear):
    def __init__(self, told: object = config("say")):
        self.told = told

    async def say(self, event: Event) -> None:
        self.told(event)

@on("note.created", retries=0)
async def hear(event: Event, ear: Ear = adapter()) -> None:
    await ear.say(event)
"""


class Ear:
    """What a listener is told, and whether it is deaf to it."""

    def __init__(self):
        self.deaf = True
        self.heard = []

    def __call__(self, event):
        if self.deaf:
            raise OSError(f"deaf to {event.data['changed']['text']}")
        self.heard.append(event)


@pytest.fixture
def ear():
    return Ear()


@pytest.fixture
async def notes(ear):
    """A host whose listener could not take three events."""
    async with memory_host(values={"say": ear}) as host:
        await host.deploy("notes", "1.0.0", EAR)
        for n in range(3):
            await host.create("Note", text=f"{n}")
        await until(lambda: host.monitor.failures == 3)
        yield host


@pytest.fixture
def desk():
    return Desk()


@pytest.fixture
async def stuck(desk):
    """A host with a flow whose undo has stopped at `pack`."""
    desk.replies = {"ship": Refused("no van"), "unpack": OSError("glued")}
    async with memory_host(values={"say": desk}) as host:
        await host.deploy("shop", "1.0.0", TEXT)
        order = await host.create("Order")
        flow = await host.wait(order, 5)
        assert flow.state is FlowState.COMPENSATION_FAILED
        host.order, host.stuck = order, flow.id
        yield host


def ask(host, verb):
    return Answers(host, None, tree.render).to(verb)


# --- what failed ----------------------------------------------------------------------------------


async def test_the_input_of_a_flow_that_failed_is_its_record(host):
    order = await host.create("Order", customer="broke", total="10")
    flow = await host.wait(order, 5)
    detail = await ask(host, wire.FailedAsk(id=f"flow:{flow.id}"))
    assert "no money" in detail.line.error
    assert detail.line.event == flow.root == detail.flow.root
    assert (detail.input["customer"], detail.input["total"]) == ("broke", "10")
    assert "_meta" not in detail.input
    assert (detail.flow.state, detail.flow.canceled) == ("compensated", False)


async def test_a_flow_begins_anew_with_what_was_edited_of_its_record(host):
    order = await host.create("Order", customer="broke", total="10")
    flow = await host.wait(order, 5)
    with pytest.raises(InvalidError):
        await ask(host, wire.RetryAsk(id=f"flow:{flow.id}", data={"quantity": 0}))
    done = await ask(host, wire.RetryAsk(id=f"flow:{flow.id}", data={"customer": "ada"}))
    assert "tried again" in done.text
    assert (await host.wait(order, 5)).state is FlowState.COMPLETED
    assert (await host.get("Order", order.id)).customer == "ada"


async def test_the_input_of_a_listener_that_failed_is_the_data_of_its_event(notes, ear):
    failed = (await notes.failed())[0]
    detail = await ask(notes, wire.FailedAsk(id=failed.id))
    assert detail.line.what == "note.created for notes.hear"
    assert detail.line.event == failed.event
    assert (detail.input["changed"]["text"], detail.flow) == ("0", None)
    edited = detail.input | {"changed": {"text": "louder"}}
    assert "failed again" in (await ask(notes, wire.RetryAsk(id=failed.id, data=edited))).text
    assert (await ask(notes, wire.FailedAsk(id=failed.id))).input == edited
    ear.deaf = False
    await ask(notes, wire.RetryAsk(id=failed.id, data=edited))
    assert [event.data for event in ear.heard] == [edited]


@pytest.mark.parametrize("id", ["", "none", "flow:none", "listener:deaf:hear:1", "listener::x"])
async def test_what_has_not_failed_has_no_input(host, id):
    with pytest.raises(NotFoundError):
        await ask(host, wire.FailedAsk(id=id))


async def test_failures_are_told_in_groups_and_tried_again_together(notes, ear):
    (group,) = (await ask(notes, wire.GroupsAsk())).groups
    assert (group.kind, group.what, group.count) == ("listener", "note.created for notes.hear", 3)
    assert group.error == "OSError: deaf to #"
    assert group.ids == tuple(one.id for one in await notes.failed())
    done = await ask(notes, wire.RetryGroupAsk(id=group.id))
    assert done.text.startswith("0 of 3 tried again; ")
    assert "deaf" in done.text
    ear.deaf = False
    assert (await ask(notes, wire.RetryGroupAsk(id=group.id))).text == "3 of 3 tried again"
    assert len(ear.heard) == 3
    assert (await ask(notes, wire.GroupsAsk())).groups == ()
    with pytest.raises(NotFoundError):
        await ask(notes, wire.RetryGroupAsk(id=group.id))


async def test_a_group_is_discarded(notes, ear):
    (group,) = (await ask(notes, wire.GroupsAsk())).groups
    assert (await ask(notes, wire.DiscardGroupAsk(id=group.id))).text == "3 of 3 discarded"
    assert (await notes.failed(), ear.heard) == ([], [])


async def test_the_traceback_of_a_line_of_the_log_is_fetched(notes):
    log = notes.monitor.frame(0, frozenset({"log"})).log
    line = next(line for line in log if line.more)
    assert "OSError: deaf to" in (await ask(notes, wire.LogAsk(n=line.n))).text
    with pytest.raises(NotFoundError):
        await ask(notes, wire.LogAsk(n=0))


# --- undo -----------------------------------------------------------------------------------------


async def test_an_undo_that_stopped_goes_on_where_it_did(stuck, desk):
    detail = await ask(stuck, wire.FailedAsk(id=f"flow:{stuck.stuck}"))
    assert (detail.input, detail.flow.state) == (None, "compensation failed")
    assert [step.port for step in detail.flow.steps if step.state == "undo failed"] == ["pack"]
    desk.replies = {}
    await ask(stuck, wire.ContinueAsk(id=stuck.stuck))
    assert (await stuck.wait(stuck.stuck, 5)).state is FlowState.COMPENSATED
    assert desk.told[-2:] == ["unpack", "refund"]


async def test_a_step_whose_undo_fails_is_skipped_and_stays_as_it_is(stuck, desk):
    told = len(desk.told)
    await ask(stuck, wire.SkipAsk(id=stuck.stuck))
    assert (await stuck.wait(stuck.stuck, 5)).state is FlowState.COMPENSATED
    assert desk.told[told:] == ["refund"]
    _, steps = await states(stuck, stuck.order)
    assert steps["pack"] == "undo skipped"
    with pytest.raises(ConflictError):
        await ask(stuck, wire.SkipAsk(id=stuck.stuck))


# --- the past -------------------------------------------------------------------------------------


async def test_why_comes_as_text_and_as_a_picture(stuck):
    why = await ask(stuck, wire.WhyAsk(id=stuck.stuck))
    assert "order.created" in why.text
    assert zlib.decompress(base64.b64decode(why.data)).startswith(b"<svg")
    assert (await Answers(stuck, None).to(wire.WhyAsk(id=stuck.stuck))).data is None
    with pytest.raises(NotFoundError):
        await ask(stuck, wire.WhyAsk(id="none"))


async def test_a_replay_tells_what_is_different_now(desk):
    async with memory_host(values={"say": desk}) as host:
        await host.deploy("orders", "1.0.0", TEXT)
        order = await host.create("Order")
        flow = await host.wait(order, 5)
        same = await ask(host, wire.ReplayAsk(id=flow.id))
        assert (same.same, same.stopped, same.rows, same.flow) == (True, False, (), flow.id)
        await host.deploy("orders", "1.1.0", TEXT.replace('status="COMPLETE"', 'status="SENT"'))
        other = await ask(host, wire.ReplayAsk(id=flow.root))
        assert (other.same, other.compared) == (False, same.compared)
        assert other.revision.startswith("orders@1.1.0")
        assert {row.part for row in other.rows} == {"steps", "events", "state"}
        told = {(row.then, row.now) for row in other.rows if row.part == "state"}
        assert told == {("status: COMPLETE", "status: SENT")}
        with pytest.raises(NotFoundError):
            await ask(host, wire.ReplayAsk(id="none"))
