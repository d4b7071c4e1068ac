"""Models that are kept elsewhere: no write lost, none done twice, and readers see it at once."""

import asyncio
import json
import random
import sys

import msgspec
import pytest

from aegis.adapters.storage.datasources.files import FilesDatasource
from aegis.adapters.storage.datasources.kinds import making
from aegis.adapters.storage.memory import MemoryStore
from aegis.adapters.storage.snapshot import export
from aegis.adapters.storage.sqlite import SqliteStore
from aegis.core.errors import (
    BusyError,
    ComponentError,
    ConflictError,
    DatasourceError,
    InvalidError,
    NotFoundError,
    StaleError,
    StoreError,
)
from aegis.core.query import Query
from aegis.engine import outbox
from aegis.protocols import Write
from aegis.testing import memory_host
from tests.contracts.mongo import MongoServer, alone
from tests.disk import Disk
from tests.engine.shop import quiet, until
from tests.fakes import ShelfDatasource

NOTE = """
from aegis import Model, command, port

class Note(Model, endpoint="notes", store="shelf"):
    text: str = ""
    n: int = 0
    tag: str = ""

    @command(produces="note.counted")
    def count(self, by: int) -> "Note":
        return self.update(n=self.n + by)
"""
READ = """
from aegis import Model, port

class Note(Model, endpoint="notes", store="shelf"):
    text: str = ""
    read: int = 0

    @port(consumes="note.created", produces="note.opened")
    def open(self) -> "Note":
        return self.update(read=1)

    @port(consumes=open, produces="note.closed")
    def close(self) -> "Note":
        return self.update(read=2)
"""


@pytest.fixture
def shelf():
    return ShelfDatasource()


def kept(shelf, **more):
    return memory_host(datasources={"shelf": lambda: shelf}, **more)


@pytest.fixture
async def notes(shelf):
    async with kept(shelf) as host:
        await host.deploy("notes", "1.0.0", NOTE)
        yield host
        shelf.away = False
        shelf.gate.set()


def there(record):
    return None if record is None else json.loads(record.doc)


async def landed(host):
    await until(lambda: not host._deploys.elsewhere.lanes["shelf"].rows)


async def other_writes(shelf, id, **changes):
    """What another host does to a record that it has read."""
    record = await shelf.get("notes.Note", id)
    doc = json.dumps(json.loads(record.doc) | changes).encode()
    after = msgspec.structs.replace(record, revision=record.revision + 1, doc=doc)
    write = Write(
        key=f"other-{after.revision}",
        model="notes.Note",
        id=id,
        expected=record.revision,
        record=after,
    )
    assert list(await shelf.write([write])) == [None]


async def test_all_verbs_do_what_they_do_for_models_of_the_store(notes, shelf):
    note = await notes.create("Note", id="a", text="hello")
    assert await notes.get("Note", "a") == note
    assert await notes.list("Note") == [note]
    note = await notes.update(note, text="there")
    note = await notes.call(note, "count", by=3)
    assert (note.text, note.n) == ("there", 3)
    assert await notes.query("Note", n__ge=3) == [note]
    assert await notes.count("Note", text="there") == 1
    with pytest.raises(ConflictError, match="exists already"):
        await notes.create("Note", id="a")
    assert notes.store.get("notes.Note", "a") is None
    await landed(notes)
    record = await shelf.get("notes.Note", "a")
    assert (record.revision, there(record)["n"]) == (3, 3)
    await notes.delete(note)
    with pytest.raises(NotFoundError):
        await notes.get("Note", "a")
    assert await notes.list("Note") == []
    assert await shelf.get("notes.Note", "a") is None
    types = [event.type for event in await notes.events("note.*")]
    assert types == ["note.created", "note.updated", "note.counted", "note.deleted"]


