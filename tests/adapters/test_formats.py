"""Databases of other formats: earlier ones are upgraded, what is not ours stays as it is."""

import contextlib
import sqlite3

import msgspec
import pytest

from aegis.adapters.storage import sqlite, tables
from aegis.core.audit import Action, Audit
from aegis.core.component import ENCODER, Source
from aegis.core.deployment import Deployment
from aegis.core.errors import CorruptError, NewerFormatError, StoreError
from aegis.core.event import Event
from aegis.core.flow import FlowState
from aegis.core.query import Query
from aegis.protocols import (
    Cleared,
    Commit,
    Cursor,
    Entry,
    Failed,
    Fill,
    Holding,
    Keeping,
    Put,
    Schema,
)
from tests.adapters.test_sqlite import NOW, filled, opened, purchase, record

# As release 2 made them.
FORMAT_2 = """
CREATE TABLE records (
    model TEXT NOT NULL, id TEXT NOT NULL, revision INTEGER NOT NULL, created TEXT NOT NULL,
    updated TEXT NOT NULL, doc TEXT NOT NULL, PRIMARY KEY (model, id)) WITHOUT ROWID;
CREATE TABLE events (
    seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, type TEXT NOT NULL, subject TEXT, flow TEXT,
    time TEXT NOT NULL, doc TEXT NOT NULL);
CREATE TABLE flows (
    id TEXT PRIMARY KEY, component TEXT NOT NULL, model TEXT NOT NULL, record TEXT NOT NULL,
    state TEXT NOT NULL, created TEXT NOT NULL, doc TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX flows_by_record ON flows (model, record);
CREATE INDEX flows_open ON flows (created) WHERE state IN ('compensating', 'running');
CREATE TABLE steps (
    flow TEXT NOT NULL, n INTEGER NOT NULL, doc TEXT NOT NULL, PRIMARY KEY (flow, n)) WITHOUT ROWID;
CREATE TABLE answers (
    key TEXT PRIMARY KEY, fingerprint TEXT NOT NULL, status INTEGER NOT NULL, headers TEXT NOT NULL,
    body BLOB NOT NULL, created TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX answers_by_age ON answers (created);
CREATE TABLE cursors (subscriber TEXT PRIMARY KEY, seq INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE failed (
    subscriber TEXT NOT NULL, seq INTEGER NOT NULL, doc TEXT NOT NULL,
    PRIMARY KEY (subscriber, seq)) WITHOUT ROWID;
CREATE INDEX failed_by_seq ON failed (seq, subscriber);
CREATE TABLE deployments (number INTEGER PRIMARY KEY, doc TEXT NOT NULL);
CREATE TABLE sources (digest TEXT PRIMARY KEY, doc TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE schemas (model TEXT PRIMARY KEY, doc TEXT NOT NULL) WITHOUT ROWID;
PRAGMA application_id = 0x41454749;
PRAGMA user_version = 2;
"""
# All that tells format 1 from that.
FORMAT_1 = FORMAT_2.replace("CREATE INDEX failed_by_seq ON failed (seq, subscriber);", "").replace(
    "user_version = 2", "user_version = 1"
)


def made(directory, script, rows):
    """A database as `script` makes it, with `rows` by table, their documents as JSON."""
    with contextlib.closing(sqlite3.connect(directory / sqlite.NAME)) as db, db:
        db.executescript(script)
        for table, values in rows.items():
            for row in values:
                plain = [one.decode() if isinstance(one, bytes) else one for one in row]
                db.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(row))})", plain)


def flow_row(flow, doc=None):
    about = (flow.id, flow.component, flow.model, flow.record, flow.state.value, flow.created)
    return (*about, doc or ENCODER.encode(flow))


def event(n, cause=None):
    return Event(id=f"e{n}", source="/t", type="item.made", time=NOW, cause=cause, subject="r")


