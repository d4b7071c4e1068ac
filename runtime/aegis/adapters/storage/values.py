"""What rows of the embedded store mean: each is checked, then it is a value of the host again."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from itertools import groupby
from typing import Any, TypeVar

import msgspec

from aegis.adapters.storage import tables
from aegis.adapters.storage.table import Row, Table, checksum
from aegis.core.audit import Action, Audit
from aegis.core.flow import Flow, Step
from aegis.core.record import Record
from aegis.protocols import (
    Answer,
    Audits,
    Cursor,
    Entry,
    Flows,
    Former,
    Recording,
    Taken,
    Unclaimed,
)

T = TypeVar("T")

_HEADERS = msgspec.json.Decoder(tuple[tuple[str, str], ...])
_FLOW = msgspec.json.Decoder(Flow)
_AUDIT = msgspec.json.Decoder(Audit)
_STEP = msgspec.json.Decoder(Step)
_WIDTH = len(tables.FLOWS.columns) + 2  # of a flow's row where its steps follow it


def record(row: Row) -> Record:
    """A record; a damaged one has no document, so that it can be deleted but never read."""
    model, id, revision, created, updated, doc, sum = row
    if checksum(doc, model, id, revision, created, updated) != sum:
        if not (type(revision) is int and type(created) is type(updated) is str):
            raise tables.RECORDS.damaged(f"{model!r}, {id!r}")
        doc = b""
    return Record(model=model, id=id, revision=revision, created=created, updated=updated, doc=doc)


def entry(row: Row) -> Entry:
    """An entry of the journal."""
    seq, id, type, subject, flow, time, cause, doc = tables.EVENTS.checked(row)
    return Entry(id, type, subject, flow, time, doc, seq, cause)


def former(row: Row) -> Former:
    """What a record was before a migration."""
    return Former(*tables.FORMERS.checked(row))


def answer(row: Row) -> Answer:
    """The answer of an idempotency key."""
    key, fingerprint, status, headers, created, body = tables.ANSWERS.checked(row)
    return Answer(
        key=key,
        fingerprint=fingerprint,
        status=status,
        headers=_HEADERS.decode(headers),
        body=body,
        created=created,
    )


def cursor(row: Row) -> Cursor:
    """How far a subscriber has come."""
    return Cursor(*tables.CURSORS.checked(row)[:-1])


def taken(row: Row) -> Taken:
    """An event from outside that was taken."""
    return Taken(*tables.TAKEN.checked(row)[:-1])


def unclaimed(row: Row) -> Unclaimed:
    """An event that waits to be claimed."""
    return Unclaimed(*tables.UNCLAIMED.checked(row)[:-1])


def recording(row: Row) -> Recording:
    """What adapters answered in one attempt."""
    return Recording(*tables.RECORDINGS.checked(row))


def document(table: Table, row: Row, type: type[T]) -> T:
    """The value of which `table` keeps nothing but the document."""
    return msgspec.json.decode(table.checked(row)[-1], type=type)


def audits(db: sqlite3.Connection, after: int | None, limit: int, action: Action | None) -> Audits:
    """Entries of the audit log, in order: those after a number, or the last ones."""
    where = "n > ?" if action is None else "n > ? AND action = ?"
    key = (after or 0,) if action is None else (after or 0, action.value)
    order = "n DESC" if after is None else "n"
    rows = db.execute(
        f"{tables.AUDITS.select} WHERE {where} ORDER BY {order} LIMIT ?", (*key, limit)
    )
    found = [audit(row) for row in rows]
    return found[::-1] if after is None else found


def audit(row: Row) -> Audit:
    """An entry of the audit log."""
    n, _, doc = tables.AUDITS.checked(row)
    return msgspec.structs.replace(_AUDIT.decode(doc), n=n)


def flows(rows: Iterable[Row]) -> Flows:
    """Flows with their steps, from rows of both, those of a flow together."""
    found: Flows = []
    for _, group in groupby(rows, lambda row: row[0]):
        flow: Any = None
        steps: list[Step] = []
        for row in group:
            if flow is None:
                flow = _FLOW.decode(tables.FLOWS.checked(row[:_WIDTH])[-1])
            if row[_WIDTH] is not None:
                steps.append(_STEP.decode(tables.STEPS.checked(row[_WIDTH:])[-1]))
        found.append((flow, steps))
    return found
