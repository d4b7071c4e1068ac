"""An open flow in memory: its stored state, and the tasks that move it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from aegis.core.component import ModelSpec, PortSpec
from aegis.core.flow import Flow, Step, StepState
from aegis.core.policy import Policy
from aegis.engine.context import CALLER
from aegis.engine.resident import Resident
from aegis.engine.work import Key

if TYPE_CHECKING:
    from aegis.engine.meter import Meter
    from aegis.engine.monitor import Monitor
    from aegis.engine.reach import Reach


class Located:
    """Where a step's code is: the loaded revision, the model and the port, and their meters.

    The policies are what the port, its undo and its fallback go by, with the registry's `defaults`.
    """

    __slots__ = (
        "fallback_policy",
        "meter",
        "model",
        "policy",
        "port",
        "reach",
        "resident",
        "undo_meter",
        "undo_policy",
    )

    def __init__(
        self,
        resident: Resident,
        model: ModelSpec,
        port: PortSpec,
        monitor: Monitor,
        defaults: Policy,
        reach: Reach | None = None,
    ) -> None:
        self.resident = resident
        self.reach = reach
        self.model = model
        self.port = port
        self.policy = port.policies.over(defaults)
        self.undo_policy = port.undo_policies.over(defaults)
        self.fallback_policy = port.fallback_policies.over(defaults)
        self.meter: Meter = monitor.port(model, port)
        self.undo_meter: Meter = monitor.undo(model, port)


class Run:
    """An open flow in memory: its stored state, and the tasks that move it."""

    __slots__ = (
        "_blocked",
        "attempting",
        "caller",
        "compensator",
        "flow",
        "heirs",
        "next",
        "recorded",
        "recordings",
        "steps",
        "stuck",
        "tasks",
        "touched",
        "waiters",
        "watch",
    )

    def __init__(self, flow: Flow, steps: Iterable[Step], *, touched: bool) -> None:
        self.flow = flow
        self.steps = {step.n: step for step in steps}
        self.next = max(self.steps, default=0) + 1
        # How many attempts of each step are recorded; None while nobody has looked.
        self.recorded: dict[int, int] | None = None if self.steps else {}
        # Those that the next commit stores: number of the step, of the attempt, sealed text.
        self.recordings: list[tuple[int, int, bytes]] = []
        self.tasks: dict[int, asyncio.Task[None]] = {}
        # A READY step of a process that died may have been attempted: nobody knows.
        self.touched = {n for n, s in self.steps.items() if touched and s.state is StepState.READY}
        # Which step the task of an ended one goes on with: a task of its own costs more.
        self.heirs: dict[int, Step] = {}
        self.attempting: set[int] = set()
        self._blocked: str | None = None
        # Told when the flow waits for something else than before.
        self.watch: Callable[[Run], None] | None = None
        self.caller = CALLER.get()  # who set the flow off
        self.compensator: asyncio.Task[None] | None = None
        # What only a person can see to.
        self.stuck: str | None = None
        self.waiters: list[asyncio.Future[Flow]] = []

    @property
    def blocked(self) -> str | None:
        """What the flow waits for, as people read it; None when it goes on."""
        return self._blocked

    @blocked.setter
    def blocked(self, reason: str | None) -> None:
        if reason != self._blocked:
            self._blocked = reason
            if self.watch is not None:
                self.watch(self)

    def give_up(self, why: str) -> None:
        """Something broke that the host cannot mend; it stands still until a `resume`."""
        self.stuck = self.blocked = why

    def about(self) -> Iterator[Key]:
        """The records this flow is about."""
        yield (self.flow.model, self.flow.record)
        for step in self.steps.values():
            yield (step.model, step.record)

    def needs(self, step: Step) -> str:
        """The component that a step waits for, as people read it."""
        component = step.model.split(".", 1)[0]
        own = component == self.flow.component
        return f"component {component}@{self.flow.version}" if own else f"component {component}"

    def answer(self) -> None:
        """Tell whoever waits for the flow how it stands."""
        for waiter in self.waiters:
            if not waiter.done():
                waiter.set_result(self.flow)


Locate = Callable[[Flow, Step], Located | None]
