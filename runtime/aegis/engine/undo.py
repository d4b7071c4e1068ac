"""Undoes flows: newest step first, until all is undone or it is said where that stopped."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from aegis.core.errors import BreakerOpenError, ConflictError, NotFoundError, Refused
from aegis.core.event import Emission
from aegis.core.flow import NEEDS_UNDO, OPEN_STEPS, Flow, FlowState, Step, StepState
from aegis.engine import recorder
from aegis.engine.attempt import STUBBORN, pause_after, said
from aegis.engine.context import CALLER
from aegis.engine.ledger import Draft
from aegis.engine.run import Located, Run
from aegis.engine.steps import Steps
from aegis.engine.work import Work
from aegis.protocols import Cleared, Failed

if TYPE_CHECKING:
    from aegis.engine.flows import Flows

_log = logging.getLogger("aegis.host")


class Undo:
    """The tasks that undo flows. An undo is stored before it runs, and goes on after a restart."""

    def __init__(self, flows: Flows, steps: Steps) -> None:
        self._flows = flows
        self._steps = steps

    def begin(self, draft: Draft, id: str, reason: str, *, canceled: bool = False) -> None:
        """Begin with `draft` the undo of a running flow, which somebody `canceled`; for marks."""
        run = self._flows.run(id)
        if run.flow.state is not FlowState.RUNNING:
            return
        flow = run.flow.moved(FlowState.COMPENSATING, draft.now, reason)
        flow.canceled = canceled
        draft.commit.flows.append(flow)
        draft.flow = draft.flow or id

        def begin() -> None:
            run.flow = flow
            self.start(run)

        draft.after.append(begin)

    def by_event(self, draft: Draft, run: Run, step: Step) -> None:
        """Begin with `draft` what a step of a port with `undo=True` asks for; for marks.

        That is the undo of every open flow of its record, but of one that its own event began.
        """
        located = self._flows.locate(run.flow, step)
        if located is None or not located.port.undoes:
            return
        for id in list(self._flows.about((step.model, step.record))):
            if id != run.flow.id or run.flow.root != step.cause:
                self.begin(draft, id, f"undone by {step.port}", canceled=True)

    async def ask(self, id: str) -> Flow:
        """Begin the undo of a flow that is under way. Raises NotFoundError, ConflictError."""
        stored = await self._flows.ledger.store.flow(id)
        if stored is None:
            raise NotFoundError(f"there is no flow {id!r}")
        work = Work(key=id, label=stored[0].component)

        def mark(draft: Draft) -> None:
            run = self._flows.find(id)
            if run is None or run.flow.state is not FlowState.RUNNING:
                raise ConflictError(
                    f"flow {id!r} is not under way", hint="only what is under way can be undone"
                )
            self.begin(draft, id, "undone by request", canceled=True)

        await self._flows.ledger.settle(self._flows.registry(), work, locks=(id,), mark=mark)
        return self._flows.flow(id)

    async def resume(self, id: str, *, skip: bool = False) -> Flow:
        """Take up the undo of a flow again where it failed, or with `skip` behind that step.

        Raises NotFoundError for an unknown flow, ConflictError for one whose undo did not fail.
        """
        stored = await self._flows.ledger.store.flow(id)
        if stored is None:
            raise NotFoundError(f"there is no flow {id!r}")
        run = Run(*stored, touched=False)
        work = Work(key=id, label=run.flow.component)
        failures = await self._flows.ledger.store.failed_of(failure(id))

        def mark(draft: Draft) -> None:
            if self._flows.is_open(id) or run.flow.state is not FlowState.COMPENSATION_FAILED:
                raise ConflictError(
                    f"flow {id!r} is {run.flow.state}", hint="only a failed undo can be continued"
                )
            flow = run.flow.moved(FlowState.COMPENSATING, draft.now, run.flow.error)
            for step in run.steps.values() if skip else ():
                if step.state is StepState.UNDO_FAILED:
                    skipped = step.moved(StepState.UNDO_SKIPPED, step.error)
                    self._flows.put(draft, run, skipped)
                    flow.error = f"{flow.error} (skipped)"
            draft.commit.flows.append(flow)
            draft.commit.cleared += [Cleared(one.subscriber, one.seq) for one in failures]

            def begin() -> None:
                run.flow = flow
                self._flows.register(run)
                self.start(run)

            draft.after.append(begin)

        await self._flows.ledger.settle(self._flows.registry(), work, locks=(id,), mark=mark)
        return run.flow

    def start(self, run: Run) -> None:
        """Go on with the undo of a flow, unless somebody does already."""
        if run.compensator is None and not self._steps.closing:
            run.compensator = asyncio.create_task(self._compensate(run))

    async def _compensate(self, run: Run) -> None:
        CALLER.set(run.caller)
        try:
            await self._cut(run)
            if not any(self._flows.locate(run.flow, step) for step in run.steps.values()):
                # Its end is told by an event of the model, so even with nothing to undo it waits.
                run.blocked = run.needs(next(iter(run.steps.values())))
                return
            for step in sorted(run.steps.values(), key=lambda s: -s.n):
                if step.state not in NEEDS_UNDO:
                    continue
                located = self._flows.locate(run.flow, step)
                if located is None:
                    run.blocked = run.needs(step)
                    return
                if located.port.undo is None:
                    continue
                failure = await self._undo_step(run, step, located)
                if self._steps.closing:
                    return
                if failure is not None:
                    await self._finish(run, FlowState.COMPENSATION_FAILED, failure, step)
                    return
            await self._finish(run, FlowState.COMPENSATED, run.flow.error, None)
        except asyncio.CancelledError:
            pass
        except Exception:
            _log.exception("the undo of flow %s stands still", run.flow.id)
            run.give_up("someone to look at its undo: see the log")
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
            if _may_have_acted(run, step):
                await self._steps.mark(run, step, StepState.UNKNOWN)
            elif step.state in OPEN_STEPS:
                await self._steps.mark(run, step, StepState.DROPPED)

    async def _undo_step(self, run: Run, step: Step, located: Located) -> str | None:
        """Undo one step with the undo's own policy; what went wrong when it cannot be done."""
        attempts = 0
        while not self._steps.closing:
            if await self._steps.stand(run, step.model.partition(".")[0]):
                continue
            fresh = self._flows.locate(run.flow, step) or located
            undo, policy = fresh.port.undo, fresh.undo_policy
            if undo is None:
                return None
            fresh.resident.enter()
            try:
                work = await self._steps.call(run, step, fresh, undo, policy, None)
                undone = step.moved(StepState.UNDONE)
                await self._steps.settle(run, undone, work, fresh.resident)
                return None
            except BreakerOpenError:
                pause = None
            except Exception as error:
                attempts += 1
                clock = self._flows.ledger.clock
                pause = pause_after(error, attempts, policy, clock, f"undo of {step.port}")
                if pause is None or isinstance(error, Refused):
                    return f"undo of {step.port}: {said(error)}"
                _log.warning(
                    "undo of %s of %s, attempt %d: %s; again in %g s",
                    step.port,
                    step.record,
                    attempts,
                    said(error),
                    pause,
                    extra={"fault": error},
                )
            finally:
                fresh.resident.leave()
            await self._steps.pause(run, pause, fresh.resident.gates(undo))
        return None

    async def _finish(
        self, run: Run, state: FlowState, error: str | None, step: Step | None
    ) -> None:
        """Store the end of an undone flow with the event that tells of it."""
        found = (self._flows.locate(run.flow, step) for step in run.steps.values())
        located = next((place for place in found if place is not None), None)
        label = run.flow.component if located is None else located.resident.revision.label
        work = Work(
            key=run.flow.id,
            label=label,
            cause=run.flow.root,
            actor=f"model:{run.flow.model}",
        )

        def mark(draft: Draft) -> None:
            flow = run.flow.moved(state, draft.now, error)
            draft.commit.flows.append(flow)
            recorder.store(draft, run)
            if state is FlowState.COMPENSATION_FAILED or not flow.canceled:
                draft.commit.failed.append(self._failure(flow, run))
            if step is not None:
                failed = step.moved(StepState.UNDO_FAILED)
                failed.error, failed.updated = error, draft.now
                self._flows.put(draft, run, failed)
            model = self._flows.registry().models.get(run.flow.model)
            if model is None and located is not None:
                model = located.model
            if model is not None:
                complete = state is FlowState.COMPENSATED
                name = model.compensated if complete else model.compensation_failed
                data = {"flow": flow.id, "error": error}
                self._flows.ledger.add(
                    draft, work, Emission(name, data, run.flow.record), run.flow.model
                )
            draft.after.append(lambda: self._flows.end(run, flow))

        await self._steps.commit(run, work, mark)
        what = f"the flow of {run.flow.model} {run.flow.record}"
        if step is not None:
            _log.error("%s stopped half undone, at %s: %s", what, step.port, error)
        elif run.flow.canceled:
            _log.info("%s was canceled, and is undone", what)
        else:
            _log.warning("%s gave up, and is undone: %s", what, error)

    def _failure(self, flow: Flow, run: Run) -> Failed:
        """A flow that has ended undone, or whose undo stopped, as the failed list has it."""
        return Failed(
            subscriber=failure(flow.id),
            seq=self._flows.ledger.store.last_seq(),
            event=flow.root,
            subject=flow.record,
            error=flow.error or flow.state.value,
            attempts=max((step.attempts for step in run.steps.values()), default=0),
            time=flow.updated,
            kind="flow",
            what=flow.model,
        )


def _may_have_acted(run: Run, step: Step) -> bool:
    """Whether the partner of an open step may have done something that nobody heard of."""
    if step.state is StepState.READY:
        return step.n in run.touched or step.answer is not None
    return step.state is StepState.ASKED


def failure(flow: str) -> str:
    """What stands for a flow in the failed list, where a listener's name stands for its events."""
    return f"flow:{flow}"
