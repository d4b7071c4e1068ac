"""The one door to the store: settles units of work, one at a time for each record and flow."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import (
    AsyncGenerator,
    Callable,
    Collection,
    Coroutine,
    Iterable,
    Sequence,
)
from contextlib import asynccontextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from aegis.core.caching import Caching
from aegis.core.component import ENCODER, ModelSpec
from aegis.core.errors import (
    ConflictError,
    InvalidError,
    NotFoundError,
    StaleError,
    TooLargeError,
)
from aegis.core.event import Emission, Event, decode_event
from aegis.core.record import Record
from aegis.core.registry import Consumer, Registry
from aegis.engine import keys as keeping
from aegis.engine.elsewhere import Elsewhere
from aegis.engine.records import Records
from aegis.engine.references import Reference, References
from aegis.engine.resident import Resident
from aegis.engine.uniques import Uniques
from aegis.engine.work import Change, Key, Work, encode
from aegis.protocols import Answer, Clock, Commit, Drop, Entry, Outgoing, Put, Sealed, Store

if TYPE_CHECKING:
    from aegis.engine.broker import Broker
    from aegis.engine.flows import Flows
    from aegis.engine.monitor import Monitor
    from aegis.engine.script import Script

# Bytes of an event as JSON: it is kept, read and sent as a whole, wherever somebody listens.
MAX_EVENT = 2 << 20
PIECE = 500  # events that are told of at a time when many were stored at once

# Who waits for a commit that is under way.
_Line = list[asyncio.Future[None]]

_log = logging.getLogger("aegis.host")
T = TypeVar("T")


class Outcome(msgspec.Struct, frozen=True):
    """What a call came to: the record after it (None when deleted), and the flow it set off."""

    record: Record | None
    flow: str | None = None


class Answering(msgspec.Struct, frozen=True):
    """An Idempotency-Key in force: `build` makes the answer that is stored with the outcome."""

    key: str
    fingerprint: str
    build: Callable[[Outcome], Answer]


class Draft:
    """A commit in the making: what is written, and what has to happen when it is stored.

    `values` are the author's values that it will leave, by record; `after` runs once it is
    durable, in order. The events of an `inert` one set off no steps. `leaving` is the step of the
    flow that this commit ends, whose task may go on with the next one. `actor` is the node of the
    graph that does all this, `delivered` who got its events. `locked` are the records and flows
    that have no other commit under way.
    """

    def __init__(self, now: str, actor: str | None = None) -> None:
        self.now = now
        self.actor = actor
        self.commit = Commit()
        self.values: dict[Key, Any] = {}
        self.records: dict[Key, Record | None] = {}
        self.events: list[tuple[Event, str | None]] = []
        self.after: list[Callable[[], None]] = []
        self.delivered: list[Consumer] = []
        self.flow: str | None = None
        self.inert = False
        self.leaving: int | None = None
        self.locked: list[Any] = []


class Ledger:
    """Reads and commits. A record or flow has one commit under way at most; others wait for it.

    With a `script` it is that of a replay, which has the records of its flow and no others.
    """

    def __init__(
        self, store: Store, clock: Clock, elsewhere: Elsewhere, *, caching: Caching
    ) -> None:
        self.store = store
        self.clock = clock
        self.elsewhere = elsewhere
        self.records = Records(store, caching, elsewhere)
        self.uniques = Uniques(store)
        self.flows: Flows
        self.broker: Broker
        self.monitor: Monitor
        self.references = References()
        self.script: Script | None = None
        self.outdated: Collection[ModelSpec] = ()
        self._busy: dict[Any, _Line] = {}
        self._held: _Line | None = None

    def settle(
        self,
        registry: Registry,
        work: Work,
        *,
        resident: Resident | None = None,
        locks: Iterable[Any] = (),
        mark: Callable[[Draft], None] | None = None,
        answering: Answering | None = None,
    ) -> Coroutine[Any, Any, tuple[Outcome, Draft]]:
        """Commit everything of `work`: its changes, their events and the steps these set off.

        `mark` adds to the draft what else must be stored with it, and may publish further events;
        nothing is awaited between it and handing the commit over. Raises
        ConflictError, StaleError, InvalidError, BusyError or StoreError; then nothing was stored.
        """
        settling = self._settle(registry, work, resident, locks, mark, answering)
        return self._reaching(registry, work, settling) if self.elsewhere.places else settling

    async def _reaching(
        self, registry: Registry, work: Work, settling: Coroutine[Any, Any, T]
    ) -> T:
        """What `settling` gives, with all at hand that it needs from elsewhere."""
        try:
            found = await self._reach(registry, work)
        except BaseException:
            settling.close()
            raise
        try:
            return await settling
        finally:
            self.elsewhere.unpin(found)

    async def _reach(self, registry: Registry, work: Work) -> list[Key]:
        """Have at hand what `work` changes and names of what is kept elsewhere, to `unpin`."""
        lanes = {
            lane for key in work.changes if (lane := self.elsewhere.places.get(key[0])) is not None
        }
        for lane in lanes:
            if work.flow is None:
                lane.admit()
            else:
                await lane.room()
        named = (one.key for one in self.references.named(registry, work))
        return await self.elsewhere.pin({*work.changes, *named})

    async def fetch(self, model: str, id: str) -> Record | None:
        """The record as last committed, from wherever it is kept."""
        if self.elsewhere.places and model in self.elsewhere.places:
            return await self.elsewhere.fetch((model, id))
        return self.records.get(model, id)

    async def note(self, registry: Registry, commit: Commit) -> None:
        """Store `commit`, which has no events, and let the views know."""

        def mark(draft: Draft) -> None:
            draft.commit = commit

        await self.settle(registry, Work(key="", label="host"), mark=mark)

    async def _settle(
        self,
        registry: Registry,
        work: Work,
        resident: Resident | None,
        locks: Iterable[Any],
        mark: Callable[[Draft], None] | None,
        answering: Answering | None,
    ) -> tuple[Outcome, Draft]:
        busy = self._busy
        named = self.references.named(registry, work)
        while True:
            if self._held is not None:
                await self._wait(self._held)
                registry = self.flows.registry()
                continue
            keys: list[Any] = [*locks, *(work.keeping or ())]
            for change in work.changes:
                keys.append(change)
                keys += self.flows.about(change)
            keys += self.flows.triggers.concerned(registry, work)
            line = next((busy[key] for key in keys if key in busy), None) if busy else None
            if line is None:
                line = self.references.line(named) if named else None
            if line is None:
                break
            await self._wait(line)
        if self.outdated:
            for item in work.changes.values():
                if item.spec in self.outdated:
                    raise ConflictError(
                        f"the records of {item.spec.key} were migrated meanwhile",
                        hint="read it again",
                    )
        draft = Draft(self.clock.stamp(), work.actor)
        draft.locked = keys
        for reference in named if self.script is None else ():
            self._find(work, reference)
        for item in work.changes.values():
            self._write(draft, work, item, resident)
        for emission in work.emissions:
            self._publish(draft, work, emission)
        keeping.settle(work, self.store, draft.commit, checks=self.script is None)
        if mark is not None:
            mark(draft)
        self.flows.follow(registry, draft, work)
        record = next(iter(draft.records.values()), None)
        outcome = Outcome(record, draft.flow or work.flow)
        if answering is not None:
            draft.commit.answers.append(answering.build(outcome))
        draft.commit.events = [
            Entry(e.id, e.type, e.subject, e.flow, e.time, _encode(e), 0, e.cause)
            for e, _ in draft.events
        ]
        await self._hand_over(draft, keys, named)
        return outcome, draft

    def _hand_over(
        self, draft: Draft, keys: list[Any], named: Sequence[Reference]
    ) -> asyncio.Future[None]:
        """Give the draft to the store; the answer is resolved once its consequences are in place.

        A caller that is cancelled cancels only this answer: what was handed over is stored, and
        its consequences follow.
        """
        answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        line: _Line = []
        storing = asyncio.ensure_future(self.store.commit(draft.commit))
        for key in keys:
            self._busy[key] = line

        def stored(result: asyncio.Future[int]) -> None:
            error = asyncio.CancelledError() if result.cancelled() else result.exception()
            try:
                if error is None:
                    self._follow_up(draft, result.result())
            except Exception as broken:
                _log.exception("a stored commit has lost its consequences until the next start")
                error = broken
            # The actions know the draft: a cycle that only a full collection would end.
            draft.after.clear()
            for key in keys:
                if self._busy.get(key) is line:
                    del self._busy[key]
            _call(line)
            if answer.done():
                if error is not None:
                    _log.error("a commit whose caller had gone failed: %s", error)
            elif error is None:
                answer.set_result(None)
            else:
                answer.set_exception(error)

        storing.add_done_callback(stored)
        if named:
            self.references.follow(named, storing)
        return answer

    async def rewrite(self, keys: Sequence[Key], build: Callable[[Draft, Record], None]) -> None:
        """Commit what `build` adds for each of the records that are there, no other write between.

        Nothing tells of it. Raises what the store does.
        """
        busy = self._busy
        while (line := next((busy[key] for key in keys if key in busy), None)) is not None:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            line.append(waiter)
            await waiter
        draft = Draft(self.clock.stamp())
        for key in keys:
            # Not through the cache, which is for records that somebody asks for.
            record = self.store.get(*key)
            if record is not None:
                build(draft, record)
        await self._hand_over(draft, list(keys), ())

    async def free(self, key: Any) -> None:
        """Return when no commit of `key` is under way."""
        while (line := self._busy.get(key)) is not None:
            await self._wait(line)

    async def _wait(self, line: _Line) -> None:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        line.append(waiter)
        await waiter

    @asynccontextmanager
    async def held(self) -> AsyncGenerator[None]:
        """No unit of work is under way inside; those that come wait, for the graph that is then."""
        line = self._held = []
        try:
            while self._busy:
                await self._wait(next(iter(self._busy.values())))
            yield
        finally:
            self._held = None
            _call(line)

    async def convert(self, commit: Commit, draft: Draft) -> int:
        """Store a commit that gives records another form, while this is `held`; its last seq.

        Who is cancelled meanwhile has it stored all the same, and goes on: it is too late.
        """
        storing = asyncio.ensure_future(self.store.commit(commit))
        try:
            last = await asyncio.shield(storing)
        except asyncio.CancelledError:
            last = await storing
        self.records.forget()
        for action in draft.after:
            action()
        return last

    async def tell(self, entries: Sequence[Entry], last: int) -> None:
        """Let everybody hear of many events that were stored at once, a piece at a time.

        While this is `held`: what is stored after them is heard after them.
        """
        seq = last - len(entries)
        for begin in range(0, len(entries), PIECE):
            piece = entries[begin : begin + PIECE]
            seq += len(piece)
            draft = Draft("")
            draft.commit.events = list(piece)
            if self.broker.audience.is_there:
                draft.events = [(decode_event(entry.doc), None) for entry in piece]
            self.broker.publish(piece, seq, draft.events)
            self.monitor.stored(draft, seq)
            await asyncio.sleep(0)

    def _follow_up(self, draft: Draft, last: int) -> None:
        self.records.apply(draft.commit)
        if draft.commit.outgoing:
            self.elsewhere.take(draft.commit.outgoing)
        if draft.commit.events:
            self.broker.publish(draft.commit.events, last, draft.events)
        for action in draft.after:
            action()
        self.monitor.stored(draft, last)

    def _find(self, work: Work, reference: Reference) -> None:
        """Refuse to name a record that is not there. Raises InvalidError."""
        change = work.changes.get(reference.key)
        gone = change is not None and change.after is None
        if gone or (change is None and self.records.get(*reference.key) is None):
            raise InvalidError(
                f"{reference.where} names {reference.key[1]!r}, and there is no such "
                f"{reference.key[0]}",
                hint="create it first, or name one that there is",
                field=reference.field,
            )

    def _write(self, draft: Draft, work: Work, change: Change, resident: Resident | None) -> None:
        spec, key = change.spec, change.key
        current = self.records.get(*key)
        if change.base is None and current is not None:
            raise ConflictError(f"{spec.name} {change.id!r} exists already")
        if change.base is not None and current is None:
            raise NotFoundError(f"there is no {spec.name} {change.id!r}")
        if current is not None and change.expected not in (None, current.revision):
            raise StaleError(
                f"{spec.name} {change.id!r} is at revision {current.revision}, not "
                f"{change.expected}",
                hint="read it again and repeat the change",
            )
        if change.after is None:
            assert current is not None  # noqa: S101 -- a deletion was read before, see above
            self._end(draft, work, change, current)
            return
        value = change.rebased(current)
        changed = change.changed()
        if spec.rules is not None:
            value = change.ruled(spec.rules, current, value, changed)
        if changed or current is None:
            revision = 0 if current is None else current.revision
            keep = None if resident is None or current is None else resident.keep(spec, current.doc)
            doc, value = encode(spec, value, changed, keep)
            if spec.sealing is not None:
                doc = spec.sealing.sealed(change.id, doc)
            record = _written(change, current, draft.now, doc)
            if self.uniques:
                self.uniques.follow(draft.commit, key, current, record)
            if spec.key not in self.elsewhere.places:
                draft.commit.puts.append(Put(record, revision))
        else:
            record = current
        draft.values[key] = value
        draft.records[key] = record
        if changed or change.always or current is None:
            event = self._tell_changed(draft, work, change, record, changed)
            if record is not current and spec.key in self.elsewhere.places:
                draft.commit.outgoing.append(self._outgoing(event, change, current, record))

    def _end(self, draft: Draft, work: Work, change: Change, current: Record) -> None:
        """Write that a record is deleted."""
        draft.records[change.key] = None
        if self.uniques:
            self.uniques.follow(draft.commit, change.key, current, None)
        told = {"id": change.id, "revision": current.revision}
        event = self._tell(draft, work, change, told)
        if change.spec.key in self.elsewhere.places:
            draft.commit.outgoing.append(self._outgoing(event, change, current, None))
        else:
            draft.commit.drops.append(Drop(*change.key, current.revision))

    def _tell_changed(
        self, draft: Draft, work: Work, change: Change, record: Record, changed: dict[str, Any]
    ) -> Event:
        sealing = change.spec.sealing
        plain = change.spec.plain(changed)
        told, hidden = (plain, None) if sealing is None else change.spec.told(plain)
        data = {
            "id": change.id,
            "revision": record.revision,
            "changed": told,
        }
        if change.was is not None:
            data |= {"created": record.created, "updated": record.updated}
        event = self._tell(draft, work, change, data)
        if sealing is not None and hidden:
            beside = sealing.beside(event.id, hidden)
            draft.commit.sealed.append(Sealed(event.id, beside))
        return event

    def _outgoing(
        self, event: Event, change: Change, current: Record | None, record: Record | None
    ) -> Outgoing:
        return Outgoing(
            key=event.id,
            datasource=self.elsewhere.places[change.spec.key].name,
            model=change.spec.key,
            id=change.id,
            expected=0 if current is None else current.revision,
            record=record,
            base=b"" if current is None else current.doc,
        )

    def _tell(self, draft: Draft, work: Work, change: Change, data: dict[str, Any]) -> Event:
        return self._publish(draft, work, Emission(change.event, data, change.id), change.spec.key)

    def _publish(
        self, draft: Draft, work: Work, emission: Emission, model: str | None = None
    ) -> Event:
        about = model or work.model
        event = Event(
            id=self.clock.id(),
            source=emission.source or _source(work.label, about),
            type=emission.type,
            subject=emission.subject,
            time=draft.now,
            data=emission.data,
            cause=work.cause,
            flow=work.flow,
            step=work.step,
            revision=work.label or None,
            origin=work.origin,
        )
        draft.events.append((event, about))
        return event

    def add(self, draft: Draft, work: Work, emission: Emission, model: str | None) -> None:
        """Publish one more event with `draft`, about `model`; for marks."""
        self._publish(draft, work, emission, model)


def _call(line: _Line) -> None:
    """Let all go on that wait in a line."""
    for waiter in line:
        if not waiter.done():
            waiter.set_result(None)


def _written(change: Change, current: Record | None, now: str, doc: bytes) -> Record:
    """The record that follows `current`; a new one of another host is as it was there."""
    number, created, updated = 1, now, now
    if current is not None:
        number, created = current.revision + 1, current.created
    elif change.was is not None:
        number, created, updated = change.was.revision, change.was.created, change.was.updated
    return Record(
        model=change.spec.key,
        id=change.id,
        revision=number,
        created=created,
        updated=updated,
        doc=doc,
    )


def _encode(event: Event) -> bytes:
    """An event as JSON. Raises TooLargeError."""
    doc = ENCODER.encode(event)
    if len(doc) > MAX_EVENT:
        about = "" if event.subject is None else f" of {event.subject!r}"
        raise TooLargeError(
            f"the event {event.type}{about} is {len(doc):,} bytes long, and {MAX_EVENT:,} is the "
            "most",
            hint="keep large data elsewhere, and let the event name it",
        )
    return doc


@lru_cache(maxsize=1024)
def _source(label: str, about: str | None) -> str:
    """The CloudEvents source of what the code `label` says about a model."""
    if about is None:
        return f"/aegis/components/{label.split('@', 1)[0]}"
    return "/aegis/components/{}/models/{}".format(*about.split(".", 1))
