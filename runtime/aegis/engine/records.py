"""Reads records through bounded caches that change only after a commit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from aegis.core.caching import Caching
from aegis.core.component import ModelSpec
from aegis.core.record import Record
from aegis.engine.cache import Cache, CacheStatus, Key
from aegis.engine.elsewhere import Elsewhere
from aegis.protocols import Commit, Store


class Records:
    """The records used last stay in memory, as `caching` says; the store answers the rest."""

    __slots__ = ("_caching", "_elsewhere", "_of", "_own", "_shared", "_store")

    def __init__(self, store: Store, caching: Caching, elsewhere: Elsewhere) -> None:
        self._store = store
        self._caching = caching
        self._elsewhere = elsewhere
        self._shared = Cache(caching.records, caching.bytes)
        self._own: dict[str, Cache] = {}
        self._of: dict[str, Cache] = {}

    def get(self, model: str, id: str) -> Record | None:
        """The record as last committed. One that is kept elsewhere must have been fetched."""
        key = (model, id)
        try:
            cache = self._of[model]
            record = cache.kept[key]
        except KeyError:
            return self._read(key)
        cache.kept.move_to_end(key)
        cache.hits += 1
        return record

    def sound(self, model: str, id: str) -> Record | None:
        """As `get`. Raises CorruptError when what is stored is no document."""
        record = self.get(model, id)
        if record is None or (model, id) in self._of[model].kept:
            return record
        return record.sound()

    def _read(self, key: Key) -> Record | None:
        """A record that is not cached, and from now on is, unless it is damaged."""
        cache = self._of.get(key[0]) or self._assigned(key[0])
        if key[0] in self._elsewhere.places:
            return self._elsewhere.known(key)
        cache.misses += 1
        record = self._store.get(*key)
        if record is not None and record.is_sound():
            cache.put(key, record)
        return record

    def apply(self, commit: Commit) -> None:
        """Take over what `commit` stored."""
        for put in commit.puts:
            record = put.record
            cache = self._of.get(record.model) or self._assigned(record.model)
            cache.put((record.model, record.id), record)
        for drop in commit.drops:
            cache = self._of.get(drop.model) or self._assigned(drop.model)
            cache.drop((drop.model, drop.id))

    def forget(self) -> None:
        """Drop all that is cached."""
        for cache in (self._shared, *self._own.values()):
            cache.clear()

    def arrange(self, specs: Iterable[ModelSpec]) -> None:
        """Give each of the live models the cache that it, or the operator, says."""
        said = {spec.key: spec.cache for spec in specs if spec.cache is not None}
        counts: Mapping[str, int] = {**said, **self._caching.models}
        if counts == {model: cache.count for model, cache in self._own.items()}:
            return
        self._own = {
            model: cache
            if (cache := self._own.get(model)) is not None and cache.count == count
            else Cache(count, self._caching.bytes)
            for model, count in counts.items()
        }
        self._of.clear()
        # What was of one that shared until now, and the other way round, is read anew.
        self._shared.clear()

    def status(self) -> tuple[CacheStatus, ...]:
        """How the caches stand, the shared one first."""
        own = (cache.status(model) for model, cache in sorted(self._own.items()))
        return (self._shared.status(None), *own)

    def _assigned(self, model: str) -> Cache:
        cache = self._of[model] = self._own.get(model, self._shared)
        return cache
