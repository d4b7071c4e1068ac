"""The records that were used last, as many as fit."""

from __future__ import annotations

from collections import OrderedDict

import msgspec

from aegis.core.record import Record

Key = tuple[str, str]

# Bytes of a cached record beside its document and id: the object, its times, its place.
OVERHEAD = 512


class CacheStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A cache: how full it is, of how much, and what it was good for since the host opened.

    `model` is whose it is, None for the one that models share. `hit_rate` is None before the first
    question. `evicted` are the records that had to go for others.
    """

    model: str | None
    records: int
    bytes: int
    most_records: int
    most_bytes: int
    hits: int
    misses: int
    evicted: int
    hit_rate: float | None


class Cache:
    """Up to `count` records and `size` bytes; who was used longest ago goes first."""

    __slots__ = ("bytes", "count", "evicted", "hits", "kept", "misses", "size")

    def __init__(self, count: int, size: int) -> None:
        self.kept: OrderedDict[Key, Record] = OrderedDict()
        self.count = count
        self.size = size
        self.bytes = 0
        self.hits = self.misses = self.evicted = 0

    def put(self, key: Key, record: Record) -> None:
        """Keep a record as the one used last, in place of the one of that key."""
        kept = self.kept
        weight = OVERHEAD + len(record.id) + len(record.doc)
        old = kept.pop(key, None)
        if old is not None:
            self.bytes -= _weight(old)
        if not self.count or weight > self.size:
            return  # it would only drive out all others
        kept[key] = record
        self.bytes += weight
        while len(kept) > self.count or self.bytes > self.size:
            _, oldest = kept.popitem(last=False)
            self.bytes -= _weight(oldest)
            self.evicted += 1

    def drop(self, key: Key) -> None:
        """Keep nothing of that key."""
        record = self.kept.pop(key, None)
        if record is not None:
            self.bytes -= _weight(record)

    def clear(self) -> None:
        """Keep nothing."""
        self.kept.clear()
        self.bytes = 0

    def status(self, model: str | None) -> CacheStatus:
        """How it stands."""
        asked = self.hits + self.misses
        return CacheStatus(
            model=model,
            records=len(self.kept),
            bytes=self.bytes,
            most_records=self.count,
            most_bytes=self.size,
            hits=self.hits,
            misses=self.misses,
            evicted=self.evicted,
            hit_rate=self.hits / asked if asked else None,
        )


def _weight(record: Record) -> int:
    return OVERHEAD + len(record.id) + len(record.doc)
