"""Hands stored events to who hears them: durable listeners by cursor, others as they happen."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec

from aegis.core.component import ListenerSpec, Revision
from aegis.core.errors import ConflictError, NotFoundError
from aegis.core.event import Event
from aegis.engine.engine import Engine
from aegis.engine.ledger import Ledger
from aegis.engine.listener import Data, Listener, forget
from aegis.engine.schedules import Schedules
from aegis.engine.subscription import Audience
from aegis.protocols import Entry

READ_AHEAD = 256


def subscriber(revision: Revision, listener: ListenerSpec) -> str:
    """The name of a listener's cursor."""
    return f"{revision.name}:{listener.name}"


class Broker:
    """The events of one host, as they are stored. `audience` hears them only while they happen."""

    def __init__(self, ledger: Ledger, engine: Callable[[], Engine]) -> None:
        self.audience = Audience()
        self._ledger = ledger
        self._engine = engine
        self._schedules = Schedules(ledger, engine)
        self._recent: deque[Entry] = deque(maxlen=READ_AHEAD)
        self._listeners: dict[str, Listener] = {}
        self._woken: set[asyncio.Event] = set()
        ledger.broker = self

    def publish(
        self, entries: Sequence[Entry], last: int, events: Sequence[tuple[Event, Any]]
    ) -> None:
        """Hand out events that were just stored; `last` is the seq of the last one."""
        if self._woken:
            for wake in self._woken:
                wake.set()
        if self._listeners:
            seq = last - len(entries)
            for entry in entries:
                seq += 1
                self._recent.append(msgspec.structs.replace(entry, seq=seq))
                for listener in self._listeners.values():
                    listener.published(entry, seq)
        elif self._recent:
            self._recent.clear()
        audience = self.audience
        if audience.is_there:
            audience.hear(entries, events)

    @contextmanager
    def woken(self, wake: asyncio.Event) -> Generator[None]:
        """Set `wake` whenever events were stored, for one who reads the journal by itself."""
        self._woken.add(wake)
        try:
            yield
        finally:
            self._woken.discard(wake)

    async def follow(self, revisions: Sequence[Revision], serving: Sequence[Revision]) -> None:
        """Run exactly the durable listeners of what is `serving`, and the schedules of the live."""
        wanted = {
            subscriber(revision, listener): (revision.name, listener.name)
            for revision in serving
            for listener in revision.listeners
        }
        for running in self._listeners.values():
            running.swapped()
        for name in [n for n in self._listeners if n not in wanted]:
            await self._listeners.pop(name).stop()
        for name, (component, listener) in wanted.items():
            if name not in self._listeners:
                seq = await self._ledger.store.cursor(name)
                self._listeners[name] = Listener(
                    name,
                    component,
                    listener,
                    self._ledger.store.last_seq() if seq is None else seq,
                    ledger=self._ledger,
                    engine=self._engine,
                    read=self._after,
                )
        await self._schedules.follow(revisions)

    async def close(self) -> None:
        """End every listener; what they have not heard they hear after the next start."""
        await self._schedules.close()
        listeners = list(self._listeners.values())
        self._listeners.clear()
        for listener in listeners:
            await listener.stop()
        self.audience.close()

    async def _after(self, seq: int) -> list[Entry]:
        recent = self._recent
        if recent and recent[0].seq <= seq + 1:
            return [entry for entry in recent if entry.seq > seq]
        return await self._ledger.store.events(seq, READ_AHEAD)

    def lags(self) -> Mapping[str, int]:
        """How many events each durable listener has not looked at yet, by `component:listener`."""
        return {name: self._listeners[name].lag for name in sorted(self._listeners)}

    # What failed, once more

    async def again(self, name: str, seq: int, *, data: Data | None = None) -> str:
        """Deliver a parked event once more, with `data` as its data; see Listener.again."""
        running = self._listeners.get(name)
        if running is None:
            raise ConflictError(
                f"the listener {name} is not running", hint="deploy its component first"
            )
        return await running.again(seq, data=data)

    async def discard(self, name: str, seq: int) -> str:
        """Take a parked event off the failed list for good. Raises NotFoundError."""
        if name in self._listeners:
            return await self._listeners[name].again(seq, discard=True)
        for parked in await self._ledger.store.failed_of(name):
            if parked.seq == seq:
                await forget(self._ledger, self._engine(), parked)
                return "discarded"
        raise NotFoundError(f"event {seq} is not on the failed list of {name}")
