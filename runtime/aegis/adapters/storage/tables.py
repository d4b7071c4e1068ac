"""The tables of the embedded store, and how what is committed becomes their rows."""

# ruff: noqa: S608 -- values are bound; what statements are put together from are names of ours

from __future__ import annotations

import asyncio
from collections.abc import Callable
from operator import attrgetter
from typing import Any

import msgspec

from aegis.adapters.storage.holding import UNIQUES, Holdings
from aegis.adapters.storage.table import Row, Table
from aegis.core.flow import OPEN_FLOWS
from aegis.protocols import Commit, Converted, Entry, Keeping

FORMAT = 6
APPLICATION = 0x41454749  # "AEGI" in the file's header: this database is ours

Key = tuple[str, str]  # model, id
Records = dict[Key, tuple[int, Row | None]]  # the revision expected, the row or None to delete

OPEN = "state IN ({})".format(", ".join(f"'{state}'" for state in sorted(OPEN_FLOWS)))

RECORDS = Table("records", "model id", "revision created updated")
EVENTS = Table("events", "seq", "id type subject flow time cause")
FLOWS = Table("flows", "id", "component model record state created")
STEPS = Table("steps", "flow n")
ANSWERS = Table("answers", "key", "fingerprint status headers created", doc="body", blob=True)
CURSORS = Table("cursors", "subscriber", "seq", doc=None)
FAILED = Table("failed", "subscriber seq")
DEPLOYMENTS = Table("deployments", "number")
SOURCES = Table("sources", "digest")
SCHEMAS = Table("schemas", "model")
TAKEN = Table("taken", "key", "event time", doc=None)
UNCLAIMED = Table("unclaimed", "event", "type time", doc=None)
RECORDINGS = Table("recordings", "flow n attempt", "time", blob=True)
OUTBOX = Table("outbox", "key", "model")
PLACES = Table("places", "model", "datasource", doc=None)
OF_FORMAT_2 = (
    *(RECORDS, EVENTS, FLOWS, STEPS, ANSWERS, CURSORS, FAILED),
    *(DEPLOYMENTS, SOURCES, SCHEMAS),
)
SEALED = Table("sealed", "event", blob=True)
FORMERS = Table("formers", "model id", "deployment revision")
AUDITS = Table("audits", "n", "action")
GRANTED = Table("granted", "component")
KEYS = Table("keys", "component key", blob=True)
ALL = (
    *(*OF_FORMAT_2, TAKEN, UNCLAIMED, RECORDINGS, UNIQUES, SEALED),
    *(OUTBOX, PLACES, FORMERS, AUDITS, GRANTED, KEYS),
)

