"""Records and open flows move to new code together, or nothing does."""

import asyncio
import inspect
from pathlib import Path

import msgspec
import pytest

from aegis.adapters.storage.backup import restore
from aegis.adapters.storage.memory import MemoryStore
from aegis.adapters.storage.sqlite import SqliteStore
from aegis.api.request import Request
from aegis.api.router import Router
from aegis.bootstrap import build_host
from aegis.configuration import Config
from aegis.core.errors import ComponentError, ConflictError, NotFoundError
from aegis.core.flow import FlowState
from aegis.engine.deploys import Limits
from aegis.testing import EagerClock, memory_host
from tests.engine.ledgers import BARE, BOTH, V1, V2, still
from tests.engine.shop import Desk, until
from tests.fakes import FailingStore, GatedStore


@pytest.fixture(params=["memory", "sqlite"])
def store(request, tmp_path):
    return MemoryStore() if request.param == "memory" else SqliteStore(tmp_path / "data")


async def first(events, count):
    """So many events of a subscription."""
    async for event in events:
        yield event
        count -= 1
        if not count:
            events.stop()
            return


def docs(host, *ids):
    return [msgspec.json.decode(host.store.get("orders.Order", id).doc) for id in ids]


async def test_records_get_the_form_of_the_new_code(store):
    async with memory_host(values={"say": Desk()}, store=store) as host:
        await host.deploy("orders", "1.0.0", V1)
        for id, total in (("a", "9.99"), ("b", "0.10")):
            await host.create("Order", id=id, total=total)
        await still(host)
        before = host.store.get("orders.Order", "a")
        deployment = await host.deploy("orders", "2.0.0", V2)
        assert [doc["cents"] for doc in docs(host, "a", "b")] == [999, 10]
        assert all("total" not in doc for doc in docs(host, "a", "b"))
        done = deployment.migrated
        assert (done.models, done.records, done.flows, done.back, done.backup) == (
            ("orders.Order",),
            2,
            2,
            False,
            None,
        )
        assert (await host.store.deployments())[-1].migrated == done
        after = host.store.get("orders.Order", "a")
        assert (after.revision, after.created) == (before.revision + 1, before.created)
        (event,) = [e for e in await host.events("order.migrated") if e.subject == "a"]
        assert (event.data["revision"], event.data["changed"]["cents"]) == (after.revision, 999)
        assert event.origin == "migration"
        assert (await host.get("Order", "a")).cents == 999
        assert [r.id for r in await host.query("Order", cents__lt=500)] == ["b"]
        # It sets nothing off, and what was open goes on with the new code.
        assert {flow.version for flow, _ in await host.store.open_flows()} == {"2.0.0"}


async def test_a_flow_in_the_middle_of_a_chain_ends_on_the_new_code(store):
    desk = Desk()
    async with memory_host(values={"say": desk}, store=store) as host:
        await host.deploy("orders", "1.0.0", V1)
        order = await host.create("Order", id="a", total="2.00")
        await still(host)
        assert desk.told == ["pay"]
        await host.deploy("orders", "2.0.0", V2)
        await still(host)
        assert desk.told == ["pay"]
        await host.call(await host.get("Order", "a"), "release")
        flow = await host.wait(order, 5)
        assert (flow.state, flow.version) == (FlowState.COMPLETED, "2.0.0")
        assert desk.told == ["pay", "ship 200"]
        assert (await host.get("Order", "a")).shipped == "ok"


async def test_a_flow_that_moved_is_undone_by_the_new_code():
    desk = Desk()
    async with memory_host(values={"say": desk}) as host:
        await host.deploy("orders", "1.0.0", V1)
        order = await host.create("Order", id="a")
        await still(host)
        await host.deploy("orders", "2.0.0", V2)
        await host.call(await host.get("Order", "a"), "cancel")
        flow = await host.wait(order, 5)
        assert (flow.state, flow.version) == (FlowState.COMPENSATED, "2.0.0")
        assert desk.told == ["pay", "refund"]


