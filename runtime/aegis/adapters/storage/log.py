"""Looks at the log that a crash left: SQLite takes what follows damage for never written."""

from __future__ import annotations

import sqlite3
import struct
from contextlib import closing
from pathlib import Path

_HEADER = struct.Struct(">8I")  # magic, version, page size, checkpoint, salts, checksum
_FRAME = struct.Struct(">6I")  # page, pages after a commit (else 0), salts, checksum
_BIG = 0x377F0683  # the magic of a log whose checksums are over big-endian words
_MOST = 0xFFFFFFFF


def lost_commits(database: Path) -> bool:
    """Whether the log of `database` has commits that SQLite passes over, because of damage.

    A commit is durable before the next one is written. So frames that SQLite does not take are what
    a power cut left of the last commit, unless there is a commit among them and, by its checksum,
    a frame that was written after it. (Of damage in the last commit itself nothing can tell.)
    """
    log = database.with_name(f"{database.name}-wal")
    if not log.exists() or log.stat().st_size < _HEADER.size:
        return False
    with closing(sqlite3.connect(f"{database.resolve().as_uri()}?mode=ro", uri=True)) as db:
        db.execute("SELECT count(*) FROM sqlite_master").fetchone()
        # What it has taken is in the index beside it; closing a reader leaves the log as it is.
        index = database.with_name(f"{database.name}-shm")
        known = index.read_bytes()[:20] if index.exists() else b""
    if len(known) < 20:
        return False
    (taken,) = struct.unpack_from("=I", known, 16)
    with log.open("rb") as file:
        magic, _, size, _, *salts, _, _ = _HEADER.unpack(file.read(_HEADER.size))
        order = ">" if magic == _BIG else "<"
        if not 512 <= size <= 65536:
            return False
        file.seek(_HEADER.size + taken * (_FRAME.size + size))
        before: list[int] | None = None  # the checksum of a commit's frame
        while len(frame := file.read(_FRAME.size + size)) == _FRAME.size + size:
            _, commit, *its_salts, first, second = _FRAME.unpack_from(frame)
            if its_salts != salts:
                return False
            if before is not None and _checksum(frame, order, *before) == [first, second]:
                return True
            before = [first, second] if commit else None
    return False


def _checksum(frame: bytes, order: str, first: int, second: int) -> list[int]:
    """The checksum of a frame after one that has the checksum `first, second`."""
    data = frame[:8] + frame[_FRAME.size :]
    words = struct.unpack(f"{order}{len(data) // 4}I", data)
    for even, odd in zip(words[::2], words[1::2], strict=True):
        first = (first + even + second) & _MOST
        second = (second + odd + first) & _MOST
    return [first, second]
