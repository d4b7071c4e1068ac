"""A unit of work is one commit: all of it is stored, or none."""

import asyncio
from decimal import Decimal

import msgspec
import pytest

from aegis import Refused
from aegis.core.errors import ConflictError, InvalidError, NotFoundError, PortError, StoreError
from aegis.core.flow import FlowState, StepState
from aegis.testing import memory_host
from tests.engine.shop import TEXT, Desk, quiet, states, until
from tests.fakes import FailingStore, GatedStore

NOTES = """
from decimal import Decimal
from typing import Annotated
from aegis import Meta, Model, Refused, command, emit, event

class Note(Model, endpoint="notes"):
    text: str = ""
    stars: Annotated[int, Meta(ge=0, le=5)] = 0
    price: Decimal = Decimal(1)

    @command(produces="note.starred")
    def star(self, by: int = 1) -> "Note":
        emit("star.given", by=by)
        return self.update(stars=self.stars + by)

    @command
    def fail(self) -> "Note":
        emit("never.seen")
        raise RuntimeError("broken")

    @command
    def refuse(self) -> "Note":
        emit("never.seen")
        raise Refused("no", emit=event("note.refused", why="no"))

    @command
    def rename(self) -> "Note":
        return self.update(id="other")

class Wall(Model, endpoint="walls", concurrency="last-wins"):
    color: str = "white"
"""


@pytest.fixture
async def notes():
    async with memory_host() as host:
        await host.deploy("notes", "1.0.0", NOTES)
        yield host


async def test_a_record_its_event_flow_and_first_step_are_one_commit(desk):
    store = FailingStore()
    seen = []
    commit = store.commit
    store.commit = lambda one: (seen.append(one), commit(one))[1]
    async with memory_host(values={"say": desk}, store=store) as host:
        await host.deploy("orders", "1.0.0", TEXT)
        seen.clear()
        order = await host.create("Order")
        first = seen[0]
        assert [p.record.id for p in first.puts] == [order.id]
        assert [e.type for e in first.events] == ["order.created"]
        assert [(s.port, s.state) for s in first.steps] == [("pay", StepState.READY)]
        assert len(first.flows) == 1
        await host.wait(order, 5)
        second = next(c for c in seen[1:] if c.puts)
        assert [e.type for e in second.events] == ["order.paid"]
        assert {(s.port, s.state) for s in second.steps} == {
            ("pay", StepState.DONE),
            ("pack", StepState.READY),
        }


@pytest.mark.parametrize("k", range(4))
async def test_a_store_that_fails_at_its_kth_commit_leaves_nothing_half_done(desk, k):
    store = FailingStore()
    async with memory_host(values={"say": desk}, store=store) as host:
        await host.deploy("orders", "1.0.0", TEXT)
        store.fail_next(skip=k)
        try:
            order = await host.create("Order")
        except StoreError:
            assert await host.list("Order") == []
            assert await host.events() == []
            assert host.status().flows_open == 0
            order = await host.create("Order")
        flow = await host.wait(order, 5)
        assert flow.state is FlowState.COMPLETED
        assert desk.told == ["pay", "pack", "ship"]  # the partners were not asked again
        assert host.status().waiting == ()
        types = [e.type for e in await host.events()]
        assert types == ["order.created", "order.paid", "order.packed", "order.shipped"]
        later = await host.create("Order")
        assert (await host.wait(later, 5)).state is FlowState.COMPLETED


async def test_a_failed_commit_does_not_lock_its_record_for_ever(notes):
    store = FailingStore()
    async with memory_host(store=store) as host:
        await host.deploy("notes", "1.0.0", NOTES)
        note = await host.create("Note")
        store.fail_next()
        with pytest.raises(StoreError):
            await host.update(note, text="lost")
        assert (await host.get("Note", note.id)).text == ""
        assert (await asyncio.wait_for(host.update(note, text="kept"), 1)).text == "kept"


async def test_two_changes_of_different_fields_at_the_same_moment_both_survive(notes):
    note = await notes.create("Note")
    await asyncio.gather(
        notes.update(note, text="hello"),
        notes.update(note, stars=3),
        notes.update(note, price=Decimal(7)),
    )
    found = await notes.get("Note", note.id)
    assert (found.text, found.stars, found.price) == ("hello", 3, 7)


async def test_two_changes_of_one_field_at_the_same_moment_conflict(notes):
    note = await notes.create("Note")
    first, second = await asyncio.gather(
        notes.update(note, text="a"), notes.update(note, text="b"), return_exceptions=True
    )
    assert first.text == "a"
    assert isinstance(second, ConflictError)
    assert second.fields == {"field": "text"}
    with pytest.raises(ConflictError, match="text changed since you read it"):
        await notes.update(note, text="c")
    assert (await notes.get("Note", note.id)).text == "a"


async def test_where_the_last_write_wins_the_second_of_two_at_the_same_moment_wins(notes):
    wall = await notes.create("Wall")
    await asyncio.gather(notes.update(wall, color="red"), notes.update(wall, color="blue"))
    assert (await notes.get("Wall", wall.id)).color == "blue"