async def test_a_running_attempt_ends_on_the_old_code_and_the_next_step_is_taken_by_the_new():
    desk, going = Desk(), asyncio.Event()

    async def slow(_):
        await going.wait()
        return "late"

    desk.replies["pay"] = slow
    async with memory_host(values={"say": desk}) as host:
        await host.deploy("orders", "1.0.0", V1)
        order = await host.create("Order", id="a", ready=True)
        await until(lambda: desk.running)
        moving = asyncio.create_task(host.deploy("orders", "2.0.0", V2))
        boundary = host._deploys.flows.boundary
        await until(lambda: boundary.shut)
        # What comes meanwhile waits, and is answered by the new code; reading goes on.
        created = asyncio.create_task(host.create("Order", id="b", cents=7))
        assert (await host.get("Order", "a")).total == "1.50"
        await asyncio.sleep(0.02)
        assert not created.done()
        assert not moving.done()
        going.set()
        await moving
        assert (await created).cents == 7
        flow = await host.wait(order, 5)
        assert flow.state is FlowState.COMPLETED
        assert (await host.get("Order", "a")).paid == "late"
        assert desk.told[:1] == ["pay"]
        assert "ship 150" in desk.told


async def test_an_attempt_that_does_not_end_keeps_everything_as_it_was():
    desk, going = Desk(), asyncio.Event()

    async def slow(_):
        await going.wait()
        return "late"

    desk.replies["pay"] = slow
    async with memory_host(values={"say": desk}) as host:
        host._deploys.migrations._patience = 0.05
        await host.deploy("orders", "1.0.0", V1)
        order = await host.create("Order", id="a")
        await until(lambda: desk.running)
        with pytest.raises(ComponentError, match=r"while flow .* \(port pay of a\) goes on"):
            await host.deploy("orders", "2.0.0", V2)
        assert host.engine.registry.live["orders"].version == "1.0.0"
        assert docs(host, "a")[0]["total"] == "1.50"
        going.set()
        await still(host)
        await host.call(await host.get("Order", "a"), "release")
        assert (await host.wait(order, 5)).version == "1.0.0"
        assert Limits().boundary == 30.0


async def test_records_that_fail_are_named_and_nothing_changes(store):
    async with memory_host(values={"say": Desk()}, store=store) as host:
        await host.deploy("orders", "1.0.0", V1)
        for id, total in (("a", "1"), ("b", "secret-7"), ("c", "secret-8")):
            await host.create("Order", id=id, total=total)
        await still(host)
        last, flows = host.store.last_seq(), await host.store.open_flows()
        with pytest.raises(ComponentError) as refused:
            await host.deploy("orders", "2.0.0", V2)
        assert "2 records of orders.Order cannot be migrated" in str(refused.value)
        assert "ValueError (b, c)" in str(refused.value)
        assert "secret" not in str(refused.value)
        assert host.store.last_seq() == last
        assert await host.store.open_flows() == flows
        assert [doc["total"] for doc in docs(host, "a", "b")] == ["1", "secret-7"]
        assert len(await host.store.deployments()) == 1
        # What served goes on.
        await host.call(await host.get("Order", "a"), "release")


async def test_without_migrate_it_is_refused_with_the_way_out():
    async with memory_host(values={"say": Desk()}) as host:
        await host.deploy("orders", "1.0.0", V1)
        await host.create("Order", id="a")
        with pytest.raises(ComponentError, match="write `migrate` in Order"):
            await host.deploy("orders", "2.0.0", BARE)


async def test_a_step_that_the_new_code_does_not_have_hinders_by_name():
    gone = V2[: V2.index("    @port(consumes=pay,")] + V2[V2.index("    @command\n") :]
    renamed = V2.replace(
        '    @port(consumes=pay, produces="order.shipped", when',
        '    @port(consumes=pay, was="ship", produces="order.shipped", when',
    ).replace("async def ship", "async def send")
    desk = Desk()
    async with memory_host(values={"say": desk}) as host:
        await host.deploy("orders", "1.0.0", V1)
        order = await host.create("Order", id="a")
        await still(host)
        with pytest.raises(
            ComponentError, match=r"port orders.Order.ship is gone, and 1 open flow"
        ):
            await host.deploy("orders", "2.0.0", gone)
        found = await host.preview("orders", "2.0.0", gone)
        assert "port orders.Order.ship is gone" in found.problems[0]
        assert not found.fits
        assert docs(host, "a")[0]["total"] == "1.50"
        await host.deploy("orders", "2.0.0", renamed)
        await host.call(await host.get("Order", "a"), "release")
        assert (await host.wait(order, 5)).state is FlowState.COMPLETED


