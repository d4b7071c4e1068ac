"""An import is checked as any write, whole or not at all, and sets nothing off."""

import asyncio
import hashlib
import json
from decimal import Decimal

import pytest

from aegis.core.errors import (
    ConflictError,
    InvalidError,
    NewerFormatError,
    NotFoundError,
    StoreError,
    TooLargeError,
)
from aegis.core.flow import FlowState
from aegis.engine import intake
from aegis.testing import memory_host
from tests.engine.shop import TEXT, Desk, until
from tests.fakes import FailingStore, GatedStore
from tests.serve.process import NOTES


@pytest.fixture
async def exported(data, tmp_path, shop_on):
    """The export of the 30 orders."""
    path = tmp_path / "orders.ndjson"
    async with shop_on(data) as host:
        await host.export(str(path))
    return path


@pytest.fixture
async def other(tmp_path, shop_on):
    """A host that has no orders yet."""
    async with shop_on(tmp_path / "other") as host:
        await host.deploy("orders", "1.0.0", TEXT)
        yield host


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def rewrite(path, change):
    """The export as if it had been written with what `change` does to its parsed lines."""
    header, *records, _ = lines(path)
    change(records)
    header["models"]["orders.Order"]["records"] = len(records)
    text = "".join(f"{json.dumps(line)}\n" for line in (header, *records))
    end = {"end": len(records), "sha256": hashlib.sha256(text.encode()).hexdigest()}
    path.write_text(text + json.dumps(end, separators=(",", ":")) + "\n")


async def count(host):
    return await host.store.count("orders.Order")


async def test_records_come_as_they_were_and_can_be_exported_the_same(exported, other, tmp_path):
    heard = []
    done = await other.import_(str(exported), told=lambda done, of: heard.append((done, of)))
    assert (done.created, done.line, heard[-1]) == (30, 31, (30, 30))
    await other.export(str(tmp_path / "again"))
    assert lines(tmp_path / "again")[1:-1] == lines(exported)[1:-1]
    assert (await other.get("Order", "o03")).total == Decimal("3.10")


async def test_no_flow_is_set_off_and_the_events_say_imported(exported, other):
    await other.import_(str(exported))
    events = await other.events("order.*")
    assert {event.type for event in events} == {"order.imported"}
    assert {event.origin for event in events} == {"import"}
    assert other.status().flows_open == 0
    assert await other.flows(await other.get("Order", "o03")) == []
    # Its own changes set off what they always do.
    await other.publish("order.created", "o03", id="o03")
    order = await other.create("Order", total="1")
    assert (await other.wait(order)).state is FlowState.COMPLETED


PARCELS = """
from aegis import Model, port

class Parcel(Model, endpoint="parcels"):
    seen: int = 0

    @port(consumes="order.*", by="id")
    async def look(self) -> "Parcel":
        return self.update(seen=self.seen + 1)
"""


async def test_no_step_is_taken_whatever_a_port_listens_to(exported, other):
    await other.deploy("parcels", "1.0.0", PARCELS)
    await other.create("Parcel", id="o03")
    await other.import_(str(exported))
    assert other.status().flows_open == 0
    assert await other.flows(await other.get("Order", "o03")) == []
    assert (await other.get("Parcel", "o03")).seen == 0


async def test_a_component_that_was_away_takes_no_step_for_it_either(exported, tmp_path, shop_on):
    async with shop_on(tmp_path / "other") as host:
        await host.deploy("orders", "1.0.0", TEXT)
        await host.deploy("parcels", "1.0.0", PARCELS)
        await host.create("Parcel", id="o03")
    async with shop_on(tmp_path / "other") as host:
        await host.deploy("orders", "1.0.0", TEXT)
        await host.import_(str(exported))
        await host.update(await host.get("Order", "o03"), note="changed here")
        await host.deploy("parcels", "1.0.0", PARCELS)
        parcel = await host.get("Parcel", "o03")
        await host.wait((await host.flows(await host.get("Order", "o03")))[0][0].id)
        assert (await host.get("Parcel", parcel.id)).seen == 1  # the change, not the import


async def test_an_imported_record_has_a_past(exported, other):
    await other.import_(str(exported))
    seq = other.store.last_seq()
    order = await other.get("Order", "o03")
    changed = await other.update(order, note="changed here")
    then = await other.at(seq, order)
    assert (then.record, then.revision) == (order, lines(exported)[4]["revision"])
    assert then.created == lines(exported)[4]["created"]
    now = await other.at(other.store.last_seq(), order)
    assert (now.record, now.revision) == (changed, then.revision + 1)


async def test_a_second_import_knows_what_is_there(exported, other):
    await other.import_(str(exported))
    seq = other.store.last_seq()
    done = await other.import_(str(exported))
    assert (done.created, done.known) == (0, 30)
    assert other.store.last_seq() == seq