async def test_a_port_without_adapters_reads_again_on_a_conflict(notes):
    note = await notes.create("Note")
    await asyncio.gather(*(notes.call(note, "star") for _ in range(5)))
    assert (await notes.get("Note", note.id)).stars == 5
    assert len(await notes.events("star.given")) == 5


async def test_a_port_with_adapters_ends_unknown_on_a_conflict_and_is_undone(shop, desk):
    asked, go = asyncio.Event(), asyncio.Event()

    async def slowly(_):
        asked.set()
        await go.wait()
        return "paid"

    desk.replies["pay"] = slowly
    order = await shop.create("Order")
    await asked.wait()
    await shop.update(order, paid="by hand")
    go.set()
    flow = await shop.wait((await shop.flows(order))[0][0].id, 5)
    assert flow.state is FlowState.COMPENSATED
    assert "'paid' was changed meanwhile" in flow.error
    assert desk.told == ["pay", "refund"]


async def test_a_change_of_another_field_while_a_port_runs_survives(shop, desk):
    asked, go = asyncio.Event(), asyncio.Event()

    async def slowly(_):
        asked.set()
        await go.wait()
        return "paid"

    desk.replies["pay"] = slowly
    order = await shop.create("Order")
    await asked.wait()
    await shop.update(order, note="leave it at the door")
    go.set()
    assert (await shop.wait((await shop.flows(order))[0][0].id, 5)).state is FlowState.COMPLETED
    found = await shop.get("Order", order.id)
    assert (found.note, found.paid) == ("leave it at the door", "paid")


async def test_what_a_port_sets_wrongly_is_refused_with_the_field_named(host):
    await host.deploy(
        "a",
        "1.0.0",
        """
from aegis import Model, port
class Job(Model, endpoint="jobs"):
    total: int = 0
    @port(consumes="job.created", retries=0)
    def work(self) -> "Job":
        return self.update(total="x")
""",
    )
    job = await host.create("Job")
    flow = await host.wait(job, 5)
    assert "$.total" in flow.error
    assert (await host.get("Job", job.id)).total == 0
    with pytest.raises(InvalidError, match=r"\$\.total"):
        await host.update(job, total="x")
    with pytest.raises(InvalidError, match="did you mean 'total'"):
        await host.update(job, totla=1)


async def test_bounds_hold_for_every_way_in(notes):
    with pytest.raises(InvalidError, match=r"<= 5 - at `\$\.stars`"):
        await notes.create("Note", stars=6)
    note = await notes.create("Note", stars=5)
    with pytest.raises(InvalidError):
        await notes.update(note, stars=-1)
    with pytest.raises(InvalidError):
        await notes.call(note, "star")
    assert await notes.events("star.given") == []
    assert (await notes.get("Note", note.id)).stars == 5


@pytest.mark.parametrize("bad", ["NaN", "sNaN", "Infinity"])
async def test_a_decimal_that_is_no_number_is_refused(notes, bad):
    with pytest.raises(InvalidError, match=r"finite `Decimal` - at `\$\.price`"):
        await notes.create("Note", price=Decimal(bad))


async def test_a_whole_number_given_for_a_decimal_is_stored_as_the_decimal(notes):
    note = await notes.create("Note", price=5)
    spec = notes.spec("Note")
    assert b'"price":"5"' in notes.engine.get(spec, note.id).doc
    assert (await notes.update(note, price=6)).price == Decimal(6)
    assert b'"price":"6"' in notes.engine.get(spec, note.id).doc


async def test_what_a_raising_command_emitted_and_changed_is_dropped(notes):
    note = await notes.create("Note")
    with pytest.raises(PortError, match=r"notes\.Note\.fail raised RuntimeError$") as failure:
        await notes.call(note, "fail")
    assert "broken" in str(failure.value.__cause__), "the author's words are for the author"
    with pytest.raises(Exception, match="no"):
        await notes.call(note, "refuse")
    assert [e.type for e in await notes.events()] == ["note.created", "note.refused"]
    assert (await notes.get("Note", note.id)) == note


async def test_a_command_cannot_change_the_id(notes):
    note = await notes.create("Note")
    with pytest.raises(Exception, match="changed the record's id"):
        await notes.call(note, "rename")


async def test_ids_are_made_by_the_host_or_given_once(notes):
    first, second = await notes.create("Note"), await notes.create("Note")
    assert first.id < second.id
    given = await notes.create("Note", id="n-1")
    assert given.id == "n-1"
    with pytest.raises(ConflictError, match="exists already"):
        await notes.create("Note", id="n-1")
    assert len(await notes.list("Note")) == 3
    for bad in ("", "a/b", "a b", "a\n", "?", "x" * 201):
        with pytest.raises(InvalidError, match="is no id"):
            await notes.create("Note", id=bad)


async def test_the_revision_moves_only_when_data_changes(notes):
    spec = notes.spec("Note")
    note = await notes.create("Note", text="a")
    await notes.update(note, text="a")
    assert notes.engine.get(spec, note.id).revision == 1
    await notes.call(note, "star", by=0)
    assert notes.engine.get(spec, note.id).revision == 1
    await notes.update(note, text="b")
    assert notes.engine.get(spec, note.id).revision == 2


