"""Looks through a whole database file: its structure, its indexes, every row."""

# ruff: noqa: S608 -- what statements are put together from are names of ours

from __future__ import annotations

import logging
import sqlite3

from aegis.adapters.storage import selection, tables

NAMED = 10  # damaged rows of a table that are named

_log = logging.getLogger("aegis.host")


def audit_structure(db: sqlite3.Connection, *, mend: bool) -> str | None:
    """What is wrong with the pages, or with indexes that do not fit their rows; None when nothing.

    `mend` makes such indexes anew from the rows, and says so in the log.
    """
    wrong = _verdict(db, "quick_check")
    if wrong is None:
        wrong = _verdict(db, "integrity_check")
        if wrong is not None and mend:
            selection.drop(db)  # they cannot be made of a damaged record; a deploy makes them again
            db.execute("REINDEX")
            _log.warning("the indexes of the database were damaged (%s) and are made anew", wrong)
            wrong = _verdict(db, "integrity_check")
    return wrong


def _verdict(db: sqlite3.Connection, check: str) -> str | None:
    try:
        (verdict,) = db.execute(f"PRAGMA {check}(1)").fetchone()
    except sqlite3.OperationalError as error:
        if not selection.is_unreadable(error):
            raise
        return str(error)
    return None if verdict == "ok" else str(verdict)


def audit_steps(db: sqlite3.Connection) -> str | None:
    """What is wrong when a damaged step may be that of any flow, None when there is none.

    Any other damaged row is met by whoever reads it; this one would only be missing from its flow.
    """
    sql = (
        f"SELECT flow, n FROM steps WHERE flow NOT IN (SELECT id FROM flows) AND "
        f"sum IS NOT {tables.STEPS.sum}"
    )
    row = db.execute(sql).fetchone()
    return None if row is None else f"the step {row[0]!r}, {row[1]!r} is of no flow"


def audit_rows(db: sqlite3.Connection) -> bool:
    """Whether all rows are what was written; those that are not are named in the log.

    Whoever reads one is refused, all others are served.
    """
    sound = True
    for table in tables.ALL:
        key = ", ".join(table.key.split())
        sql = f"SELECT {key} FROM {table.name} WHERE sum IS NOT {table.sum} LIMIT {NAMED}"
        try:
            for row in db.execute(sql):
                sound = False
                _log.error("%s", table.damaged(", ".join(map(repr, row))))
        except sqlite3.OperationalError as error:
            sound = False
            _log.error("a row of %s is damaged: it holds what is no text (%s)", table.name, error)
    return sound
