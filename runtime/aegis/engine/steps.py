"""Takes the steps of open flows: attempts and retries them, and stores what came of each."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from aegis.core.component import Call, PortSpec
from aegis.core.errors import BreakerOpenError, ConflictError, Refused, StoreError
from aegis.core.event import Emission, decode_event
from aegis.core.flow import FlowState, Step, StepState
from aegis.core.policy import Policy
from aegis.engine.attempt import STUBBORN, attempt, pause_after, returned, said
from aegis.engine.context import CALLER
from aegis.engine.gate import Gate, admit, shut
from aegis.engine.ledger import Draft
from aegis.engine.resident import Resident
from aegis.engine.run import Located, Run
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
        if step.state is StepState.READY and step.n not in run.tasks and not self.closing:
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
            self.active -= 1
            run.tasks.pop(step.n, None)

    async def _attempts(self, run: Run, step: Step) -> None:
        rereads = 0
        while run.flow.state is FlowState.RUNNING and not self.closing:
            located = self._flows.locate(run.flow, step)
            if located is None:
                run.blocked = run.needs(step)
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
                        work = await self.call(run, step, located, call, located.policy, port)
                finally:
                    self.turns.began()
                    run.attempting.discard(step.n)
                # From here on it is done outside: undo waits for this commit instead of cutting it.
                done = step.moved(StepState.DONE)
                await self.settle(run, done, work, located.resident)
                return
            except BreakerOpenError:
                pause = None
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
                await self.pause(run, pause, located.resident.gates(call))
            finally:
                self.turns.began()
                run.attempting.discard(step.n)

    async def _failed_attempt(
        self, run: Run, step: Step, error: Exception, located: Located
    ) -> tuple[Step, float] | None:
        """Count a failed attempt; the step and the pause before the next, None when exhausted."""
        attempts = step.attempts + 1
        pause = pause_after(error, attempts, located.policy, self._flows.ledger.clock, step.port)
        if pause is None:
            # Whatever an adapter raised, its partner may have acted; without one nothing did.
            unknown = bool(located.port.call.adapters) and located.port.effect
            state = StepState.UNKNOWN if unknown else StepState.FAILED
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
        )
        counted = step.failed(said(error))
        return await self.mark(run, counted, StepState.READY), pause

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
        record = self._flows.ledger.records.get(step.model, step.record)
        if record is None:
            raise Refused(f"{located.model.name} {step.record!r} is gone")
        before = located.model.value(record)
        work = _work(run, step, located)
        arguments: Mapping[str, Any] = located.resident.adapters(call)
        if call.event is not None:
            entry = await self._flows.ledger.store.event(step.cause)
            event = None if entry is None else decode_event(entry.doc)
            arguments = {**arguments, call.event: event}

        def alarm() -> None:
            run.blocked = f"port {step.port}, which ignores its cancellation"

        # Nothing is awaited from here to the attempt: whoever is let through asks the partner.
        probed = admit(located.resident.gates(call), work)
        run.touched.add(step.n)
        meter = located.undo_meter if port is None else located.meter
        monitor = self._flows.ledger.monitor
        source = monitor.cause(step.cause, located.model) if monitor.traces else None
        span = meter.begin(source, about=step.record)
        try:
            after = await attempt(call, before, arguments, policy.timeout, work, step.port, alarm)
            after = returned(located.model, step.port, after, before)
        except BaseException as error:
            span.end(error)
            raise
        finally:
            for gate in probed:
                gate.leave(work)
        span.end()
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
            step.updated = draft.now
            draft.commit.steps.append(step)
            draft.after.append(lambda: run.steps.__setitem__(step.n, step))

        await self.commit(run, work, mark, resident)

    async def mark(self, run: Run, step: Step, state: StepState) -> Step:
        """Store that a step is in `state`, and nothing else."""
        moved = step if step.state is state else step.moved(state)
        work = Work(key=step.key, label=run.flow.component, flow=run.flow.id)

        def mark(draft: Draft) -> None:
            moved.updated = draft.now
            draft.commit.steps.append(moved)
            draft.after.append(lambda: run.steps.__setitem__(moved.n, moved))

        await self.commit(run, work, mark)
        return moved

    async def _fail(
        self, run: Run, step: Step, state: StepState, error: Exception, located: Located
    ) -> None:
        """Store how a step ended, and begin the undo of its flow in the same commit."""
        failed = step.moved(state, said(error))
        work = _work(run, step, located)
        emission = error.emit if isinstance(error, Refused) else None
        if isinstance(emission, Emission):
            subject = emission.subject if emission.subject is not None else step.record
            work.emissions.append(Emission(emission.type, emission.data, subject))

        def mark(draft: Draft) -> None:
            failed.updated = draft.now
            draft.commit.steps.append(failed)
            draft.after.append(lambda: run.steps.__setitem__(failed.n, failed))
            self._flows.undoing.begin(draft, run.flow.id, f"{step.port}: {failed.error}")

        await self.commit(run, work, mark)

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
    )