async def test_readers_see_at_once_what_is_still_on_its_way(notes, shelf):
    shelf.gate.clear()
    note = await notes.create("Note", id="a", n=1)
    for n in range(2, 6):
        note = await notes.update(note, n=n)
        assert (await notes.get("Note", "a")).n == n
    assert await shelf.get("notes.Note", "a") is None
    listing = asyncio.create_task(notes.list("Note", n=5))
    counting = asyncio.create_task(notes.count("Note"))
    await asyncio.sleep(0.02)
    assert not listing.done()
    assert not counting.done()
    shelf.gate.set()
    assert [one.n for one in await listing] == [5]
    assert await counting == 1
    await landed(notes)
    assert (await shelf.get("notes.Note", "a")).revision == 5
    assert await notes.store.outgoing() == []
    await notes.delete(note)
    shelf.gate.clear()
    with pytest.raises(NotFoundError):
        await notes.get("Note", "a")


async def test_a_change_by_others_is_seen_at_once(notes, shelf):
    note = await notes.create("Note", id="a", n=1)
    await landed(notes)
    await other_writes(shelf, "a", n=7)
    assert (await notes.get("Note", "a")).n == 7
    assert (await notes.call(note, "count", by=1)).n == 8
    with pytest.raises(ConflictError, match="changed since you read it"):
        await notes.update(note, n=2)
    spec = notes.spec("Note")
    with pytest.raises(StaleError):
        await notes.engine.patch(spec, "a", spec.patch(n=9), expected=1)


async def test_a_datasource_that_is_away_is_named_and_its_return_is_noticed(
    notes, shelf, monkeypatch
):
    monkeypatch.setattr(outbox, "WAIT", 0.05)
    note = await notes.create("Note", id="a", n=1)
    await landed(notes)
    shelf.away = True
    with pytest.raises(DatasourceError, match="'shelf' at nowhere:1 does not answer") as told:
        await notes.get("Note", "a")
    assert told.value.status == 503
    # A new record needs to know nothing but that there is none: it may not be there.
    with pytest.raises(DatasourceError, match="'shelf'"):
        await notes.create("Note", id="b")
    shelf.away = False
    shelf.gate.clear()
    note = await notes.update(note, n=2)
    shelf.away = True
    shelf.gate.set()
    await until(lambda: any("does not answer" in text for text in notes.status().problems))
    assert any("1 changes wait" in text for text in notes.status().problems)
    assert (await notes.get("Note", "a")).n == 2  # it is on its way
    with pytest.raises(DatasourceError, match="'shelf' at nowhere:1"):
        await notes.list("Note")
    shelf.away = False
    await landed(notes)
    await until(lambda: not any("shelf" in text for text in notes.status().problems))
    assert [one.n for one in await notes.list("Note")] == [2]


async def test_what_was_done_before_the_line_broke_is_not_done_again(notes, shelf):
    shelf.cut = True
    note = await notes.create("Note", id="a", n=1)
    await landed(notes)
    shelf.cut = True
    shelf.gate.clear()
    for n in range(2, 5):
        note = await notes.update(note, n=n)
    shelf.gate.set()
    await landed(notes)
    shelf.cut = True
    await notes.delete(note)
    await landed(notes)
    assert not shelf.cut
    assert len(shelf.done) == len(set(shelf.done)) >= 3
    assert await shelf.get("notes.Note", "a") is None


async def test_the_outbox_is_bounded(notes, shelf, monkeypatch):
    monkeypatch.setattr(outbox, "MOST", 3)
    shelf.gate.clear()
    for n in range(3):
        await notes.create("Note", id=f"a{n}")
    with pytest.raises(BusyError, match=r"3 changes wait for datasource 'shelf'") as told:
        await notes.create("Note", id="b")
    assert told.value.status == 503
    shelf.gate.set()
    await landed(notes)
    await notes.create("Note", id="b")


async def test_what_others_changed_elsewhere_in_a_record_stays(notes, shelf):
    note = await notes.create("Note", id="a", n=1)
    await landed(notes)
    held = await shelf.get("notes.Note", "a")
    shelf.gate.clear()
    note = await notes.update(note, n=2)
    note = await notes.update(note, n=3)
    shelf._records["notes.Note"]["a"] = (
        msgspec.structs.replace(
            held, revision=5, doc=json.dumps({**there(held), "tag": "x"}).encode()
        ),
        "other",
    )
    shelf.gate.set()
    await landed(notes)
    left = await shelf.get("notes.Note", "a")
    assert there(left) == {"id": "a", "text": "", "n": 3, "tag": "x"}
    assert left.revision > 5
    assert await notes.failed() == []
    assert await notes.get("Note", "a") == notes.spec("Note").value(left)