async def test_what_is_written_while_the_copy_is_made_is_in_it():
    """The store is held up at the copy; what is written then is migrated as it is then."""
    desk = Desk()
    async with memory_host(values={"say": desk}) as host:
        await host.deploy("orders", "1.0.0", V1)
        for n in range(5):
            await host.create("Order", id=f"r{n}", total="1")
        await still(host)
        look, looks = host.store.look, []

        async def slow(question):
            found = await look(question)
            looks.append(1)
            if len(looks) == 1:
                await host.update(await host.get("Order", "r1"), total="5")
                await host.create("Order", id="new", total="7")
            return found

        host.store.look = slow
        await host.deploy("orders", "2.0.0", V2)
        assert [d["cents"] for d in docs(host, "r0", "r1", "new")] == [100, 500, 700]
        assert len(looks) >= 3


async def test_a_store_that_refuses_the_commit_leaves_all_and_lets_all_go_on():
    store = FailingStore()
    async with memory_host(values={"say": Desk()}, store=store) as host:
        await host.deploy("orders", "1.0.0", V1)
        order = await host.create("Order", id="a")
        await still(host)
        store.fail_next()
        with pytest.raises(Exception, match="the disk is full"):
            await host.deploy("orders", "2.0.0", V2)
        assert (await host.get("Order", "a")).total == "1.50"
        await host.call(await host.get("Order", "a"), "release")
        assert (await host.wait(order, 5)).version == "1.0.0"
        await host.deploy("orders", "2.0.0", V2)
        assert (await host.get("Order", "a")).cents == 150


async def test_who_goes_away_during_the_commit_leaves_it_whole():
    store = GatedStore()
    async with memory_host(values={"say": Desk()}, store=store) as host:
        await host.deploy("orders", "1.0.0", V1)
        await host.create("Order", id="a")
        await still(host)
        store.holds = lambda commit: bool(commit.converted)
        moving = asyncio.create_task(host.deploy("orders", "2.0.0", V2))
        await store.held.wait()
        reading = asyncio.create_task(host.get("Order", "a"))
        listing = asyncio.create_task(host.query("Order"))
        writing = asyncio.create_task(host.create("Order", id="b", cents=3))
        moving.cancel()
        await asyncio.sleep(0.01)
        assert not any(call.done() for call in (reading, writing, listing))
        store.gate.set()
        await moving
        assert (await reading).cents == 150
        assert (await writing).cents == 3
        assert {record.cents for record in await listing} <= {150, 3}
        assert host.engine.registry.live["orders"].version == "2.0.0"


async def test_another_component_goes_on_and_its_event_reaches_the_new_code():
    other = """
from aegis import Model
class Bell(Model, endpoint="bells"):
    tone: str = "high"
"""
    store = GatedStore()
    hearing = V2.replace(
        "    @command\n",
        '    @port(consumes="bell.created", by="tone")\n'
        '    def ring(self) -> "Order":\n        return self.update(note=f"{self.cents}")\n\n'
        "    @command\n",
        1,
    )
    deaf = hearing.replace("cents: int = 150", 'total: str = "1.50"').replace(
        "self.cents", "self.total"
    )
    deaf = deaf[: deaf.index("    @classmethod")]
    async with memory_host(values={"say": Desk()}, store=store) as host:
        await host.deploy("orders", "1.0.0", deaf)
        await host.deploy("bells", "1.0.0", other)
        await host.create("Order", id="a")
        await still(host)
        store.holds = lambda commit: bool(commit.converted)
        moving = asyncio.create_task(host.deploy("orders", "2.0.0", hearing))
        await store.held.wait()
        bell = asyncio.create_task(host.create("Bell", tone="a"))
        await asyncio.sleep(0.01)
        store.gate.set()
        await moving
        await bell
        await until(lambda: docs(host, "a")[0]["note"] == "150")


