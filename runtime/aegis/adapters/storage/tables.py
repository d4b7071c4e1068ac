"""The tables of the embedded store, and how what is committed becomes their rows."""

# ruff: noqa: S608 -- values are bound; what statements are put together from are names of ours

from __future__ import annotations

import asyncio
from collections.abc import Callable
from operator import attrgetter
from typing import Any

import msgspec

from aegis.core.flow import OPEN_FLOWS
from aegis.protocols import Commit

FORMAT = 3
APPLICATION = 0x41454749  # "AEGI" in the file's header: this database is ours

Row = tuple[Any, ...]
Key = tuple[str, str]  # model, id
Records = dict[Key, tuple[int, Row | None]]  # the revision expected, the row or None to delete

OPEN = "state IN ({})".format(", ".join(f"'{state}'" for state in sorted(OPEN_FLOWS)))
TAKEN = """
CREATE TABLE taken (key TEXT PRIMARY KEY, event TEXT NOT NULL, time TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE unclaimed (event TEXT PRIMARY KEY, type TEXT NOT NULL, time TEXT NOT NULL)
    WITHOUT ROWID;
CREATE TABLE recordings (
    flow TEXT NOT NULL, n INTEGER NOT NULL, attempt INTEGER NOT NULL, time TEXT NOT NULL,
    doc BLOB NOT NULL, PRIMARY KEY (flow, n, attempt)) WITHOUT ROWID;
"""
TABLES = f"""
CREATE TABLE records (
    model TEXT NOT NULL, id TEXT NOT NULL, revision INTEGER NOT NULL, created TEXT NOT NULL,
    updated TEXT NOT NULL, doc TEXT NOT NULL, PRIMARY KEY (model, id)) WITHOUT ROWID;
CREATE TABLE events (
    seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, type TEXT NOT NULL, subject TEXT, flow TEXT,
    time TEXT NOT NULL, doc TEXT NOT NULL, cause TEXT);
CREATE INDEX events_by_subject ON events (subject) WHERE subject IS NOT NULL;
CREATE INDEX events_by_cause ON events (cause) WHERE cause IS NOT NULL;
CREATE TABLE flows (
    id TEXT PRIMARY KEY, component TEXT NOT NULL, model TEXT NOT NULL, record TEXT NOT NULL,
    state TEXT NOT NULL, created TEXT NOT NULL, doc TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX flows_by_record ON flows (model, record);
CREATE INDEX flows_open ON flows (created) WHERE {OPEN};
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
{TAKEN}
PRAGMA application_id = {APPLICATION};
PRAGMA user_version = {FORMAT};
"""

# How a database of an earlier format becomes one of the next. Format 1 had no flows in its failed
# list; those that were undone because a command asked for it had not failed.
UPGRADES = {
    1: """
CREATE INDEX failed_by_seq ON failed (seq, subscriber);
INSERT OR IGNORE INTO failed (subscriber, seq, doc)
    SELECT 'flow:' || id, seq, json_object(
        'subscriber', 'flow:' || id, 'seq', seq, 'event', root, 'subject', record,
        'error', coalesce(error, 'undone'), 'attempts', 1, 'time', updated,
        'held', json('false'), 'kind', 'flow', 'what', model)
    FROM (
        SELECT id, record, model, state, root, error, updated,
            coalesce((SELECT e.seq FROM events e WHERE e.id = root), 0) AS seq
        FROM (
            SELECT id, record, model, state, json_extract(doc, '$.root') AS root,
                json_extract(doc, '$.error') AS error, json_extract(doc, '$.updated') AS updated
            FROM (
                SELECT id, record, model, state, CASE WHEN json_valid(doc) THEN doc END AS doc
                FROM flows WHERE state IN ('compensated', 'compensation failed'))
            WHERE doc IS NOT NULL))
    WHERE state = 'compensation failed' OR coalesce(error, '') NOT LIKE 'undone by %';
PRAGMA user_version = 2;
""",
    # Format 2 did not know what caused an event, but its document does.
    2: f"""
ALTER TABLE events ADD COLUMN cause TEXT;
UPDATE events SET cause = json_extract(doc, '$.cause') WHERE json_valid(doc);
CREATE INDEX events_by_subject ON events (subject) WHERE subject IS NOT NULL;
CREATE INDEX events_by_cause ON events (cause) WHERE cause IS NOT NULL;
{TAKEN}
PRAGMA user_version = 3;
""",
}

