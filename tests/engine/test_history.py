"""What led to a change can be followed from the request on, and the past can be read back."""

import asyncio
import random
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from aegis import Refused
from aegis.adapters.storage.memory import MemoryStore
from aegis.core.component import ENCODER
from aegis.core.errors import AegisError, ConflictError, InvalidError, NotFoundError
from aegis.core.flow import OPEN_STEPS
from aegis.core.past import OPEN, UNSURE
from aegis.core.why import Why
from aegis.engine import causes
from aegis.engine.history import record_of
from aegis.testing import EagerClock, memory_host
from tests.engine.shop import TEXT, Desk, quiet, until
from tests.engine.test_answers import text as answers_text

LISTENERS = """
from aegis import on, Event

@on("order.paid")
def chime(event: Event) -> None:
    emit("bell.rung", event.subject, loud=True)

@on("order.packed")
def deaf(event: Event) -> None:
    raise Refused("nobody hears")
"""


async def grown(shop, desk):
    """An order whose ship fails, with all it sets off; the tree of it."""
    await shop.deploy("orders", "1.0.0", TEXT + LISTENERS)
    desk.replies["ship"] = OSError("sea is rough")
    order = await shop.create("Order", total="9.50")
    await quiet(shop)
    await until(lambda: shop.monitor.failures == 2)
    await until(lambda: any(e.type == "bell.rung" for e in shop.store._journal))
    return order, await shop.why(order)


async def test_an_order_can_be_followed_from_the_request_to_its_last_event(shop, desk):
    _, why = await grown(shop, desk)
    told = [
        (line.depth, line.kind, line.name, line.by, line.state, line.attempts) for line in why.lines
    ]
    port = "orders.Order."
    assert sorted(told) == sorted([
        (0, "event", "order.created", "cell", None, 0),
        (1, "event", "order.paid", port + "pay", "undone", 0),
        (2, "event", "bell.rung", "listener:orders.chime", None, 0),
        (2, "event", "order.packed", port + "pack", "undone", 0),
        (3, "listener", "orders:deaf", None, None, 1),
        (3, "step", port + "ship", None, "undone", 2),
        (1, "event", "order.updated", "undo of " + port + "pay", None, 0),
        (1, "event", "order.compensated", None, None, 0),
        (2, "event", "order.updated", port + "canceled", "done", 0),
    ])  # fmt: skip
    assert [line.depth for line in why.lines][:3] == [0, 1, 2]
    (heard,) = (line for line in why.lines if line.kind == "listener")
    assert "nobody hears" in heard.error
    (end,) = (line for line in why.lines if line.name == "order.compensated")
    assert "sea is rough" in end.error


async def test_the_tree_is_the_same_from_wherever_it_is_asked(shop, desk):
    order, why = await grown(shop, desk)
    flow, _ = (await shop.flows(order))[0]
    for event in await shop.events():
        assert (await shop.why(event.id)).lines == why.lines
        assert (await shop.why(event)).lines == why.lines
    for failed in await shop.failed():
        assert (await shop.why(failed)).lines == why.lines
        assert (await shop.why(failed.id)).lines == why.lines
    for asked in (flow, flow.id, order.id, 3, "3"):
        assert (await shop.why(asked)).lines == why.lines
    assert (await shop.why(order.id, "Order")).lines == why.lines


async def test_it_reads_as_text_and_travels_as_json(shop, desk):
    order, why = await grown(shop, desk)
    text = str(why).splitlines()
    assert text[0].startswith(f"order.created #1 of {order.id}  by cell  total=9.50")
    assert "\u251c\u2500 \u21b6 order.paid #2  by orders.Order.pay, undone  paid=ok" in text
    assert any("deaf" in line and "Refused: nobody hears" in line for line in text)
    assert text[-1].startswith("   \u2514\u2500 order.updated")
    assert msgspec.json.decode(ENCODER.encode(why), type=Why) == why


async def test_several_requests_about_a_record_are_several_roots(shop):
    order = await shop.create("Order", approved=False)
    await until(lambda: shop.store.last_seq() == 2)
    await shop.call(order, "approve")
    await shop.wait(order, 5)
    why = await shop.why(order)
    assert [line.name for line in why.lines if line.depth == 0] == [
        "order.created",
        "order.updated",
    ]


async def test_a_step_that_waits_says_for_what_and_a_refusal_why(shop, desk):
    desk.replies["pay"] = Refused("no money")
    await shop.create("Order", id="poor")
    await quiet(shop)
    (step,) = (line for line in (await shop.why("poor")).lines if line.kind == "step")
    assert (step.state, step.error, step.went_wrong) == ("refused", "no money", True)
    desk.replies["pay"] = "ok"
    await shop.create("Order", id="slow", approved=False)
    await until(lambda: len(shop.store._steps) > 2)
    (step,) = (line for line in (await shop.why("slow")).lines if line.kind == "step")
    assert (step.name, step.state, step.waits) == (
        "orders.Order.pack",
        "waiting",
        "its condition",
    )