async def test_events_of_a_migration_are_heard_and_set_no_step_off():
    hearing = V2 + (
        '\nfrom aegis import Event, on\n\n@on("order.migrated")\n'
        "async def heard(event: Event, partner: Partner = adapter()) -> None:\n"
        '    await partner.do("heard", event.subject)\n'
    )
    hearing = hearing.replace(
        "    @command\n",
        '    @port(consumes="order.migrated", by="id")\n    def again(self) -> None: ...\n\n    @command\n',
        1,
    )
    desk = Desk()
    async with memory_host(values={"say": desk}) as host:
        await host.deploy("orders", "1.0.0", V1)
        await host.create("Order", id="a")
        await host.create("Order", id="b")
        await still(host)
        events = host.subscribe("order.migrated")
        await host.deploy("orders", "2.0.0", hearing)
        heard = [event.subject async for event in first(events, 2)]
        assert sorted(heard) == ["a", "b"]
        await until(lambda: desk.told.count("heard") == 2)
        for _, steps in await host.store.open_flows():
            assert "again" not in {step.port for step in steps}


async def test_a_stopped_undo_moves_too_and_can_be_continued():
    desk = Desk()
    async with memory_host(values={"say": desk}) as host:
        await host.deploy("orders", "1.0.0", V1)
        order = await host.create("Order", id="a")
        await still(host)
        desk.replies["refund"] = RuntimeError("closed")
        await host.call(order, "cancel")
        flow = await host.wait(order, 5)
        assert flow.state is FlowState.COMPENSATION_FAILED
        await host.deploy("orders", "2.0.0", V2)
        desk.replies["refund"] = "ok"
        await host.continue_undo(flow.id)
        flow = await host.wait(flow.id, 5)
        assert (flow.state, flow.version) == (FlowState.COMPENSATED, "2.0.0")


async def test_a_step_that_pauses_between_attempts_goes_on_with_the_new_code():
    desk = Desk()

    async def fail_once(n):
        if n == 1:
            raise RuntimeError("busy")
        return "second"

    desk.replies["pay"] = fail_once

    clock = EagerClock()
    pausing, go = asyncio.Event(), asyncio.Event()

    async def sleep(seconds):
        if seconds > 1:
            pausing.set()
            await go.wait()
        await asyncio.sleep(0)

    clock.sleep = sleep
    async with memory_host(values={"say": desk}, clock=clock) as host:
        await host.deploy("orders", "1.0.0", V1)
        order = await host.create("Order", id="a", ready=True)
        await pausing.wait()
        await host.deploy("orders", "2.0.0", V2)
        go.set()
        flow = await host.wait(order, 5)
        assert (flow.state, flow.version) == (FlowState.COMPLETED, "2.0.0")
        assert desk.told == ["pay", "pay", "ship 150"]


# Preview


async def test_a_preview_tells_all_and_changes_nothing(store):
    async with memory_host(values={"say": Desk()}, store=store) as host:
        await host.deploy("orders", "1.0.0", V1)
        for id, total in (("a", "1"), ("b", "x"), ("c", "2")):
            await host.create("Order", id=id, total=total)
        await still(host)
        last = host.store.last_seq()
        found = await host.preview("orders", "2.0.0", V2)
        (model,) = found.models
        assert (found.component, found.version, found.seq, found.flows) == (
            "orders",
            "2.0.0",
            last,
            3,
        )
        assert (model.records, model.failed) == (3, 1)
        assert (model.added, model.removed, model.changed) == ({"cents": 2}, {"total": 2}, {})
        (failing,) = model.failing
        assert failing.ids == ("b",)
        assert failing.error.endswith("ValueError")
        assert [s.id for s in model.samples] == ["a", "c"]
        assert model.samples[0].before["total"] == "1"
        assert model.samples[0].after["cents"] == 100
        assert not found.fits
        assert host.store.last_seq() == last
        assert host.engine.registry.live["orders"].version == "1.0.0"
        assert len(host.engine.registry.retained) == 0


