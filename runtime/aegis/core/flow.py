"""What one root event set off: the steps, their states, and which change may follow which."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from aegis.core.errors import AegisError


class FlowState(StrEnum):
    """Where a flow stands. It ends COMPLETED, COMPENSATED or COMPENSATION_FAILED, nowhere else."""

    RUNNING = "running"
    COMPENSATING = "compensating"
    COMPLETED = "completed"
    COMPENSATED = "compensated"
    COMPENSATION_FAILED = "compensation failed"


class StepState(StrEnum):
    """Where a step stands. READY may have been attempted; UNKNOWN was, without an answer.

    WAITING waits for a condition or for the other events of a join, ASKED for the answer of a
    partner that was asked. UNDO_SKIPPED stays as it is: somebody said that its undo need not work.
    """

    WAITING = "waiting"
    READY = "ready"
    ASKED = "asked"
    DONE = "done"
    REFUSED = "refused"
    FAILED = "failed"
    UNKNOWN = "unknown"
    DROPPED = "dropped"
    UNDONE = "undone"
    UNDO_FAILED = "undo failed"
    UNDO_SKIPPED = "undo skipped"


OPEN_FLOWS = frozenset({FlowState.RUNNING, FlowState.COMPENSATING})
UNDONE = frozenset({FlowState.COMPENSATING, FlowState.COMPENSATED, FlowState.COMPENSATION_FAILED})
OPEN_STEPS = frozenset({StepState.WAITING, StepState.READY, StepState.ASKED})

FLOW_CHANGES: dict[FlowState, frozenset[FlowState]] = {
    FlowState.RUNNING: frozenset({FlowState.COMPLETED, FlowState.COMPENSATING}),
    FlowState.COMPENSATING: frozenset({FlowState.COMPENSATED, FlowState.COMPENSATION_FAILED}),
    FlowState.COMPENSATION_FAILED: frozenset({FlowState.COMPENSATING}),
    FlowState.COMPLETED: frozenset(),
    FlowState.COMPENSATED: frozenset(),
}

STEP_CHANGES: dict[StepState, frozenset[StepState]] = {
    StepState.WAITING: frozenset({StepState.READY, StepState.DROPPED}),
    StepState.READY: frozenset(
        {
            StepState.ASKED,
            StepState.DONE,
            StepState.REFUSED,
            StepState.FAILED,
            StepState.UNKNOWN,
            StepState.DROPPED,
        }
    ),
    StepState.ASKED: frozenset({StepState.READY, StepState.UNKNOWN}),
    StepState.DONE: frozenset({StepState.UNDONE, StepState.UNDO_FAILED}),
    StepState.UNKNOWN: frozenset({StepState.UNDONE, StepState.UNDO_FAILED}),
    StepState.UNDO_FAILED: frozenset(
        {StepState.UNDONE, StepState.UNDO_FAILED, StepState.UNDO_SKIPPED}
    ),
    StepState.REFUSED: frozenset(),
    StepState.FAILED: frozenset(),
    StepState.DROPPED: frozenset(),
    StepState.UNDONE: frozenset(),
    StepState.UNDO_SKIPPED: frozenset(),
}

NEEDS_UNDO = frozenset({StepState.DONE, StepState.UNKNOWN, StepState.UNDO_FAILED})


# Flows, steps and events are in no cycle: leaving them out keeps the collector's rounds short.


class Flow(msgspec.Struct, kw_only=True, gc=False):
    """One flow. `component`, `version` and `digest` are the code that began it.

    `root` is the id of the event that set it off, `model` and `record` what that event is about.
    `canceled` says that its undo was asked for: then its end is no failure.
    """

    id: str
    root: str
    component: str
    version: str
    digest: str
    model: str
    record: str
    state: FlowState
    created: str
    updated: str
    error: str | None = None
    canceled: bool = False

    def moved(self, state: FlowState, now: str, error: str | None = None) -> Flow:
        """This flow in another state. Raises AegisError where FLOW_CHANGES has no such change."""
        if state not in FLOW_CHANGES[self.state]:
            raise AegisError(f"flow {self.id}: {self.state} cannot become {state}")
        return msgspec.structs.replace(self, state=state, updated=now, error=error)


class Wait(msgspec.Struct, frozen=True, gc=False):
    """What a step that was ASKED waits for: any of `events` that names its record.

    `by` is the field of the event's data that holds the record's id, None the event's subject.
    """

    events: tuple[str, ...]
    by: str | None = None


class Step(msgspec.Struct, kw_only=True, gc=False):
    """One step of a flow: a port of a record, caused by an event.

    `key` is the idempotency key its adapter sees on every attempt and in its undo;
    `attempts` counts those that failed. `wait` is what its partner's answer must be, `answer` the
    id of the event that came, to be taken by the port's answer method. `due` is wall time (RFC
    3339): of an ASKED step its deadline, of a READY one when it is attempted next. `joined` are the
    ids of the events of a join that have come, beside `cause`, by what the port consumes.
    """

    flow: str
    n: int
    model: str
    port: str
    record: str
    cause: str
    key: str
    state: StepState
    attempts: int = 0
    updated: str = ""
    error: str | None = None
    wait: Wait | None = None
    answer: str | None = None
    due: str | None = None
    joined: dict[str, str] | None = None

    def moved(self, state: StepState, error: str | None = None) -> Step:
        """This step in another state. Raises AegisError where STEP_CHANGES has no such change."""
        if state not in STEP_CHANGES[self.state]:
            raise AegisError(f"step {self.port}: {self.state} cannot become {state}")
        return msgspec.structs.replace(self, state=state, error=error)

    def failed(self, error: str | None) -> Step:
        """This step after one more failed attempt."""
        return msgspec.structs.replace(self, attempts=self.attempts + 1, error=error)
