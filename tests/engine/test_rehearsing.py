"""A candidate is tried on what was recorded before it serves, and nothing real hears of it."""

import asyncio
import gc
import sys

import msgspec
import pytest

from aegis.core.component import MODULES, Source
from aegis.core.errors import ComponentError, GateError, InvalidError
from aegis.core.rehearsal import Gate, Rehearsal
from aegis.testing import memory_host
from tests.engine.shop import TEXT, never, quiet, until


def candidate(*pairs, version="1.1.0"):
    text = TEXT
    for old, new in pairs:
        assert old in text
        text = text.replace(old, new)
    return Source.of("orders", version, text + "\n# another\n")


@pytest.fixture
async def busy(shop):
    """A shop in which twelve orders came to their end, some of them patched and commanded."""
    for n in range(12):
        order = await shop.create("Order", total=str(n))
        await shop.wait(order, 5)
        if n % 3 == 0:
            await shop.update(await shop.get("Order", order.id), note="soon")
    await quiet(shop)
    return shop


async def untouched(host, work):
    """What `work` gives, having made sure that it changed nothing and left nothing."""

    def stand():
        gc.collect()
        loaded = {name for name in sys.modules if name.startswith(MODULES)}
        records = dict(host.store._records["orders.Order"])
        return host.store.last_seq(), host.store.commits, records, host.engine, loaded

    before = stand()
    found = await work
    assert stand() == before
    return found


async def test_the_same_behaviour_passes_and_nobody_is_asked(busy, desk):
    asked = len(desk.calls)
    found = await untouched(busy, busy.rehearse(candidate()))
    assert (found.same, found.differ, found.raises, found.unsteady) == (28, 0, 0, 0)
    assert found.figures() == "28 same, 0 differ, 0 raise"
    assert found.passes
    assert len(desk.calls) == asked
    await quiet(busy)


async def test_what_differs_is_told_with_the_flow_and_both_sides(busy):
    text = ('status="COMPLETE"', 'status="SENT" if self.total > 9 else "COMPLETE"')
    found = await untouched(busy, busy.rehearse(candidate(text)))
    assert (found.same, found.differ, found.raises) == (26, 2, 0)
    flow = found.diverging[0]
    assert (flow.kind, flow.verdict) == ("flow", "differs")
    assert (await busy.flow(flow.id))[0].id == flow.id
    told = str(found)
    assert "    - status=COMPLETE" in told
    assert "    + status=SENT" in told
    assert msgspec.json.decode(msgspec.json.encode(found), type=Rehearsal) == found


async def test_what_raises_is_told_with_the_error(busy):
    text = ('status="COMPLETE"', 'status="COMPLETE" if self.total < 11 else 1 / 0')
    found = await untouched(busy, busy.rehearse(candidate(text)))
    assert (found.differ, found.raises) == (0, 1)
    assert found.diverging[0].error == "ZeroDivisionError: division by zero"
    assert "1 raises" in found.figures()


async def test_a_partner_who_is_asked_something_else_differs(busy):
    text = ('partner.do("pack"', 'partner.do("wrap"')
    found = await untouched(busy, busy.rehearse(candidate(text)))
    assert (found.same, found.differ, found.raises) == (16, 12, 0)
    assert "which was not recorded" in found.diverging[0].error


async def test_a_request_that_is_not_read_any_more_raises(busy):
    required = ('    note: str = ""\n', "    note: str\n")
    found = await untouched(busy, busy.rehearse(candidate(required)))
    requests = [one for one in found.diverging if one.kind == "request"]
    assert {one.verdict for one in requests} == {"raises"}
    assert len(requests) == 12  # those that created an order and gave no note
    assert "missing required field `note`" in requests[0].error


async def test_a_field_that_is_added_with_a_default_is_no_difference(busy):
    text = ('    note: str = ""\n', '    note: str = ""\n    gift: bool = False\n')
    found = await untouched(busy, busy.rehearse(candidate(text)))
    assert (found.same, found.differ, found.raises) == (28, 0, 0)