async def test_a_preview_of_what_fits_is_empty():
    async with memory_host(values={"say": Desk()}) as host:
        await host.deploy("orders", "1.0.0", V1)
        await host.create("Order", id="a")
        found = await host.preview(
            "orders", "1.1.0", V1.replace('note: str = ""', 'note: str = "-"')
        )
        assert (found.models, found.flows, found.problems, found.fits) == ((), 0, (), True)
        assert not (await host.preview("orders", "2.0.0", BARE)).fits


# Undo after


async def test_a_rollback_gives_back_what_records_were(store):
    desk = Desk()
    async with memory_host(values={"say": desk}, store=store) as host:
        await host.deploy("orders", "1.0.0", V1)
        order = await host.create("Order", id="a", total="3.10", note="as it was")
        await still(host)
        (before,) = docs(host, "a")
        await host.deploy("orders", "2.0.0", V2)
        await still(host)
        deployment = await host.rollback("orders")
        assert deployment.version == "1.0.0"
        assert (deployment.migrated.back, deployment.migrated.records) == (True, 1)
        assert docs(host, "a") == [before]
        record = host.store.get("orders.Order", "a")
        assert record.revision == 4  # created, paid, migrated, and back
        await host.call(await host.get("Order", "a"), "release")
        flow = await host.wait(order, 5)
        assert (flow.state, flow.version) == (FlowState.COMPLETED, "1.0.0")
        assert desk.told == ["pay", "ship"]
        # Forward again: what `migrate` makes of it now.
        again = await host.rollback("orders")
        assert (again.version, again.migrated.back) == ("2.0.0", False)
        assert docs(host, "a")[0]["cents"] == 310


async def test_a_rollback_of_changed_records_needs_unmigrate(store):
    async with memory_host(values={"say": Desk()}, store=store) as host:
        await host.deploy("orders", "1.0.0", V1)
        for id in "abc":
            await host.create("Order", id=id)
        await still(host)
        await host.deploy("orders", "2.0.0", V2)
        await host.update(await host.get("Order", "b"), note="later")
        await host.create("Order", id="n", cents=5)
        await still(host)
        last = host.store.last_seq()
        with pytest.raises(ComponentError) as refused:
            await host.rollback("orders")
        assert "2 records of orders.Order cannot be taken back" in str(refused.value)
        assert "unmigrate" in str(refused.value)
        assert "(b, n)" in str(refused.value)
        assert host.store.last_seq() == last
        assert host.engine.registry.live["orders"].version == "2.0.0"
        assert (await host.get("Order", "b")).note == "later"


async def test_unmigrate_takes_back_what_was_changed_since(store):
    async with memory_host(values={"say": Desk()}, store=store) as host:
        await host.deploy("orders", "1.0.0", V1)
        await host.create("Order", id="a", total="1.005")
        await still(host)
        await host.deploy("orders", "2.0.0", BOTH)
        await host.create("Order", id="n", cents=525)
        await still(host)
        await host.rollback("orders")
        # What was not changed is what it was, to the last digit; `unmigrate` could not know that.
        assert [doc["total"] for doc in docs(host, "a", "n")] == ["1.005", "5.25"]
        assert (await host.get("Order", "n")).paid == "ok"


async def test_a_reset_forgets_what_records_were(store):
    async with memory_host(values={"say": Desk()}, store=store) as host:
        await host.deploy("orders", "1.0.0", V1)
        await host.create("Order", id="a")
        await still(host)
        await host.deploy("orders", "2.0.0", V2)

        def formers(sight):
            return [one.id for one in sight.formers("orders.Order")]

        assert await host.store.look(formers) == ["a"]
        await host.reset("orders")
        assert await host.store.look(formers) == []


# What is told of it