async def test_what_is_there_with_other_data_fails_stays_or_is_replaced(exported, other):
    await other.import_(str(exported))
    mine = await other.update(await other.get("Order", "o07"), note="mine")
    revision = other.store.get("orders.Order", "o07").revision
    with pytest.raises(ConflictError, match=r"line 9: Order 'o07' is here already") as caught:
        await other.import_(str(exported))
    assert caught.value.fields["line"] == 9
    assert (await other.import_(str(exported), on_conflict="skip")).skipped == 1
    assert await other.get("Order", "o07") == mine
    done = await other.import_(str(exported), on_conflict="replace")
    assert (done.replaced, done.known) == (1, 29)
    assert (await other.get("Order", "o07")).note == "number 7"
    # The ETag never goes back: who has read the record must notice.
    assert other.store.get("orders.Order", "o07").revision == revision + 1
    past = await other.at(other.store.last_seq(), mine)
    assert (past.record.note, past.revision) == ("number 7", revision + 1)


async def test_a_record_that_changes_meanwhile_is_looked_at_anew(exported):
    store = GatedStore()
    async with memory_host(store=store, values={"say": Desk()}) as host:
        await host.deploy("orders", "1.0.0", TEXT)
        await host.import_(str(exported))
        order = await host.get("Order", "o07")
        revision = store.get("orders.Order", "o07").revision
        store.holds = lambda commit: True
        change = asyncio.create_task(host.update(order, note="mine"))
        await store.held.wait()
        # What it reads is as in the export; when its turn has come that is so no more.
        done = asyncio.create_task(host.import_(str(exported), on_conflict="replace"))
        rewritten = exported.with_name("other.ndjson")
        rewritten.write_text(exported.read_text().replace("number 7", "number 8"))
        other = asyncio.create_task(
            host.import_(str(rewritten), on_conflict="replace", edited=True)
        )
        assert (await done).known == 30
        busy = host.engine._ledger._busy
        await until(lambda: busy[("orders.Order", "o07")])  # it stands in line
        store.holds = lambda commit: False
        store.gate.set()
        await change
        assert (await other).replaced == 1
        assert (await host.get("Order", "o07")).note == "number 8"
        assert store.get("orders.Order", "o07").revision == revision + 2


async def test_a_disk_that_fails_leaves_whole_batches_and_says_how_far(exported, monkeypatch):
    monkeypatch.setattr(intake, "BATCH", 10)
    store = FailingStore()
    async with memory_host(store=store, values={"say": Desk()}) as host:
        await host.deploy("orders", "1.0.0", TEXT)
        store.fail_next(skip=2)
        with pytest.raises(StoreError, match="the disk is full") as caught:
            await host.import_(str(exported))
        assert (caught.value.fields["stored"], await count(host)) == (21, 20)
        assert (await host.import_(str(exported))).known == 20
        assert await count(host) == 30


async def test_a_batch_is_all_or_nothing_and_an_import_goes_on_behind_it(
    exported, other, monkeypatch
):
    monkeypatch.setattr(intake, "BATCH", 10)

    def spoil(records):
        records[14]["data"]["total"] = "-1"

    good = exported.read_text()
    rewrite(exported, spoil)
    with pytest.raises(InvalidError, match=r"line 16: .*total") as caught:
        await other.import_(str(exported))
    assert caught.value.fields["stored"] == 11
    assert await count(other) == 10
    exported.write_text(good)
    done = await other.import_(str(exported), after=11)
    assert (done.created, done.known, await count(other)) == (20, 0, 30)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"data": {"id": "o02", "total": "x"}}, r"line 4: .*`\$\.total`"),
        ({"data": {"id": "o02", "totl": "1"}}, r"line 4: Order has no field 'totl' \(did you mean"),
        ({"data": {"id": "zzz"}}, "line 4: Order: data is of 'zzz', not 'o02'"),
        ({"data": []}, "line 4: Order"),
        ({"id": "a b"}, "line 4: Order: 'a b' is no id"),
        ({"revision": 0}, r"line 4 is no record: .*`\$\.revision`"),
        ({"created": "yesterday"}, "line 4: created is no time"),
        ({"updated": "2026-01-01T00:00:00"}, "line 4: updated is no time"),
        ({"more": 1}, "line 4 is no record: .*`more`"),
        ({"model": "orders.Ordr"}, r"line 4 is of 'orders\.Ordr', which the first line does not"),
        ({"id": "o01", "data": {"id": "o01"}}, "line 4: Order 'o01' is there twice"),
    ],
)
async def test_a_bad_line_is_told_with_its_number_and_nothing_is_stored(
    exported, other, change, match
):
    rewrite(exported, lambda records: records[2].update(change))
    with pytest.raises((InvalidError, ConflictError), match=match) as caught:
        await other.import_(str(exported))
    assert caught.value.fields["line"] == 4
    assert await count(other) == 0
    assert await other.events() == []


