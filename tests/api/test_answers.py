"""What a view may ask of failures, undo and the past of a host, and what it is told."""

import base64
import zlib
from types import SimpleNamespace

import pytest

from aegis.adapters.clock import SystemClock
from aegis.adapters.components.python import PythonLoader
from aegis.adapters.storage.memory import MemoryStore
from aegis.api.answers import Answers
from aegis.core import wire
from aegis.core.errors import ConflictError, NotFoundError
from aegis.testing import memory_host
from tests.engine.shop import until
from tests.fakes import ToldHost

DEAF = """
from aegis import Event, Model, on

class Note(Model, endpoint="notes"):
    text: str

@on("note.created")
async def hear(event: Event) -> None:
    raise OSError("deaf")
"""


@pytest.fixture
async def told():
    async with ToldHost(store=MemoryStore(), clock=SystemClock(), loader=PythonLoader()) as host:
        host.ask = Answers(host, None).to
        yield host


async def test_the_input_of_a_flow_that_failed_is_its_record(host):
    order = await host.create("Order", customer="broke", total="10")
    flow = await host.wait(order, 5)
    detail = await Answers(host, None).to(wire.FailedAsk(id=f"flow:{flow.id}"))
    assert "no money" in detail.line.error
    assert detail.line.event == flow.root == detail.flow.root
    assert (detail.input["customer"], detail.input["total"]) == ("broke", "10")
    assert "_meta" not in detail.input
    assert (detail.flow.state, detail.flow.canceled) == ("compensated", False)


async def test_the_input_of_a_listener_that_failed_is_the_data_of_its_event():
    async with memory_host() as host:
        await host.deploy("deaf", "1.0.0", DEAF)
        note = await host.create("Note", text="x")
        await until(lambda: host.monitor.failures)
        (failed,) = await host.failed()
        detail = await Answers(host, None).to(wire.FailedAsk(id=failed.id))
    assert detail.line.what == "note.created for deaf.hear"
    assert detail.line.event == failed.event
    assert (detail.input["id"], detail.flow) == (note.id, None)


@pytest.mark.parametrize("id", ["", "none", "flow:none", "listener:deaf:hear:1", "listener::x"])
async def test_what_has_not_failed_has_no_input(host, id):
    with pytest.raises(NotFoundError):
        await Answers(host, None).to(wire.FailedAsk(id=id))


async def test_groups_are_told_with_the_largest_first_and_their_newest_lines(told):
    many = [str(n) for n in range(300)]
    told.groups = [told.group("deaf", "a"), told.group("blind", *many)]
    blind, deaf = (await told.ask(wire.GroupsAsk())).groups
    assert (blind.error, blind.count, blind.ids) == ("blind", 300, tuple(many[100:]))
    assert (deaf.error, deaf.first, deaf.last) == ("deaf", "1", "2")


async def test_all_of_a_group_are_dealt_with_whatever_becomes_of_one(told):
    told.groups = [told.group("deaf", "a", "b", "c"), told.group("blind", "d")]
    told.stuck = {"b"}
    what = {"kind": "listener", "what": "order.created for shop.hear", "error": "deaf"}
    done = await told.ask(wire.RetryGroupAsk(**what))
    assert done.text == "2 of 3 tried again; it is being dealt with"
    done = await told.ask(wire.DiscardGroupAsk(**what | {"error": "blind"}))
    assert done.text == "1 of 1 discarded"
    assert [(verb, id) for verb, id, *_ in told.told] == [
        ("retry", "a"),
        ("retry", "c"),
        ("discard", "d"),
    ]
    with pytest.raises(NotFoundError):
        await told.ask(wire.RetryGroupAsk(**what | {"kind": "flow"}))


async def test_what_was_held_behind_one_of_the_group_goes_with_it(told):
    told.groups = [told.group("deaf", "a", "held")]
    told.gone = {"held"}
    what = {"kind": "listener", "what": "order.created for shop.hear", "error": "deaf"}
    assert (await told.ask(wire.RetryGroupAsk(**what))).text == "2 of 2 tried again"


async def test_a_retry_is_given_the_input_that_a_person_edited(told):
    await told.ask(wire.RetryAsk(id="a"))
    await told.ask(wire.RetryAsk(id="a", data={"x": 1}))
    assert told.told == [("retry", "a", None), ("retry", "a", {"x": 1})]


async def test_an_undo_that_stopped_goes_on_with_its_step_or_without(told):
    await told.ask(wire.ContinueAsk(id="f"))
    await told.ask(wire.SkipAsk(id="f"))
    assert told.told == [("continue", "f"), ("skip", "f")]
    told.stuck = {"f"}
    with pytest.raises(ConflictError):
        await told.ask(wire.SkipAsk(id="f"))


async def test_a_story_comes_as_text_and_as_a_picture(told):
    told.stories["e"] = SimpleNamespace(text="order.created", svg="<svg/>")
    why = await told.ask(wire.WhyAsk(id="e"))
    assert (why.id, why.text) == ("e", "order.created")
    assert zlib.decompress(base64.b64decode(why.data)) == b"<svg/>"


async def test_a_replay_tells_what_is_different_now(told):
    row = SimpleNamespace(what="pay", then="ok", now=None)
    told.replays["e"] = SimpleNamespace(same=False, diff=[row], stopped=None)
    replay = await told.ask(wire.ReplayAsk(id="e"))
    assert replay == wire.Replay(
        id="e", same=False, rows=(wire.ReplayRow(what="pay", then="ok", now=None),)
    )