async def test_the_past_of_a_migrated_record_is_told_from_there_on():
    async with memory_host(values={"say": Desk()}) as host:
        await host.deploy("orders", "1.0.0", V1)
        await host.create("Order", id="a", total="4")
        await still(host)
        before = host.store.last_seq()
        await host.deploy("orders", "2.0.0", V2)
        (event,) = await host.events("order.migrated")
        await host.update(await host.get("Order", "a"), note="later")
        then = await host.at(event, "a", "Order")
        assert (then.record.cents, then.record.note) == (400, "")
        assert (await host.at(host.store.last_seq(), "a", "Order")).record.note == "later"
        with pytest.raises(ConflictError, match=r"had another form before order.migrated"):
            await host.at(before, "a", "Order")


async def test_sql_sees_the_new_form():
    async with memory_host(values={"say": Desk()}) as host:
        await host.deploy("orders", "1.0.0", V1)
        await host.create("Order", id="a", total="4")
        assert (await host.sql("select total from orders")).rows() == [("4",)]
        await still(host)
        before = host.store.last_seq()
        await host.deploy("orders", "2.0.0", V2)
        assert (await host.sql("select cents from orders")).rows() == [(400,)]
        last = host.store.last_seq()
        assert (await host.sql("select cents from orders", at=last)).rows() == [(400,)]
        with pytest.raises(ConflictError, match="another form"):
            await host.sql("select cents from orders", at=before)


async def test_open_flows_of_code_that_is_not_loaded_move_after_a_restart(tmp_path):
    desk = Desk()
    async with memory_host(values={"say": desk}, store=SqliteStore(tmp_path / "d")) as host:
        await host.deploy("orders", "1.0.0", V1)
        await host.create("Order", id="a")
        await still(host)
    async with memory_host(values={"say": desk}, store=SqliteStore(tmp_path / "d")) as host:
        deployment = await host.deploy("orders", "2.0.0", V2)
        assert (deployment.migrated.records, deployment.migrated.flows) == (1, 1)
        await host.call(await host.get("Order", "a"), "release")
        assert (await host.wait(await host.get("Order", "a"), 5)).state is FlowState.COMPLETED
        with pytest.raises(NotFoundError, match="no previous revision"):
            await host.rollback("orders")


SEALED = """
from typing import Any
from aegis import Model, private, unique
from typing import Annotated

class User(Model, endpoint="users"):
    email: Annotated[str, unique]
    secret: Annotated[str, private] = ""
    name: str = ""
"""


async def test_what_is_private_and_unique_stays_so():
    new = SEALED.replace('    name: str = ""\n', "    words: list[str] = []\n") + (
        "    @classmethod\n    def migrate(cls, old: dict[str, Any]) -> 'User':\n"
        "        if old['name'] == 'bad':\n            raise KeyError(old['secret'])\n"
        "        return cls(id=old['id'], email=old['email'] + '.org', secret=old['secret'] * 2,\n"
        "            words=old['name'].split())\n"
    )
    async with memory_host() as host:
        await host.deploy("users", "1.0.0", SEALED)
        await host.create("User", id="a", email="a@x", secret="hush", name="Ada B")
        await host.create("User", id="b", email="b@x", secret="shush", name="bad")
        found = await host.preview("users", "2.0.0", new)
        assert "hush" not in msgspec.json.encode(found).decode()
        assert found.models[0].changed == {"email": 1, "secret": 1}
        assert found.models[0].failing[0].error == "line 13: KeyError"
        await host.update(await host.get("User", "b"), name="Bo")
        await host.deploy("users", "2.0.0", new)
        assert (await host.get("User", "a")).secret == "hushhush"
        assert b"hush" not in host.store.get("users.User", "a").doc
        events = await host.events("user.migrated")
        assert "hush" not in str(events)
        assert (await host.at(host.store.last_seq(), "a", "User")).record.secret == "hushhush"
        # The value that it had is free again, the one that it got is taken.
        await host.create("User", id="c", email="a@x")
        with pytest.raises(ConflictError):
            await host.create("User", email="a@x.org")
        await host.delete(await host.get("User", "c"))
        await host.rollback("users")
        assert (await host.get("User", "a")).secret == "hush"
        with pytest.raises(ConflictError):
            await host.create("User", email="a@x")
        await host.create("User", email="a@x.org")


