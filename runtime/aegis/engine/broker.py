"""Hands stored events to subscribers: durable listeners by cursor, others by bounded queue."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence

import msgspec

from aegis.core.component import ListenerSpec, Revision
from aegis.core.errors import Refused, StoreError
from aegis.core.event import Event, decode_event, matches
from aegis.engine.attempt import attempt
from aegis.engine.engine import Engine
from aegis.engine.ledger import Draft, Ledger
from aegis.engine.steps import STALLED
from aegis.engine.work import Work
from aegis.protocols import Cursor, Entry, Failed

READ_AHEAD = 256

_log = logging.getLogger("aegis.host")


def subscriber(revision: Revision, listener: ListenerSpec) -> str:
    """The name of a listener's cursor."""
    return f"{revision.name}:{listener.name}"


class Subscription:
    """An ephemeral listener: iterate it for events; `stop()` ends it.

    It holds `limit` events at most; when it is full the oldest is dropped and `dropped` counts it.
    """

    def __init__(self, pattern: str, limit: int, stop: Callable[[Subscription], None]) -> None:
        self.pattern = pattern
        self.dropped = 0
        self._queue: deque[Entry] = deque()
        self._limit = limit
        self._stop = stop
        self._wake = asyncio.Event()
        self._ended = False

    def offer(self, entry: Entry) -> None:
        """Take one event, at the price of the oldest when full."""
        if len(self._queue) >= self._limit:
            self._queue.popleft()
            self.dropped += 1
        self._queue.append(entry)
        self._wake.set()

    def stop(self) -> None:
        """End the subscription; iteration ends after what is queued."""
        self._ended = True
        self._stop(self)
        self._wake.set()

    async def __aiter__(self) -> AsyncIterator[Event]:
        while True:
            while self._queue:
                yield decode_event(self._queue.popleft().doc)
            if self._ended:
                return
            self._wake.clear()
            await self._wake.wait()


