"""Parts that a test leads: stores that fail or stall, a clock that is set forward by hand."""

import asyncio
import hashlib
import heapq
import itertools
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from aegis.adapters.clock import SystemClock
from aegis.adapters.storage.datasources.memory import MemoryDatasource
from aegis.adapters.storage.memory import MemoryStore
from aegis.core.bundle import Bundle, Offer
from aegis.core.errors import ConfigError, DatasourceError, SourceError, StoreError
from aegis.core.lock import place_of, ref_of
from aegis.core.manifest import Manifest
from aegis.core.semver import is_range, newest


class FailingStore(MemoryStore):
    """A memory store whose commits fail when `fails(number)` says so; numbers count from 1.

    The failing commit stores nothing, as Store promises.
    """

    def __init__(self):
        super().__init__()
        self.asked = 0
        self.fails = lambda number: False

    def fail_next(self, count=1, *, skip=0):
        """Fail `count` commits after `skip` good ones from now."""
        first = self.asked + 1 + skip
        self.fails = lambda number: first <= number < first + count

    def commit(self, commit):
        self.asked += 1
        if self.fails(self.asked):
            future = asyncio.get_running_loop().create_future()
            future.set_exception(StoreError("the disk is full"))
            return future
        return super().commit(commit)


class GatedStore(MemoryStore):
    """A memory store that holds back every commit for which `holds(commit)` is true until `open`."""

    def __init__(self):
        super().__init__()
        self.holds = lambda commit: False
        self.gate = asyncio.Event()
        self.held = asyncio.Event()

    def commit(self, commit):
        if not self.holds(commit):
            return super().commit(commit)
        return asyncio.ensure_future(self._later(commit))

    async def _later(self, commit):
        self.held.set()
        await self.gate.wait()
        return await super().commit(commit)


class SteppedClock(SystemClock):
    """A clock that stands until `advance`; ids are real ones.

    Whoever sleeps or waits for a time goes on when it has come, the earliest first.
    """

    def __init__(self, start=datetime(2026, 3, 1, tzinfo=UTC)):
        super().__init__()
        self._now = start
        self._count = itertools.count()
        self._waiting = []

    @property
    def sleeping(self):
        """The times that somebody waits for, the earliest first."""
        return sorted(when for when, _, future in self._waiting if not future.done())

    def now(self):
        return self._now

    def stamp(self):
        return self._now.isoformat(timespec="milliseconds").replace("+00:00", "Z")

    async def sleep(self, seconds):
        await self.until(self._now + timedelta(seconds=seconds))

    async def until(self, when):
        if when <= self._now:
            await asyncio.sleep(0)
            return
        future = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (when, next(self._count), future))
        await future

    def advance(self, seconds):
        """Set the clock forward; who waits for a time up to then goes on at the loop's next turn.

        On the loop's thread.
        """
        self._now += timedelta(seconds=seconds)
        while self._waiting and self._waiting[0][0] <= self._now:
            _, _, future = heapq.heappop(self._waiting)
            if not future.done():
                future.set_result(None)


class ShelfSources:
    """Sources that a test fills: versions of components by place (`github:acme/orders`).

    A place that is in `away` does not answer, one in `stalled` never ends. `asked` has every
    address that was fetched, `looks` every place whose versions were asked for.
    """

    def __init__(self):
        self.places = {}
        self.away = set()
        self.stalled = set()
        self.asked = []
        self.looks = []

    def release(self, place, version, text, *, name=None, resolved=None, dependencies=None):
        """Offer a version of the component that the place's last word names."""
        name = name or place.rpartition("/")[2].rpartition(":")[2]
        manifest = Manifest(
            name=name,
            version=version,
            models=("code.py",),
            files={"code.py": hashlib.sha256(text.encode()).hexdigest()},
            dependencies=dependencies or {},
        )
        commit = hashlib.sha1(f"{place} {version}".encode()).hexdigest()
        bundle = Bundle(
            manifest=manifest,
            files={"code.py": text.encode()},
            address=place,
            resolved=commit if resolved is None else resolved,
        )
        self.places.setdefault(place, {})[version] = bundle
        return bundle

    async def _reach(self, place):
        if place in self.stalled:
            await asyncio.Event().wait()
        if place in self.away:
            raise SourceError(f"{place} does not answer")
        if place not in self.places:
            raise SourceError(f"nothing is at {place}")
        return self.places[place]

    async def offers(self, address):
        place = place_of(address)
        self.looks.append(place)
        found = await self._reach(place)
        if not place.startswith("github:"):
            return []
        return [Offer(version=version, ref=bundle.resolved) for version, bundle in found.items()]

    async def fetch(self, address, *, at="", told=None):
        self.asked.append((address, at) if at else address)
        place, ref = place_of(address), at or ref_of(address)
        found = await self._reach(place)
        version = newest(found, ref or "*") if not ref or is_range(ref) else None
        for bundle in found.values():
            if ref and ref == bundle.resolved:
                version = bundle.manifest.version
        if version is None:
            raise SourceError(f"{place} has no {ref}, but {', '.join(found)}")
        return [replace(found[version], address=address)]


class ShelfLockfile:
    """A lock in memory that a test can read, break and make read-only."""

    def __init__(self, lock=None):
        self.lock = dict(lock or {})
        self.fails = None
        self.writes = 0

    async def read(self):
        return self.lock

    async def write(self, change):
        await asyncio.sleep(0)
        if self.fails is not None:
            raise ConfigError(self.fails)
        changed = change(self.lock)
        if changed != self.lock:
            self.writes += 1
        self.lock = dict(changed)
        return self.lock


class ShelfDatasource(MemoryDatasource):
    """A datasource in memory that can be away, holds writes back, and counts what was done.

    `done` has the key of each write that changed something, as often as it did. While `away` it
    answers nothing; while `gate` is clear, writes wait. With `cut` it does once what it is told and
    then raises: nobody knows whether it was done.
    """

    def __init__(self):
        super().__init__()
        self.away = False
        self.cut = False
        self.gate = asyncio.Event()
        self.gate.set()
        self.done = []
        self.reads = 0

    def _reach(self):
        if self.away:
            raise DatasourceError("datasource 'shelf' at nowhere:1 does not answer")

    async def get(self, model, id):
        self._reach()
        self.reads += 1
        await asyncio.sleep(0)
        return await super().get(model, id)

    async def list(self, model, query):
        self._reach()
        return await super().list(model, query)

    async def count(self, model, where=()):
        self._reach()
        return await super().count(model, where)

    async def scan(self, model):
        self._reach()
        async for record in super().scan(model):
            yield record

    async def write(self, writes):
        self._reach()
        await self.gate.wait()
        self._reach()
        before = {one.key: self._records.get(one.model, {}).get(one.id) for one in writes}
        outcomes = await super().write(writes)
        for write, outcome in zip(writes, outcomes, strict=True):
            after = self._records.get(write.model, {}).get(write.id)
            if outcome is None and after != before[write.key]:
                self.done.append(write.key)
        if self.cut:
            self.cut = False
            raise DatasourceError("the line to datasource 'shelf' is cut")
        return outcomes


class PlacedSources:
    """Sources of which a test says what is at each address: `put(bundle)` puts it where it is from.

    An error put there is raised.
    """

    def __init__(self):
        self.there = {}

    def put(self, *bundles):
        self.there[bundles[0].address] = bundles

    async def offers(self, address):
        return []

    async def fetch(self, address, *, at="", told=None):
        await asyncio.sleep(0)
        found = self.there.get(address)
        if found is None:
            raise SourceError(f"there is nothing at {address}")
        if isinstance(found, Exception):
            raise found
        return found