async def test_what_is_unique_does_not_change_in_a_migration():
    new = SEALED.replace("Annotated[str, unique]", "Annotated[int, unique]") + (
        "    @classmethod\n    def migrate(cls, old: dict[str, Any]) -> 'User':\n"
        "        return cls(id=old['id'], email=len(old['email']))\n"
    )
    async with memory_host() as host:
        await host.deploy("users", "1.0.0", SEALED)
        await host.create("User", id="a", email="a@x")
        with pytest.raises(ComponentError, match=r"users\.User\.email is unique"):
            await host.deploy("users", "2.0.0", new)
        assert (await host.get("User", "a")).email == "a@x"


async def test_a_host_on_disk_keeps_a_backup_of_before(tmp_path):
    data = tmp_path / "data"
    async with build_host(Config(data=data)) as host:
        await host.configure({"say": Desk()})
        await host.deploy("orders", "1.0.0", V1)
        await host.create("Order", id="a", total="4")
        await still(host)
        deployment = await host.deploy("orders", "2.0.0", V2)
        kept = deployment.migrated.backup
        assert kept.startswith(f"{data}/backups/orders-2.0.0-")
    restore(Path(kept), tmp_path / "back", lambda _done, _of: None)
    async with memory_host(values={"say": Desk()}, store=SqliteStore(tmp_path / "back")) as host:
        await host.deploy("orders", "1.0.0", V1)
        assert (await host.get("Order", "a")).total == "4"


async def test_a_request_waits_and_is_answered_by_the_new_code():
    store = GatedStore()
    async with memory_host(values={"say": Desk()}, store=store) as host:
        router = Router(host, token=None)

        async def ask(method, path, body=None, **headers):
            given = {"host": "127.0.0.1", "content-type": "application/json", **headers}
            request = Request(
                method,
                f"/aegis/api/models/{path}",
                headers=given,
                body=b"" if body is None else msgspec.json.encode(body),
            )
            answer = router.handle(request)
            return await answer if inspect.isawaitable(answer) else answer

        await host.deploy("orders", "1.0.0", V1)
        await host.create("Order", id="a", total="4")
        await still(host)
        store.holds = lambda commit: bool(commit.converted)
        moving = asyncio.create_task(host.deploy("orders", "2.0.0", V2))
        await store.held.wait()
        asked = [
            asyncio.create_task(ask("GET", "orders/a")),
            asyncio.create_task(ask("GET", "orders")),
            asyncio.create_task(ask("POST", "orders", {"cents": 9})),
            asyncio.create_task(ask("POST", "orders/a/commands/release", {})),
            asyncio.create_task(ask("POST", "orders", {"total": "9"})),
        ]
        await asyncio.sleep(0.02)
        assert not any(task.done() for task in asked)
        store.gate.set()
        await moving
        one, many, made, released, old = await asyncio.gather(*asked)
        assert (one.status, many.status, made.status, released.status) == (200, 200, 201, 200)
        assert msgspec.json.decode(one.body)["cents"] == 400
        assert b'"cents":400' in many.body
        assert msgspec.json.decode(released.body)["ready"] is True
        assert old.status == 422  # it names a field that is gone, and the new code says so


async def test_what_is_kept_elsewhere_is_refused_by_name():
    old, new = (
        text.replace('endpoint="orders"', 'endpoint="orders", store="memory"') for text in (V1, V2)
    )
    async with memory_host(values={"say": Desk()}) as host:
        await host.deploy("orders", "1.0.0", old)
        await host.create("Order", id="a")
        await still(host)
        with pytest.raises(ComponentError, match="it cannot be migrated yet"):
            await host.deploy("orders", "2.0.0", new)
        assert not (await host.preview("orders", "2.0.0", new)).fits
        assert (await host.get("Order", "a")).total == "1.50"