async def test_a_caller_that_goes_away_takes_nothing_of_its_commit_along():
    store = GatedStore()
    async with memory_host(store=store) as host:
        await host.deploy("notes", "1.0.0", NOTES)
        note = await host.create("Note")
        heard = host.subscribe("note.updated")
        store.holds = lambda commit: bool(commit.puts)
        update = asyncio.ensure_future(host.update(note, text="kept"))
        await store.held.wait()
        update.cancel()
        with pytest.raises(asyncio.CancelledError):
            await update
        store.gate.set()
        await until(lambda: host.engine.get(host.spec("Note"), note.id).revision == 2)
        heard.stop()
        assert [e.type async for e in heard] == ["note.updated"]


async def test_fields_of_newer_code_survive_an_update_by_older_code(notes):
    newer = NOTES.replace('text: str = ""', 'text: str = ""\n    color: str = "blue"')
    await notes.deploy("notes", "1.1.0", newer)
    note = await notes.create("Note", color="red")
    await notes.rollback("notes")
    old = await notes.get("Note", note.id)
    assert not hasattr(old, "color")
    await notes.update(old, text="by the old code")
    await notes.deploy("notes", "1.1.0", newer)
    found = await notes.get("Note", note.id)
    assert (found.color, found.text) == ("red", "by the old code")


async def test_an_old_version_s_step_keeps_the_fields_of_newer_code(shop, desk):
    order = await shop.create("Order", approved=False)
    await until(lambda: desk.told == ["pay"])
    await shop.deploy(
        "orders", "2.0.0", TEXT.replace('note: str = ""', 'note: str = ""\n    gift: bool = False')
    )
    order = await shop.update(await shop.get("Order", order.id), gift=True, approved=True)
    await shop.wait(order, 5)
    found = await shop.get("Order", order.id)
    assert (found.gift, found.shipped, found.status) == (True, "ok", "COMPLETE")


async def test_a_command_runs_on_the_version_that_the_record_s_open_flow_began_on(shop, desk):
    waiting = await shop.create("Order", approved=False)
    await until(lambda: desk.told == ["pay"])
    newer = TEXT.replace("approved=True", "approved=True, note='by 2.0.0'")
    assert newer != TEXT
    await shop.deploy("orders", "2.0.0", newer)
    assert (await shop.call(waiting, "approve")).note == ""
    await shop.wait(waiting, 5)
    fresh = await shop.create("Order", approved=False)
    await until(lambda: desk.told.count("pay") == 2)
    assert (await shop.call(fresh, "approve")).note == "by 2.0.0"


async def test_records_of_before_a_field_existed_are_found_by_its_default(notes):
    old = await notes.create("Note")
    text = notes.engine.registry.live["notes"].source.text
    await notes.deploy(
        "notes", "1.1.0", text.replace("    text: str", "    color: str = 'blue'\n    text: str", 1)
    )
    assert [note.id for note in await notes.list("Note", color="blue")] == [old.id]
    assert b'"color":"blue"' in notes.engine.get(notes.spec("Note"), old.id).representation()


async def test_a_deleted_record_is_gone_and_its_update_says_so(notes):
    note = await notes.create("Note")
    await notes.delete(note)
    with pytest.raises(NotFoundError):
        await notes.update(note, text="ghost")
    assert [e.type for e in await notes.events()] == ["note.created", "note.deleted"]


async def test_every_event_of_the_journal_is_a_whole_envelope(shop):
    order = await shop.create("Order")
    await shop.wait(order, 5)
    for event in await shop.events():
        document = msgspec.to_builtins(event)
        assert document["specversion"] == "1.0"
        assert document["source"] == "/aegis/components/orders/models/Order"
        assert document["subject"] == order.id
        assert document["revision"].startswith("orders@1.0.0+")
    await quiet(shop)
    assert (await states(shop, order))[0] is FlowState.COMPLETED


LATE = TEXT.replace(
    """    def cancel(self) -> "Order":
        return self.update(note="canceled")
""",
    """    def cancel(self) -> None:
        if self.status == "COMPLETE":
            raise Refused("too late")
""",
)


async def test_a_command_that_waits_behind_a_change_decides_anew_by_what_that_left():
    """It changes nothing itself, so no field of its own tells it that it came too late."""
    store, desk = GatedStore(), Desk()
    store.holds = lambda commit: any(f.state == FlowState.COMPLETED for f in commit.flows)
    async with memory_host(values={"say": desk}, store=store) as host:
        await host.deploy("orders", "1.0.0", LATE)
        order = await host.create("Order")
        await store.held.wait()
        cancel = asyncio.ensure_future(host.call(order, "cancel"))
        await asyncio.sleep(0.01)
        store.gate.set()
        with pytest.raises(Refused, match="too late"):
            await cancel
        await quiet(host)
        assert (await host.get("Order", order.id)).status == "COMPLETE"
        assert "recall" not in desk.told
