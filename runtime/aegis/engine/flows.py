"""Drives flows: takes each step as its event is stored, retries it, and undoes what must be undone."""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import msgspec

from aegis.core.component import Call, ModelSpec, PortSpec, Revision
from aegis.core.errors import (
    AegisError,
    BusyError,
    ConflictError,
    NotFoundError,
    PortError,
    PortTimeoutError,
    Refused,
    StoreError,
)
from aegis.core.event import Emission, Event
from aegis.core.flow import (
    FLOW_CHANGES,
    NEEDS_UNDO,
    OPEN_STEPS,
    STEP_CHANGES,
    Flow,
    FlowState,
    Step,
    StepState,
)
from aegis.core.policy import Policy
from aegis.core.registry import Registry
from aegis.engine.context import WORK
from aegis.engine.ledger import Draft, Ledger
from aegis.engine.resident import Resident
from aegis.engine.turns import Turns
from aegis.engine.work import Change, Key, Work
from aegis.protocols import Cursor, Entry

_EVENT = msgspec.json.Decoder(Event)
_replace = msgspec.structs.replace

# An adapter that swallows its cancellation for so long has parked its flow; someone must look.
STUBBORN = 5.0
# Seconds until a store that refused is asked again.
STALLED = 1.0
# A port without adapters is pure: a conflict only means that it read too early.
REREADS = 10

# Steps on the loop (not at a partner's) beyond which new flows wait for their turn: enough to fill
# the group of a commit, few enough for a step to be through in milliseconds.
MOVING = 24

_log = logging.getLogger("aegis.host")


class Located:
    """Where a step's code is: the loaded revision, the model and the port."""

    __slots__ = ("model", "port", "resident")

    def __init__(self, resident: Resident, model: ModelSpec, port: PortSpec) -> None:
        self.resident = resident
        self.model = model
        self.port = port


class Run:
    """An open flow in memory: its stored state, and the tasks that move it."""

    __slots__ = (
        "attempting",
        "blocked",
        "compensator",
        "flow",
        "heirs",
        "next",
        "steps",
        "tasks",
        "touched",
        "waiters",
    )

    def __init__(self, flow: Flow, steps: Iterable[Step], *, touched: bool) -> None:
        self.flow = flow
        self.steps = {step.n: step for step in steps}
        self.next = max(self.steps, default=0) + 1
        self.tasks: dict[int, asyncio.Task[None]] = {}
        # A READY step of a process that died may have been attempted: nobody knows.
        self.touched = {n for n, s in self.steps.items() if touched and s.state is StepState.READY}
        # Which step the task of an ended one goes on with: a task of its own costs more.
        self.heirs: dict[int, Step] = {}
        self.attempting: set[int] = set()
        self.blocked: str | None = None
        self.compensator: asyncio.Task[None] | None = None
        self.waiters: list[asyncio.Future[Flow]] = []

    def keys(self) -> Iterator[Key]:
        """The records this flow is about."""
        yield (self.flow.model, self.flow.record)
        for step in self.steps.values():
            yield (step.model, step.record)


Locate = Callable[[Flow, Step], "Located | None"]


