"""An order on a disk that fails at its k-th write or sync, and loses power then."""

import json
import os
import random
import sqlite3

import pytest

from aegis.adapters.storage.sqlite import SqliteStore
from aegis.core.errors import StoreError
from aegis.core.event import decode_event
from aegis.core.flow import FlowState, StepState
from aegis.testing import memory_host
from tests.disk import Disk
from tests.engine.shop import TEXT, Desk, quiet, until

ALL = os.environ.get("AEGIS_CRASHES") == "all"
STEP = 1 if ALL else 10
CUTS = 4 if ALL else 2  # each leaves something else of what was not synced
MOST = 220  # operations that an order may take with all around it
PORTS = ["pay", "pack", "ship"]


class Acknowledging(SqliteStore):
    """A store that writes down which events it said were stored."""

    def __init__(self, directory):
        super().__init__(directory)
        self.acknowledged = {}

    def commit(self, commit):
        stored = super().commit(commit)

        def note(answer):
            if not answer.cancelled() and answer.exception() is None:
                self.acknowledged |= {entry.id: entry.doc for entry in commit.events}

        stored.add_done_callback(note)
        return stored


async def ordered(disk, directory, desk):
    """Take an order until its flow or the disk has ended; the store, how far it came."""
    store = Acknowledging(directory)
    come = []
    with disk.mounted():
        try:
            async with memory_host(values={"say": desk}, store=store) as host:
                await host.deploy("orders", "1.0.0", TEXT)
                await host.create("Order", id="o-1")
                come.append("created")
                await until(lambda: disk.broken or host.status().flows_open == 0)
                if host.status().flows_open == 0:
                    come.append("ended")
        except StoreError:
            assert disk.broken
    return store, come


async def look(directory):
    """What is stored of the order, in which everything must agree; its record, events and flow."""
    store = SqliteStore(directory)
    await store.open()
    record = store.get("orders.Order", "o-1")
    entries = await store.events(0, 100)
    flows = await store.flows("orders.Order", "o-1")
    await store.close()
    events = [decode_event(entry.doc) for entry in entries]
    about = [event for event in events if event.subject == "o-1" and "revision" in event.data]
    assert [entry.seq for entry in entries] == list(range(1, len(entries) + 1))
    if record is None:
        assert about == flows == []
        return record, entries, flows
    # The record is what its events say.
    told = {}
    for event in about:
        told |= event.data.get("changed", {})
    data = json.loads(record.sound().doc)
    assert {name: data[name] for name in told} == told
    assert record.revision == max(event.data["revision"] for event in about)
    # Its flow began with it, and every step that is done has its event, and no other has.
    ((flow, steps),) = flows
    assert (about[0].type, about[0].id) == ("order.created", flow.root)
    done = [step.n for step in steps if step.state is StepState.DONE]
    assert done == sorted(event.step for event in about if event.step is not None)
    assert [step.port for step in steps] == PORTS[: len(steps)]
    if flow.state is FlowState.COMPLETED:
        assert done == [1, 2, 3]
    else:
        assert flow.state is FlowState.RUNNING
        assert len(steps) == len(done) + 1
        assert steps[-1].state is StepState.READY
    return record, entries, flows


async def crash(tmp_path, k, cut):
    """A first life that ends at operation `k`, and a second one on what is left; `k` was reached."""
    first, desk = Disk(tmp_path / "a", fails=k), Desk()
    store, come = await ordered(first, tmp_path / "a", desk)
    left = tmp_path / "left"
    first.image(left, random.Random(f"{k} {cut}"))
    record, entries, flows = await look(left)

    stored = {entry.id: entry.doc for entry in entries}
    assert store.acknowledged.items() <= stored.items()
    if "created" in come:
        assert record is not None
    if "ended" in come:
        assert flows[0][0].state is FlowState.COMPLETED
    # A partner is asked on the strength of what is durable only.
    steps = flows[0][1] if flows else []
    assert {n for _, n in desk.calls} <= {str(step.n) for step in steps}

    again = Desk()
    async with memory_host(values={"say": again}, store=SqliteStore(left)) as host:
        await host.deploy("orders", "1.0.0", TEXT)
        await quiet(host)
        if record is None:
            assert desk.calls == again.calls == []
            await host.create("Order", id="o-1")
            await quiet(host)
        assert (await host.get("Order", "o-1")).status == "COMPLETE"
    _, _, ((flow, _),) = await look(left)
    assert flow.state is FlowState.COMPLETED
    calls = desk.calls + again.calls
    assert set(calls) == {(port, str(n)) for n, port in enumerate(PORTS, 1)}  # one key for each
    assert len(calls) <= len(PORTS) + 1  # one repeat at most
    return first.broken


@pytest.mark.parametrize("start", range(1, MOST, 10))
async def test_an_order_survives_a_disk_that_ends_at_any_operation(tmp_path, start):
    for k in range(start, start + 10, STEP):
        for cut in range(CUTS):
            (tmp_path / f"{k}-{cut}").mkdir()
            await crash(tmp_path / f"{k}-{cut}", k, cut)


async def test_an_order_takes_fewer_operations_than_are_tried(tmp_path):
    disk, desk = Disk(tmp_path / "a"), Desk()
    _, come = await ordered(disk, tmp_path / "a", desk)
    assert come == ["created", "ended"]
    assert 50 < disk.operations < MOST
    assert disk.syncs > 10


async def test_what_a_store_does_not_sync_is_lost(tmp_path, monkeypatch):
    """The disk can tell: without syncs the same look finds what was acknowledged and is gone."""
    connect = SqliteStore._connect

    def careless(store, **options):
        db = connect(store, **options)
        db.set_authorizer(
            lambda action, *of: (
                sqlite3.SQLITE_DENY
                if (action, *of[:2]) == (sqlite3.SQLITE_PRAGMA, "synchronous", "FULL")
                else sqlite3.SQLITE_OK
            )
        )
        db.execute("PRAGMA synchronous = OFF")
        return db

    monkeypatch.setattr(SqliteStore, "_connect", careless)
    with pytest.raises((AssertionError, StoreError)) as found:
        await crash(tmp_path, 100, 0)
    assert "still open" not in str(found.value)