async def test_a_flow_begun_anew_stands_beside_the_one_that_failed(shop, desk):
    desk.replies["pay"] = Refused("no money")
    order = await shop.create("Order")
    await quiet(shop)
    (failed,) = await shop.failed()
    desk.replies["pay"] = "ok"
    await shop.retry(failed)
    await quiet(shop)
    (root, *lines) = (await shop.why(order)).lines
    under = [(line.kind, line.name) for line in lines if line.depth == 1]
    assert ("step", "orders.Order.pay") in under
    assert ("event", "order.paid") in under
    assert root.name == "order.created"


async def test_a_large_tree_says_what_it_left_out(shop, monkeypatch):
    monkeypatch.setattr(causes, "MOST", 3)
    order = await shop.create("Order")
    await shop.wait(order, 5)
    why = await shop.why(order)
    assert len([line for line in why.lines if line.kind == "event"]) == 3
    assert why.left_out == 1
    assert str(why).endswith("and 1 more events at least")


async def test_an_answer_from_outside_stands_where_it_was_asked_for(desk):
    async with memory_host(values={"say": desk}) as host:
        await host.deploy("orders", "1.0.0", answers_text())
        order = await host.create("Order")
        await until(lambda: host.store.last_seq() == 2)
        (_, asks) = (await host.why(order)).lines
        assert asks.made.startswith("by orders.Order.pick, asked, waits for warehouse.picked or")
        await host.publish("warehouse.picked", order_id=order.id, address="Kai 1", source="//ware")
        await until(lambda: host.store.last_seq() == 4)
        why = await host.why(order)
        told = [(line.depth, line.name, line.by, line.answers) for line in why.lines]
        port = "orders.Order.pick"
        assert told[:4] == [
            (0, "order.created", "cell", None),
            (1, "order.updated", port, None),
            (1, "warehouse.picked", "outside", port),
            (2, "order.picked", port, None),
        ]
        (answer,) = await host.events("warehouse.picked")
        assert (await host.why(answer.id)).lines == why.lines


class Forgetful(MemoryStore):
    """A store whose journal begins after the event that `gone` names, as retention leaves it."""

    gone = None

    async def event(self, id):
        return None if id == self.gone else await super().event(id)

    async def events_of(self, subject, after, limit):
        found = await super().events_of(subject, after, limit)
        return [entry for entry in found if entry.id != self.gone]


async def test_a_cause_that_is_not_kept_is_said_and_is_no_error(desk):
    store = Forgetful()
    async with memory_host(store=store, values={"say": desk}) as host:
        await host.deploy("orders", "1.0.0", TEXT)
        order = await host.create("Order")
        flow = await host.wait(order, 5)
        store.gone = (await host.events())[0].id
        for asked in (order, flow.id, "2"):
            why = await host.why(asked)
            assert why.lines[0].name == "order.paid"
            assert store.gone in why.cut
            assert str(why).startswith("\u2026 what led to order.paid #2")
        with pytest.raises(NotFoundError, match="does not reach back"):
            await host.at(3, order)


@pytest.mark.parametrize("asked", ["nothing", "99", "0", "flow:nothing", "listener:a:99", ""])
async def test_what_nobody_knows_has_no_tree(shop, asked):
    await shop.create("Order")
    with pytest.raises(NotFoundError, match="no event"):
        await shop.why(asked)


# --- at -------------------------------------------------------------------------------------------


class TickingClock(EagerClock):
    """A clock in which no two stamps are the same."""

    def __init__(self):
        super().__init__()
        self._at = datetime(2026, 1, 1, tzinfo=UTC)

    def stamp(self):
        self._at += timedelta(milliseconds=1)
        return self._at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class PhotographedStore(MemoryStore):
    """A memory store that keeps what was stored after each commit, by the journal's last number."""

    def __init__(self):
        super().__init__()
        self.pictures = {0: ({}, {}, {})}

    def commit(self, commit):
        future = super().commit(commit)
        self.pictures.setdefault(
            len(self._journal),
            (
                dict(self._records.get("orders.Order", {})),
                {id: flow.state.value for id, flow in self._flows.items()},
                {id: {n: s.state for n, s in steps.items()} for id, steps in self._steps.items()},
            ),
        )
        return future


def same(then, picture, wrong):
    """Compare what is read back with what was stored."""
    records, flows, steps = picture
    record = records.get(then.id)
    if record is None:
        assert then.record is None
    else:
        again = msgspec.structs.replace(record, doc=ENCODER.encode(then.record))
        assert again == record
        assert (then.revision, then.created, then.updated) == (
            record.revision,
            record.created,
            record.updated,
        )
    mine = {flow.id for flow in then.flows}
    for flow in then.flows:
        assert {step.n for step in flow.steps} == set(steps[flow.id])
        wrong += (
            [(flow.state, flows[flow.id])] if flow.state not in {flows[flow.id], UNSURE} else []
        )
        for step in flow.steps:
            stored = steps[flow.id][step.n]
            if step.state == OPEN:
                assert stored in OPEN_STEPS
            elif step.state != UNSURE:
                assert stored == step.state
    return mine