_SUM = "sum INTEGER NOT NULL DEFAULT 0"
_NEW_IN_3 = f"""
CREATE TABLE taken (
    key TEXT PRIMARY KEY, event TEXT NOT NULL, time TEXT NOT NULL, {_SUM}) WITHOUT ROWID;
CREATE TABLE unclaimed (
    event TEXT PRIMARY KEY, type TEXT NOT NULL, time TEXT NOT NULL, {_SUM}) WITHOUT ROWID;
CREATE TABLE recordings (
    flow TEXT NOT NULL, n INTEGER NOT NULL, attempt INTEGER NOT NULL, time TEXT NOT NULL,
    doc BLOB NOT NULL, {_SUM}, PRIMARY KEY (flow, n, attempt));
CREATE INDEX taken_by_age ON taken (time);
CREATE INDEX events_by_subject ON events (subject) WHERE subject IS NOT NULL;
CREATE INDEX events_by_cause ON events (cause) WHERE cause IS NOT NULL;
"""
# The order of the outbox is that of its commits: a row gets a number above all that are there.
_NEW_IN_4 = f"""
CREATE TABLE uniques (
    model TEXT NOT NULL, field TEXT NOT NULL, key TEXT NOT NULL, id TEXT NOT NULL, {_SUM},
    PRIMARY KEY (model, field, key)) WITHOUT ROWID;
CREATE TABLE sealed (event TEXT PRIMARY KEY, doc BLOB NOT NULL, {_SUM}) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS formers (
    model TEXT NOT NULL, id TEXT NOT NULL, deployment INTEGER NOT NULL, revision INTEGER NOT NULL,
    doc TEXT NOT NULL, {_SUM}, PRIMARY KEY (model, id)) WITHOUT ROWID;
CREATE TABLE outbox (
    key TEXT PRIMARY KEY, model TEXT NOT NULL, doc TEXT NOT NULL, {_SUM});
CREATE TABLE places (
    model TEXT PRIMARY KEY, datasource TEXT NOT NULL, {_SUM}) WITHOUT ROWID;
"""
# What is told here stays, whoever writes to the file by way of SQL.
_NEW_IN_5 = f"""
CREATE TABLE audits (n INTEGER PRIMARY KEY, action TEXT NOT NULL, doc TEXT NOT NULL, {_SUM});
CREATE INDEX audits_by_action ON audits (action);
CREATE TRIGGER audits_stay BEFORE DELETE ON audits
    BEGIN SELECT RAISE(ABORT, 'the audit log is only added to'); END;
CREATE TRIGGER audits_stand BEFORE UPDATE ON audits
    BEGIN SELECT RAISE(ABORT, 'the audit log is only added to'); END;
CREATE TABLE granted (component TEXT PRIMARY KEY, doc TEXT NOT NULL, {_SUM}) WITHOUT ROWID;
"""
# With an index apart from the values, so that keys are counted and listed without reading these.
_NEW_IN_6 = f"""
CREATE TABLE keys (
    component TEXT NOT NULL, key TEXT NOT NULL, doc BLOB NOT NULL, {_SUM},
    PRIMARY KEY (component, key));
"""
TABLES = f"""
CREATE TABLE records (
    model TEXT NOT NULL, id TEXT NOT NULL, revision INTEGER NOT NULL, created TEXT NOT NULL,
    updated TEXT NOT NULL, doc TEXT NOT NULL, {_SUM}, PRIMARY KEY (model, id)) WITHOUT ROWID;
CREATE TABLE events (
    seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, type TEXT NOT NULL, subject TEXT, flow TEXT,
    time TEXT NOT NULL, doc TEXT NOT NULL, cause TEXT, {_SUM});
CREATE TABLE flows (
    id TEXT PRIMARY KEY, component TEXT NOT NULL, model TEXT NOT NULL, record TEXT NOT NULL,
    state TEXT NOT NULL, created TEXT NOT NULL, doc TEXT NOT NULL, {_SUM}) WITHOUT ROWID;
CREATE INDEX flows_by_record ON flows (model, record);
CREATE INDEX flows_open ON flows (created) WHERE {OPEN};
CREATE TABLE steps (
    flow TEXT NOT NULL, n INTEGER NOT NULL, doc TEXT NOT NULL, {_SUM},
    PRIMARY KEY (flow, n)) WITHOUT ROWID;
CREATE TABLE answers (
    key TEXT PRIMARY KEY, fingerprint TEXT NOT NULL, status INTEGER NOT NULL, headers TEXT NOT NULL,
    body BLOB NOT NULL, created TEXT NOT NULL, {_SUM}) WITHOUT ROWID;
CREATE INDEX answers_by_age ON answers (created);
CREATE TABLE cursors (subscriber TEXT PRIMARY KEY, seq INTEGER NOT NULL, {_SUM}) WITHOUT ROWID;
CREATE TABLE failed (
    subscriber TEXT NOT NULL, seq INTEGER NOT NULL, doc TEXT NOT NULL, {_SUM},
    PRIMARY KEY (subscriber, seq)) WITHOUT ROWID;
CREATE INDEX failed_by_seq ON failed (seq, subscriber);
CREATE TABLE deployments (number INTEGER PRIMARY KEY, doc TEXT NOT NULL, {_SUM});
CREATE TABLE sources (digest TEXT PRIMARY KEY, doc TEXT NOT NULL, {_SUM}) WITHOUT ROWID;
CREATE TABLE schemas (model TEXT PRIMARY KEY, doc TEXT NOT NULL, {_SUM}) WITHOUT ROWID;
{_NEW_IN_3}
{_NEW_IN_4}
{_NEW_IN_5}
{_NEW_IN_6}
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
    # Format 2 had no checksums: what is found is taken to be what was written. Nor did it know what
    # caused an event, but its document does.
    2: "ALTER TABLE events ADD COLUMN cause TEXT;"
    "UPDATE events SET cause = json_extract(doc, '$.cause') WHERE json_valid(doc);"
    + "".join(
        f"ALTER TABLE {table.name} ADD COLUMN {_SUM};UPDATE {table.name} SET sum = {table.sum};"
        for table in OF_FORMAT_2
    )
    + f"{_NEW_IN_3} PRAGMA user_version = 3;",
    # Format 3 kept nothing of before a migration.
    3: f"{_NEW_IN_4} PRAGMA user_version = 4;",
    # Format 4 told nobody who had deployed what, nor what components may reach of each other.
    4: f"{_NEW_IN_5} PRAGMA user_version = 5;",
    # Format 5 kept nothing by key.
    5: f"{_NEW_IN_6} PRAGMA user_version = 6;",
}

FORGET = "DELETE FROM keys WHERE component = ? AND key = ?"
REVISION = "SELECT revision FROM records WHERE model = ? AND id = ?"
UPDATE = (
    "UPDATE records SET revision = ?, created = ?, updated = ?, doc = ?, sum = ? "
    "WHERE model = ? AND id = ? AND revision = ?"
)
DELETE = "DELETE FROM records WHERE model = ? AND id = ? AND revision = ?"
# A damaged record is left as it is: a checksum made anew would hide the damage.
FILL = f"""
UPDATE records SET
    doc = json_set(doc, ?1, json(?2)),
    sum = {RECORDS.sum.replace("CAST(doc", "CAST(json_set(doc, ?1, json(?2))")}