# Documents are TEXT, which every version of SQLite reads as JSON, and leave as bytes.
DOC = "CAST(doc AS BLOB)"
GET = f"SELECT revision, created, updated, {DOC} FROM records WHERE model = ? AND id = ?"
REVISION = "SELECT revision FROM records WHERE model = ? AND id = ?"
INSERT = (
    "INSERT INTO records (model, id, revision, created, updated, doc) VALUES (?, ?, ?, ?, ?, ?)"
)
UPDATE = (
    "UPDATE records SET revision = ?, created = ?, updated = ?, doc = ? "
    "WHERE model = ? AND id = ? AND revision = ?"
)
DELETE = "DELETE FROM records WHERE model = ? AND id = ? AND revision = ?"
ENTRY = "seq, id, type, subject, flow, time, doc, cause"
EVENT = f"INSERT INTO events ({ENTRY}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
ENTRIES = f"SELECT id, type, subject, flow, time, {DOC}, seq, cause FROM events"
# The ids are those of a tree: an event has one cause, and is stored after it.
CAUSED = f"""
WITH RECURSIVE led (seq, id) AS (
    SELECT seq, id FROM events WHERE id = ?
    UNION ALL
    SELECT events.seq, events.id FROM led JOIN events ON events.cause = led.id
    ORDER BY 1 LIMIT ?)
SELECT events.id, type, subject, flow, time, {DOC}, events.seq, cause
FROM led JOIN events ON events.seq = led.seq ORDER BY events.seq
"""
FLOWS = (
    "SELECT f.id, CAST(f.doc AS BLOB), CAST(s.doc AS BLOB) "
    "FROM flows f LEFT JOIN steps s ON s.flow = f.id WHERE f.{} ORDER BY f.created, f.id, s.n"
)
RECENT = (
    "SELECT f.id, CAST(f.doc AS BLOB), CAST(s.doc AS BLOB) "
    "FROM (SELECT id, doc FROM flows ORDER BY id DESC LIMIT ?) f "
    "LEFT JOIN steps s ON s.flow = f.id ORDER BY f.id DESC, s.n"
)


def _upsert(table: str, key: str, *columns: str) -> str:
    names = [*key.split(", "), *columns]
    changes = ", ".join(f"{name} = excluded.{name}" for name in columns)
    return (
        f"INSERT INTO {table} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))}) "
        f"ON CONFLICT ({key}) DO UPDATE SET {changes}"
    )


def _text(value: Any) -> str:
    return msgspec.json.encode(value).decode()


# What is inserted or replaced by its key: the member of Commit, the statement, the row of a value.
UPSERTS: tuple[tuple[Callable[[Commit], list[Any]], str, Callable[[Any], Row]], ...] = (
    (
        attrgetter("flows"),
        _upsert("flows", "id", "component", "model", "record", "state", "created", "doc"),
        lambda f: (f.id, f.component, f.model, f.record, f.state.value, f.created, _text(f)),
    ),
    (
        attrgetter("steps"),
        _upsert("steps", "flow, n", "doc"),
        lambda step: (step.flow, step.n, _text(step)),
    ),
    (
        attrgetter("answers"),
        _upsert("answers", "key", "fingerprint", "status", "headers", "body", "created"),
        lambda a: (a.key, a.fingerprint, a.status, _text(a.headers), a.body, a.created),
    ),
    (
        attrgetter("cursors"),
        _upsert("cursors", "subscriber", "seq"),
        lambda cursor: (cursor.subscriber, cursor.seq),
    ),
    (
        attrgetter("failed"),
        _upsert("failed", "subscriber, seq", "doc"),
        lambda failed: (failed.subscriber, failed.seq, _text(failed)),
    ),
    (
        attrgetter("cleared"),
        "DELETE FROM failed WHERE subscriber = ? AND seq = ?",
        lambda gone: (gone.subscriber, gone.seq),
    ),
    (
        attrgetter("deployments"),
        _upsert("deployments", "number", "doc"),
        lambda deployment: (deployment.number, _text(deployment)),
    ),
    (
        attrgetter("sources"),
        _upsert("sources", "digest", "doc"),
        lambda source: (source.digest, _text(source)),
    ),
    (
        attrgetter("schemas"),
        _upsert("schemas", "model", "doc"),
        lambda schema: (schema.model, schema.doc.decode()),
    ),
    (
        attrgetter("fills"),
        (
            "UPDATE records SET doc = json_set(doc, ?1, json(?2))"
            " WHERE model = ?3 AND json_type(doc, ?1) IS NULL"
        ),
        lambda fill: (f'$."{fill.field}"', fill.value.decode(), fill.model),
    ),
    (
        attrgetter("taken"),
        _upsert("taken", "key", "event", "time"),
        lambda taken: (taken.key, taken.event, taken.time),
    ),
    (
        attrgetter("unclaimed"),
        _upsert("unclaimed", "event", "type", "time"),
        lambda one: (one.event, one.type, one.time),
    ),
    (
        attrgetter("claimed"),
        "DELETE FROM unclaimed WHERE event = ?",
        lambda claimed: (claimed.event,),
    ),
    (
        attrgetter("recordings"),
        _upsert("recordings", "flow, n, attempt", "time", "doc"),
        lambda one: (one.flow, one.n, one.attempt, one.time, one.doc),
    ),
)


class Work:
    """A commit on its way to the writer, or an errand that must run in order with commits.

    All values are made into rows on the loop: a flow or step may change there afterwards, and a
    value that cannot be stored is told to its own caller.
    """

    __slots__ = ("changes", "errand", "events", "future", "upserts")

    def __init__(
        self, commit: Commit, future: asyncio.Future[int], errand: Callable[[], int] | None = None
    ) -> None:
        self.future = future
        self.errand = errand
        self.changes: list[tuple[Key, int, Row | None]] = [
            (
                (r.model, r.id),
                put.expected,
                (r.model, r.id, r.revision, r.created, r.updated, r.doc.decode()),
            )
            for put in commit.puts
            for r in (put.record,)
        ]
        for drop in commit.drops:
            self.changes.append(((drop.model, drop.id), drop.expected, None))
        self.events: list[Row] = [
            (e.id, e.type, e.subject, e.flow, e.time, e.doc.decode(), e.cause)
            for e in commit.events
        ]
        self.upserts = [
            (sql, [row(value) for value in values])
            for member, sql, row in UPSERTS
            if (values := member(commit))
        ]
