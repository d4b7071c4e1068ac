"""What happened, flows, failures, splits: each as the line that views show of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from aegis.core.flow import Flow, Step, StepState
from aegis.core.guest import Trap
from aegis.core.split import ArmStatus, SplitStatus
from aegis.core.versions import Followed
from aegis.core.wire import (
    Arm,
    EventLine,
    FailedLine,
    FlowLine,
    Split,
    StepLine,
    TrapLine,
)
from aegis.core.wire import Followed as FollowedLine
from aegis.engine.run import Locate
from aegis.protocols import Entry, Failed


class _Head(msgspec.Struct):
    """What of an event's document is shown; the rest is passed over."""

    source: str
    cause: str | None = None


_HEAD = msgspec.json.Decoder(_Head)


def event_line(entry: Entry, seq: int) -> EventLine:
    """An entry of the journal as views show it."""
    try:
        head = _HEAD.decode(entry.doc)
    except (msgspec.DecodeError, UnicodeDecodeError):  # damaged: its row says what is left of it
        head = _Head("")
    place = head.source.split("/")
    return EventLine(
        seq=seq,
        id=entry.id,
        type=entry.type,
        subject=entry.subject,
        time=entry.time,
        component=place[3] if len(place) > 3 else "",
        flow=entry.flow,
        cause=head.cause,
    )


def flow_line(
    flow: Flow, steps: Iterable[Step], waits: str | None = None, locate: Locate | None = None
) -> FlowLine:
    """A flow as views show it; `locate` finds its code, which says what a join waits for."""
    return FlowLine(
        id=flow.id,
        component=flow.component,
        version=flow.version,
        model=flow.model,
        record=flow.record,
        state=flow.state.value,
        created=flow.created,
        updated=flow.updated,
        steps=tuple(
            StepLine(
                n=step.n,
                model=step.model,
                port=step.port,
                record=step.record,
                state=step.state.value,
                attempts=step.attempts,
                updated=step.updated,
                cause=step.cause,
                error=step.error,
                waits=_waits(flow, step, locate),
                due=step.due if step.state in _TIMED else None,
            )
            for step in sorted(steps, key=lambda step: step.n)
        ),
        error=flow.error,
        waits=waits,
        root=flow.root,
        canceled=flow.canceled,
    )


# Of other states `due` is a time that has passed.
_TIMED = frozenset({StepState.ASKED, StepState.READY})


def _waits(flow: Flow, step: Step, locate: Locate | None) -> str | None:
    """What an open step waits for, in a few words; its time is told beside them."""
    match step.state:
        case StepState.ASKED:
            return "an answer" if step.wait is None else " or ".join(step.wait.events)
        case StepState.READY:
            return None if step.due is None else "its next attempt"
        case StepState.WAITING:
            if step.joined is None:
                return "its condition"
            located = None if locate is None else locate(flow, step)
            if located is None:
                return "the other events of its join"
            return _others(located.port.consumes, step.joined)
        case _:
            return None


def _others(consumes: tuple[str, ...], joined: Mapping[str, str]) -> str:
    """Which events of a join have not come."""
    missing = [name for name in consumes if name not in joined]
    if not missing:
        return "its condition"
    return f"{', '.join(missing)} ({len(joined)} of {len(consumes)} events came)"


def failed_line(failed: Failed) -> FailedLine:
    """A failure as views show it."""
    what = failed.what
    if failed.kind == "listener":
        listener = failed.subscriber.replace(":", ".")
        what = f"{what} for {listener}" if what else listener
    return FailedLine(
        id=failed.id,
        kind=failed.kind,
        what=what,
        subject=failed.subject,
        error=failed.error,
        attempts=failed.attempts,
        time=failed.time,
        held=failed.held,
        event=failed.event,
    )


def split_line(split: SplitStatus) -> Split:
    """A split as views show it."""
    return Split(
        component=split.component,
        by=split.by,
        live=_arm(split.live),
        candidate=_arm(split.candidate),
    )


def _arm(arm: ArmStatus) -> Arm:
    return Arm(**msgspec.structs.asdict(arm))


def followed_line(followed: Followed) -> FollowedLine:
    """An address that is followed, as views show it."""
    return FollowedLine(
        address=followed.address,
        range=followed.range,
        newest=followed.newest,
        held=followed.held,
        why=followed.why,
        problem=followed.problem,
    )


def trap_line(trap: Trap) -> TrapLine:
    """A stopped call as it is shown: what it was called with, which may be private, is not."""
    return TrapLine(
        n=trap.n,
        revision=trap.label,
        function=trap.function,
        time=trap.time,
        reason=trap.reason,
        frames=trap.frames,
        places=tuple(place for _, place in trap.backtrace),
    )