WHERE model = ?3 AND CASE WHEN sum = {RECORDS.sum} THEN json_type(doc, ?1) IS NULL END
"""
# The ids are those of a tree: an event has one cause, and is stored after it.
CAUSED = f"""
WITH RECURSIVE led (seq, id) AS (
    SELECT seq, id FROM events WHERE id = ?
    UNION ALL
    SELECT events.seq, events.id FROM led JOIN events ON events.cause = led.id
    ORDER BY 1 LIMIT ?)
SELECT {EVENTS.read()} FROM led JOIN events ON events.seq = led.seq ORDER BY events.seq
"""
FLOWS_WHERE = (
    f"SELECT {FLOWS.read('f')}, {STEPS.read('s')} "
    "FROM flows f LEFT JOIN steps s ON s.flow = f.id WHERE f.{} ORDER BY f.created, f.id, s.n"
)
RECENT = (
    f"SELECT {FLOWS.read('f')}, {STEPS.read('s')} "
    "FROM (SELECT * FROM flows ORDER BY id DESC LIMIT ?) f "
    "LEFT JOIN steps s ON s.flow = f.id ORDER BY f.id DESC, s.n"
)


_json = msgspec.json.Encoder().encode

# What is inserted or replaced by its key: the member of Commit, the statement, the row of a value.
UPSERTS: tuple[tuple[Callable[[Commit], list[Any]], str, Callable[[Any], Row]], ...] = (
    (
        attrgetter("flows"),
        FLOWS.upsert,
        lambda f: FLOWS.row(
            f.id, f.component, f.model, f.record, f.state.value, f.created, doc=_json(f)
        ),
    ),
    (
        attrgetter("steps"),
        STEPS.upsert,
        lambda step: STEPS.row(step.flow, step.n, doc=_json(step)),
    ),
    (
        attrgetter("answers"),
        ANSWERS.upsert,
        lambda a: ANSWERS.row(
            a.key, a.fingerprint, a.status, _json(a.headers).decode(), a.created, doc=a.body
        ),
    ),
    (
        attrgetter("cursors"),
        CURSORS.upsert,
        lambda cursor: CURSORS.row(cursor.subscriber, cursor.seq),
    ),
    (
        attrgetter("failed"),
        FAILED.upsert,
        lambda failed: FAILED.row(failed.subscriber, failed.seq, doc=_json(failed)),
    ),
    (
        attrgetter("cleared"),
        "DELETE FROM failed WHERE subscriber = ? AND seq = ?",
        lambda gone: (gone.subscriber, gone.seq),
    ),
    (
        attrgetter("deployments"),
        DEPLOYMENTS.upsert,
        lambda deployment: DEPLOYMENTS.row(deployment.number, doc=_json(deployment)),
    ),
    (
        attrgetter("sources"),
        SOURCES.upsert,
        lambda source: SOURCES.row(source.digest, doc=_json(source)),
    ),
    (
        attrgetter("schemas"),
        SCHEMAS.upsert,
        lambda schema: SCHEMAS.row(schema.model, doc=schema.doc),
    ),
    (
        attrgetter("fills"),
        FILL,
        lambda fill: (f'$."{fill.field}"', fill.value.decode(), fill.model),
    ),
    (
        attrgetter("taken"),
        TAKEN.upsert,
        lambda taken: TAKEN.row(taken.key, taken.event, taken.time),
    ),
    (
        attrgetter("unclaimed"),
        UNCLAIMED.upsert,
        lambda one: UNCLAIMED.row(one.event, one.type, one.time),
    ),
    (
        attrgetter("claimed"),
        "DELETE FROM unclaimed WHERE event = ?",
        lambda claimed: (claimed.event,),
    ),
    (
        attrgetter("recordings"),
        RECORDINGS.upsert,
        lambda one: RECORDINGS.row(one.flow, one.n, one.attempt, one.time, doc=one.doc),
    ),
    (
        attrgetter("sealed"),
        SEALED.upsert,
        lambda one: SEALED.row(one.event, doc=one.doc),
    ),
    (
        attrgetter("outgoing"),
        OUTBOX.upsert,
        lambda row: OUTBOX.row(row.key, row.model, doc=_json(row)),
    ),
    (
        attrgetter("sent"),
        "DELETE FROM outbox WHERE key = ?",
        lambda sent: (sent.key,),
    ),
    (
        attrgetter("places"),
        PLACES.upsert,
        lambda place: PLACES.row(place.model, place.datasource),
    ),
    (
        attrgetter("granted"),
        GRANTED.upsert,
        lambda one: GRANTED.row(one.component, doc=_json(one)),
    ),
)


def event(seq: int, e: Entry) -> Row:
    """The row of an event that gets that seq."""
    return EVENTS.row(seq, e.id, e.type, e.subject, e.flow, e.time, e.cause, doc=e.doc)


def audit(n: int, action: str, doc: bytes) -> Row:
    """The row of an entry of the audit log that gets that number."""
    return AUDITS.row(n, action, doc=doc)


def keeping(one: Keeping) -> tuple[str, Row]:
    """The statement that keeps or forgets what is under a key, and its row."""
    if one.value is None:
        return FORGET, (one.component, one.key)
    return KEYS.upsert, KEYS.row(one.component, one.key, doc=one.value.encode())


def converted(seq: int, one: Converted) -> tuple[Row, Row, Row | None]:
    """What `UPDATE` takes for a record, the row of its event `seq`, and what is kept of before."""
    before, after = one.before, one.after
    row = RECORDS.row(
        after.model, after.id, after.revision, after.created, after.updated, doc=after.doc
    )
    kept = (before.model, before.id, one.keep, after.revision)
    return (
        (*row[2:], before.model, before.id, before.revision),
        event(seq, one.event),
        FORMERS.row(*kept, doc=before.doc) if one.keep else None,
    )


class Work:
    """A commit on its way to the writer, or an errand that must run in order with commits.

    All values are made into rows on the loop: a flow or step may change there afterwards, and a
    value that cannot be stored is told to its own caller. Only what is converted is too much for
    that: it never changes, and comes from documents that are stored.
    """

    __slots__ = (
        "audits",
        "changes",
        "converted",
        "errand",
        "events",
        "future",
        "holdings",
        "keeping",
        "outdated",
        "rewrites",
        "upserts",
    )

    def __init__(
        self,
        commit: Commit,
        future: asyncio.Future[Any],
        errand: Callable[[], Any] | None = None,
        *,
        rewrites: bool = False,
    ) -> None:
        self.future = future
        self.errand = errand
        self.rewrites = rewrites
        self.changes: list[tuple[Key, int, Row | None]] = [
            (
                (r.model, r.id),
                put.expected,
                RECORDS.row(r.model, r.id, r.revision, r.created, r.updated, doc=r.doc),
            )
            for put in commit.puts
            for r in (put.record,)
        ]
        for drop in commit.drops:
            self.changes.append(((drop.model, drop.id), drop.expected, None))
        self.events = list(commit.events)
        self.audits = [(one.action.value, _json(one)) for one in commit.audits]
        self.holdings = Holdings.of(commit)
        self.keeping = [keeping(one) for one in commit.keeping]
        self.converted = commit.converted
        self.outdated = commit.outdated
        self.upserts = [
            (sql, [row(value) for value in values])
            for member, sql, row in UPSERTS
            if (values := member(commit))
        ]
