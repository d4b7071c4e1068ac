"""A row that is not what was written is named, and never served."""

import contextlib
import sqlite3

import msgspec
import pytest

from aegis.adapters.storage import sqlite, tables
from aegis.adapters.storage.table import checksum
from aegis.core.audit import Action, Audit
from aegis.core.component import Source
from aegis.core.deployment import Deployment
from aegis.core.errors import ConflictError, CorruptError
from aegis.core.grant import Granted
from aegis.core.query import Query
from aegis.protocols import (
    Answer,
    Commit,
    Converted,
    Cursor,
    Drop,
    Entry,
    Failed,
    Fill,
    Holding,
    Keeping,
    Outgoing,
    Place,
    Put,
    Recording,
    Schema,
    Sealed,
    Taken,
    Unclaimed,
)
from tests.adapters.test_sqlite import NOW, opened, outcome, purchase, record


def everything():
    """A commit with a row of every table."""
    commit = purchase("r")
    commit.answers.append(
        Answer(key="k", fingerprint="f", status=201, headers=(), body=b"{}", created=NOW)
    )
    commit.cursors.append(Cursor("mail", 1))
    commit.failed.append(
        Failed(subscriber="mail", seq=1, event="e", subject="r", error="no", attempts=1, time=NOW)
    )
    commit.deployments.append(
        Deployment(
            number=1,
            component="m",
            version="1.0.0",
            digest="d",
            origin="",
            who="",
            time=NOW,
            live=True,
        )
    )
    commit.sources.append(Source(name="m", version="1.0.0", text="", origin="", digest="d"))
    commit.schemas.append(Schema("m.M", b"{}"))
    commit.taken.append(Taken("k", "e", NOW))
    commit.unclaimed.append(Unclaimed("e", "m.made", NOW))
    commit.held.append(Holding("m.M", "email", "x", "r"))
    commit.sealed.append(Sealed("event-r", b"{}"))
    commit.recordings.append(Recording("f", 1, 1, NOW, b"sealed"))
    commit.outgoing.append(
        Outgoing(key="k", datasource="d", model="m.N", id="n", expected=1, record=None)
    )
    commit.places.append(Place("m.N", "d"))
    commit.audits.append(Audit(time=NOW, action=Action.DEPLOY))
    commit.granted.append(Granted(component="m", given=("n.N",)))
    commit.keeping.append(Keeping("m", "k", "1"))
    return commit


async def record_of(store):
    return store.get("m.M", "r").sound()


async def listed(store):
    (found,) = (await store.list("m.M", Query())).items
    return found.sound()


async def taken(store):
    return store.taken("k")


async def holder(store):
    return store.holder("m.M", "email", "x")


async def kept(store):
    return store.kept("m", "k")


async def sealed(store):
    return store.sealed("event-r")


FLOWS = [
    lambda store: store.flow("flow-r"),
    lambda store: store.flows("m.M", "r"),
    lambda store: store.open_flows(),
    lambda store: store.recent_flows(9),
]
# Every way to read what `everything` wrote, by the table that is read.
READINGS = {
    "records": [record_of, listed],
    "events": [
        lambda store: store.events(0, 9),
        lambda store: store.event("event-r"),
        lambda store: store.events_of("r", 0, 9),
        lambda store: store.caused_by("event-r", 9),
    ],
    "flows": FLOWS,
    "steps": FLOWS,
    "answers": [lambda store: store.answer("k")],
    "cursors": [lambda store: store.cursor("mail")],
    "failed": [lambda store: store.failed(), lambda store: store.failed_of("mail")],
    "deployments": [lambda store: store.deployments()],
    "sources": [lambda store: store.source("d")],
    "schemas": [lambda store: store.schema("m.M")],
    "taken": [taken],
    "unclaimed": [lambda store: store.unclaimed()],
    "recordings": [lambda store: store.recordings("f")],
    "uniques": [holder],
    "sealed": [sealed],
    "formers": [lambda store: store.look(lambda sight: list(sight.formers("m.M")))],
    "outbox": [lambda store: store.outgoing()],
    "places": [lambda store: store.places()],
    "granted": [lambda store: store.granted()],
    "keys": [kept],
    "audits": [lambda store: store.audits(0, 9), lambda store: store.audits(None, 9)],
}
COLUMNS = [
    (table, column)
    for table in tables.ALL
    for column in [*table.rest.split(), *([table.doc] if table.doc else []), "sum"]
]
# Another value of the same kind; a document stays JSON, and of the right type.
ANOTHER = """CASE
    WHEN typeof({0}) = 'integer' THEN {0} + 1
    WHEN {0} IS NULL THEN 'x'
    WHEN typeof({0}) = 'blob' THEN x'00'
    WHEN json_valid({0}) THEN {0} || ' '
    ELSE {0} || 'x' END"""
# By these rows are looked for: one may be looked for in vain, but it is not served either.
SOUGHT = {"model", "record", "state", "id", "subject"}