@pytest.mark.parametrize("seed", range(8))
async def test_a_record_and_its_flow_read_back_are_what_was_stored_then(seed):
    dice = random.Random(seed)
    desk, store = Desk(), PhotographedStore()

    async def moody(_):
        await asyncio.sleep(0)
        mood = dice.random()
        if mood < 0.15:
            return OSError("line is dead")
        return Refused("no") if mood < 0.25 else "ok"

    for what in ("pay", "pack", "ship", "refund", "unpack", "recall"):
        desk.replies[what] = moody
    async with memory_host(store=store, clock=TickingClock(), values={"say": desk}) as host:
        await host.deploy("orders", "1.0.0", TEXT)
        orders = []
        for _ in range(40):
            move = dice.random()
            if move < 0.3 or not orders:
                made = await host.create("Order", approved=dice.random() < 0.7, total=dice.random())
                orders.append(made)
            order = dice.choice(orders)
            try:
                if move < 0.5:
                    await host.update(await host.get("Order", order.id), note=str(move))
                elif move < 0.6:
                    await host.call(order, "approve")
                elif move < 0.7:
                    await host.call(order, "cancel")
                elif move < 0.75:
                    await host.delete(order)
            except AegisError:
                pass  # not every move is possible
            for _ in range(dice.randrange(6)):
                await asyncio.sleep(0)
        for _ in range(200):
            await asyncio.sleep(0)
        wrong, seen = [], 0
        for seq in range(1, store.last_seq() + 1):
            if seq not in store.pictures:
                continue  # amid a commit
            for order in orders:
                try:
                    then = await host.at(seq, order)
                except NotFoundError:
                    assert order.id not in store.pictures[seq][0]
                    continue
                known = same(then, store.pictures[seq], wrong)
                flows = {id for id in store.pictures[seq][1] if store._flows[id].record == order.id}
                assert known == flows
                seen += 1
        assert wrong == []
        assert seen > 100


async def test_an_event_is_a_point_too_and_fields_of_newer_code_have_their_default(shop):
    order = await shop.create("Order", total="9.50")
    await shop.wait(order, 5)
    paid = (await shop.events("order.paid"))[0]
    await shop.deploy(
        "orders", "1.1.0", TEXT.replace('note: str = ""', 'note: str = ""\n    gift: str = "no"')
    )
    then = await shop.at(paid, order)
    assert (then.record.paid, then.record.shipped, then.record.gift) == ("ok", None, "no")
    assert then == await shop.at(2, order.id, "Order")
    assert record_of(then, shop.spec("Order")).revision == 2
    assert "paid = 'ok'" in str(then)
    assert ENCODER.encode(then)


async def test_a_deleted_record_was_there_before_and_is_not_after(shop):
    order = await shop.create("Order", approved=False)
    await shop.call(order, "approve")
    await shop.wait(order, 5)
    await shop.delete(await shop.get("Order", order.id))
    last = shop.store.last_seq()
    assert (await shop.at(last - 1, order)).record is not None
    gone = await shop.at(last, order)
    assert gone.record is None
    assert "not there" in str(gone)
    with pytest.raises(NotFoundError, match="there was no Order"):
        record_of(gone, shop.spec("Order"))


@pytest.mark.parametrize("seq", [0, -1, 99])
async def test_a_point_that_the_journal_has_not_is_an_error(shop, seq):
    order = await shop.create("Order")
    with pytest.raises(InvalidError, match=f"no event {seq}"):
        await shop.at(seq, order)


async def test_a_record_that_never_was_has_no_past(shop):
    await shop.create("Order")
    with pytest.raises(NotFoundError, match="no event of Order 'nobody'"):
        await shop.at(1, "nobody", "Order")


async def test_an_id_that_was_used_before_a_reset_begins_anew():
    text = "from aegis import Model\nclass Note(Model):\n    text: str = ''\n"
    async with memory_host() as host:
        await host.deploy("notes", "1.0.0", text)
        for said in ("one", "two"):
            note = await host.create("Note", id="n", text=said)
            await host.update(note, text=f"{said}, changed")
            seq = host.store.last_seq()
            if said == "one":
                await host.reset("notes")
        past = await host.at(seq, "n", "notes.Note")
        assert past.record.text == "two, changed"
        await host.create("Note", id="m")
        await host.reset("notes")
        await host.create("Note", id="n")
        with pytest.raises(ConflictError, match="was reset"):
            await host.sql("select * from note", at=seq)