@pytest.mark.parametrize("verb", ["retry", "discard"])
async def test_what_both_changed_is_on_the_failed_list(notes, shelf, verb):
    note = await notes.create("Note", id="a", n=1)
    await landed(notes)
    held = await shelf.get("notes.Note", "a")
    shelf.gate.clear()
    await notes.update(note, n=2, text="mine")
    shelf._records["notes.Note"]["a"] = (
        msgspec.structs.replace(
            held, revision=5, doc=json.dumps({**there(held), "n": 9, "tag": "x"}).encode()
        ),
        "other",
    )
    shelf.gate.set()
    await until(lambda: notes.status().failed == 1)
    (failed,) = await notes.failed()
    assert "notes.Note 'a' in datasource 'shelf': others changed n meanwhile" in failed.error
    assert (await notes.input(failed)).type == "note.updated"
    assert (await notes.get("Note", "a")).n == 9
    (row,) = await notes.store.outgoing()
    assert row.key == failed.event
    await getattr(notes, verb)(failed)
    assert await notes.failed() == []
    assert await notes.store.outgoing() == []
    left = await notes.get("Note", "a")
    mine = (2, "mine", "x") if verb == "retry" else (9, "", "x")
    assert (left.n, left.text, left.tag) == mine


@pytest.mark.parametrize(
    ("verb", "said"),
    [
        ("update", "deleted by others"),
        ("delete", "changed by others"),
        ("create", "made by others"),
    ],
)
async def test_what_cannot_be_written_any_more_is_told_by_name(notes, shelf, verb, said):
    note = await notes.create("Note", id="a", n=1)
    await landed(notes)
    records = shelf._records["notes.Note"]
    shelf.gate.clear()
    if verb == "update":
        await notes.update(note, n=2)
        del records["a"]
    elif verb == "delete":
        await notes.delete(note)
        record, _ = records["a"]
        records["a"] = (msgspec.structs.replace(record, revision=2), "other")
    else:
        await notes.create("Note", id="b")
        record, _ = records["a"]
        doc = record.doc.replace(b'"a"', b'"b"')
        records["b"] = (msgspec.structs.replace(record, id="b", doc=doc), "other")
    shelf.gate.set()
    await until(lambda: notes.status().failed == 1)
    (failed,) = await notes.failed()
    assert said in failed.error
    assert await notes.store.outgoing() != []
    await notes.discard(failed)
    assert await notes.store.outgoing() == []


async def test_a_conflict_waits_for_a_decision_over_a_restart(shelf):
    store = MemoryStore()
    async with kept(shelf, store=store) as host:
        await host.deploy("notes", "1.0.0", NOTE)
        note = await host.create("Note", id="a", n=1)
        await landed(host)
        shelf.gate.clear()
        await host.update(note, n=2)
        record, _ = shelf._records["notes.Note"]["a"]
        changed = msgspec.structs.replace(record, revision=2, doc=record.doc.replace(b":1", b":5"))
        shelf._records["notes.Note"]["a"] = (changed, "other")
        shelf.gate.set()
        await until(lambda: host.status().failed == 1)
    async with kept(shelf, store=store) as host:
        await host.deploy("notes", "1.0.0", NOTE)
        assert (await host.get("Note", "a")).n == 5
        (failed,) = await host.failed()
        await host.retry(failed)
        assert (await host.get("Note", "a")).n == 2
        assert await host.store.outgoing() == await host.failed() == []


async def test_two_hosts_that_count_in_one_record_lose_nothing(shelf):
    """Two hosts, each with its own journal; what they both changed is told, not lost."""
    async with kept(shelf) as one, kept(shelf) as two:
        for host in (one, two):
            await host.deploy("notes", "1.0.0", NOTE)
        await one.create("Note", id="a")
        await landed(one)

        async def count(host, times):
            for _ in range(times):
                note = await host.get("Note", "a")
                await host.call(note, "count", by=1)
                await landed(host)

        await asyncio.gather(count(one, 50), count(two, 50))
        await landed(one)
        await landed(two)
        lost = len(await one.failed()) + len(await two.failed())
        assert (await one.get("Note", "a")).n + lost == 100
        assert (await one.get("Note", "a")).n == (await two.get("Note", "a")).n