class Flows:
    """All open flows of a host."""

    def __init__(
        self, ledger: Ledger, locate: Locate, registry: Callable[[], Registry], *, limit: int
    ) -> None:
        self._ledger = ledger
        self._locate = locate
        self._registry = registry
        self._limit = limit
        self._slots = asyncio.Semaphore(limit)
        self.turns = Turns(MOVING, line=20 * limit)
        self._runs: dict[str, Run] = {}
        self._about: dict[Key, set[str]] = {}
        self._closing = False
        self._closed: asyncio.Future[None] | None = None
        self.on_end: Callable[[Flow], None] = _nothing
        ledger.flows = self

    # What is open

    def __len__(self) -> int:
        return len(self._runs)

    def about(self, key: Key) -> Iterable[str]:
        """The ids of the open flows about a record."""
        return self._about.get(key, ())

    def runs(self) -> Iterable[Run]:
        """The open flows."""
        return self._runs.values()

    def waiting(self) -> list[str]:
        """What open flows wait for, each named once."""
        return sorted({run.blocked for run in self._runs.values() if run.blocked is not None})

    def admit(self) -> None:
        """Raise BusyError when more flows are moving than this host takes on."""
        busy = len(self._runs)
        if busy >= 20 * self._limit:
            moving = sum(1 for run in self._runs.values() if run.tasks or run.compensator)
            if moving >= 20 * self._limit:
                raise BusyError(f"{moving} flows are under way, which is this host's limit")

    async def load(self) -> None:
        """Take over the open flows of the store; they move when their components are loaded."""
        for flow, steps in await self._ledger.store.open_flows():
            self._register(Run(flow, steps, touched=True))

    def resume(self) -> None:
        """Move every flow that stands still and whose code is loaded now."""
        for run in list(self._runs.values()):
            if run.tasks or run.compensator is not None:
                continue
            run.blocked = None
            if run.flow.state is FlowState.COMPENSATING:
                self._begin_undo(run)
                continue
            for step in list(run.steps.values()):
                if step.state is StepState.READY:
                    self._start(run, step)
                elif step.state is StepState.WAITING:
                    self._recheck(run, step)

    async def wait(self, id: str, timeout: float | None) -> Flow | None:
        """The flow when it has ended, or as it is after `timeout` seconds; None if unknown."""
        run = self._runs.get(id)
        if run is not None:
            waiter: asyncio.Future[Flow] = asyncio.get_running_loop().create_future()
            run.waiters.append(waiter)
            try:
                return await asyncio.wait_for(waiter, timeout)
            except TimeoutError:
                return run.flow
            finally:
                if waiter in run.waiters:
                    run.waiters.remove(waiter)
        stored = await self._ledger.store.flow(id)
        return None if stored is None else stored[0]

    async def close(self, grace: float) -> None:
        """Start nothing more; let attempts under way end within `grace` seconds, then cut them."""
        self._closing = True
        if self._closed is not None:
            self._closed.set_result(None)
        tasks = [t for run in self._runs.values() for t in run.tasks.values()]
        tasks += [run.compensator for run in self._runs.values() if run.compensator is not None]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=grace)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late, timeout=STUBBORN)
        for run in self._runs.values():
            _answer(run)

    async def forget(self, component: str) -> None:
        """Stop and drop the open flows of `component`, whose data is about to be dropped."""
        mine = [run for run in self._runs.values() if run.flow.component == component]
        for run in mine:
            tasks = [*run.tasks.values(), *([run.compensator] if run.compensator else [])]
            self._drop(run)
            _answer(run)
            for task in tasks:
                task.cancel()
            if tasks:
                await asyncio.wait(tasks, timeout=STUBBORN)

    # What a commit sets off

    def follow(self, registry: Registry, draft: Draft, work: Work) -> None:
        """Add to `draft` the steps that its events set off, and what its changes let go on."""
        run = self._runs.get(work.flow) if work.flow is not None else None
        if not draft.inert:
            for index, (event, about) in enumerate(draft.events):
                draft.events[index] = (self._consume(registry, draft, event, about, run), about)
        for key in draft.values:
            for id in self.about(key):
                self._release(registry, draft, self._runs[id], key)
        if draft.values:
            # A step that began to wait while this commit was under way was not there to be let go.
            draft.after.append(lambda: self._look_again(draft.values))
        if run is not None:
            self._complete(draft, run)

    async def replay(
        self, registry: Registry, revision: Revision, entry: Entry, cursor: Cursor
    ) -> None:
        """Take the steps that a stored event sets off in `revision`, which was not loaded then."""
        consumers = registry.consumers(entry.type)
        if not any(consumer.revision is revision for consumer in consumers):
            return
        event = decode_event(entry.doc)
        if event.flow is not None:
            # Stored while the component was coming back, or had come back before a crash.
            stored = await self._ledger.store.flow(event.flow)
            for step in () if stored is None else stored[1]:
                if step.cause == event.id and step.model.split(".", 1)[0] == revision.name:
                    return
        run = self._runs.get(event.flow) if event.flow is not None else None
        work = Work(key=event.id, label=revision.label, cause=event.id)

        def mark(draft: Draft) -> None:
            draft.commit.cursors.append(cursor)
            self._consume(registry, draft, event, about(event), run, only=revision)

        locks = () if run is None else (run.flow.id,)
        await self._ledger.settle(registry, work, locks=locks, mark=mark)

    def _consume(
        self,
        registry: Registry,
        draft: Draft,
        event: Event,
        about: str | None,
        run: Run | None,
        *,
        only: Revision | None = None,
    ) -> Event:
        """Add the steps that `event` sets off; the event, which may have got a flow by it."""
        started: list[Step] = []
        flow = None if run is None else _drafted(draft, run.flow)
        if flow is not None and flow.state is not FlowState.RUNNING:
            flow = None
        new: Run | None = None
        for consumer in registry.consumers(event.type):
            model, port = consumer.model, consumer.port
            record = _subject(event, about, model, port)
            if record is None:
                continue
            owner = consumer.revision
            if only is not None and owner is not only:
                continue
            if flow is not None and owner.name == flow.component:
                if registry.revision(flow.component, flow.version) is not owner:
                    continue
            elif registry.live.get(owner.name) is not owner:
                continue
            value = self._value(draft, model, record)
            if value is None:
                _log.warning(
                    "%s of event %s names %s %r, which does not exist: no step taken",
                    port.by or "subject",
                    event.type,
                    model.name,
                    record,
                )
                continue
            if flow is None:
                flow, new = self._open(registry, draft, event, about or model.key, owner)
                event = _replace(event, flow=flow.id)
                draft.flow = draft.flow or flow.id
            holder = run if new is None else new
            assert holder is not None  # noqa: S101 -- a flow is either the run's or the new one's
            step = Step(
                flow=flow.id,
                n=holder.next,
                model=model.key,
                port=port.name,
                record=record,
                cause=event.id,
                key=f"{flow.id}.{holder.next}",
                state=StepState.READY if _passes(port, value) else StepState.WAITING,
                updated=draft.now,
            )
            holder.next += 1
            started.append(step)
        if not started:
            return event
        draft.commit.steps += started
        if new is not None:
            draft.after.append(functools.partial(self._begin, new, started))
        elif run is not None:
            draft.after.append(functools.partial(self._extend, run, started, draft.leaving))
            draft.leaving = None
        return event

    def _open(
        self, registry: Registry, draft: Draft, event: Event, model: str, consumer: Revision
    ) -> tuple[Flow, Run]:
        """A new flow, owned by the component that `event` is about."""
        owner = registry.live.get(model.split(".", 1)[0], consumer)
        flow = Flow(
            id=self._ledger.clock.id(),
            root=event.id,
            component=owner.name,
            version=owner.version,
            digest=owner.digest,
            model=model,
            record=event.subject or "",
            state=FlowState.RUNNING,
            created=draft.now,
            updated=draft.now,
        )
        draft.commit.flows.append(flow)
        return flow, Run(flow, (), touched=False)

    def _value(self, draft: Draft, model: ModelSpec, record: str) -> Any:
        """The record as `draft` leaves it, as an instance of `model`'s own class."""
        key = (model.key, record)
        value = draft.values.get(key)
        if isinstance(value, model.cls):
            return value
        stored = draft.records[key] if key in draft.records else self._ledger.records.get(*key)
        return None if stored is None else model.decoder.decode(stored.doc)

    def _read(self, model: ModelSpec, record: str) -> Any:
        stored = self._ledger.records.get(model.key, record)
        return None if stored is None else model.decoder.decode(stored.doc)

    def _release(self, registry: Registry, draft: Draft, run: Run, key: Key) -> None:
        """Let go on the steps of `run` that waited for a condition which now holds."""
        for step in run.steps.values():
            if step.state is not StepState.WAITING or (step.model, step.record) != key:
                continue
            if run.flow.state is not FlowState.RUNNING or _in(draft.commit.steps, step):
                continue
            located = self._locate(run.flow, step)
            if located is None:
                continue
            if _passes(located.port, self._value(draft, located.model, step.record)):
                ready = _moved(step, StepState.READY, draft.now)
                draft.commit.steps.append(ready)
                draft.after.append(functools.partial(self._extend, run, [ready]))

    def _look_again(self, keys: Iterable[Key]) -> None:
        """Let go on what waits for one of these records and was not there when it changed."""
        for key in keys:
            for id in self.about(key):
                run = self._runs[id]
                if run.flow.state is FlowState.RUNNING:
                    for step in run.steps.values():
                        if step.state is StepState.WAITING and (step.model, step.record) == key:
                            self._recheck(run, step)

    def _recheck(self, run: Run, step: Step) -> None:
        """Look again at a waiting step's condition, which newer code may have changed."""
        if step.n in run.tasks or self._closing:
            return
        located = self._locate(run.flow, step)
        if located is None:
            run.blocked = _needs(run, step)
            return
        value = self._read(located.model, step.record)
        if value is not None and _passes(located.port, value):
            run.tasks[step.n] = asyncio.create_task(self._let_go(run, step))

    async def _let_go(self, run: Run, step: Step) -> None:
        try:
            # Whoever changed the record may have let it go meanwhile.
            ready = run.steps[step.n]
            if ready.state is StepState.WAITING:
                ready = await self._mark(run, step, StepState.READY)
        except asyncio.CancelledError:
            return
        except Exception:
            _log.exception("step %s of flow %s stands still", step.port, run.flow.id)
            run.blocked = f"someone to look at step {step.port}: see the log"
            return
        finally:
            run.tasks.pop(step.n, None)
        self._start(run, ready)

    def _complete(self, draft: Draft, run: Run) -> None:
        """End the flow with this commit if it leaves no step open."""
        if run.flow.state is not FlowState.RUNNING:
            return
        if _drafted(draft, run.flow).state is not FlowState.RUNNING:
            return
        steps = {**run.steps, **{s.n: s for s in draft.commit.steps if s.flow == run.flow.id}}
        if any(step.state in OPEN_STEPS for step in steps.values()):
            return
        ended = _flow_moved(run.flow, FlowState.COMPLETED, draft.now)
        draft.commit.flows.append(ended)
        draft.after.append(lambda: self._end(run, ended))

    # Bookkeeping after a commit

    def _register(self, run: Run) -> None:
        self._runs[run.flow.id] = run
        for key in run.keys():
            self._about.setdefault(key, set()).add(run.flow.id)
        undoing = run.flow.state is FlowState.COMPENSATING
        for step in run.steps.values():
            if (undoing or step.state in OPEN_STEPS) and self._locate(run.flow, step) is None:
                run.blocked = _needs(run, step)

    def _begin(self, run: Run, steps: list[Step]) -> None:
        run.steps = {step.n: step for step in steps}
        self._register(run)
        self._extend(run, steps)

    def _extend(self, run: Run, steps: list[Step], leaving: int | None = None) -> None:
        for step in steps:
            run.steps[step.n] = step
            self._about.setdefault((step.model, step.record), set()).add(run.flow.id)
            if run.flow.state is FlowState.RUNNING:
                if leaving in run.tasks and step.state is StepState.READY and not self._closing:
                    run.tasks[step.n] = run.tasks[leaving]
                    run.heirs[leaving] = step
                    leaving = None
                    continue
                self._start(run, step)
                if step.state is StepState.WAITING:
                    self._recheck(run, step)

    def _end(self, run: Run, flow: Flow) -> None:
        run.flow = flow
        self._drop(run)
        _answer(run)
        self.on_end(flow)

    def _drop(self, run: Run) -> None:
        self._runs.pop(run.flow.id, None)
        for key in set(run.keys()):
            ids = self._about.get(key)
            if ids is not None:
                ids.discard(run.flow.id)
                if not ids:
                    del self._about[key]

    # A step

    def _start(self, run: Run, step: Step) -> None:
        if step.state is StepState.READY and step.n not in run.tasks and not self._closing:
            self.turns.began()
            run.tasks[step.n] = asyncio.create_task(self._take(run, step))

    async def _take(self, run: Run, step: Step) -> None:
        """Attempt a step until it is done, refused or exhausted, and go on with what follows it."""
        try:
            while True:
                await self._attempts(run, step)
                heir = run.heirs.pop(step.n, None)
                if heir is None:
                    break
                run.tasks.pop(step.n, None)
                step = heir
        except asyncio.CancelledError:
            # Cut by the undo of its flow or by the end of the host: the outcome is unknown, and
            # whoever cut it says so.
            pass
        except Exception:
            _log.exception("step %s of flow %s stands still", step.port, run.flow.id)
            run.blocked = f"someone to look at step {step.port}: see the log"
        finally:
            self.turns.ended()
            run.tasks.pop(step.n, None)

    async def _attempts(self, run: Run, step: Step) -> None:
        rereads = 0
        while run.flow.state is FlowState.RUNNING and not self._closing:
            located = self._locate(run.flow, step)
            if located is None:
                run.blocked = _needs(run, step)
                return
            run.blocked = None
            port, call = located.port, located.port.call
            located.resident.enter()
            try:
                # Until the attempt has ended undo may cut it, while it waits for its turn too.
                run.attempting.add(step.n)
                self.turns.ended()
                try:
                    async with self._slots:
                        run.touched.add(step.n)
                        work = await self._call(run, step, located, call, port.policy, port)
                finally:
                    self.turns.began()
                    run.attempting.discard(step.n)
                # From here on it is done outside: undo waits for this commit instead of cutting it.
                done = _moved(step, StepState.DONE, "")
                await self._settle(run, done, work, located.resident)
                return
            except Refused as refusal:
                await self._fail(run, step, StepState.REFUSED, refusal, located)
                return
            except ConflictError as error:
                if not call.adapters and rereads < REREADS:
                    rereads += 1
                    continue
                await self._fail(run, step, StepState.UNKNOWN, error, located)
                return
            except Exception as error:
                retried = await self._failed_attempt(run, step, error, located)
                if retried is None:
                    return
                step, pause = retried
            finally:
                located.resident.leave()
            run.attempting.add(step.n)
            self.turns.ended()
            try:
                await self._pause(run, pause)
            finally:
                self.turns.began()
                run.attempting.discard(step.n)

    async def _failed_attempt(
        self, run: Run, step: Step, error: Exception, located: Located
    ) -> tuple[Step, float] | None:
        """Count a failed attempt; the step and the pause before the next, None when exhausted."""
        attempts = step.attempts + 1
        pause = located.port.policy.pause(attempts)
        if pause is None:
            # Whatever an adapter raised, its partner may have acted; without one nothing did.
            unknown = bool(located.port.call.adapters) and located.port.effect
            state = StepState.UNKNOWN if unknown else StepState.FAILED
            await self._fail(run, _counted(step, attempts), state, error, located)
            return None
        _log.warning(
            "%s.%s of %s, attempt %d: %s; again in %g s",
            located.model.key,
            step.port,
            step.record,
            attempts,
            _said(error),
            pause,
        )
        counted = _counted(step, attempts, _said(error))
        return await self._mark(run, counted, StepState.READY), pause

    async def _call(
        self,
        run: Run,
        step: Step,
        located: Located,
        call: Call,
        policy: Policy,
        port: PortSpec | None,
    ) -> Work:
        """Run a port or an undo (then `port` is None) once; the work it leaves to commit."""
        record = self._ledger.records.get(step.model, step.record)
        if record is None:
            raise Refused(f"{located.model.name} {step.record!r} is gone")
        before = located.model.decoder.decode(record.doc)
        work = Work(
            key=step.key,
            label=located.resident.revision.label,
            model=step.model,
            subject=step.record,
            cause=step.cause,
            flow=run.flow.id,
        )
        arguments: Mapping[str, Any] = located.resident.adapters(call)
        if call.event is not None:
            entry = await self._ledger.store.event(step.cause)
            event = None if entry is None else decode_event(entry.doc)
            arguments = {**arguments, call.event: event}
        def alarm() -> None:
            run.blocked = f"port {step.port}, which ignores its cancellation"

        after = await attempt(call, before, arguments, policy.timeout, work, step.port, alarm)
        after = returned(located.model, step.port, after, before)
        event_name = located.model.updated
        if port is not None and port.produces is not None:
            event_name = port.produces
        work.changes[(step.model, step.record)] = Change(
            spec=located.model,
            id=step.record,
            base=record,
            before=before,
            after=after,
            event=event_name,
            always=port is not None and port.produces is not None,
        )
        return work

    async def _commit(
        self, run: Run, work: Work, mark: Callable[[Draft], None], resident: Resident | None = None
    ) -> None:
        """Settle work of a flow; while the store refuses, the flow waits for it.

        What a partner has done is done: to ask it again, or to undo it, would need the store too.
        """
        while True:
            try:
                await self._ledger.settle(
                    self._registry(), work, resident=resident, locks=(run.flow.id,), mark=mark
                )
            except StoreError as error:
                _log.error("the store refused a step of flow %s: %s", run.flow.id, error)
                run.blocked = f"the store: {error}"
                if self._closing:
                    raise
                await self._sleep(STALLED)
            else:
                run.blocked = None
                return

    async def _settle(self, run: Run, step: Step, work: Work, resident: Resident) -> None:
        def mark(draft: Draft) -> None:
            # A step that ends after the undo of its flow began leads nowhere; it is undone next.
            late = run.flow.state is not FlowState.RUNNING
            draft.inert = late and step.state is StepState.DONE
            draft.leaving = step.n if step.state is StepState.DONE else None
            step.updated = draft.now
            draft.commit.steps.append(step)
            draft.after.append(lambda: run.steps.__setitem__(step.n, step))

        await self._commit(run, work, mark, resident)

    async def _mark(self, run: Run, step: Step, state: StepState) -> Step:
        """Store that a step is in `state`, and nothing else."""
        moved = step if step.state is state else _moved(step, state, "")
        work = Work(key=step.key, label=run.flow.component, flow=run.flow.id)

        def mark(draft: Draft) -> None:
            moved.updated = draft.now
            draft.commit.steps.append(moved)
            draft.after.append(lambda: run.steps.__setitem__(moved.n, moved))

        await self._commit(run, work, mark)
        return moved

    async def _fail(
        self, run: Run, step: Step, state: StepState, error: Exception, located: Located
    ) -> None:
        """Store how a step ended, and begin the undo of its flow in the same commit."""
        said = _said(error)
        failed = _moved(step, state, "")
        failed.error = said
        work = Work(
            key=step.key,
            label=located.resident.revision.label,
            model=step.model,
            subject=step.record,
            cause=step.cause,
            flow=run.flow.id,
        )
        emission = error.emit if isinstance(error, Refused) else None
        if isinstance(emission, Emission):
            subject = emission.subject if emission.subject is not None else step.record
            work.emissions.append(Emission(emission.type, emission.data, subject))

        def mark(draft: Draft) -> None:
            failed.updated = draft.now
            draft.commit.steps.append(failed)
            draft.after.append(lambda: run.steps.__setitem__(failed.n, failed))
            self.undo(draft, run.flow.id, f"{step.port}: {said}")

        await self._commit(run, work, mark)

    # Undo

    def undo(self, draft: Draft, id: str, reason: str) -> None:
        """Begin with `draft` the undo of a running flow; for marks."""
        run = self._runs[id]
        if run.flow.state is not FlowState.RUNNING:
            return
        flow = _flow_moved(run.flow, FlowState.COMPENSATING, draft.now, reason)
        draft.commit.flows.append(flow)

        def begin() -> None:
            run.flow = flow
            self._begin_undo(run)

        draft.after.append(begin)

    async def continue_undo(self, id: str) -> Flow:
        """Take up the undo of a flow again where it failed.

        Raises NotFoundError for an unknown flow, ConflictError for one whose undo did not fail.
        """
        stored = await self._ledger.store.flow(id)
        if stored is None:
            raise NotFoundError(f"there is no flow {id!r}")
        run = Run(*stored, touched=False)
        work = Work(key=id, label=run.flow.component)

        def mark(draft: Draft) -> None:
            if id in self._runs or run.flow.state is not FlowState.COMPENSATION_FAILED:
                raise ConflictError(
                    f"flow {id!r} is {run.flow.state}", hint="only a failed undo can be continued"
                )
            flow = _flow_moved(run.flow, FlowState.COMPENSATING, draft.now, run.flow.error)
            draft.commit.flows.append(flow)

            def begin() -> None:
                run.flow = flow
                self._register(run)
                self._begin_undo(run)

            draft.after.append(begin)

        await self._ledger.settle(self._registry(), work, locks=(id,), mark=mark)
        return run.flow

    def _begin_undo(self, run: Run) -> None:
        if run.compensator is None and not self._closing:
            run.compensator = asyncio.create_task(self._compensate(run))

    async def _compensate(self, run: Run) -> None:
        try:
            await self._cut(run)
            if not any(self._locate(run.flow, step) for step in run.steps.values()):
                # Its end is told by an event of the model, so even with nothing to undo it waits.
                run.blocked = _needs(run, next(iter(run.steps.values())))
                return
            for step in sorted(run.steps.values(), key=lambda s: -s.n):
                if step.state not in NEEDS_UNDO:
                    continue
                located = self._locate(run.flow, step)
                if located is None:
                    run.blocked = _needs(run, step)
                    return
                if located.port.undo is None:
                    continue
                failure = await self._undo_step(run, step, located)
                if self._closing:
                    return
                if failure is not None:
                    await self._finish(run, FlowState.COMPENSATION_FAILED, failure, step)
                    return
            await self._finish(run, FlowState.COMPENSATED, run.flow.error, None)
        except asyncio.CancelledError:
            pass
        except Exception:
            _log.exception("the undo of flow %s stands still", run.flow.id)
            run.blocked = "someone to look at its undo: see the log"
        finally:
            run.compensator = None

    async def _cut(self, run: Run) -> None:
        """End every attempt under way, and say of each open step what is known of it."""
        me = asyncio.current_task()
        for n in list(run.attempting):
            task = run.tasks.get(n)
            if task is not None and task is not me:
                task.cancel()
        tasks = [task for task in run.tasks.values() if task is not me]
        while tasks:
            _, late = await asyncio.wait(tasks, timeout=STUBBORN)
            if not late:
                break
            names = ", ".join(run.steps[n].port for n in run.tasks if n in run.steps)
            run.blocked = f"port {names}, which ignores its cancellation"
            _log.error("undo of flow %s waits for %s", run.flow.id, run.blocked)
            tasks = list(late)
        run.blocked = None
        for step in list(run.steps.values()):
            if step.state is StepState.READY and step.n in run.touched:
                await self._mark(run, step, StepState.UNKNOWN)
            elif step.state in OPEN_STEPS:
                await self._mark(run, step, StepState.DROPPED)

    async def _undo_step(self, run: Run, step: Step, located: Located) -> str | None:
        """Undo one step with the undo's own policy; what went wrong when it cannot be done."""
        attempts = 0
        while not self._closing:
            fresh = self._locate(run.flow, step) or located
            undo, policy = fresh.port.undo, fresh.port.undo_policy
            if undo is None:
                return None
            fresh.resident.enter()
            try:
                work = await self._call(run, step, fresh, undo, policy, None)
                undone = _moved(step, StepState.UNDONE, "")
                await self._settle(run, undone, work, fresh.resident)
                return None
            except Exception as error:
                attempts += 1
                pause = policy.pause(attempts)
                if pause is None or isinstance(error, Refused):
                    return f"undo of {step.port}: {_said(error)}"
                _log.warning(
                    "undo of %s of %s, attempt %d: %s; again in %g s",
                    step.port,
                    step.record,
                    attempts,
                    _said(error),
                    pause,
                )
            finally:
                fresh.resident.leave()
            await self._pause(run, pause)
        return None

    async def _pause(self, run: Run, seconds: float) -> None:
        """Sleep before the next attempt, unless the host is closing or there will be none."""
        cut = run.flow.state is FlowState.COMPENSATING
        if not cut or run.compensator is asyncio.current_task():
            await self._sleep(seconds)

    async def _sleep(self, seconds: float) -> None:
        """Sleep, but no longer than the host is open."""
        sleep = asyncio.ensure_future(self._ledger.clock.sleep(seconds))
        try:
            await asyncio.wait([sleep, self._end_of_days()], return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleep.cancel()

    def _end_of_days(self) -> asyncio.Future[None]:
        """Resolved when the host closes."""
        if self._closed is None:
            self._closed = asyncio.get_running_loop().create_future()
            if self._closing:
                self._closed.set_result(None)
        return self._closed

    async def _finish(
        self, run: Run, state: FlowState, error: str | None, step: Step | None
    ) -> None:
        """Store the end of an undone flow with the event that tells of it."""
        located = next(
            (f for s in run.steps.values() if (f := self._locate(run.flow, s)) is not None), None
        )
        label = run.flow.component if located is None else located.resident.revision.label
        work = Work(key=run.flow.id, label=label, cause=run.flow.root)

        def mark(draft: Draft) -> None:
            flow = _flow_moved(run.flow, state, draft.now, error)
            draft.commit.flows.append(flow)
            if step is not None:
                failed = _moved(step, StepState.UNDO_FAILED, draft.now)
                failed.error = error
                draft.commit.steps.append(failed)
            model = self._registry().models.get(run.flow.model)
            if model is None and located is not None:
                model = located.model
            if model is not None:
                complete = state is FlowState.COMPENSATED
                name = model.compensated if complete else model.compensation_failed
                data = {"flow": flow.id, "error": error}
                self._ledger.add(
                    draft, work, Emission(name, data, run.flow.record), run.flow.model
                )
            draft.after.append(lambda: self._end(run, flow))

        await self._commit(run, work, mark)


async def attempt(
    call: Call,
    value: Any,
    arguments: Mapping[str, Any],
    timeout: float,
    work: Work,
    name: str,
    alarm: Callable[[], None] | None = None,
) -> Any:
    """Call a marked method once within `timeout` seconds; what it returned.

    `alarm` is called when it still runs STUBBORN seconds after it was cancelled at its timeout.

    Raises PortTimeoutError when it was cancelled at its timeout, else whatever it raised. The
    deadline is one timer of the loop: asyncio.timeout costs four times as much.
    """
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    token = WORK.set(work)
    try:
        try:
            result = call.fn(value, **arguments) if value is not None else call.fn(**arguments)
        except (SystemExit, asyncio.CancelledError) as error:
            raise _gave_up(name, error) from error
        if not inspect.isawaitable(result):
            return result
        expired = False

        def expire() -> None:
            nonlocal expired
            expired = True
            if task is not None:
                task.cancel()
                loop.call_later(STUBBORN, stubborn)

        def stubborn() -> None:
            if not ended:
                _log.error("port %s ignores its cancellation after %g s", name, timeout)
                if alarm is not None:
                    alarm()

        ended = False
        timer = loop.call_later(timeout, expire)
        try:
            return await result
        except SystemExit as error:
            raise _gave_up(name, error) from error
        except asyncio.CancelledError as error:
            if not expired:
                if task is None or task.cancelling():
                    raise
                # Nobody cancelled it: what it awaited was cancelled by its own code.
                raise _gave_up(name, error) from error
            raise PortTimeoutError(
                f"{name} gave no answer within {timeout:g} s",
                hint="whether its partner acted is unknown",
            ) from None
        finally:
            ended = True
            timer.cancel()
            if expired and task is not None:
                task.uncancel()
    finally:
        WORK.reset(token)


def _gave_up(name: str, error: BaseException) -> PortError:
    """What ends a task or a process, raised by component code, as an error of that code."""
    return PortError(f"{name} raised {type(error).__name__}", hint="raise an Exception instead")


def returned(model: ModelSpec, name: str, after: Any, before: Any) -> Any:
    """What a port or command returned, checked: the record, or None for no change."""
    if after is None:
        return before
    cls: type[Any] = model.cls
    if type(after) is not cls:
        raise PortError(
            f"{model.key}.{name} returned {type(after).__name__}",
            hint=f"return self.update(...), or None for no change; not {after!r:.80}",
        )
    if after.id != before.id:
        raise PortError(f"{model.key}.{name} changed the record's id")
    return after


def decode_event(doc: bytes) -> Event:
    """The event of a journal entry."""
    return _EVENT.decode(doc)


def about(event: Event) -> str | None:
    """The key of the model whose record an event is about, as its source says."""
    parts = event.source.split("/")
    return f"{parts[3]}.{parts[5]}" if len(parts) == 6 else None


def _subject(event: Event, about: str | None, model: ModelSpec, port: PortSpec) -> str | None:
    """The id of the record whose `port` the event sets off, None when it is not meant."""
    if port.by is None:
        return event.subject if about == model.key else None
    found = event.data.get(port.by)
    if found is None:
        changed = event.data.get("changed")
        found = changed.get(port.by) if isinstance(changed, dict) else None
    if found is None and about is not None and port.by == "id":
        found = event.subject
    return found if isinstance(found, str) else None


def _answer(run: Run) -> None:
    """Tell whoever waits for the flow how it stands."""
    for waiter in run.waiters:
        if not waiter.done():
            waiter.set_result(run.flow)


def _nothing(_: Flow) -> None:
    """What follows the end of a flow when nobody asked."""


def _passes(port: PortSpec, value: Any) -> bool:
    if port.when is None:
        return True
    try:
        return bool(port.when(value))
    except Exception:
        _log.exception("the condition of port %s raised: the step waits", port.name)
        return False


def _drafted(draft: Draft, flow: Flow) -> Flow:
    """The flow as `draft` will leave it."""
    return next((f for f in reversed(draft.commit.flows) if f.id == flow.id), flow)


def _needs(run: Run, step: Step) -> str:
    """The component that a step waits for."""
    component = step.model.split(".", 1)[0]
    own = component == run.flow.component
    return f"component {component}@{run.flow.version}" if own else f"component {component}"


def _in(steps: list[Step], step: Step) -> bool:
    return any(s.flow == step.flow and s.n == step.n for s in steps)


def _moved(step: Step, state: StepState, now: str) -> Step:
    if state not in STEP_CHANGES[step.state]:
        raise AegisError(f"step {step.port}: {step.state} cannot become {state}")
    return _replace(step, state=state, updated=now)


def _counted(step: Step, attempts: int, error: str | None = None) -> Step:
    return _replace(step, attempts=attempts, error=error)


def _flow_moved(flow: Flow, state: FlowState, now: str, error: str | None = None) -> Flow:
    if state not in FLOW_CHANGES[flow.state]:
        raise AegisError(f"flow {flow.id}: {flow.state} cannot become {state}")
    return _replace(flow, state=state, updated=now, error=error)


def _said(error: Exception) -> str:
    if isinstance(error, AegisError):
        return str(error)
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
