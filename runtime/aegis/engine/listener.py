"""One durable listener: a cursor in the journal, each event taken once, what failed parked."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from aegis.core.component import ListenerSpec, Revision
from aegis.core.errors import (
    BreakerOpenError,
    ConflictError,
    GrantError,
    NotFoundError,
    PortError,
    Refused,
    StoreError,
    clipped,
)
from aegis.core.event import Event, decode_event, teller
from aegis.core.graph import event_id, listener_id
from aegis.engine.attempt import attempt, pause_after
from aegis.engine.context import CALLER
from aegis.engine.engine import Engine
from aegis.engine.gate import admit, shut
from aegis.engine.ledger import Draft, Ledger
from aegis.engine.steps import STALLED
from aegis.engine.work import Work
from aegis.protocols import Cleared, Cursor, Entry, Failed

CHECKPOINT = 4096  # events passed over after which the cursor is stored nevertheless
TOGETHER = 16  # events at a time, where their order does not matter
BEHIND = 1000  # events that a listener may be behind
PATIENCE = 10.0  # seconds that it may be so without a word

Data = Mapping[str, Any]
Mark = Callable[[Draft], None]

_log = logging.getLogger("aegis.host")


class _Asked(NamedTuple):
    """Somebody wants a parked event delivered again, or else discarded; `told` gets what came."""

    seq: int
    discard: bool
    data: Data | None
    told: asyncio.Future[str]


class _Gone(Exception):  # noqa: N818 -- it is no error
    """The code of a listener is not live any more."""


class Listener:
    """The listener `listener` of `component` while that is live; `name` is that of its cursor.

    `seq` is the last event of the journal that it is done with. `read` gives the entries past one.
    """

    def __init__(
        self,
        name: str,
        component: str,
        listener: str,
        seq: int,
        *,
        ledger: Ledger,
        engine: Callable[[], Engine],
        read: Callable[[int], Awaitable[list[Entry]]],
    ) -> None:
        self.name = name
        self.component = component
        self.seq = seq
        self._listener = listener
        self._stored = seq
        self._ledger = ledger
        self._engine = engine
        self._read = read
        self._held: set[str | None] | None = None  # None until the store was asked
        self._spent = False
        self._asked: deque[_Asked] = deque()
        self._resting = False
        self._wake = asyncio.Event()
        self._late: asyncio.Task[None] | None = None
        self._told = False
        self._found: tuple[Revision, ListenerSpec] | None = None
        self._task = asyncio.create_task(self._run())

    @property
    def lag(self) -> int:
        """How many events of the journal it has not looked at yet."""
        return 0 if self._resting else max(0, self._ledger.store.last_seq() - self.seq)

    async def stop(self) -> None:
        """End it; what it has not heard it hears when it is started again."""
        self._task.cancel()
        tasks = [self._task]
        if self._late is not None:
            self._late.cancel()
            tasks.append(self._late)
        await asyncio.wait(tasks)
        # Whoever starts it again reads the cursor, which a commit under way may still move.
        await self._ledger.free(self.name)
        self._ledger.monitor.clear(self._problem)
        for asked in self._asked:
            if not asked.told.done():
                asked.told.set_exception(ConflictError(f"the listener {self.name} has ended"))
        self._asked.clear()

    # What happens meanwhile

    def published(self, entry: Entry, seq: int) -> None:
        """An event was stored: wake up for it, or pass over it."""
        if not self._resting:
            self._wake.set()
            if seq - self.seq > BEHIND and self._late is None:
                self._late = asyncio.create_task(self._complain())
            return
        found = self._find(entry.subject)
        if found is None or found[1].pattern(entry.type, entry.subject) is not None:
            self.rouse()
            return
        self.seq = seq
        if seq - self._stored >= CHECKPOINT:
            self.rouse()

    def swapped(self) -> None:
        """Other code is live: let go of what was."""
        self._found = None

    def rouse(self) -> None:
        """Look at the journal, and at what was asked for."""
        self._resting = False
        self._wake.set()

    async def again(self, seq: int, *, discard: bool = False, data: Data | None = None) -> str:
        """Deliver a parked event once more, or `discard` it; what came of it, in one line.

        The listener does that between two events, so that those behind are neither lost nor
        reordered: what was held for the subject follows in its order, until one fails. Raises
        NotFoundError, and ConflictError when the listener is not running.
        """
        if self._task.done():
            raise ConflictError(
                f"the listener {self.name} is not running", hint="deploy its component first"
            )
        told: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._asked.append(_Asked(seq, discard, data, told))
        self.rouse()
        return await told

    @property
    def _problem(self) -> str:
        return f"lag:{self.name}"

    async def _complain(self) -> None:
        """Report that it is far behind, if it stays so."""
        await self._ledger.clock.sleep(PATIENCE)
        self._late = None  # the next event looks again
        if self.lag > BEHIND:
            self._told = True
            self._ledger.monitor.report(
                self._problem,
                f"the listener {self.name} is {self.lag} events behind: it takes them slower than "
                "they come",
            )

    def _calm(self) -> None:
        """It may have caught up."""
        if self._told and self.lag <= BEHIND // 2:
            self._told = False
            self._ledger.monitor.clear(self._problem)

    # The journal, event by event

    async def _run(self) -> None:
        CALLER.set(None)  # whoever deployed it: nobody calls a listener
        while True:
            self._wake.clear()
            try:
                if self._held is None:
                    self._spent = await self._ledger.store.cursor(once(self.name)) is not None
                    await self._let_go()
                    self._held = await self._parked()
                batch = await self._read(self.seq)
                again = bool(batch)
                while batch:
                    await self._mend()
                    count = self._together()
                    await self._take_all(batch[:count])
                    batch = batch[count:]
                if self.seq - self._stored >= CHECKPOINT:
                    await self._settle(self._moves(self.seq))
                    self._stored = self.seq
            except _Gone:
                return
            except Exception:
                # The store refused; the event was not heard, so it comes again.
                _log.exception(
                    "listener %s stands still, and tries again in %g s", self.name, STALLED
                )
                await self._ledger.clock.sleep(STALLED)
                continue
            await self._mend()
            self._calm()
            if not again and not self._wake.is_set():
                self._resting = True
                await self._wake.wait()

    def _find(self, subject: str | None = None) -> tuple[Revision, ListenerSpec] | None:
        """Its code as it is now, for events of a subject; None when there is none."""
        revision = self._engine().registry.taking(self.component, subject)
        if self._found is None or self._found[0] is not revision:
            specs = () if revision is None else revision.listeners
            spec = next((spec for spec in specs if spec.name == self._listener), None)
            self._found = None if revision is None or spec is None else (revision, spec)
        return self._found

    def _code(self, subject: str | None) -> tuple[Revision, ListenerSpec] | None:
        """Its code for events of a subject, None when these are for code that has no such listener.

        Raises _Gone when no code has it.
        """
        found = self._find(subject)
        if found is None and not self._codes():
            raise _Gone
        return found

    def _codes(self) -> list[ListenerSpec]:
        """What it is in the code that serves, which is two where the component is split."""
        return [
            spec
            for revision in self._engine().registry.serving()
            if revision.name == self.component
            for spec in revision.listeners
            if spec.name == self._listener
        ]

    async def _parked(self) -> set[str | None]:
        """The subjects of which an event is on the failed list."""
        return {one.subject for one in await self._ledger.store.failed_of(self.name)}

    def _concerns(self, spec: ListenerSpec, entry: Entry) -> bool:
        """Whether an event is one of those that it hears."""
        if spec.once and self._spent:
            return False
        return spec.pattern(entry.type, entry.subject) is not None

    def _holds(self, spec: ListenerSpec, entry: Entry) -> bool:
        if spec.order == "none" or entry.subject is None or self._held is None:
            return False
        return entry.subject in self._held

    def _together(self) -> int:
        """How many events it may be given at a time: several where their order does not matter."""
        specs = self._codes()
        if not specs:
            raise _Gone
        return TOGETHER if all(spec.order == "none" and not spec.once for spec in specs) else 1

    async def _take_all(self, entries: Sequence[Entry]) -> None:
        """Some events at a time. What they do is committed in their order, as the cursor needs."""
        if len(entries) == 1:
            await self._take(entries[0])
            self.seq = entries[0].seq
            return
        turns = [asyncio.Event() for _ in range(len(entries) + 1)]
        turns[0].set()

        async def take(entry: Entry, turn: asyncio.Event, after: asyncio.Event) -> None:
            await self._take(entry, turn)
            await turn.wait()
            self.seq = entry.seq
            after.set()

        tasks = [
            asyncio.create_task(take(*one)) for one in zip(entries, turns, turns[1:], strict=False)
        ]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def _take(self, entry: Entry, turn: asyncio.Event | None = None) -> None:
        """One event, until it is passed over, taken or put on the failed list in its `turn`."""
        await self._ledger.flows.boundary.passed(self.component)
        found = self._code(entry.subject)
        if found is None:
            return
        revision, spec = found
        event = decode_event(entry.doc) if self._concerns(spec, entry) else None
        if event is None or self._denied(revision, event) is not None:
            return
        if self._holds(spec, entry):
            if self._hopes(spec, event):
                await self._park(
                    entry, "held: an earlier event of its subject failed", 0, held=True
                )
            return
        attempts = 0
        while True:
            try:
                if await self._hear(revision, spec, event, self._moves(entry.seq, spec), turn):
                    self._stored, self._spent = entry.seq, self._spent or spec.once
                return
            except StoreError:
                raise
            except BreakerOpenError:
                gate = shut(self._engine().residents[revision].gates(spec.call))
                if gate is not None:
                    await gate.ready()
            except Exception as error:
                attempts += 1
                policy = self._engine().policy(spec.policies)
                pause = pause_after(error, attempts, policy, self._ledger.clock, self.name)
                if pause is None or isinstance(error, Refused):
                    _log.exception("listener %s gave up on event %s", self.name, entry.type)
                    if turn is not None:
                        await turn.wait()
                    await self._park(entry, _said(error), attempts, spec=spec)
                    return
                await self._ledger.clock.sleep(pause)
            found = self._code(entry.subject)
            if found is None:
                return
            revision, spec = found

    def _moves(self, seq: int, spec: ListenerSpec | None = None) -> Mark:
        """Moves the cursor to `seq` with a commit; of a listener that hears once, for good."""

        def mark(draft: Draft) -> None:
            draft.commit.cursors.append(Cursor(self.name, seq))
            if spec is not None and spec.once:
                draft.commit.cursors.append(Cursor(once(self.name), seq))

        return mark

    def _denied(self, revision: Revision, event: Event) -> GrantError | None:
        """What to raise of an event of a component that lets `revision` hear nothing of it."""
        registry = self._engine().registry
        by = teller(event.source) if registry.is_closed else None
        if by is None or registry.access.hears(revision.label, by, event.type):
            return None
        return registry.access.refusal(revision.label, by, "events", event.type, "read")

    def _wants(self, spec: ListenerSpec, event: Event) -> bool:
        """Whether it hears this event. Raises whatever its condition raises."""
        if spec.when is None:
            return True
        try:
            return bool(spec.when(event))
        except SystemExit as error:
            raise PortError(f"the condition of {self.name} raised SystemExit") from error

    def _hopes(self, spec: ListenerSpec, event: Event) -> bool:
        """Whether it might hear this event later: one cannot know when its condition raises."""
        try:
            return self._wants(spec, event)
        except Exception:
            return True

    async def _hear(
        self,
        revision: Revision,
        spec: ListenerSpec,
        event: Event,
        mark: Mark,
        turn: asyncio.Event | None = None,
    ) -> bool:
        """One event, once; what it does is one commit, in its `turn`, with what `mark` adds.

        False when it does not hear this event: then nothing was done, nor stored.
        """
        denied = self._denied(revision, event)
        if denied is not None:  # it was heard when it failed, and is heard no longer
            raise denied
        engine, monitor = self._engine(), self._ledger.monitor
        resident, node = engine.residents[revision], listener_id(revision, spec)
        meter = monitor.listener(revision, spec)
        try:
            if not self._wants(spec, event):
                return False
        except Exception as error:
            meter.begin(event_id(event.type), about=event.subject).end(error)
            raise
        work = Work(
            key=f"{self.name}.{event.id}",
            label=revision.label,
            pin=resident.pin(None),
            cause=event.id,
            actor=node,
            origin=node,
            reach=engine.reach,
        )
        arguments = dict(resident.adapters(spec.call))
        if spec.call.event is not None:
            arguments[spec.call.event] = event
        probed = admit(resident.gates(spec.call), work)
        resident.enter()
        try:
            monitor.heard(spec.pattern(event.type, event.subject) or spec.patterns[0], node)
            span = meter.begin(event_id(event.type), about=event.subject, tally=resident.tally)
            try:
                timeout = engine.policy(spec.policies).timeout
                await attempt(spec.call, None, arguments, timeout, work, self.name)
            except BaseException as error:
                span.end(error)
                raise
            span.end()
            if turn is not None:
                await turn.wait()
            await self._ledger.settle(
                engine.registry, work, resident=resident, locks=(self.name,), mark=mark
            )
        finally:
            for gate in probed:
                gate.leave(work)
            resident.leave()
        return True

    async def _settle(self, mark: Mark) -> None:
        """Commit what `mark` says and nothing else."""
        await settle(self._ledger, self._engine(), self.name, mark)

    async def _park(
        self,
        entry: Entry,
        error: str,
        attempts: int,
        *,
        held: bool = False,
        spec: ListenerSpec | None = None,
        again: bool = False,
        data: Data | None = None,
    ) -> None:
        """Put an event on the failed list, or there `again`; the listener goes on after it."""

        def mark(draft: Draft) -> None:
            if not again:
                self._moves(entry.seq, spec)(draft)
            draft.commit.failed.append(
                Failed(
                    subscriber=self.name,
                    seq=entry.seq,
                    event=entry.id,
                    subject=entry.subject,
                    error=error,
                    attempts=attempts,
                    time=draft.now,
                    held=held,
                    what=entry.type,
                    data=None if data is None else dict(data),
                )
            )

        await self._settle(mark)
        if not again:
            self._stored = entry.seq
            self._spent = self._spent or (spec is not None and spec.once)
            if self._held is not None:
                self._held.add(entry.subject)

    # What failed, once more

    async def _let_go(self) -> None:
        """Deliver what nothing holds any more: what did was discarded while this was away."""
        parked = await self._ledger.store.failed_of(self.name)
        for subject in dict.fromkeys(one.subject for one in parked):
            for one in parked:
                if one.subject != subject:
                    continue
                if not one.held or await self._redeliver(one, one.data) is not None:
                    break

    async def _mend(self) -> None:
        """Do what was asked for since the last event."""
        while self._asked:
            asked = self._asked[0]
            try:
                done = await self._again(asked)
            except Exception as error:
                if not asked.told.done():
                    asked.told.set_exception(error)
            else:
                if not asked.told.done():
                    asked.told.set_result(done)
            self._asked.popleft()

    async def _again(self, asked: _Asked) -> str:
        parked = await self._ledger.store.failed_of(self.name)
        meant = next((one for one in parked if one.seq == asked.seq), None)
        if meant is None:
            raise NotFoundError(
                f"event {asked.seq} is not on the failed list of {self.name}",
                hint="it may have been taken meanwhile: list what failed again",
            )
        line = [meant]
        found = self._find(meant.subject)
        if meant.subject is not None and (found is None or found[1].order == "subject"):
            line = [one for one in parked if one.subject == meant.subject]
        if asked.discard:
            await self._settle(_clears(meant))
            line.remove(meant)
        taken = 0
        try:
            for one in line:
                if asked.discard and not one.held:
                    break  # it failed by itself: nobody asked to try it
                data = asked.data if one is meant and asked.data is not None else one.data
                error = await self._redeliver(one, data)
                if error is not None:
                    return f"{_events(taken)} taken; {one.what} failed again: {error}"
                taken += 1
        finally:
            self._held = await self._parked()
        if asked.discard:
            return f"discarded; {taken} that it held up taken" if taken else "discarded"
        return f"{_events(taken)} taken"

    async def _redeliver(self, parked: Failed, data: Data | None) -> str | None:
        """Deliver a parked event once; it leaves the failed list with what the listener did.

        What went wrong when it failed again, which is stored with the `data` it was given.
        """
        entry = await self._ledger.store.event(parked.event)
        found = self._find(parked.subject)
        if entry is None or found is None:
            raise ConflictError(f"{self.name} or its event {parked.seq} is gone")
        event = decode_event(entry.doc)
        if data is not None:
            event = msgspec.structs.replace(event, data=dict(data))
        try:
            if not await self._hear(*found, event, _clears(parked)):
                await self._settle(_clears(parked))
        except (StoreError, BreakerOpenError):
            raise
        except Exception as error:
            _log.exception("listener %s failed again on event %s", self.name, entry.type)
            said, attempts = _said(error), parked.attempts + 1
            await self._park(entry, said, attempts, again=True, data=data)
            return said
        return None


def once(name: str) -> str:
    """What keeps that a listener has heard the one event of its life."""
    return f"once:{name}"


async def settle(ledger: Ledger, engine: Engine, name: str, mark: Mark) -> None:
    """Commit what `mark` says about the listener `name`, after whatever it is just committing."""
    work = Work(key=name, label=name.split(":", 1)[0])
    await ledger.settle(engine.registry, work, locks=(name,), mark=mark)


async def forget(ledger: Ledger, engine: Engine, parked: Failed) -> None:
    """Take a parked event of a listener that is not running off the failed list."""
    await settle(ledger, engine, parked.subscriber, _clears(parked))


def _clears(parked: Failed) -> Mark:
    def mark(draft: Draft) -> None:
        draft.commit.cleared.append(Cleared(parked.subscriber, parked.seq))

    return mark


def _events(count: int) -> str:
    return f"{count} event{'' if count == 1 else 's'}"


def _said(error: Exception) -> str:
    return clipped(f"{type(error).__name__}: {error}")