# --- flows


async def test_the_steps_of_a_flow_run_on_it(shelf):
    async with kept(shelf) as host:
        await host.deploy("notes", "1.0.0", READ)
        notes = [await host.create("Note", id=f"n{n}") for n in range(20)]
        await quiet(host)
        for note in notes:
            assert (await host.get("Note", note.id)).read == 2
        await landed(host)
        assert {record.revision for record, _ in shelf._records["notes.Note"].values()} == {3}


async def test_a_flow_waits_for_a_datasource_that_is_away(shelf):
    asked = READ.replace('consumes="note.created"', 'consumes="reader.came", by="note"')
    async with kept(shelf) as host:
        await host.deploy("notes", "1.0.0", asked)
        await host.create("Note", id="a")
        await landed(host)
        shelf.away = True
        await host.publish("reader.came", note="a")
        away = "datasource 'shelf' at nowhere:1 does not answer"
        await until(lambda: host.status().waiting == (away,))
        shelf.away = False
        await quiet(host)
        await landed(host)
        assert (await host.get("Note", "a")).read == 2


JOINED = """
from aegis import Model, port

class Order(Model, endpoint="orders"):
    note: str = ""

class Note(Model, endpoint="notes", store="shelf"):
    ready: bool = False
    seen: int = 0

    @port(consumes="order.created", by="note", when=lambda note: note.ready)
    def see(self) -> "Note":
        return self.update(seen=self.seen + 1)
"""


async def test_a_condition_on_a_record_that_is_not_at_hand_is_looked_at(shelf):
    async with kept(shelf) as host:
        await host.deploy("notes", "1.0.0", JOINED)
        await host.create("Note", id="ready", ready=True)
        late = await host.create("Note", id="late")
        await landed(host)
        for note in ("ready", "late"):
            await host.create("Order", note=note)
        await until(lambda: host.status().flows_open == 1)
        assert (await host.get("Note", "ready")).seen == 1
        assert (await host.get("Note", "late")).seen == 0
        await host.update(late, ready=True)
        await quiet(host)
        assert (await host.get("Note", "late")).seen == 1


# --- crashes


class Remembering(SqliteStore):
    """A store that writes down which changes it said were stored."""

    def __init__(self, directory):
        super().__init__(directory)
        self.acknowledged = []

    def commit(self, commit):
        stored = super().commit(commit)

        def note(answer):
            if not answer.cancelled() and answer.exception() is None:
                self.acknowledged += commit.outgoing

        stored.add_done_callback(note)
        return stored


async def work(disk, directory, shelf):
    store = Remembering(directory)
    with disk.mounted():
        try:
            async with kept(shelf, store=store) as host:
                await host.deploy("notes", "1.0.0", NOTE)
                for id in ("a", "b"):
                    note = await host.create("Note", id=id)
                    for n in (1, 2):
                        note = await host.update(note, n=n)
                await host.delete(note)
                await host.create("Note", id="b", n=7)
        except StoreError:
            assert disk.broken
    return store


def final(rows):
    """What a record is after each of `rows`, by id."""
    left = {}
    for row in rows:
        left[row.id] = None if row.record is None else (row.record.revision, row.record.doc)
    return left


@pytest.mark.parametrize("start", range(1, 241, 20))
async def test_no_write_is_lost_and_none_done_twice_wherever_the_host_ends(tmp_path, start):
    for k in range(start, start + 20, 5):
        shelf = ShelfDatasource()
        place = tmp_path / str(k)
        place.mkdir()
        disk = Disk(place / "a", fails=k)
        store = await work(disk, place / "a", shelf)
        left = place / "left"
        disk.image(left, random.Random(k))
        # What reached the datasource was durable in the store before.
        async with kept(shelf, store=SqliteStore(left)) as host:
            stored = {entry.id for entry in await host.store.events(0, 1000)}
            assert set(shelf.done) <= stored
            assert {row.key for row in store.acknowledged} <= stored
            await host.deploy("notes", "1.0.0", NOTE)
            if "shelf" in host._deploys.elsewhere.lanes:
                await landed(host)
            assert await host.store.outgoing() == await host.failed() == []
            events = [json.loads(entry.doc) for entry in await host.store.events(0, 1000)]
            told = {}
            for event in events:
                if event["type"] == "note.deleted":
                    told[event["subject"]] = None
                elif event["type"].startswith("note."):
                    told[event["subject"]] = event["data"]["revision"]
            for id, revision in told.items():
                record = await shelf.get("notes.Note", id)
                assert (None if record is None else record.revision) == revision
        assert len(shelf.done) == len(set(shelf.done))