@pytest.mark.parametrize("kept", [0, 1, 40, 5000, -70, -2])
async def test_a_truncated_file_is_refused_before_anything_is_stored(
    exported, other, kept, monkeypatch
):
    monkeypatch.setattr(intake, "BATCH", 5)
    whole = exported.read_bytes()
    exported.write_bytes(whole[:kept])
    with pytest.raises(InvalidError, match=r"line \d+"):
        await other.import_(str(exported))
    whole_lines = whole.splitlines(keepends=True)
    exported.write_bytes(b"".join(whole_lines[:-1]))
    with pytest.raises(InvalidError, match="it ends with line 31: the rest is missing"):
        await other.import_(str(exported))
    exported.write_bytes(b"".join([*whole_lines[:5], *whole_lines[6:]]))
    with pytest.raises(InvalidError, match="damaged, missing or changed"):
        await other.import_(str(exported))
    assert await count(other) == 0


async def test_a_flipped_bit_is_found_and_an_edited_file_may_be_taken(exported, other):
    text = exported.read_text()
    exported.write_text(text.replace("number 3", "number 4", 1))
    with pytest.raises(InvalidError, match="or say that it was edited"):
        await other.import_(str(exported))
    assert await count(other) == 0
    await other.import_(str(exported), edited=True)
    assert (await other.get("Order", "o03")).note == "number 4"


async def test_what_is_no_export_or_of_a_newer_aegis_is_refused(exported, other, tmp_path):
    with pytest.raises(NotFoundError, match="cannot be read"):
        await other.import_(str(tmp_path / "nothing"))
    header, *rest = exported.read_text().splitlines(keepends=True)
    exported.write_text(header.replace('"format":1', '"format":2') + "".join(rest))
    with pytest.raises(NewerFormatError, match="format 2"):
        await other.import_(str(exported))
    exported.write_bytes(b"\x89PNG\r\n\x1a\n\x00\x00")
    with pytest.raises(InvalidError, match="line 1 is no export of Aegis"):
        await other.import_(str(exported))
    exported.write_text(header + "x" * (17 << 20))
    with pytest.raises(TooLargeError, match="line 2 has more than"):
        await other.import_(str(exported))


async def test_another_schema_or_an_unknown_model_is_refused(exported, tmp_path, shop_on):
    newer = TEXT.replace('    note: str = ""\n', '    note: str = ""\n    tip: int = 0\n', 1)
    assert newer != TEXT
    async with shop_on(tmp_path / "other") as host:
        with pytest.raises(NotFoundError, match=r"line 2: there is no model 'orders\.Order'"):
            await host.import_(str(exported))
        await host.deploy("orders", "1.0.0", newer)
        with pytest.raises(ConflictError, match="with another schema than it has here"):
            await host.import_(str(exported))
        assert await count(host) == 0
        done = await host.import_(str(exported), other_schema=True)
        assert done.created == 30
        assert (await host.get("Order", "o03")).tip == 0


def test_the_command_moves_records_from_server_to_server(tmp_path, aegis, serving):
    several = "for n in range(600):\n    host.create(Note, id=f'n{n:03}', text=f'number {n}')"
    first = serving("first", NOTES, several)
    first.ready().close()
    data = tmp_path / ".aegis" / "first" / "serve"
    aegis("data", "export", data, tmp_path / "notes.ndjson")
    assert first.end() == 0

    second = serving("second", NOTES)
    there = ("--data", tmp_path / ".aegis" / "second" / "serve")
    with second.ready() as client:
        take = ("data", "import", tmp_path / "notes.ndjson")
        assert "the token is wrong" in aegis(*take, *there, "--token", "x", expect=2)
        said = aegis(*take, *there, "--token", second.token())
        assert "600 created, 0 replaced, 0 skipped, 0 known already" in said
        note = client.get("/aegis/api/models/notes/n123")
        assert note.json()["text"] == "number 123"
        client.patch(
            "/aegis/api/models/notes/n599", json={"text": "mine"}, headers={"If-Match": "*"}
        ).raise_for_status()
        to = ("--to", second.address(), "--token", second.token())
        said = aegis(*take, *to, expect=2)
        assert "line 601: Note 'n599' is here already" in said
        assert "stored up to line 501: --after 501 goes on there" in said
        said = aegis(*take, *to, "--after", 501, "--on-conflict", "replace")
        assert "0 created, 1 replaced, 0 skipped, 99 known already" in said
        (tmp_path / "bad.ndjson").write_text(
            (tmp_path / "notes.ndjson").read_text().replace('"number 7"', "7")
        )
        said = aegis("data", "import", tmp_path / "bad.ndjson", *to, "--edited", expect=2)
        assert "line 9: Note: Expected `str`, got `int`, at /text" in said
    assert second.end() == 0
    assert "no host serves" in aegis(*take, *there, expect=2)
    assert "does not answer" in aegis(*take, "--to", "http://127.0.0.1:9", expect=2)
    assert "which host?" in aegis(*take, expect=2)
