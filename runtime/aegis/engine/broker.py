"""Hands stored events to subscribers: durable listeners by cursor, others by bounded queue."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Generator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import msgspec

from aegis.core.component import ListenerSpec, Revision
from aegis.core.errors import BreakerOpenError, ConflictError, NotFoundError, Refused, StoreError
from aegis.core.event import Event, decode_event, matches
from aegis.core.graph import event_id, listener_id
from aegis.engine.attempt import attempt, pause_after
from aegis.engine.context import CALLER
from aegis.engine.engine import Engine
from aegis.engine.gate import admit, shut
from aegis.engine.ledger import Draft, Ledger
from aegis.engine.steps import STALLED
from aegis.engine.work import Work
from aegis.protocols import Cleared, Cursor, Entry, Failed

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


class _Asked(NamedTuple):
    """Somebody wants a parked event delivered again, or else discarded; `told` gets what came."""

    seq: int
    discard: bool
    told: asyncio.Future[str]


class Broker:
    """The events of one host, as they are stored."""

    def __init__(self, ledger: Ledger, engine: Callable[[], Engine]) -> None:
        self._ledger = ledger
        self._engine = engine
        self._recent: deque[Entry] = deque(maxlen=READ_AHEAD)
        self._subscriptions: list[Subscription] = []
        self._listeners: dict[str, asyncio.Task[None]] = {}
        self._asked: dict[str, deque[_Asked]] = {}
        self._wake = asyncio.Event()
        self._woken: set[asyncio.Event] = set()
        ledger.broker = self

    def publish(self, entries: Sequence[Entry], last: int) -> None:
        """Hand out events that were just stored; `last` is the seq of the last one."""
        for wake in self._woken:
            wake.set()
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
        self._rouse()

    def _rouse(self) -> None:
        self._wake.set()
        self._wake = asyncio.Event()

    def subscribe(self, pattern: str, *, limit: int = 1000) -> Subscription:
        """Hear events from now on, without durability; see Subscription."""
        subscription = Subscription(pattern, limit, self._subscriptions.remove)
        self._subscriptions.append(subscription)
        return subscription

    @contextmanager
    def woken(self, wake: asyncio.Event) -> Generator[None]:
        """Set `wake` whenever events were stored, for one who reads the journal by itself."""
        self._woken.add(wake)
        try:
            yield
        finally:
            self._woken.discard(wake)

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
            self._refuse(name)
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
        for name in list(self._asked):
            self._refuse(name)
        for subscription in list(self._subscriptions):
            subscription.stop()

    async def _listen(self, name: str, component: str, listener: str, seq: int) -> None:
        CALLER.set(None)  # whoever deployed it: nobody calls a listener
        failed = await self._ledger.store.failed_of(name)
        held: set[str | None] = {f.subject for f in failed if f.subject is not None}
        while True:
            wake = self._wake
            try:
                batch = await self._after(seq)
                for entry in batch:
                    await self._mend(name, component, listener, held)
                    found = self._find(component, listener)
                    if found is not None and any(matches(p, entry.type) for p in found[1].patterns):
                        await self._deliver(name, *found, entry, held)
                    seq = entry.seq
            except Exception:
                # The store refused; the event was not heard, so it comes again.
                _log.exception("listener %s stands still, and tries again in %g s", name, STALLED)
                await self._ledger.clock.sleep(STALLED)
                continue
            await self._mend(name, component, listener, held)
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

        def mark(draft: Draft) -> None:
            draft.commit.cursors.append(Cursor(name, entry.seq))

        attempts = 0
        while True:
            found = self._find(revision.name, spec.name)
            if found is None:
                return
            revision, spec = found
            try:
                await self._hear(name, revision, spec, entry, mark)
                return
            except StoreError:
                raise
            except BreakerOpenError:
                gate = shut(self._engine().residents[revision].gates(spec.call))
                if gate is not None:
                    await gate.ready()
                continue
            except Exception as error:
                attempts += 1
                policy = self._engine().policy(spec.policies)
                pause = pause_after(error, attempts, policy, self._ledger.clock, name)
                if pause is None or isinstance(error, Refused):
                    _log.exception("listener %s gave up on event %s", name, entry.type)
                    held.add(entry.subject)
                    await self._park(name, entry, _said(error), attempts, held=False)
                    return
            await self._ledger.clock.sleep(pause)

    async def _hear(
        self,
        name: str,
        revision: Revision,
        spec: ListenerSpec,
        entry: Entry,
        mark: Callable[[Draft], None],
    ) -> None:
        """One event to one listener, once; what it does is one commit with what `mark` adds."""
        engine, monitor = self._engine(), self._ledger.monitor
        resident, node = engine.residents[revision], listener_id(revision, spec)
        work = Work(
            key=f"{name}.{entry.id}",
            label=revision.label,
            pin=resident.pin(None),
            cause=entry.id,
            actor=node,
            origin=node,
        )
        arguments = dict(resident.adapters(spec.call))
        if spec.call.event is not None:
            arguments[spec.call.event] = decode_event(entry.doc)
        probed = admit(resident.gates(spec.call), work)
        resident.enter()
        try:
            monitor.heard(next(p for p in spec.patterns if matches(p, entry.type)), node)
            span = monitor.listener(revision, spec).begin(event_id(entry.type), about=entry.subject)
            try:
                timeout = engine.policy(spec.policies).timeout
                await attempt(spec.call, None, arguments, timeout, work, name)
            except BaseException as error:
                span.end(error)
                raise
            span.end()
            await self._ledger.settle(
                engine.registry, work, resident=resident, locks=(name,), mark=mark
            )
        finally:
            for gate in probed:
                gate.leave(work)
            resident.leave()

    # What failed, once more

    async def again(self, name: str, seq: int, *, discard: bool = False) -> str:
        """Deliver a parked event once more, or `discard` it; what came of it, in one line.

        The listener does that between two events, so that those behind are neither lost nor
        reordered: what was held for the subject follows in its order, until one fails. Raises
        NotFoundError, and ConflictError when the listener is not running.
        """
        running = self._listeners.get(name)
        if running is None or running.done():
            raise ConflictError(
                f"the listener {name} is not running", hint="deploy its component first"
            )
        told: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._asked.setdefault(name, deque()).append(_Asked(seq, discard, told))
        self._rouse()
        return await told

    def _refuse(self, name: str) -> None:
        """Tell those who asked something of a listener that it is gone."""
        for asked in self._asked.pop(name, ()):
            if not asked.told.done():
                asked.told.set_exception(ConflictError(f"the listener {name} has ended"))

    async def _mend(self, name: str, component: str, listener: str, held: set[str | None]) -> None:
        """Do what was asked for since the last event."""
        waiting = self._asked.get(name)
        while waiting:
            asked = waiting[0]
            try:
                done = await self._again(name, component, listener, asked, held)
            except Exception as error:
                if not asked.told.done():
                    asked.told.set_exception(error)
            else:
                if not asked.told.done():
                    asked.told.set_result(done)
            waiting.popleft()

    async def _again(
        self, name: str, component: str, listener: str, asked: _Asked, held: set[str | None]
    ) -> str:
        parked = await self._ledger.store.failed_of(name)
        meant = next((one for one in parked if one.seq == asked.seq), None)
        if meant is None:
            raise NotFoundError(
                f"event {asked.seq} is not on the failed list of {name}",
                hint="it may have been taken meanwhile: list what failed again",
            )
        line = [meant]
        if meant.subject is not None:
            line = [one for one in parked if one.subject == meant.subject]
        if asked.discard:
            await self._forget(name, meant)
            line.remove(meant)
        taken = 0
        for one in line:
            if asked.discard and not one.held:
                break  # it failed by itself: nobody asked to try it
            entry = await self._ledger.store.event(one.event)
            found = self._find(component, listener)
            if entry is None or found is None:
                raise ConflictError(f"{name} or its event {one.seq} is gone")
            error = await self._redeliver(name, *found, entry, one)
            if error is not None:
                return f"{_events(taken)} taken; {entry.type} failed again: {error}"
            taken += 1
        if taken == len(line):
            held.discard(meant.subject)
        if asked.discard:
            return f"discarded; {taken} that it held up taken" if taken else "discarded"
        return f"{_events(taken)} taken"

    async def _redeliver(
        self, name: str, revision: Revision, spec: ListenerSpec, entry: Entry, parked: Failed
    ) -> str | None:
        """Deliver a parked event once; it leaves the failed list with what the listener did.

        What went wrong when it failed again, which is stored.
        """

        def mark(draft: Draft) -> None:
            draft.commit.cleared.append(Cleared(name, parked.seq))

        try:
            await self._hear(name, revision, spec, entry, mark)
        except (StoreError, BreakerOpenError):
            raise
        except Exception as error:
            _log.exception("listener %s failed again on event %s", name, entry.type)
            said, attempts = _said(error), parked.attempts + 1
            await self._park(name, entry, said, attempts, held=False, again=True)
            return said
        return None

    async def _forget(self, name: str, parked: Failed) -> None:
        def mark(draft: Draft) -> None:
            draft.commit.cleared.append(Cleared(name, parked.seq))

        work = Work(key=name, label=name.split(":", 1)[0])
        await self._ledger.settle(self._engine().registry, work, locks=(name,), mark=mark)

    async def discard(self, name: str, seq: int) -> str:
        """Take a parked event off the failed list for good; see `again`. Raises NotFoundError."""
        if name in self._listeners:
            return await self.again(name, seq, discard=True)
        for parked in await self._ledger.store.failed_of(name):
            if parked.seq == seq:
                await self._forget(name, parked)
                return "discarded"
        raise NotFoundError(f"event {seq} is not on the failed list of {name}")

    async def _park(
        self,
        name: str,
        entry: Entry,
        error: str,
        attempts: int,
        *,
        held: bool,
        again: bool = False,
    ) -> None:
        """Put an event on the failed list, or there `again`; the listener goes on after it."""

        def mark(draft: Draft) -> None:
            if not again:
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
                    what=entry.type,
                )
            )

        work = Work(key=name, label=name.split(":", 1)[0])
        await self._ledger.settle(self._engine().registry, work, locks=(name,), mark=mark)


def _events(count: int) -> str:
    return f"{count} event{'' if count == 1 else 's'}"


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
