"""Reads a record and its flows back as they were at a point of the journal."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from aegis.core.component import ENCODER, ModelSpec
from aegis.core.errors import ConflictError, InvalidError, NotFoundError
from aegis.core.event import MIGRATION, UNDO, Event, decode_event
from aegis.core.flow import OPEN_FLOWS, Flow, FlowState, Step, StepState
from aegis.core.past import OPEN, UNSURE, Past, PastFlow, PastStep
from aegis.core.record import Record
from aegis.engine.triggers import about
from aegis.protocols import Entry, Store

PAGE = 500
# What the event of an imported record tells: all of it, whatever was before.
_WHOLE = {"id", "revision", "changed", "created", "updated"}


async def at(store: Store, seq: int, spec: ModelSpec, id: str) -> Past:
    """A record and its flows as of event `seq`: after it, and before the next one.

    Raises InvalidError for a number that the journal has not, NotFoundError for a record that
    never was or whose events the journal does not hold any more, ConflictError for one that was
    migrated since: no code here reads what it was.
    """
    here = await numbered(store, seq)
    if not here:
        last = store.last_seq()
        raise InvalidError(
            f"the journal has no event {seq}",
            hint=f"the last one is {last}" if seq > last else "it may be older than what is kept",
        )
    record = None
    known = False
    entries: list[Entry] = []
    async for entry in events_of(store, id):
        event = decode_event(entry.doc)
        if about(event) != spec.key:
            continue
        known = True
        entries.append(entry)
        if entry.seq > seq and is_migration(spec, event):
            raise other_form(spec, entry)
        if entry.seq <= seq:
            event = spec.whole(event, store.sealed(event.id))
            record = folded(spec, record, event, entry)
    if not known:
        raise NotFoundError(f"the journal has no event of {spec.name} {id!r}")
    if record is None and not any(e.type in (spec.created, spec.imported) for e in entries):
        raise _too_old(spec, id, entries[0])
    flows = await _flows(store, spec.key, id, entries)
    then = [_flow_then(flow, steps, here[0], made) for flow, steps, made in flows]
    return Past(
        seq=seq,
        time=here[0].time,
        model=spec.key,
        id=id,
        record=None if record is None else spec.value(record),
        revision=0 if record is None else record.revision,
        created=None if record is None else record.created,
        updated=None if record is None else record.updated,
        flows=tuple(flow for flow in then if flow is not None),
    )


def record_of(past: Past, spec: ModelSpec) -> Record:
    """The stored form of a record as it was. Raises NotFoundError when there was none."""
    if past.record is None or past.created is None or past.updated is None:
        raise NotFoundError(f"there was no {spec.name} {past.id!r} at event {past.seq}")
    doc = spec.encode(past.record)
    return Record(
        model=past.model,
        id=past.id,
        revision=past.revision,
        created=past.created,
        updated=past.updated,
        doc=doc if spec.sealing is None else spec.sealing.sealed(past.id, doc),
    )


def is_migration(spec: ModelSpec, event: Event) -> bool:
    """Whether an event tells that a record got another form; before it, no code reads it."""
    return event.type == spec.migrated and event.origin == MIGRATION


def other_form(spec: ModelSpec, entry: Entry) -> ConflictError:
    """What to raise of a record before it was migrated with the event of `entry`."""
    return ConflictError(
        f"{spec.name} {entry.subject!r} had another form before {entry.type} #{entry.seq}",
        hint="the code that serves reads what was stored since",
    )


def _too_old(spec: ModelSpec, id: str, first: Entry) -> NotFoundError:
    return NotFoundError(
        f"the journal does not reach back to the beginning of {spec.name} {id!r}: its first event "
        f"there is {first.type} #{first.seq}",
        hint="events older than what is kept are gone",
    )


def folded(spec: ModelSpec, record: Record | None, event: Event, entry: Entry) -> Record | None:
    """The record after one more event, all of it in the clear, as `spec.whole` gives it.

    Raises NotFoundError when one before it is missing.
    """
    data = event.data
    if data.keys() == {"id", "revision"} and event.type == spec.deleted:
        return None
    if data.keys() == _WHOLE and event.type in (spec.imported, spec.migrated):
        return Record(
            model=spec.key,
            id=data["id"],
            revision=data["revision"],
            created=data["created"],
            updated=data["updated"],
            doc=_document(spec, {"id": data["id"], **data["changed"]}),
        )
    if data.keys() != {"id", "revision", "changed"} or data["id"] != event.subject:
        return record  # somebody said something of it: nothing was changed by that
    if event.type == spec.created and data["revision"] == 1:
        record = None  # whatever had that id has gone with a reset, which no event tells
    before = 0 if record is None else record.revision
    if data["revision"] == before:
        return record
    if data["revision"] != before + 1:
        raise _too_old(spec, data["id"], entry)
    fields = {"id": data["id"]} if record is None else msgspec.json.decode(record.doc)
    return Record(
        model=spec.key,
        id=data["id"],
        revision=data["revision"],
        created=event.time if record is None else record.created,
        updated=event.time,
        doc=_document(spec, {**fields, **data["changed"]}),
    )


def _document(spec: ModelSpec, fields: Mapping[str, Any]) -> bytes:
    """A record's document, as its code spells it; what older code stored, as it is."""
    doc = ENCODER.encode(fields)
    with contextlib.suppress(msgspec.ValidationError):  # a migration follows
        doc = spec.encode(spec.decoder.decode(doc))
    return doc


