"""Walks the open flows now and then, and raises an alarm for one that is stranded."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING

from aegis.core.event import Emission
from aegis.core.flow import OPEN_STEPS, FlowState, Step, StepState
from aegis.engine.run import Run
from aegis.engine.timers import time_of

if TYPE_CHECKING:
    from aegis.engine.flows import Flows

STRANDED = "flow.stranded"
# A deadline is noticed at once; one that passed so long ago was not.
UNNOTICED = timedelta(seconds=5)


class Patrol:
    """Looks every `every` seconds. Stranded is what neither moves nor waits for a named thing.

    A flow may be between two steps when it is looked at: it is stranded when the next look finds
    it as it was.
    """

    def __init__(self, flows: Flows, every: float) -> None:
        self._flows = flows
        self._every = every
        self._suspects: dict[str, tuple[object, ...]] = {}
        self._stranded: dict[str, str] = {}
        self._timer: asyncio.TimerHandle | None = None

    @property
    def stranded(self) -> Mapping[str, str]:
        """Why each stranded flow is one, by its id."""
        return self._stranded

    def start(self) -> None:
        """Look from now on."""
        self._timer = asyncio.get_running_loop().call_later(self._every, self._walk)

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _walk(self) -> None:
        self.look()
        self.start()

    def look(self) -> None:
        """Look at every open flow once."""
        suspects: dict[str, tuple[object, ...]] = {}
        monitor = self._flows.ledger.monitor
        for run in self._flows.runs():
            why, id = self._why(run), run.flow.id
            if why is None:
                continue
            seen = (why, run.flow.state, *((s.n, s.state, s.updated) for s in run.steps.values()))
            suspects[id] = seen
            if self._suspects.get(id) == seen and id not in self._stranded:
                self._alarm(run, why)
        self._suspects = suspects
        for id in self._stranded.keys() - suspects.keys():
            del self._stranded[id]
            monitor.clear(f"flow:{id}")

    def _alarm(self, run: Run, why: str) -> None:
        flow = run.flow
        self._stranded[flow.id] = why
        text = f"flow {flow.id} of {flow.model} {flow.record} is stranded: {why}"
        self._flows.ledger.monitor.report(f"flow:{flow.id}", text)
        data = {"flow": flow.id, "model": flow.model, "record": flow.record, "why": why}
        self._flows.steps.announce(flow.component, Emission(STRANDED, data, flow.record))

    def _why(self, run: Run) -> str | None:
        """Why a flow is stranded, None when it moves or waits for something that has a name."""
        if run.stuck is not None:
            return run.stuck
        if run.blocked is not None:
            return None
        if run.flow.state is FlowState.COMPENSATING:
            return "nobody undoes it" if run.compensator is None else None
        if run.tasks:
            return None
        steps = [step for step in run.steps.values() if step.state in OPEN_STEPS]
        if not steps:
            return "no step is open, and it has not ended"
        found = (self._why_step(run, step) for step in steps)
        return next((why for why in found if why is not None), None)

    def _why_step(self, run: Run, step: Step) -> str | None:
        if step.state is StepState.READY:
            return f"step {step.port} is ready, and nobody takes it"
        if step.state is StepState.ASKED:
            now = self._flows.ledger.clock.now()
            late = step.due is not None and now - time_of(step.due) > UNNOTICED
            return f"nobody has noticed that the deadline of {step.port} is over" if late else None
        if self._flows.may_go(run, step):
            return f"step {step.port} may go on, and nobody lets it"
        return None
