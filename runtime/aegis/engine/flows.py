"""The open flows: which steps a commit sets off, what they wait for, and when a flow has ended."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Callable, Collection, Iterable
from typing import Any

import msgspec

from aegis.core.component import ModelSpec, Revision
from aegis.core.errors import BusyError, ConflictError
from aegis.core.event import IMPORT, MIGRATION, UNDO, Event, decode_event
from aegis.core.flow import OPEN_STEPS, UNDONE, Flow, FlowState, Step, StepState
from aegis.core.registry import Registry
from aegis.engine import recorder
from aegis.engine.answers import Answers
from aegis.engine.attempt import STUBBORN
from aegis.engine.boundary import Boundary
from aegis.engine.ledger import Draft, Ledger
from aegis.engine.recorder import Recorder
from aegis.engine.resident import Resident
from aegis.engine.run import Locate, Run
from aegis.engine.steps import Steps
from aegis.engine.timers import Timers, time_of
from aegis.engine.triggers import Triggers, about, drafted, is_joined, passes
from aegis.engine.undo import Undo
from aegis.engine.work import Change, Key, Work
from aegis.protocols import Cleared, Cursor, Entry

_replace = msgspec.structs.replace

_log = logging.getLogger("aegis.host")


class Flows:
    """All open flows of a host."""

    def __init__(
        self, ledger: Ledger, locate: Locate, registry: Callable[[], Registry], *, limit: int
    ) -> None:
        self.ledger = ledger
        self.boundary = Boundary()
        ledger.outdated = self.boundary.outdated
        self.locate = locate
        self.registry = registry
        self.steps = Steps(self, limit)
        self.undoing = Undo(self, self.steps)
        self.triggers = Triggers(self)
        self.answers = Answers(self)
        self.timers = Timers(ledger.clock)
        self.recorder: Recorder | None = None
        self.on_end: Callable[[Flow], None] = _nothing
        self.away: Collection[str] = ()
        self._most = 20 * limit
        self._runs: dict[str, Run] = {}
        self._about: dict[Key, set[str]] = {}
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

    def is_short(self) -> bool:
        """Whether code is missing that was there, or that an open flow needs."""
        return bool(self.away) or any(run.blocked is not None for run in self._runs.values())

    def run(self, id: str) -> Run:
        """An open flow. Raises KeyError."""
        return self._runs[id]

    def flow(self, id: str) -> Flow:
        """The stored state of an open flow. Raises KeyError."""
        return self._runs[id].flow

    def find(self, id: str) -> Run | None:
        """An open flow, None when there is none of that id."""
        return self._runs.get(id)

    def is_open(self, id: str) -> bool:
        """Whether the flow is one of these."""
        return id in self._runs

    def admit(self) -> None:
        """Raise BusyError when more steps are under way than this host takes on."""
        if self.steps.active >= self._most:
            raise BusyError(f"{self._most} steps are under way, which is this host's limit")

    async def load(self) -> None:
        """Take over the open flows of the store; they move when their components are loaded."""
        for flow, steps in await self.ledger.store.open_flows():
            self.register(Run(flow, steps, touched=True))
        await self.answers.load()

    def resume(self) -> None:
        """Move every flow that stands still and whose code is loaded now."""
        for run in list(self._runs.values()):
            if run.tasks or run.compensator is not None:
                continue
            run.blocked = run.stuck = None
            if run.flow.state is FlowState.COMPENSATING:
                self.undoing.start(run)
                continue
            for step in list(run.steps.values()):
                if step.state in OPEN_STEPS and self.locate(run.flow, step) is None:
                    run.blocked = run.needs(step)
                elif step.state is StepState.READY:
                    self.steps.start(run, step)
                elif step.state is StepState.WAITING:
                    self._recheck(run, step)
                elif step.state is StepState.ASKED:
                    self.attend(run, step)

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
        stored = await self.ledger.store.flow(id)
        return None if stored is None else stored[0]

    async def close(self, grace: float) -> None:
        """Start nothing more; let attempts under way end within `grace` seconds, then cut them."""
        tasks = [t for run in self._runs.values() for t in run.tasks.values()]
        tasks += [run.compensator for run in self._runs.values() if run.compensator is not None]
        await self.timers.close()
        await self.steps.close(tasks, grace)
        for run in self._runs.values():
            run.answer()

    async def forget(self, component: str) -> None:
        """Stop and drop the open flows of `component`, whose data is about to be dropped."""
        mine = [run for run in self._runs.values() if run.flow.component == component]
        for run in mine:
            tasks = [*run.tasks.values(), *([run.compensator] if run.compensator else [])]
            self._drop(run)
            run.answer()
            for task in tasks:
                task.cancel()
            if tasks:
                await asyncio.wait(tasks, timeout=STUBBORN)

    # What a commit sets off

    def follow(self, registry: Registry, draft: Draft, work: Work) -> None:
        """Add to `draft` the steps that its events set off, and what its changes let go on."""
        run = self._runs.get(work.flow) if work.flow is not None else None
        if not draft.inert:
            for index, (told, about) in enumerate(draft.events):
                answered, event = self.answers.take(registry, draft, told)
                followed = self.triggers.consume(registry, draft, event, about, run or answered)
                draft.events[index] = (followed, about)
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
        if event.origin in (IMPORT, MIGRATION):
            return
        run = None if event.flow is None else self._runs.get(event.flow)
        stored = None if event.flow is None else await self.ledger.store.flow(event.flow)
        for step in () if stored is None else stored[1]:
            # Stored while the component was coming back, or had come back before a crash.
            heard = {step.cause, *(step.joined or {}).values()}
            if event.id in heard and step.model.split(".", 1)[0] == revision.name:
                return
        work = Work(key=event.id, label=revision.label, cause=event.id)

        def mark(draft: Draft) -> None:
            draft.commit.cursors.append(cursor)
            flow = run.flow if run is not None else stored and stored[0]
            if flow and flow.state in UNDONE and event.origin != UNDO:
                return  # what led to it is taken back: nothing follows it
            self.triggers.consume(registry, draft, event, about(event), run, only=revision)

        locks = () if run is None else (run.flow.id,)
        await self.ledger.settle(registry, work, locks=locks, mark=mark)

    async def again(
        self,
        registry: Registry,
        event: Event,
        cleared: Iterable[Cleared],
        edit: tuple[Change, Resident] | None = None,
    ) -> str:
        """Begin one more flow of a stored event; its id. What is `cleared` leaves the failed list.

        The event is not published again, and the steps have keys of their own: to partners they
        are new. `edit` changes a record in the same commit. Raises ConflictError when the event
        sets nothing off any more.
        """
        work = Work(key=event.id, label="host", cause=event.id)
        resident = None
        if edit is not None:
            change, resident = edit
            work.label, work.model, work.subject = resident.revision.label, *change.key
            work.changes[change.key] = change
        fresh = msgspec.structs.replace(event, flow=None)
        begun: list[str] = []

        def mark(draft: Draft) -> None:
            begun.append(
                self.triggers.consume(registry, draft, fresh, about(fresh), None).flow or ""
            )
            if not draft.commit.steps:
                raise ConflictError(
                    f"{event.type} of {event.subject!r} sets off nothing any more",
                    hint="deploy the component that consumes it, or discard this failure",
                )
            draft.commit.cleared += cleared

        await self.ledger.settle(registry, work, resident=resident, mark=mark)
        return begun[0]

    def _read(self, model: ModelSpec, record: str) -> Any:
        stored = self.ledger.records.get(model.key, record)
        return None if stored is None else model.value(stored)

    def _release(self, registry: Registry, draft: Draft, run: Run, key: Key) -> None:
        """Let go on the steps of `run` that waited for a condition which now holds."""
        for step in run.steps.values():
            if step.state is not StepState.WAITING or (step.model, step.record) != key:
                continue
            if run.flow.state is not FlowState.RUNNING or _in(draft.commit.steps, step):
                continue
            located = self.locate(run.flow, step)
            if located is None:
                continue
            if not is_joined(located.port, step):
                continue
            if passes(located.port, self.triggers.value(draft, located.model, step.record)):
                ready = step.moved(StepState.READY)
                draft.commit.steps.append(ready)
                draft.flow = draft.flow or run.flow.id
                draft.after.append(functools.partial(self.extend, run, [ready]))

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
        if step.n in run.tasks or self.steps.closing:
            return
        located = self.locate(run.flow, step)
        if located is None:
            run.blocked = run.needs(step)
            return
        if self.may_go(run, step) or not self.ledger.elsewhere.is_at_hand(
            (step.model, step.record)
        ):
            run.tasks[step.n] = asyncio.create_task(self._let_go(run, step))

    def may_go(self, run: Run, step: Step) -> bool:
        """Whether nothing keeps a waiting step waiting any more."""
        located = self.locate(run.flow, step)
        if located is None or not is_joined(located.port, step):
            return False
        if not self.ledger.elsewhere.is_at_hand((step.model, step.record)):
            return False
        value = self._read(located.model, step.record)
        return value is not None and passes(located.port, value)

    async def _let_go(self, run: Run, step: Step) -> None:
        try:
            # Whoever changed the record may have let it go meanwhile.
            key = (step.model, step.record)
            with self.ledger.elsewhere.holding() as hold:
                if not self.ledger.elsewhere.is_at_hand(key):
                    await self.steps.reached(run, lambda: hold([key]))
                    if run.steps[step.n].state is StepState.WAITING and not self.may_go(run, step):
                        return
                ready = run.steps[step.n]
                if ready.state is StepState.WAITING:
                    ready = await self.steps.mark(run, step, StepState.READY)
        except asyncio.CancelledError:
            return
        except Exception:
            _log.exception("step %s of flow %s stands still", step.port, run.flow.id)
            run.give_up(f"someone to look at step {step.port}: see the log")
            return
        finally:
            run.tasks.pop(step.n, None)
        self.steps.start(run, ready)

    def _complete(self, draft: Draft, run: Run) -> None:
        """End the flow with this commit if it leaves no step open."""
        if run.flow.state is not FlowState.RUNNING:
            return
        if drafted(draft, run.flow).state is not FlowState.RUNNING:
            return
        if any(s.state in OPEN_STEPS and s.flow == run.flow.id for s in draft.commit.steps):
            return
        steps = {**run.steps, **{s.n: s for s in draft.commit.steps if s.flow == run.flow.id}}
        if any(step.state in OPEN_STEPS for step in steps.values()):
            return
        ended = run.flow.moved(FlowState.COMPLETED, draft.now)
        draft.commit.flows.append(ended)
        draft.after.append(lambda: self.end(run, ended))

    # Bookkeeping after a commit

    def register(self, run: Run) -> None:
        self._runs[run.flow.id] = run
        run.watch = self.ledger.monitor.flow
        for key in run.about():
            self._about.setdefault(key, set()).add(run.flow.id)
        undoing = run.flow.state is FlowState.COMPENSATING
        for step in run.steps.values():
            if step.state is StepState.ASKED and not undoing:
                self.attend(run, step)
            if (undoing or step.state in OPEN_STEPS) and self.locate(run.flow, step) is None:
                run.blocked = run.needs(step)

    def begin(self, run: Run, steps: list[Step]) -> None:
        run.steps = {step.n: step for step in steps}
        self.register(run)
        self.extend(run, steps)

    def put(self, draft: Draft, run: Run, step: Step) -> None:
        """Store with `draft` how a step stands now; for marks."""
        step.updated = draft.now
        draft.commit.steps.append(step)
        recorder.store(draft, run)
        draft.after.append(functools.partial(self._put, run, step))

    def _put(self, run: Run, step: Step) -> None:
        before = run.steps.get(step.n)
        if before is not None and before.state is StepState.ASKED:
            self.timers.drop((run.flow.id, step.n))
            self.answers.waits.remove(run, before)
        run.steps[step.n] = step
        if step.state is StepState.ASKED:
            self.attend(run, step)

    def go_on(self, draft: Draft, run: Run, step: Step) -> None:
        """Store with `draft` that a step is ready, and take it then; for marks."""
        step.updated = draft.now
        draft.commit.steps.append(step)
        draft.after.append(functools.partial(self.extend, run, [step]))

    def attend(self, run: Run, step: Step) -> None:
        """See to a step that was asked: it may have its answer, or be too late for one."""
        self.answers.expect(run, step)
        if step.due is not None:
            expire = functools.partial(self._expire, run, step)
            self.timers.set((run.flow.id, step.n), time_of(step.due), expire)

    def _expire(self, run: Run, step: Step) -> None:
        if run.steps.get(step.n) is not step or run.flow.state is not FlowState.RUNNING:
            return
        if self.locate(run.flow, step) is None:  # who brings the code has it attended to again
            run.blocked = run.needs(step)
            return
        self.steps.expire(run, step)

    def extend(self, run: Run, steps: list[Step], leaving: int | None = None) -> None:
        for step in steps:
            self._put(run, step)
            self._about.setdefault((step.model, step.record), set()).add(run.flow.id)
            if run.flow.state is FlowState.RUNNING:
                if leaving is not None and self.steps.inherit(run, step, leaving):
                    leaving = None
                    continue
                self.steps.start(run, step)
                if step.state is StepState.WAITING:
                    self._recheck(run, step)

    def move(self, draft: Draft, component: str, version: str, digest: str) -> int:
        """Move with `draft` all open flows of a component to another code; how many those are."""
        moved = 0
        for run in self._runs.values():
            flow = run.flow
            if flow.component == component and (flow.version, flow.digest) != (version, digest):
                new = _replace(flow, version=version, digest=digest, updated=draft.now)
                draft.commit.flows.append(new)
                draft.after.append(functools.partial(self._moved, run, new))
                moved += 1
        return moved

    def _moved(self, run: Run, flow: Flow) -> None:
        run.flow = flow
        self.ledger.monitor.flow(run)

    def end(self, run: Run, flow: Flow) -> None:
        run.flow = flow
        self._drop(run)
        self.ledger.monitor.flow(run)
        run.answer()
        self.on_end(flow)

    def _drop(self, run: Run) -> None:
        self._runs.pop(run.flow.id, None)
        for step in run.steps.values():
            if step.state is StepState.ASKED:
                self.timers.drop((run.flow.id, step.n))
                self.answers.waits.remove(run, step)
        for key in set(run.about()):
            ids = self._about.get(key)
            if ids is not None:
                ids.discard(run.flow.id)
                if not ids:
                    del self._about[key]


def _nothing(_: Flow) -> None:
    """What follows the end of a flow when nobody asked."""


def _in(steps: list[Step], step: Step) -> bool:
    return any(s.flow == step.flow and s.n == step.n for s in steps)