class Broker:
    """The events of one host, as they are stored."""

    def __init__(self, ledger: Ledger, engine: Callable[[], Engine]) -> None:
        self._ledger = ledger
        self._engine = engine
        self._recent: deque[Entry] = deque(maxlen=READ_AHEAD)
        self._subscriptions: list[Subscription] = []
        self._listeners: dict[str, asyncio.Task[None]] = {}
        self._wake = asyncio.Event()
        ledger.broker = self

    def publish(self, entries: Sequence[Entry], last: int) -> None:
        """Hand out events that were just stored; `last` is the seq of the last one."""
        if not (self._listeners or self._subscriptions):
            self._recent.clear()
            return
        first = last - len(entries) + 1
        for offset, entry in enumerate(entries):
            numbered = msgspec.structs.replace(entry, seq=first + offset)
            self._recent.append(numbered)
            for subscription in self._subscriptions:
                if matches(subscription.pattern, entry.type):
                    subscription.offer(numbered)
        self._wake.set()
        self._wake = asyncio.Event()

    def subscribe(self, pattern: str, *, limit: int = 1000) -> Subscription:
        """Hear events from now on, without durability; see Subscription."""
        subscription = Subscription(pattern, limit, self._subscriptions.remove)
        self._subscriptions.append(subscription)
        return subscription

    async def follow(self, revisions: Sequence[Revision]) -> None:
        """Run exactly the durable listeners of `revisions`."""
        wanted = {
            subscriber(revision, listener): (revision.name, listener.name)
            for revision in revisions
            for listener in revision.listeners
        }
        for name in [n for n in self._listeners if n not in wanted]:
            task = self._listeners.pop(name)
            task.cancel()
            await asyncio.wait([task])
        for name, (component, listener) in wanted.items():
            if name not in self._listeners:
                seq = await self._ledger.store.cursor(name)
                if seq is None:
                    seq = self._ledger.store.last_seq()
                self._listeners[name] = asyncio.create_task(
                    self._listen(name, component, listener, seq)
                )

    async def close(self) -> None:
        """End every listener; what they have not heard they hear after the next start."""
        tasks = list(self._listeners.values())
        self._listeners.clear()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        for subscription in list(self._subscriptions):
            subscription.stop()

    async def _listen(self, name: str, component: str, listener: str, seq: int) -> None:
        failed = await self._ledger.store.failed()
        held: set[str | None] = {
            f.subject for f in failed if f.subscriber == name and f.subject is not None
        }
        while True:
            wake = self._wake
            try:
                batch = await self._after(seq)
                for entry in batch:
                    found = self._find(component, listener)
                    if found is not None and any(matches(p, entry.type) for p in found[1].patterns):
                        await self._deliver(name, *found, entry, held)
                    seq = entry.seq
            except Exception:
                # The store refused; the event was not heard, so it comes again.
                _log.exception("listener %s stands still, and tries again in %g s", name, STALLED)
                await self._ledger.clock.sleep(STALLED)
                continue
            if not batch:
                await wake.wait()

    async def _after(self, seq: int) -> list[Entry]:
        recent = self._recent
        if recent and recent[0].seq <= seq + 1:
            return [entry for entry in recent if entry.seq > seq]
        return await self._ledger.store.events(seq, READ_AHEAD)

    def _find(self, component: str, listener: str) -> tuple[Revision, ListenerSpec] | None:
        revision = self._engine().registry.live.get(component)
        if revision is None:
            return None
        found = next((spec for spec in revision.listeners if spec.name == listener), None)
        return None if found is None else (revision, found)

    async def _deliver(
        self,
        name: str,
        revision: Revision,
        spec: ListenerSpec,
        entry: Entry,
        held: set[str | None],
    ) -> None:
        """One event to one listener, until it is taken or put on the failed list."""
        if entry.subject is not None and entry.subject in held:
            await self._park(
                name, entry, "held: an earlier event of its subject failed", 0, held=True
            )
            return
        attempts = 0
        while True:
            engine = self._engine()
            live = engine.registry.live.get(revision.name)
            found = self._find(revision.name, spec.name)
            if live is None or found is None:
                return
            revision, spec = found
            resident = engine.residents[revision]
            work = Work(key=f"{name}.{entry.id}", label=revision.label, cause=entry.id)
            arguments = dict(resident.adapters(spec.call))
            if spec.call.event is not None:
                arguments[spec.call.event] = decode_event(entry.doc)

            def mark(draft: Draft) -> None:
                draft.commit.cursors.append(Cursor(name, entry.seq))

            resident.enter()
            try:
                await attempt(spec.call, None, arguments, spec.policy.timeout, work, name)
                await self._ledger.settle(
                    engine.registry, work, resident=resident, locks=(name,), mark=mark
                )
                return
            except StoreError:
                raise
            except Exception as error:
                attempts += 1
                pause = spec.policy.pause(attempts)
                if pause is None or isinstance(error, Refused):
                    _log.exception("listener %s gave up on event %s", name, entry.type)
                    held.add(entry.subject)
                    said = f"{type(error).__name__}: {error}"
                    await self._park(name, entry, said, attempts, held=False)
                    return
            finally:
                resident.leave()
            await self._ledger.clock.sleep(pause)

    async def _park(
        self, name: str, entry: Entry, error: str, attempts: int, *, held: bool
    ) -> None:
        def mark(draft: Draft) -> None:
            draft.commit.cursors.append(Cursor(name, entry.seq))
            draft.commit.failed.append(
                Failed(
                    subscriber=name,
                    seq=entry.seq,
                    event=entry.id,
                    subject=entry.subject,
                    error=error,
                    attempts=attempts,
                    time=draft.now,
                    held=held,
                )
            )

        work = Work(key=name, label=name.split(":", 1)[0])
        await self._ledger.settle(self._engine().registry, work, locks=(name,), mark=mark)