@pytest.mark.parametrize(
    ("table", "column"), COLUMNS, ids=[f"{table.name}-{column}" for table, column in COLUMNS]
)
async def test_a_row_that_is_not_what_was_written_is_named_and_not_served(tmp_path, table, column):
    store = await opened(tmp_path)
    await store.commit(everything())
    if table is tables.FORMERS:
        told = Entry("e9", "m.migrated", "r", None, NOW, b"{}")
        await store.commit(Commit(converted=[Converted(record("r"), record("r", 2), told, 1)]))
    for reading in READINGS[table.name]:
        assert await reading(store)
    with contextlib.closing(sqlite3.connect(tmp_path / sqlite.NAME)) as db, db:
        before = db.execute(table.select).fetchone()
        db.execute("DROP TRIGGER audits_stand")  # a disk that fails asks nobody
        changed = f"UPDATE {table.name} SET {column} = {ANOTHER.format(column)}"
        assert db.execute(changed).rowcount == 1
        assert db.execute(table.select).fetchone() != before
    for reading in READINGS[table.name]:
        told = await outcome(reading(store))
        assert isinstance(told, CorruptError) or (column in SOUGHT and not told)
    await store.close()


@pytest.mark.parametrize("column", ["created", "doc"])
async def test_what_is_no_text_any_more_is_called_damaged(tmp_path, column):
    store = await opened(tmp_path)
    await store.commit(everything())
    with contextlib.closing(sqlite3.connect(tmp_path / sqlite.NAME)) as db, db:
        db.execute(f"UPDATE records SET {column} = CAST(x'22ff22' AS TEXT)")
    for reading in READINGS["records"]:
        with pytest.raises(CorruptError, match="is damaged"):
            await reading(store)
    await store.close()


async def test_a_damaged_record_can_be_deleted_and_made_again(tmp_path):
    store = await opened(tmp_path)
    await store.commit(everything())
    with contextlib.closing(sqlite3.connect(tmp_path / sqlite.NAME)) as db, db:
        db.execute("UPDATE records SET updated = '2020'")
    damaged = store.get("m.M", "r")
    assert (damaged.revision, damaged.doc) == (1, b"")
    with pytest.raises(ConflictError):
        await store.commit(Commit(drops=[Drop("m.M", "r", 2)]))
    await store.commit(Commit(drops=[Drop("m.M", "r", damaged.revision)]))
    await store.commit(Commit(puts=[Put(record("r", note="new"), 0)]))
    assert store.get("m.M", "r") == record("r", note="new")
    await store.close()


async def test_a_damaged_record_can_be_replaced(tmp_path):
    store = await opened(tmp_path)
    await store.commit(everything())
    with contextlib.closing(sqlite3.connect(tmp_path / sqlite.NAME)) as db, db:
        db.execute("UPDATE records SET doc = '{}'")
    await store.commit(Commit(puts=[Put(record("r", 2, note="new"), 1)]))
    assert store.get("m.M", "r") == record("r", 2, note="new")
    await store.close()


async def test_a_new_field_keeps_checksums_right_and_hides_no_damage(tmp_path):
    store = await opened(tmp_path)
    await store.commit(Commit(puts=[Put(record(id), 0) for id in ("good", "bad", "broken")]))
    with contextlib.closing(sqlite3.connect(tmp_path / sqlite.NAME)) as db, db:
        db.execute("UPDATE records SET doc = replace(doc, 'note', 'nota') WHERE id = 'bad'")
        db.execute("UPDATE records SET doc = '{' WHERE id = 'broken'")
    await store.commit(Commit(fills=[Fill("m.M", "color", '"grün"'.encode())]))
    good = msgspec.json.decode(store.get("m.M", "good").sound().doc)
    assert good == {"id": "good", "note": "", "color": "grün"}
    for id in ("bad", "broken"):
        with pytest.raises(CorruptError, match=f"m.M '{id}' is damaged"):
            store.get("m.M", id).sound()
    await store.close()


async def test_an_index_that_leads_to_the_wrong_row_is_called_damaged(tmp_path):
    store = await opened(tmp_path)
    await store.commit(everything())
    await store.close()
    path = tmp_path / sqlite.NAME
    # An entry of flows_by_record: what is looked up, model and record, and the id it leads to.
    content = path.read_bytes()
    assert content.count(b"m.Mrflow-r") == 1
    path.write_bytes(content.replace(b"m.Mrflow-r", b"m.Msflow-r"))
    store = await opened(tmp_path)
    with pytest.raises(CorruptError, match="is damaged"):
        await store.flows("m.M", "s")
    await store.close()


def test_a_checksum_tells_columns_apart():
    assert checksum(b"", "ab", "c") != checksum(b"", "a", "bc")
    assert checksum(b"", None) != checksum(b"", "null")
    assert checksum(b"x") != checksum(b"", "x")
    assert checksum(None, 1) == checksum(b"", 1)
    # It is in files, so it stays what it is.
    assert checksum(b'{"a":1}', "m.M", "ä", 1, None) == 4205401631