async def test_a_database_of_format_2_is_upgraded_with_all_that_it_holds(tmp_path):
    (flow,), (step,) = purchase("r").flows, purchase("r").steps
    one = record("r", note="Zoë")
    events = [event(1), event(2, "e1"), event(3, "e2")]
    failed = Failed(
        subscriber="mail", seq=2, event="e2", subject="r", error="no", attempts=1, time=NOW
    )
    source = Source(name="m", version="1.0.0", text="x = 1", origin="cell", digest="d")
    deployment = Deployment(
        number=1, component="m", version="1.0.0", digest="d", origin="", who="", time=NOW, live=True
    )
    made(
        tmp_path,
        FORMAT_2,
        {
            "records": [(one.model, one.id, 1, one.created, one.updated, one.doc)],
            "events": [
                (n, e.id, e.type, e.subject, None, e.time, ENCODER.encode(e))
                for n, e in enumerate(events, 1)
            ],
            "flows": [flow_row(flow)],
            "steps": [(step.flow, step.n, ENCODER.encode(step))],
            "answers": [("k", "f", 201, '[["a","b"]]', "{}", NOW)],
            "cursors": [("mail", 2)],
            "failed": [("mail", 2, ENCODER.encode(failed))],
            "deployments": [(1, ENCODER.encode(deployment))],
            "sources": [("d", ENCODER.encode(source))],
            "schemas": [("m.M", b"{}")],
        },
    )
    for _ in range(2):  # once upgraded it is as any other
        store = await opened(tmp_path)
        assert store.get("m.M", "r") == one
        assert (await store.list("m.M", Query())).items == [one]
        found = await store.events(0, 9)
        assert found == await store.caused_by("e1", 9) == await store.events_of("r", 0, 9)
        assert [(e.seq, e.id, e.cause) for e in found] == [
            (1, "e1", None),
            (2, "e2", "e1"),
            (3, "e3", "e2"),
        ]
        assert await store.open_flows() == [(flow, [step])]
        assert (await store.answer("k")).headers == (("a", "b"),)
        assert await store.cursor("mail") == 2
        assert list(await store.failed()) == [failed]
        assert list(await store.deployments()) == [deployment]
        assert await store.source("d") == source
        assert await store.schema("m.M") == b"{}"
        await store.close()
    with contextlib.closing(sqlite3.connect(tmp_path / sqlite.NAME)) as db:
        assert columns(db) == await columns_of_a_new_one(tmp_path / "new")


async def test_an_upgraded_database_is_written_to_as_a_new_one(tmp_path):
    one = record("r")
    made(
        tmp_path,
        FORMAT_2,
        {"records": [("m.M", "r", 1, NOW, NOW, one.doc)], "cursors": [("mail", 2)]},
    )
    store = await opened(tmp_path)
    await store.commit(
        Commit(
            puts=[Put(record("r", 2, note="new"), 1)],
            events=[Entry("e1", "item.made", "r", None, NOW, b"{}", 0, "e0")],
            cursors=[Cursor("mail", 3)],
            fills=[Fill("m.M", "color", b'"blue"')],
            schemas=[Schema("m.M", b"{}")],
            cleared=[Cleared("mail", 1)],
        )
    )
    assert msgspec.json.decode(store.get("m.M", "r").doc)["color"] == "blue"
    assert (await store.event("e1")).cause == "e0"
    assert await store.cursor("mail") == 3
    await store.close()