async def test_the_crash_points_reach_to_the_end(tmp_path):
    disk, shelf = Disk(tmp_path / "a"), ShelfDatasource()
    store = await work(disk, tmp_path / "a", shelf)
    assert final(store.acknowledged) == {
        "a": (3, b'{"id":"a","text":"","n":2,"tag":""}'),
        "b": (1, b'{"id":"b","text":"","n":7,"tag":""}'),
    }
    assert 100 < disk.operations < 241


# --- where models are


async def test_an_unknown_datasource_is_refused_with_the_likely_one(shelf):
    async with kept(shelf) as host:
        with pytest.raises(ComponentError, match=r"no datasource 'shelv'.*did you mean 'shelf'"):
            await host.deploy("notes", "1.0.0", NOTE.replace('"shelf"', '"shelv"'))


async def test_configuration_chooses_before_the_author(shelf):
    async with kept(shelf, stores={"notes.Note": "memory"}) as host:
        await host.deploy("notes", "1.0.0", NOTE)
        await host.create("Note", id="a")
        assert await host.count("Note") == 1
        assert await shelf.count("notes.Note") == 0


async def test_a_driver_that_is_missing_is_named_with_its_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "pymongo", None)
    monkeypatch.delitem(sys.modules, "aegis.adapters.storage.datasources.mongo", raising=False)
    said = {"shelf": {"kind": "mongodb", "url": "mongodb://127.0.0.1", "database": "d"}}
    async with memory_host(datasources=making(said, None)) as host:
        with pytest.raises(
            ComponentError, match=r"needs the package pymongo.*aegis-kernel\[mongo\]"
        ):
            await host.deploy("notes", "1.0.0", NOTE)


@pytest.mark.parametrize("back", [True, False])
async def test_a_model_with_records_is_not_looked_for_elsewhere(notes, shelf, back):
    await notes.create("Note", id="a")
    here = NOTE.replace(', store="shelf"', "")
    with pytest.raises(
        ComponentError,
        match=r"1 records are in datasource 'shelf', and it says they are in the host's own store",
    ):
        await notes.deploy("notes", "1.0.1", here)
    assert (await notes.get("Note", "a")).id == "a"
    await notes.reset("notes")
    assert await shelf.count("notes.Note") == 0
    await notes.deploy("notes", "1.0.1", here)
    await notes.create("Note", id="b")
    assert notes.store.get("notes.Note", "b") is not None
    with pytest.raises(ComponentError, match="1 records are in the host's own store"):
        await notes.deploy("notes", "1.0.2", NOTE)


async def test_a_field_with_a_default_is_written_into_what_is_there(notes, shelf):
    for n in range(3):
        await notes.create("Note", id=f"a{n}")
    await notes.deploy(
        "notes", "1.1.0", NOTE.replace('tag: str = ""', 'tag: str = ""\n    big: int = 5')
    )
    assert await notes.count("Note", big=5) == 3
    assert {there(one)["big"] for one, _ in shelf._records["notes.Note"].values()} == {5}
    with pytest.raises(ComponentError, match="3 stored records would not fit"):
        await notes.deploy("notes", "1.2.0", NOTE.replace("n: int = 0", "n: bool = False"))