async def test_what_is_never_the_same_on_the_live_code_either_tells_nothing(desk, clock):
    chance = TEXT.replace("from decimal", "import random\nfrom decimal").replace(
        'status="COMPLETE"', 'status="COMPLETE", note=str(random.random())'
    )
    async with memory_host(values={"say": desk}, clock=clock) as host:
        await host.deploy("orders", "1.0.0", chance)
        await host.wait(await host.create("Order"), 5)
        await quiet(host)
        found = await host.rehearse(Source.of("orders", "1.1.0", chance))
        assert (found.unsteady, found.differ) == (1, 0)
        assert found.passes
        assert "1 never the same" in found.figures()


async def test_a_command_is_made_again_and_one_with_arguments_is_not(desk, clock):
    text = TEXT + (
        "\n    @command(produces='order.tagged')\n"
        "    def tag(self) -> 'Order':\n        return self.update(note='tagged')\n"
        "\n    @command(produces='order.named')\n"
        "    def name(self, by: str) -> 'Order':\n        return self.update(note=by)\n"
    )
    async with memory_host(values={"say": desk}, clock=clock) as host:
        await host.deploy("orders", "1.0.0", text)
        order = await host.create("Order")
        await host.wait(order, 5)
        await host.call(order, "tag")
        await host.call(order, "name", by="me")
        await quiet(host)
        new = Source.of("orders", "1.1.0", text.replace("note='tagged'", "note='marked'"))
        found = await host.rehearse(new)
        (one,) = found.diverging
        assert (one.kind, one.name.split()[0], one.verdict) == (
            "request",
            "order.tagged",
            "differs",
        )
        assert (one.differences[0].then, one.differences[0].now) == (
            {"note": "tagged"},
            {"note": "marked"},
        )
        assert found.skipped == 1
        assert "what a command was called with is not recorded" in found.notes[0]


async def test_the_gate_refuses_and_what_served_still_serves(busy):
    text = ('status="COMPLETE"', 'status="SENT" if self.total > 9 else "COMPLETE"')
    serving = busy.engine.registry.live["orders"].label
    with pytest.raises(GateError, match="26 same, 2 differ, 0 raise") as caught:
        await busy.deploy(candidate(text), gate=Gate(), who="me")
    assert caught.value.status == 409
    assert caught.value.problem()["rehearsal"]["differ"] == 2
    assert busy.engine.registry.live["orders"].label == serving
    assert len(busy.engine.residents) == 1
    assert len(await busy.store.deployments()) == 1
    refused = (await busy.audit(action="refuse"))[-1]
    assert (refused.who, refused.about, refused.version) == ("me", "orders", "1.1.0")
    assert refused.detail == "gate: 26 same, 2 differ, 0 raise"
    made = await busy.deploy(candidate(text), gate=Gate(differ=2))
    assert made.version == "1.1.0"


async def test_the_newest_are_tried_and_no_more_than_asked(busy):
    text = ('status="COMPLETE"', 'status="SENT" if self.total > 9 else "COMPLETE"')
    told = []
    found = await busy.rehearse(candidate(text), Gate(last=5), told=lambda *far: told.append(far))
    assert found.tried == 5
    assert found.differ == 2
    assert told == [(n, 5) for n in range(6)]


async def test_time_that_is_up_leaves_the_rest_and_says_so(busy):
    found = await untouched(busy, busy.rehearse(candidate(), Gate(seconds=1e-6)))
    assert (found.tried, found.unreached) == (0, 28)
    assert "28 not reached in time" in found.figures()


async def test_nothing_recorded_is_nothing_to_hold_against_it(shop):
    found = await shop.rehearse(candidate())
    assert (found.figures(), found.passes) == ("nothing recorded", True)
    other = Source.of("new", "1.0.0", "from aegis import Model\nclass New(Model): ...\n")
    assert (await shop.rehearse(other)).figures() == "nothing recorded"
    assert (await shop.deploy(other, gate=Gate())).component == "new"