async def test_an_upgrade_that_fails_leaves_the_database_as_it_was(tmp_path):
    made(tmp_path, FORMAT_2, {"records": [("m.M", "r", 1, NOW, NOW, record("r").doc)]})
    with contextlib.closing(sqlite3.connect(tmp_path / sqlite.NAME)) as db, db:
        db.execute("UPDATE records SET id = CAST(x'ff' AS TEXT)")  # no text at all
    for _ in range(2):
        with pytest.raises(CorruptError):
            await opened(tmp_path)
    with contextlib.closing(sqlite3.connect(tmp_path / sqlite.NAME)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (2,)
        assert "sum" not in str(columns(db))


def columns(db):
    """The columns of each table, and the indexes."""
    names = db.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    return {
        name: sorted(row[1:] for row in db.execute(f"PRAGMA table_info({name})"))
        for (name,) in names
    } | dict(db.execute("SELECT name, tbl_name FROM sqlite_master WHERE type = 'index'"))


async def columns_of_a_new_one(directory):
    await (await opened(directory)).close()
    with contextlib.closing(sqlite3.connect(directory / sqlite.NAME)) as db:
        return columns(db)


async def test_a_database_of_format_1_opens_and_lists_its_failed_flows(tmp_path):
    path = tmp_path / sqlite.NAME
    (flow,) = purchase("r").flows
    ended = {
        "undone": (FlowState.COMPENSATED, "pay: no line"),
        "stopped": (FlowState.COMPENSATION_FAILED, "undone by cancel"),
        "canceled": (FlowState.COMPENSATED, "undone by cancel"),
        "damaged": (FlowState.COMPENSATED, "pay: no line"),
        "done": (FlowState.COMPLETED, None),
    }
    flows = [
        msgspec.structs.replace(flow, id=id, state=state, error=error)
        for id, (state, error) in ended.items()
    ]
    made(
        tmp_path,
        FORMAT_1,
        {
            "events": [
                (n, id, "order.created", "r", None, NOW, "{}")
                for n, id in enumerate(("event-before", flow.root), 1)
            ],
            "flows": [
                flow_row(one, b"{" + ENCODER.encode(one) if one.id == "damaged" else None)
                for one in flows
            ],
        },
    )
    for _ in range(2):  # once upgraded it is as any other
        store = await opened(tmp_path)
        found = {one.subscriber: one for one in await store.failed()}
        assert found.keys() == {"flow:undone", "flow:stopped"}
        one = found["flow:undone"]
        assert (one.kind, one.what, one.subject, one.event) == ("flow", "m.M", "r", flow.root)
        assert (one.error, one.seq, one.held) == ("pay: no line", 2, False)
        await store.close()
    with contextlib.closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (tables.FORMAT,)
        query = "SELECT name FROM sqlite_master WHERE name = 'failed_by_seq'"
        assert db.execute(query).fetchone()


async def test_a_newer_format_is_left_alone(tmp_path):
    await (await filled(tmp_path, 10)).close()
    with sqlite3.connect(tmp_path / sqlite.NAME) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    before = (tmp_path / sqlite.NAME).read_bytes()
    with pytest.raises(NewerFormatError, match=rf"format 99, .* up to {tables.FORMAT}"):
        await opened(tmp_path)
    assert (tmp_path / sqlite.NAME).read_bytes() == before


async def test_a_database_of_another_program_is_left_alone(tmp_path):
    with sqlite3.connect(tmp_path / sqlite.NAME) as db:
        db.execute("CREATE TABLE theirs (x)")
    db.close()
    before = (tmp_path / sqlite.NAME).read_bytes()
    with pytest.raises(StoreError, match="not one of Aegis"):
        await opened(tmp_path)
    assert (tmp_path / sqlite.NAME).read_bytes() == before


async def test_a_database_of_format_3_gets_its_new_tables_and_keeps_its_rows(tmp_path):
    await (await filled(tmp_path, 3)).close()
    with contextlib.closing(sqlite3.connect(tmp_path / sqlite.NAME)) as db, db:
        db.executescript(
            "DROP TABLE uniques; DROP TABLE sealed; DROP TABLE outbox;"
            "DROP TABLE places; DROP TABLE audits; DROP TABLE granted; DROP TABLE keys;"
            "PRAGMA user_version = 3;"
        )
    store = await opened(tmp_path)
    assert await store.count("m.M") == 3
    await store.commit(Commit(held=[Holding("m.M", "email", "x", "r")]))
    assert store.holder("m.M", "email", "x") == "r"
    assert store.sealed("e1") is None
    await store.close()


async def test_a_database_of_format_4_gets_an_audit_log_that_is_only_added_to(tmp_path):
    await (await filled(tmp_path, 3)).close()
    with contextlib.closing(sqlite3.connect(tmp_path / sqlite.NAME)) as db, db:
        db.executescript(
            "DROP TABLE audits; DROP TABLE granted; DROP TABLE keys; PRAGMA user_version = 4;"
        )
    store = await opened(tmp_path)
    assert await store.count("m.M") == 3
    assert await store.audits(None, 9) == []
    assert list(await store.granted()) == []
    told = Audit(time=NOW, action=Action.DEPLOY, about="m")
    await store.commit(Commit(audits=[told]))
    assert await store.audits(None, 9) == [msgspec.structs.replace(told, n=1)]
    with contextlib.closing(sqlite3.connect(tmp_path / sqlite.NAME)) as db:
        for change in ("UPDATE audits SET doc = doc", "DELETE FROM audits"):
            with pytest.raises(sqlite3.IntegrityError, match="only added to"):
                db.execute(change)
    await store.close()


async def test_a_database_of_format_5_can_keep_what_components_keep_by_key(tmp_path):
    await (await filled(tmp_path, 3)).close()
    with contextlib.closing(sqlite3.connect(tmp_path / sqlite.NAME)) as db, db:
        db.executescript("DROP TABLE keys; PRAGMA user_version = 5;")
    store = await opened(tmp_path)
    assert await store.count("m.M") == 3
    assert store.kept("m", "k") is None
    await store.commit(Commit(keeping=[Keeping("m", "k", "1")]))
    assert store.kept("m", "k") == "1"
    await store.close()
