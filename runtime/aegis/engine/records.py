"""Reads records through a bounded cache that changes only after a commit."""

from __future__ import annotations

from collections import OrderedDict

from aegis.core.record import Record
from aegis.engine.elsewhere import Elsewhere
from aegis.protocols import Commit, Store


class Records:
    """The least recently used of `limit` records stay in memory; the store answers the rest."""

    def __init__(self, store: Store, limit: int, elsewhere: Elsewhere) -> None:
        self._store = store
        self._elsewhere = elsewhere
        self._limit = limit
        self._cache: OrderedDict[tuple[str, str], Record] = OrderedDict()

    def get(self, model: str, id: str) -> Record | None:
        """The record as last committed. One that is kept elsewhere must have been fetched."""
        key = (model, id)
        record = self._cache.get(key)
        if record is not None:
            self._cache.move_to_end(key)
            return record
        if model in self._elsewhere.places:
            return self._elsewhere.known(key)
        record = self._store.get(model, id)
        if record is not None:
            self._keep(key, record)
        return record

    def apply(self, commit: Commit) -> None:
        """Take over what `commit` stored."""
        for put in commit.puts:
            self._keep((put.record.model, put.record.id), put.record)
        for drop in commit.drops:
            self._cache.pop((drop.model, drop.id), None)

    def forget(self) -> None:
        """Drop the cache."""
        self._cache.clear()

    def _keep(self, key: tuple[str, str], record: Record) -> None:
        self._cache[key] = record
        self._cache.move_to_end(key)
        if len(self._cache) > self._limit:
            self._cache.popitem(last=False)