async def test_sql_has_what_is_kept_elsewhere_as_it_is_there_now(notes, shelf, monkeypatch):
    monkeypatch.setattr(outbox, "WAIT", 0.05)

    async def ask(text, **more):
        return (await notes.sql(text, **more)).rows()

    note = await notes.create("Note", id="a", n=1)
    assert await ask("select id, n from notes") == [("a", 1)]
    await notes.update(note, n=2)
    assert await ask('select n, _revision from notes."Note"') == [(2, 2)]
    await other_writes(shelf, "a", n=7)
    assert await ask("select n from NOTES") == [(7,)]
    assert await ask("select count(*) from events") == [(2,)]
    assert await ask("select n from notes") == [(7,)]
    with pytest.raises(ConflictError, match="is not what is stored"):
        await ask("select n from notes", at=1)
    shelf.away = True
    assert await ask("select count(*) from events") == [(2,)]
    with pytest.raises(DatasourceError, match="'shelf'"):
        await ask("select n from notes")
    shelf.away = False
    await notes.delete(await notes.get("Note", "a"))
    assert await ask("select n from notes") == []


@pytest.mark.parametrize("lasting", [True, False])
async def test_an_export_has_what_is_kept_elsewhere(shelf, tmp_path, lasting):
    store = SqliteStore(tmp_path / "data") if lasting else MemoryStore()
    async with kept(shelf, store=store) as host:
        await host.deploy("notes", "1.0.0", NOTE)
        for n in range(3):
            await host.create("Note", id=f"a{n}", n=n)
        header = await host.export(str(tmp_path / "all.ndjson"))
        assert header.total == 3
        await host.export(str(tmp_path / "one.ndjson"), "Note")
        if lasting:  # from beside it nobody can see them
            with pytest.raises(ConflictError, match=r"notes\.Note is kept in datasource 'shelf'"):
                export(tmp_path / "data", tmp_path / "no.ndjson", [], lambda done, of: None)
    other = ShelfDatasource()
    async with kept(other) as host:
        await host.deploy("notes", "1.0.0", NOTE)
        done = await host.import_(str(tmp_path / "all.ndjson"))
        assert done.created == 3
        assert [note.n for note in await host.list("Note")] == [0, 1, 2]
        again = await host.import_(str(tmp_path / "one.ndjson"), on_conflict="skip")
        assert (again.known, again.created) == (3, 0)


OWN = """
from aegis import Model, config
from aegis.core.matching import counted, gathered
from aegis.protocols import Datasource, Held

class Drawer(Datasource):
    kept = {}

    def __init__(self, label: str = config("drawer.label", "plain")):
        self.label = label

    async def open(self): pass
    async def close(self): pass
    async def get(self, model, id): return self.kept.get((model, id), (None, ""))[0]
    def _all(self, model): return [r for (m, _), (r, _k) in self.kept.items() if m == model]
    async def list(self, model, query): return gathered(self._all(model), query)
    async def count(self, model, where=()): return counted(self._all(model), where)
    async def scan(self, model):
        for record in self._all(model):
            yield record
    async def index(self, component, indexes): pass
    async def clear(self, component):
        mine = [key for key in self.kept if key[0].startswith(component + ".")]
        return len([self.kept.pop(key) for key in mine])
    async def write(self, writes):
        done = []
        for write in writes:
            record, key = self.kept.get((write.model, write.id), (None, ""))
            if (record.revision if record else 0) == write.expected:
                if write.record is None:
                    self.kept.pop((write.model, write.id), None)
                else:
                    self.kept[write.model, write.id] = (write.record, write.key)
                done.append(None)
            elif key == write.key or (write.record is record is None):
                done.append(None)
            else:
                done.append(Held(record, key))
        return done

class Note(Model, endpoint="notes", store="Drawer"):
    n: int = 0
"""


async def test_a_component_brings_its_own_datasource():
    async with memory_host() as host:
        await host.deploy("notes", "1.0.0", OWN)
        note = await host.create("Note", id="a", n=1)
        await host.update(note, n=2)
        assert [one.n for one in await host.list("Note", n=2)] == [2]
        lane = host._deploys.elsewhere.lanes["notes.Drawer"]
        assert lane.datasource.label == "plain"
        assert lane.datasource.kept["notes.Note", "a"][0].revision == 2
        # Newer code of it takes over.
        before = lane.datasource
        await host.deploy("notes", "1.0.1", OWN.replace("kept = {}", "kept = {}\n    x = 1"))
        assert lane.datasource is not before
        with pytest.raises(ComponentError, match=r"Plain is no datasource: it has no open"):
            await host.deploy(
                "notes", "1.0.2", OWN.replace('"Drawer"', '"Plain"') + "\nclass Plain: pass\n"
            )


