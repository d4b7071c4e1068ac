"""Takes the steps of open flows: attempts and retries them, and stores what came of each."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from aegis.core.component import Call, PortSpec
from aegis.core.errors import (
    BreakerOpenError,
    ConflictError,
    DatasourceError,
    MigratingError,
    PortError,
    PortTimeoutError,
    Refused,
    StoreError,
)
from aegis.core.event import UNDO, Emission, decode_event
from aegis.core.flow import FlowState, Step, StepState, Wait
from aegis.core.policy import Policy
from aegis.core.port import Waiting
from aegis.core.record import Record
from aegis.engine.attempt import STUBBORN, attempt, pause_after, returned, said
from aegis.engine.context import CALLER
from aegis.engine.gate import Gate, admit, shut
from aegis.engine.ledger import Draft
from aegis.engine.resident import Resident
from aegis.engine.run import Located, Run
from aegis.engine.timers import stamped, time_of
from aegis.engine.turns import Turns
from aegis.engine.work import Change, Work

if TYPE_CHECKING:
    from aegis.engine.flows import Flows

# Seconds until a store that refused is asked again.
STALLED = 1.0
# A port without adapters is pure: a conflict only means that it read too early.
REREADS = 10

# Steps on the loop (not at a partner's) beyond which new flows wait for their turn: enough to fill
# the group of a commit, few enough for a step to be through in milliseconds.
MOVING = 24

T = TypeVar("T")

_log = logging.getLogger("aegis.host")


class Steps:
    """The tasks that take steps. `limit` attempts run at a time; `active` counts the tasks."""

    def __init__(self, flows: Flows, limit: int) -> None:
        self._flows = flows
        self._slots = asyncio.Semaphore(limit)
        self.turns = Turns(MOVING, line=20 * limit)
        self.active = 0
        self.closing = False
        self._closed: asyncio.Future[None] | None = None
        self._announcing: set[asyncio.Task[None]] = set()

    def start(self, run: Run, step: Step) -> None:
        """Take a step that is ready, unless somebody does already."""
        if step.state is StepState.READY:
            self.expire(run, step)

    def expire(self, run: Run, step: Step) -> None:
        """Take a step that was asked: its deadline is over, so its attempt has failed."""
        if step.n not in run.tasks and not self.closing:
            self.turns.began()
            self.active += 1
            run.tasks[step.n] = asyncio.create_task(self._take(run, step))

    def inherit(self, run: Run, step: Step, leaving: int) -> bool:
        """Let the task of the step that is `leaving` go on with `step`, if it can."""
        task = run.tasks.get(leaving)
        if task is None or step.state is not StepState.READY or self.closing:
            return False
        run.tasks[step.n] = task
        run.heirs[leaving] = step
        return True

    async def close(self, tasks: list[asyncio.Task[None]], grace: float) -> None:
        """Start nothing more; let `tasks` end within `grace` seconds, then cut them."""
        self.closing = True
        if self._closed is not None:
            self._closed.set_result(None)
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=grace)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late, timeout=STUBBORN)
        if self._announcing:
            await asyncio.wait(self._announcing, timeout=grace)

    async def _take(self, run: Run, step: Step) -> None:
        """Attempt a step until it is done, refused or exhausted, and go on with what follows it."""
        CALLER.set(run.caller)
        try:
            while True:
                await self._stand(run, step)
                late = await self._unanswered(run, step)
                if late is not None:
                    await self._attempts(run, late)
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
            run.give_up(f"someone to look at step {step.port}: see the log")
        finally:
            self.turns.ended()
            self.active -= 1
            run.tasks.pop(step.n, None)
            self.overtaken(run, step)

    def overtaken(self, run: Run, step: Step) -> None:
        """See to what came for a step while its task was about to end: its answer, its deadline."""
        now = run.steps.get(step.n)
        if now is None or run.flow.state is not FlowState.RUNNING:
            return
        if now.state is StepState.ASKED:
            self._flows.attend(run, now)
        elif now.answer is not None and now.answer != step.answer:
            self.start(run, now)

    async def _unanswered(self, run: Run, step: Step) -> Step | None:
        """The step as it is attempted; of one that was asked in vain the next time, if any."""
        if step.state is StepState.READY:
            if step.due is not None:  # it was pausing when the host ended
                left = time_of(step.due) - self._flows.ledger.clock.now()
                await self._rest(run, step, left.total_seconds())
            return step
        located = self._flows.locate(run.flow, step)
        if located is None:
            run.blocked = run.needs(step)
            return None
        names = " or ".join(() if step.wait is None else step.wait.events)
        error = PortTimeoutError(
            f"{step.port} got no {names} until {step.due}",
            hint="whether its partner acted is unknown",
        )
        run.touched.add(step.n)  # it was asked, if not by this process
        again = step.moved(StepState.READY)
        again.wait = again.due = None

        def unanswered(_: Draft) -> None:
            if run.steps[step.n] is not step:
                raise ConflictError(f"{step.port} got its answer in the last moment")

        located.resident.enter()
        try:
            try:
                await self.mark(run, again, StepState.READY, unanswered)
            except ConflictError:
                return None
            retried = await self._failed_attempt(run, again, error, located)
        finally:
            located.resident.leave()
        if retried is None:
            return None
        again, pause = retried
        await self._rest(run, again, pause)
        return again

    async def _stand(self, run: Run, step: Step) -> bool:
        """Wait while the records of a step change form; whether they did. Undo may cut it."""
        component = step.model.partition(".")[0]
        if component not in self._flows.boundary.shut or run.flow.state is not FlowState.RUNNING:
            return False
        run.attempting.add(step.n)
        self.turns.ended()
        try:
            return await self.stand(run, component)
        finally:
            self.turns.began()
            run.attempting.discard(step.n)

    async def stand(self, run: Run, component: str) -> bool:
        """Wait while the records of a component change form; whether they did.

        No longer than the host is open.
        """
        if component not in self._flows.boundary.shut:
            return False
        run.blocked = f"the migration of {component}"
        await self._while_open(asyncio.ensure_future(self._flows.boundary.passed(component)))
        run.blocked = None
        return True

    async def _rest(self, run: Run, step: Step, seconds: float) -> None:
        """Pause before an attempt; undo may cut it, or have come before it."""
        if run.flow.state is not FlowState.RUNNING:
            return
        run.attempting.add(step.n)
        self.turns.ended()
        try:
            await self.sleep(seconds)
        finally:
            self.turns.began()
            run.attempting.discard(step.n)

    async def _attempts(self, run: Run, step: Step) -> None:
        rereads = 0
        while run.flow.state is FlowState.RUNNING and not self.closing:
            if self._flows.boundary.shut and await self._stand(run, step):
                continue
            located = self._flows.locate(run.flow, step)
            if located is None:
                run.blocked = run.needs(step)
                return
            run.blocked = None
            port = located.port
            call = port.call if step.answer is None or port.answer is None else port.answer
            step.port = port.name  # it may have another one now
            located.resident.enter()
            try:
                work = await self._attempt(run, step, located, call, located.policy)
                # From here on it is done outside: undo waits for this commit instead of cutting it.
                await self.settle(run, self._after(step, work), work, located.resident)
                return
            except BreakerOpenError as error:
                if await self._falls_back(run, step, error, located):
                    return
                pause = None
            except Refused as refusal:
                await self._fail(run, step, StepState.REFUSED, refusal, located)
                return
            except ConflictError as error:
                asks = call.adapters or located.resident.revision.is_outbound
                if not asks and rereads < REREADS:
                    rereads += 1
                    if isinstance(error, MigratingError):  # a record of others that it reads
                        await self._flows.boundary.passed(error.component)
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
                await self.pause(run, pause, located.resident.gates(call))
            finally:
                self.turns.began()
                run.attempting.discard(step.n)

    async def _attempt(
        self, run: Run, step: Step, located: Located, call: Call, policy: Policy
    ) -> Work:
        """Attempt a step once; undo may cut that until it has ended, in the line for a turn too."""
        run.attempting.add(step.n)
        self.turns.ended()
        try:
            async with self._slots:
                return await self.call(run, step, located, call, policy, located.port)
        finally:
            self.turns.began()
            run.attempting.discard(step.n)

    async def _falls_back(self, run: Run, step: Step, failure: Exception, located: Located) -> bool:
        """Let the port's fallback end a step after `failure`; whether it has one that was asked."""
        port, fallback = located.port, located.port.fallback
        if fallback is None or run.flow.state is not FlowState.RUNNING:
            return False
        _log.warning("%s.%s falls back: %s", located.model.key, port.name, said(failure))
        counted = step if isinstance(failure, BreakerOpenError) else step.failed(None)
        located.resident.enter()
        try:
            work = await self._attempt(run, step, located, fallback, located.fallback_policy)
            after = self._after(counted, work)
            after.error = f"its fallback stood in after {said(failure)}"
            await self.settle(run, after, work, located.resident)
        except BreakerOpenError:
            return False
        except Refused as refusal:
            state = StepState.UNKNOWN if _is_unsure(located) else StepState.REFUSED
            await self._fail(run, counted, state, refusal, located)
        except Exception as error:
            both = PortError(f"{said(failure)}; its fallback then: {said(error)}")
            state = StepState.UNKNOWN if _is_unsure(located) else StepState.FAILED
            await self._fail(run, counted, state, both, located)
        finally:
            located.resident.leave()
        return True

    async def _failed_attempt(
        self, run: Run, step: Step, error: Exception, located: Located
    ) -> tuple[Step, float] | None:
        """Count a failed attempt; the step and the pause before the next, None when exhausted."""
        attempts = step.attempts + 1
        pause = pause_after(error, attempts, located.policy, self._flows.ledger.clock, step.port)
        if pause is None:
            if await self._falls_back(run, step, error, located):
                return None
            state = StepState.UNKNOWN if _is_unsure(located) else StepState.FAILED
            await self._fail(run, step.failed(None), state, error, located)
            return None
        _log.warning(
            "%s.%s of %s, attempt %d: %s; again in %g s",
            located.model.key,
            step.port,
            step.record,
            attempts,
            said(error),
            pause,
            extra={"fault": error},
        )
        counted = step.failed(said(error))
        counted.due = stamped(self._flows.ledger.clock.now() + timedelta(seconds=pause))
        return await self.mark(run, counted, StepState.READY), pause

    def _after(self, step: Step, work: Work) -> Step:
        """A step whose attempt gave `work`: done, or asked when its partner answers later."""
        waiting = work.waiting
        if waiting is None:
            done = step.moved(StepState.DONE)
            done.due = None
            return done
        asked = step.moved(StepState.ASKED)
        asked.wait, asked.answer = Wait(waiting.events, waiting.by), None
        until = self._flows.ledger.clock.now() + timedelta(seconds=waiting.deadline)
        asked.due = stamped(until)
        return asked

    async def call(
        self,
        run: Run,
        step: Step,
        located: Located,
        call: Call,
        policy: Policy,
        port: PortSpec | None,
    ) -> Work:
        """Run a port or an undo (then `port` is None) once; the work it leaves to commit."""
        record = await self._record(run, step)
        if record is None:
            raise Refused(f"{located.model.name} {step.record!r} is gone")
        before = located.model.value(record)
        work = _work(run, step, located)
        work.origin = UNDO if port is None else None
        arguments: Mapping[str, Any] = located.resident.adapters(call)
        if call.event is not None or step.answer is not None:
            entry = await self._flows.ledger.store.event(step.answer or step.cause)
            event = None if entry is None else decode_event(entry.doc)
            if call.event is not None:
                arguments = {**arguments, call.event: event}
            if event is not None and event.flow == run.flow.id:
                work.cause = event.id

        def alarm() -> None:
            run.blocked = f"port {step.port}, which ignores its cancellation"

        recorder = self._flows.recorder
        if recorder is not None:
            if run.recorded is None:
                await recorder.look(run)
            work.calls = []
        # Nothing is awaited from here to the attempt: whoever is let through asks the partner.
        probed = admit(located.resident.gates(call), work)
        run.touched.add(step.n)
        meter = located.undo_meter if port is None else located.meter
        monitor = self._flows.ledger.monitor
        source = monitor.cause(step.cause, located.model) if monitor.traces else None
        span = meter.begin(source, about=step.record, tally=located.resident.tally)
        try:
            after = await attempt(call, before, arguments, policy.timeout, work, step.port, alarm)
            if isinstance(after, Waiting) and port is not None and port.answer is not None:
                work.waiting, after = after, after.record
            after = returned(located.model, step.port, after, before)
        except BaseException as error:
            span.end(error)
            raise
        finally:
            for gate in probed:
                gate.leave(work)
            if recorder is not None:
                recorder.keep(run, step, work)
        span.end()
        event_name, always = located.model.updated, False
        if port is not None and port.produces is not None and work.waiting is None:
            event_name, always = port.produces, True
        change = Change(
            spec=located.model,
            id=step.record,
            base=record,
            before=before,
            after=after,
            event=event_name,
            always=always,
        )
        work.changes = {change.key: change, **work.changes}
        return work

    async def _record(self, run: Run, step: Step) -> Record | None:
        ledger = self._flows.ledger
        if step.model not in ledger.elsewhere.places:
            return ledger.records.get(step.model, step.record)
        return await self.reached(run, lambda: ledger.fetch(step.model, step.record))

    async def reached(self, run: Run, ask: Callable[[], Awaitable[T]]) -> T:
        """What a datasource answers; while it does not, the flow waits for it by name."""
        while True:
            try:
                found = await ask()
            except DatasourceError as error:
                run.blocked = str(error)
                if self.closing:
                    raise
                await self.sleep(STALLED)
            else:
                run.blocked = None
                return found

    async def commit(
        self, run: Run, work: Work, mark: Callable[[Draft], None], resident: Resident | None = None
    ) -> None:
        """Settle work of a flow; while the store refuses, the flow waits for it.

        What a partner has done is done: to ask it again, or to undo it, would need the store too.
        """
        while True:
            try:
                await self._flows.ledger.settle(
                    self._flows.registry(), work, resident=resident, locks=(run.flow.id,), mark=mark
                )
            except StoreError as error:
                _log.error("the store refused a step of flow %s: %s", run.flow.id, error)
                run.blocked = f"the store: {error}"
                if self.closing:
                    raise
                await self.sleep(STALLED)
            else:
                run.blocked = None
                return

    async def settle(self, run: Run, step: Step, work: Work, resident: Resident) -> None:
        def mark(draft: Draft) -> None:
            # A step that ends after the undo of its flow began leads nowhere; it is undone next.
            late = run.flow.state is not FlowState.RUNNING
            draft.inert = late and step.state is StepState.DONE
            draft.leaving = step.n if step.state is StepState.DONE else None
            self._flows.put(draft, run, step)
            if step.state is StepState.DONE:
                self._flows.undoing.by_event(draft, run, step)

        await self.commit(run, work, mark, resident)

    async def mark(
        self,
        run: Run,
        step: Step,
        state: StepState,
        also: Callable[[Draft], None] | None = None,
    ) -> Step:
        """Store that a step is in `state`, with what `also` adds, and nothing else."""
        moved = step if step.state is state else step.moved(state)
        work = Work(key=step.key, label=run.flow.component, flow=run.flow.id)

        def mark(draft: Draft) -> None:
            self._flows.put(draft, run, moved)
            if also is not None:
                also(draft)

        await self.commit(run, work, mark)
        return moved

    async def _fail(
        self, run: Run, step: Step, state: StepState, error: Exception, located: Located
    ) -> None:
        """Store how a step ended, and begin the undo of its flow in the same commit."""
        failed = step.moved(state, said(error))
        work = _work(run, step, located)
        emission = error.emit if isinstance(error, Refused) else None
        if isinstance(emission, Emission) and not _unsaid(work, emission):
            subject = emission.subject if emission.subject is not None else step.record
            work.emissions.append(Emission(emission.type, emission.data, subject))

        def mark(draft: Draft) -> None:
            self._flows.put(draft, run, failed)
            self._flows.undoing.begin(draft, run.flow.id, f"{step.port}: {failed.error}")

        await self.commit(run, work, mark)
        if state is not StepState.REFUSED:  # who refused has nothing to mend
            what = f"{located.model.key}.{step.port} of {step.record}"
            _log.warning("%s gave up: %s", what, failed.error, extra={"fault": error})

    async def pause(self, run: Run, seconds: float | None, gates: Sequence[Gate]) -> None:
        """Sleep before the next attempt, unless the host is closing or there will be none.

        With None as `seconds`, until the breaker that is open lets a probe through.
        """
        cut = run.flow.state is FlowState.COMPENSATING
        if cut and run.compensator is not asyncio.current_task():
            return
        if seconds is not None:
            await self.sleep(seconds)
            return
        gate = shut(gates)
        if gate is not None:
            run.blocked = f"breaker of {gate.name}"
            await self._while_open(asyncio.ensure_future(gate.ready()))
            run.blocked = None

    async def sleep(self, seconds: float) -> None:
        """Sleep, but no longer than the host is open."""
        await self._while_open(asyncio.ensure_future(self._flows.ledger.clock.sleep(seconds)))

    async def _while_open(self, waiting: asyncio.Future[None]) -> None:
        """Wait, but no longer than the host is open."""
        try:
            await asyncio.wait([waiting, self._end_of_days()], return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()

    def announce(self, label: str, emission: Emission) -> None:
        """Publish an event of the host itself, in no flow, as soon as the store takes it."""
        if not self.closing:
            task = asyncio.create_task(self._announce(Work(key="", label=label), emission))
            self._announcing.add(task)
            task.add_done_callback(self._announcing.discard)

    async def _announce(self, work: Work, emission: Emission) -> None:
        work.emissions.append(emission)
        while True:
            try:
                # The lock keeps what is said of one subject in its order.
                await self._flows.ledger.settle(
                    self._flows.registry(), work, locks=(emission.subject,)
                )
            except StoreError as error:
                _log.error("%s of %s is not stored: %s", emission.type, emission.subject, error)
                if self.closing:
                    return
                await self.sleep(STALLED)
            else:
                return

    def _end_of_days(self) -> asyncio.Future[None]:
        """Resolved when the host closes."""
        if self._closed is None:
            self._closed = asyncio.get_running_loop().create_future()
            if self.closing:
                self._closed.set_result(None)
        return self._closed


def _is_unsure(located: Located) -> bool:
    """Whether nobody knows what came of a failed attempt.

    Whatever an adapter raised, its partner may have acted; without one nothing did, unless the code
    of the port calls partners itself.
    """
    port = located.port
    asks = bool(port.call.adapters) or located.resident.revision.is_outbound
    return (asks and port.effect) or port.answer is not None


def _unsaid(work: Work, emission: Emission) -> bool:
    """Whether what a refusal would tell is another component's to tell; it is logged, then."""
    refused = None if work.reach is None else work.reach.telling(work.label, emission.type)
    if refused is not None:
        _log.warning("an event is dropped: %s", refused)
    return refused is not None


def _work(run: Run, step: Step, located: Located) -> Work:
    """The unit of work of a step, empty."""
    return Work(
        key=step.key,
        label=located.resident.revision.label,
        pin=located.resident.pin(run.caller),
        model=step.model,
        subject=step.record,
        cause=step.cause,
        flow=run.flow.id,
        step=step.n,
        actor=located.meter.id,
        reach=located.reach,
    )
