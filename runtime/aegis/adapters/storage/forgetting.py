"""Drops what is old from the embedded store, a bounded number of rows at a time."""

# ruff: noqa: S608 -- values are bound; what statements are put together from are names of ours

from __future__ import annotations

import sqlite3

from aegis.core.flow import OPEN_FLOWS
from aegis.protocols import Kept, Old


def old(db: sqlite3.Connection, old: Old, limit: int) -> int:
    """Drop up to `limit` rows each of what was made before the times of `old`; how many."""
    dropped = 0
    for table, key, time, before in (
        ("answers", "key", "created", old.answers),
        ("taken", "key", "time", old.taken),
    ):
        dropped += db.execute(
            f"DELETE FROM {table} WHERE {key} IN "
            f"(SELECT {key} FROM {table} WHERE {time} < ? ORDER BY {time} LIMIT ?)",
            (before, limit),
        ).rowcount
    # They are many, so they have no index by time: their rows are in the order they came in.
    return (
        dropped
        + db.execute(
            "DELETE FROM recordings WHERE time < ? AND rowid IN "
            "(SELECT rowid FROM recordings ORDER BY rowid LIMIT ?)",
            (old.recordings, limit),
        ).rowcount
    )


def events(db: sqlite3.Connection, after: int, until: int, kept: Kept, limit: int) -> int | None:
    """Drop what may go of the next `limit` events up to `until`; the seq of the last of them.

    None when there are no more.
    """
    rows = db.execute(
        "SELECT seq, id, flow FROM events WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT ?",
        (after, until, limit),
    ).fetchall()
    gone = [(seq, id) for seq, id, flow in rows if id not in kept.events and flow not in kept.flows]
    db.executemany("DELETE FROM events WHERE seq = ?", [(seq,) for seq, _ in gone])
    db.executemany("DELETE FROM sealed WHERE event = ?", [(id,) for _, id in gone])
    return rows[-1][0] if len(rows) == limit else None


def flows(db: sqlite3.Connection, after: str, before: str, kept: Kept, limit: int) -> str | None:
    """Drop what may go of the next `limit` flows; the id of the last of them.

    None when there are no more, or only such as began too late.
    """
    rows = db.execute(
        "SELECT id, state, created, CASE WHEN json_valid(doc) THEN json_extract(doc, '$.updated') "
        "END FROM flows WHERE id > ? ORDER BY id LIMIT ?",
        (after, limit),
    ).fetchall()
    gone = [
        (id,)
        for id, state, _, updated in rows
        if state not in OPEN_FLOWS
        and id not in kept.flows
        and updated is not None
        and updated < before
    ]
    for statement in (
        "DELETE FROM steps WHERE flow = ?",
        "DELETE FROM recordings WHERE flow = ?",
        "DELETE FROM flows WHERE id = ?",
    ):
        db.executemany(statement, gone)
    return rows[-1][0] if len(rows) == limit and rows[-1][2] < before else None
