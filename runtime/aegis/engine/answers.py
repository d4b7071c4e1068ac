"""Brings the answers of partners to the steps that wait for them, whichever comes first."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from aegis.core.errors import BusyError, ConflictError, NotFoundError, StoreError
from aegis.core.event import Event, decode_event, teller
from aegis.core.flow import FlowState, Step, StepState
from aegis.core.registry import Registry
from aegis.engine.ledger import Draft
from aegis.engine.run import Run
from aegis.engine.timers import time_of
from aegis.engine.waits import KEPT, Waits, fits
from aegis.engine.work import Work
from aegis.protocols import Claimed, Cleared, Failed, Unclaimed

if TYPE_CHECKING:
    from aegis.engine.flows import Flows

PREFIX = "answer:"
# So many answers from outside are kept at most; who tells more is asked to come again.
MOST = 10_000

_log = logging.getLogger("aegis.host")


class Answers:
    """The answers of one host. One that no step waits for is kept KEPT, then it is a failure."""

    def __init__(self, flows: Flows) -> None:
        self.waits = Waits(self._hears)
        self._flows = flows
        self._sorting: set[asyncio.Task[None]] = set()

    async def load(self) -> None:
        """Take over what nobody claimed before the restart."""
        store = self._flows.ledger.store
        for one in await store.unclaimed():
            entry = await store.event(one.event)
            if entry is not None:
                self._keep(decode_event(entry.doc), one.time)

    def _by(self, event: Event) -> str | None:
        """The component that tells an event, None where anybody may hear it."""
        return teller(event.source) if self._flows.registry().is_closed else None

    def _hears(self, run: Run, step: Step, by: str, type: str) -> bool:
        """Whether the code of a step hears an event of component `by`."""
        registry = self._flows.registry()
        component = step.model.partition(".")[0]
        code = registry.live.get(component)
        if component == run.flow.component:
            code = registry.revision(component, run.flow.version)
        return registry.access.hears(component if code is None else code.label, by, type)

    # An answer comes

    def take(self, registry: Registry, draft: Draft, event: Event) -> tuple[Run | None, Event]:
        """Give `event` with `draft` to the step that waits for it, or keep it when one may.

        The flow that it is an answer in, and the event as it is stored then.
        """
        if not (self.waits.is_awaited(event.type) or self._may_be_one(registry, event)):
            return None, event
        found = self.waits.who(event.type, event.subject, event.data, self._by(event))
        if found is not None and found[0].flow.id in draft.locked:
            run, step = found
            if run.flow.state is FlowState.RUNNING:
                return run, self._give(draft, run, step, event)
        if event.revision is None and self.waits.kept >= MOST:
            raise BusyError(f"{MOST} answers wait for somebody to claim them, which is the limit")
        draft.commit.unclaimed.append(Unclaimed(event.id, event.type, draft.now))
        draft.after.append(functools.partial(self._kept, event, draft.now))
        return None, event

    def _may_be_one(self, registry: Registry, event: Event) -> bool:
        """Whether some step may come to wait for `event`.

        While code is away nobody knows what it waits for: then all may be that comes from outside.
        """
        if event.type in registry.awaits:
            return True
        return event.revision is None and event.cause is None and self._flows.is_short()

    def _give(self, draft: Draft, run: Run, step: Step, event: Event) -> Event:
        if event.flow is None and event.cause is None:
            # It came from outside: that it is known here is because this step asked for it.
            event = msgspec.structs.replace(event, flow=run.flow.id, cause=step.cause)
        draft.flow = draft.flow or run.flow.id
        self._flows.go_on(draft, run, answered(step, event))
        return event

    def _kept(self, event: Event, since: str) -> None:
        self._keep(event, since)
        found = self.waits.who(event.type, event.subject, event.data, self._by(event))
        if found is not None:
            self.expect(*found)

    def _keep(self, event: Event, since: str) -> None:
        self.waits.keep(event)
        self._flows.timers.set(
            (PREFIX, event.id), time_of(since) + KEPT, functools.partial(self._expire, event)
        )

    # A step waits

    def expect(self, run: Run, step: Step) -> None:
        """Let a step that was asked wait for its answer, or have the one that came before."""
        self.waits.remove(run, step)
        event = None
        if step.n not in run.tasks and not self._flows.steps.closing:
            event = self.waits.claim(run, step)
        if event is None:
            self.waits.add(run, step)
            return
        run.tasks[step.n] = asyncio.create_task(self._claim(run, step, event))

    async def _claim(self, run: Run, step: Step, event: Event) -> None:
        ready = None

        def claimed(draft: Draft) -> None:
            if run.steps[step.n] is not step:
                raise ConflictError(f"{step.port} got another answer in the last moment")
            draft.commit.claimed.append(Claimed(event.id))

        try:
            if run.steps[step.n] is step and run.flow.state is FlowState.RUNNING:
                ready = await self._flows.steps.mark(
                    run, answered(step, event), StepState.READY, claimed
                )
        except asyncio.CancelledError:
            return
        except ConflictError:
            pass
        except Exception:
            _log.exception("step %s of flow %s stands still", step.port, run.flow.id)
            run.give_up(f"someone to look at step {step.port}: see the log")
        finally:
            run.tasks.pop(step.n, None)
            if ready is None:
                self.waits.keep(event)
        if ready is not None:
            self._flows.timers.drop((PREFIX, event.id))
            self._flows.steps.start(run, ready)
        elif run.steps[step.n] is not step:
            # Another answer was being stored when this one was claimed, and found the step taken.
            self._flows.steps.overtaken(run, step)

    # Nobody waited

    def _expire(self, event: Event) -> None:
        task = asyncio.create_task(self._give_up(event))
        self._sorting.add(task)
        task.add_done_callback(self._sorting.discard)

    async def _give_up(self, event: Event) -> None:
        """Forget an answer that came late or twice; any other is a failure to see to."""
        if self.waits.lose(event.type, event.id) is None:
            return
        flows = self._flows
        late = await self._is_late(event)

        def mark(draft: Draft) -> None:
            draft.commit.claimed.append(Claimed(event.id))
            if not late:
                draft.commit.failed.append(
                    Failed(
                        subscriber=PREFIX + event.id,
                        seq=flows.ledger.store.last_seq(),
                        event=event.id,
                        subject=event.subject,
                        error="no step waited for this answer",
                        attempts=0,
                        time=draft.now,
                        kind="answer",
                        what=event.type,
                    )
                )

        try:
            await self._settle(event, mark)
        except StoreError:
            _log.exception("the answer %s of %s is kept for longer", event.type, event.subject)
            self.waits.keep(event)
        else:
            if late:
                _log.info("%s of %s came late or twice", event.type, event.subject)

    async def _is_late(self, event: Event) -> bool:
        """Whether the step that such an answer is for has had one, or has been undone."""
        texts = {value for value in (event.subject, *event.data.values()) if isinstance(value, str)}
        for model, _ in self._flows.registry().awaits.get(event.type, ()):
            for record in texts:
                for _, steps in await self._flows.ledger.store.flows(model.key, record):
                    if any(s.wait is not None and fits(s.wait, s.record, event) for s in steps):
                        return True
        return False

    # Once more

    async def again(self, id: str) -> str:
        """Keep an answer of the failed list once more, and give it to a step that waits by now.

        Raises NotFoundError.
        """
        event, cleared = await self._failed(id)
        found = self.waits.who(event.type, event.subject, event.data, self._by(event))

        def mark(draft: Draft) -> None:
            draft.commit.cleared += cleared
            draft.commit.unclaimed.append(Unclaimed(event.id, event.type, draft.now))
            draft.after.append(functools.partial(self._kept, event, draft.now))

        await self._settle(event, mark)
        return "given to the step that waits for it" if found else "kept for another hour"

    async def discard(self, id: str) -> str:
        """Take an answer off the failed list for good. Raises NotFoundError."""
        event, cleared = await self._failed(id)

        def mark(draft: Draft) -> None:
            draft.commit.cleared += cleared

        await self._settle(event, mark)
        return "discarded"

    async def _failed(self, id: str) -> tuple[Event, list[Cleared]]:
        store = self._flows.ledger.store
        found = await store.failed_of(PREFIX + id)
        entry = await store.event(id) if found else None
        if entry is None:
            raise NotFoundError(f"{PREFIX}{id} is not on the failed list")
        return decode_event(entry.doc), [Cleared(one.subscriber, one.seq) for one in found]

    async def _settle(self, event: Event, mark: Callable[[Draft], None]) -> None:
        work = Work(key=event.id, label="host")
        await self._flows.ledger.settle(self._flows.registry(), work, locks=(event.id,), mark=mark)


def answered(step: Step, event: Event) -> Step:
    """A step that was asked, with its answer to take."""
    ready = step.moved(StepState.READY)
    ready.answer, ready.due = event.id, None
    return ready