async def test_what_serves_already_is_not_tried(busy):
    found = await busy.rehearse(Source.of("orders", "1.0.0", TEXT))
    assert found.tried == 0


async def test_an_open_flow_is_not_tried(busy, desk):
    desk.replies["ship"] = never
    desk.replies["refund"] = desk.replies["unpack"] = desk.replies["recall"] = "ok"
    await busy.create("Order", total="70")
    await until(lambda: desk.told.count("ship") == 13)
    found = await busy.rehearse(candidate(('status="COMPLETE"', 'status="COMPLETE"')))
    assert (found.same, found.differ, found.raises) == (29, 0, 0)


async def test_a_port_that_hangs_is_given_up_and_calls_go_on_meanwhile(busy):
    text = ('await partner.do("pack", self.id)\n        return self\n',
            "import asyncio\n        await asyncio.Event().wait()\n        return self\n")  # fmt: skip
    rehearsal = asyncio.create_task(busy.rehearse(candidate(text), Gate(last=2, seconds=0.3)))
    order = (await busy.list("Order"))[0]
    while not rehearsal.done():
        await busy.get("Order", order.id)
        await asyncio.sleep(0.01)
    found = await rehearsal
    assert found.differ + found.raises + found.unreached == 2 - found.same
    assert found.same <= 1


async def test_records_that_change_form_are_left_to_the_plan(busy):
    text = (
        ('    note: str = ""\n', "    label: str\n"), ("note=", "label="),
        ("    @command\n    def approve", """    @classmethod
    def migrate(cls, old: dict) -> "Order":
        return cls(label=old.pop("note"), **old)

    @command
    def approve"""),
    )  # fmt: skip
    found = await untouched(busy, busy.rehearse(candidate(*text, version="2.0.0")))
    assert (found.tried, found.skipped) == (0, 28)
    assert "another form" in found.notes[0]


async def test_code_that_would_be_refused_anyway_is_refused_as_ever(busy):
    for text in (("ge=0", "ge=5"), ("class Desk(Partner)", "class Desk")):
        with pytest.raises(ComponentError):
            await untouched(busy, busy.deploy(candidate(text), gate=Gate()))
    with pytest.raises(ComponentError, match="line"):
        await untouched(busy, busy.rehearse(Source.of("orders", "1.1.0", TEXT + "\n def")))


async def test_private_fields_stay_private_in_what_is_told(desk, clock):
    text = TEXT.replace("import Meta", "import private, Meta").replace(
        '    note: str = ""', '    note: Annotated[str, private] = ""'
    )
    async with memory_host(values={"say": desk}, clock=clock) as host:
        await host.deploy("orders", "1.0.0", text)
        order = await host.create("Order", note="tell nobody")
        await host.wait(order, 5)
        await host.update(await host.get("Order", order.id), note="nor of this")
        await quiet(host)
        changed = text.replace("return self.update(paid=", "return self.update(note='x', paid=")
        found = await host.rehearse(Source.of("orders", "1.1.0", changed))
        assert found.differ >= 1
        told = msgspec.json.encode(found).decode()
        assert "tell nobody" not in told
        assert "nor of this" not in told


async def test_what_comes_by_itself_passes_the_gate_first(busy):
    seen = []
    busy.guard(Gate(last=3))
    guard = busy._upkeep.following.guard
    seen.append(await guard(candidate()))
    assert seen[0].tried == 3
    with pytest.raises(GateError):
        await guard(candidate(('status="COMPLETE"', 'status="SENT"')))


def test_a_gate_that_makes_no_sense_is_refused():
    for terms in ({"last": 0}, {"differ": -1}, {"raises": -1}, {"seconds": 0}):
        with pytest.raises(InvalidError):
            Gate(**terms)