async def test_files_keep_a_component_s_records(tmp_path):
    made = making({"shelf": {"kind": "files", "path": str(tmp_path)}}, None)
    async with memory_host(datasources=made) as host:
        await host.deploy("notes", "1.0.0", NOTE)
        await host.create("Note", id="a", n=1)
        assert await host.count("Note", n=1) == 1
    (page,) = (await FilesDatasource(tmp_path).list("notes.Note", Query())).items
    assert there(page)["n"] == 1


RELATED = """
from aegis import Model, relation

class Customer(Model, endpoint="customers", store="shelf"):
    name: str = ""

class Order(Model, endpoint="orders"):
    customer_id: str = ""

    customer = relation(Customer, via="customer_id")
"""


async def test_relations_lead_to_what_is_kept_elsewhere(shelf):
    async with kept(shelf) as host:
        await host.deploy("shop", "1.0.0", RELATED)
        with pytest.raises(InvalidError, match=r"names 'c', and there is no such shop\.Customer"):
            await host.create("Order", customer_id="c")
        customer = await host.create("Customer", id="c", name="Zoë")
        order = await host.create("Order", customer_id="c")
        assert (await host.related(order, "customer")).name == "Zoë"
        with pytest.raises(ConflictError, match="cannot be deleted"):
            await host.delete(customer)
        await host.delete(order)
        await host.delete(customer)
        assert await host.count("Customer") == 0


async def test_what_goes_with_its_record_goes_elsewhere_too(shelf):
    text = RELATED.replace(
        'relation(Customer, via="customer_id")',
        'relation(Customer, via="customer_id", on_delete="cascade")',
    ).replace('endpoint="orders"', 'endpoint="orders", store="shelf"')
    async with kept(shelf) as host:
        await host.deploy("shop", "1.0.0", text)
        customer = await host.create("Customer", id="c")
        for _ in range(3):
            await host.create("Order", customer_id="c")
        await host.delete(customer)
        await landed(host)
        assert await shelf.count("shop.Order") == await shelf.count("shop.Customer") == 0


async def test_a_write_that_a_datasource_can_never_do_is_on_the_failed_list(notes, shelf):
    async def refuse(writes):
        return [InvalidError("the shelf is too short for it") for _ in writes]

    shelf.write = refuse
    await notes.create("Note", id="a")
    await until(lambda: notes.status().failed == 1)
    (failed,) = await notes.failed()
    assert "the shelf is too short for it" in failed.error
    del shelf.write
    await notes.retry(failed)
    assert (await notes.get("Note", "a")).id == "a"


# --- MongoDB


def test_a_mongodb_that_goes_away_and_comes_back_has_all_that_was_acknowledged(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(outbox, "WAIT", 0.2)

    async def story():
        server = MongoServer(tmp_path / "mongo")
        server.start()
        made = making({"shelf": {"kind": "mongodb", "url": server.url, "database": "shop"}}, None)
        store = SqliteStore(tmp_path / "data")
        async with memory_host(datasources=made, store=store) as host:
            await host.deploy("notes", "1.0.0", NOTE)
            notes = [await host.create("Note", id=f"a{n}") for n in range(20)]
            assert await host.count("Note") == 20
            server.kill()
            # What is on its way can be changed, and seen; what is not is named.
            with pytest.raises(
                DatasourceError, match=rf"127\.0\.0\.1:{server.port} does not answer"
            ):
                await host.get("Note", "a1")
            assert host.status().problems == ()
            server.start()
            notes = [await host.update(note, n=1) for note in notes]
            server.kill()
            with pytest.raises(DatasourceError, match="'shelf'"):
                await host.get("Note", "unknown")
        assert not server.is_up()
        # The host may end meanwhile, too.
        server.start()
        store = SqliteStore(tmp_path / "data")
        async with memory_host(datasources=made, store=store) as host:
            await host.deploy("notes", "1.0.0", NOTE)
            await landed(host)
            assert await host.count("Note", n=1) == 20
            assert await host.failed() == await host.store.outgoing() == []
        server.kill()

    alone(story())