async def _flows(
    store: Store, model: str, id: str, entries: Iterable[Entry]
) -> list[tuple[Flow, list[Step], list[tuple[int, Event]]]]:
    """The flows that took a record in, by age, each with its steps and the events they made."""
    found = {flow.id: (flow, steps) for flow, steps in await store.flows(model, id)}
    for flow_id in dict.fromkeys(entry.flow for entry in entries):
        if flow_id is not None and flow_id not in found:
            stored = await store.flow(flow_id)
            if stored is not None:
                found[flow_id] = stored
    result = []
    for flow, steps in sorted(found.values(), key=lambda one: (one[0].created, one[0].id)):
        made: list[tuple[int, Event]] = []
        causes = [cause for step in steps for cause in _causes(step)]
        for cause in dict.fromkeys([flow.root, *causes]):
            known = await store.event(cause)
            if known is not None:
                made.append((known.seq, decode_event(known.doc)))
        for subject in dict.fromkeys(step.record for step in steps):
            made += [
                (entry.seq, decode_event(entry.doc))
                async for entry in events_of(store, subject)
                if entry.flow == flow.id or _stopped(entry, flow)
            ]
        result.append((flow, steps, list({event.id: (n, event) for n, event in made}.values())))
    return result


def _stopped(entry: Entry, flow: Flow) -> bool:
    """Whether an event tells that the undo of `flow` stopped."""
    if not entry.type.endswith(".compensation_failed"):
        return False
    return decode_event(entry.doc).data.get("flow") == flow.id


def _causes(step: Step) -> list[str]:
    """The events that set a step off; of a join it is the first that does."""
    return [step.cause, *(step.joined or {}).values()]


def _flow_then(
    flow: Flow, steps: Sequence[Step], here: Entry, made: Sequence[tuple[int, Event]]
) -> PastFlow | None:
    """A flow as of an event; None when it had not begun."""
    seqs = {event.id: seq for seq, event in made}
    root = next((event for _, event in made if event.id == flow.root), None)
    if root is not None and root.flow == flow.id:
        began = seqs[flow.root] <= here.seq
    else:  # begun anew from an event that had its flow before, or its root is gone
        began = flow.created <= here.time
    if not began:
        return None
    then = [
        _step_then(step, here, made)
        for step in sorted(steps, key=lambda step: step.n)
        if min(seqs.get(cause, 0) for cause in _causes(step)) <= here.seq
    ]
    return PastFlow(
        id=flow.id,
        root=flow.root,
        model=flow.model,
        record=flow.record,
        component=flow.component,
        version=flow.version,
        state=_state_then(flow, steps, then, here, made),
        steps=tuple(then),
    )


def _step_then(step: Step, here: Entry, made: Sequence[tuple[int, Event]]) -> PastStep:
    events = [(seq, event) for seq, event in made if event.step == step.n]
    undone = [seq for seq, event in events if event.origin == UNDO]
    # Before the last one it may have been asking; a step that asks makes events, too.
    done = sorted(seq for seq, event in events if event.origin != UNDO)
    last = max(events, key=lambda one: one[0], default=None)
    if last is not None and last[1].time == step.updated:
        as_now = last[0] <= here.seq
    else:
        as_now = step.updated <= here.time
    state = OPEN
    if as_now:
        state = step.state.value
    elif step.state in _BACK:
        if done and (step.wait is None or here.seq < done[-1]):
            state = StepState.DONE.value if done[-1] <= here.seq else OPEN
        elif not undone or here.seq < undone[0]:
            state = UNSURE
    return PastStep(
        n=step.n,
        model=step.model,
        port=step.port,
        record=step.record,
        cause=step.cause,
        state=state,
        error=step.error if as_now else None,
    )


def _going_on(flow: Flow, steps: Sequence[Step], then: Sequence[PastStep]) -> bool:
    """Whether steps of a flow that has ended were still to come, or had not ended."""
    unended = len(then) < len(steps) or any(step.state == OPEN for step in then)
    return flow.state not in OPEN_FLOWS and unended


_BACK = frozenset({StepState.UNDONE, StepState.UNDO_FAILED, StepState.UNDO_SKIPPED})
_TURNED = frozenset(
    {*_BACK, StepState.REFUSED, StepState.FAILED, StepState.UNKNOWN, StepState.DROPPED}
)


def _state_then(
    flow: Flow,
    steps: Sequence[Step],
    then: Sequence[PastStep],
    here: Entry,
    made: Iterable[tuple[int, Event]],
) -> str:
    # Times have a millisecond: where it ended in that of the event, its steps tell.
    if flow.updated <= here.time and not _going_on(flow, steps, then):
        return flow.state.value
    if any(seq <= here.seq and event.flow != flow.id for seq, event in made if event.cause):
        return UNSURE  # its undo stopped, and went on some time later
    if flow.state in {FlowState.RUNNING, FlowState.COMPLETED}:
        return FlowState.RUNNING.value
    # It was turned at some time: then, if a step had ended badly by then.
    if any(step.state in _TURNED for step in then):
        return FlowState.COMPENSATING.value
    ended_badly = any(step.state in {StepState.REFUSED, StepState.FAILED} for step in steps)
    return FlowState.RUNNING.value if ended_badly else UNSURE


async def numbered(store: Store, seq: int) -> list[Entry]:
    """The event of a number, none when the journal has it not."""
    if not 0 < seq <= store.last_seq():
        return []
    return [entry for entry in await store.events(seq - 1, 1) if entry.seq == seq]


async def events_of(store: Store, subject: str, until: int | None = None) -> AsyncIterator[Entry]:
    """All events about a subject, in order, up to `until`."""
    after = 0
    while True:
        page = await store.events_of(subject, after, PAGE)
        for entry in page:
            if until is not None and entry.seq > until:
                return
            yield entry
        if len(page) < PAGE:
            return
        after = page[-1].seq
