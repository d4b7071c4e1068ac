"""What a fork of a host has in the place of the real clock and the real loader."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime

from aegis.core.component import ModelSpec, Revision, Source
from aegis.engine.timers import stamped, time_of
from aegis.protocols import Clock, Loader


class Borrowing(Loader):
    """A loader for a fork: what is `loaded` as it is, other code loaded and taken out again.

    Listeners stay out: what they did is told by their events. With `apart` models are nothing but
    their data and commands: nothing follows from a change, and it needs no other record.
    """

    def __init__(self, loader: Loader, loaded: Iterable[Revision], *, apart: bool = False) -> None:
        self._loader = loader
        self._known = {revision.digest: revision for revision in loaded}
        self._apart = apart
        self._loaded: dict[str, Revision] = {}

    def load(self, source: Source) -> Revision:
        """The revision without its listeners. Raises ComponentError."""
        revision = self._known.get(source.digest)
        if revision is None:
            revision = self._loaded[source.digest] = self._loader.load(source)
        models = tuple(map(_apart, revision.models)) if self._apart else revision.models
        return replace(revision, listeners=(), models=models)

    def unload(self, revision: Revision) -> None:
        """Forget what was loaded for the fork."""
        loaded = self._loaded.pop(revision.digest, None)
        if loaded is not None:
            self._loader.unload(loaded)


def _apart(spec: ModelSpec) -> ModelSpec:
    return replace(spec, ports={}, relations={}, store=None)


class StandingClock:
    """The time of a replay: it stands, and goes on to what happened next; sleeps take none."""

    def __init__(self, clock: Clock, time: datetime) -> None:
        self._clock = clock
        self._time = time
        self._waiting: list[tuple[datetime, asyncio.Future[None]]] = []

    def now(self) -> datetime:
        """The recorded time."""
        return self._time

    def stamp(self) -> str:
        """The recorded time as RFC 3339."""
        return stamped(self._time)

    def id(self) -> str:
        """A new id."""
        return self._clock.id()

    def dice(self) -> float:
        """No chance in it."""
        return 0.0

    async def sleep(self, seconds: float) -> None:
        """Take no time."""
        await asyncio.sleep(0)

    async def until(self, when: datetime) -> None:
        """Return when the replay has come to that time."""
        if when > self._time:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append((when, future))
            await future

    def due(self) -> datetime | None:
        """The next time that somebody waits for."""
        return min((when for when, future in self._waiting if not future.done()), default=None)

    def hear(self, stamp: str) -> None:
        """Something was answered at that time."""
        self.go_on(time_of(stamp))

    def go_on(self, time: datetime) -> None:
        """Come to a time, if it is later."""
        self._time = max(self._time, time)
        for when, future in self._waiting:
            if when <= self._time and not future.done():
                future.set_result(None)
        self._waiting = [one for one in self._waiting if not one[1].done()]
