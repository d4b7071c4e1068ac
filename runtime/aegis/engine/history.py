"""Reads the journal backwards: what led to a change, and how a record was at a point of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from aegis.core.component import ENCODER, ModelSpec
from aegis.core.errors import InvalidError, NotFoundError
from aegis.core.event import UNDO, Event, decode_event
from aegis.core.flow import OPEN_FLOWS, Flow, FlowState, Step, StepState
from aegis.core.past import OPEN, UNSURE, Past, PastFlow, PastStep
from aegis.core.record import Record
from aegis.core.why import Line, Why
from aegis.engine.flows import about
from aegis.protocols import Entry, Failed, FlowSteps, Store

MOST = 1000  # events of a tree
PAGE = 500
FIELDS = 20  # of an event from outside that may name the record it is for
OURS = "/aegis/components/"


# --- why ------------------------------------------------------------------------------------------


async def why(store: Store, asked: str, spec: ModelSpec | None = None) -> Why:
    """The tree from the requests to each change, of what `asked` names.

    An event (its id, or its number in the journal), a flow, a line of the failed list, a record:
    with `spec` `asked` is the id of a record. Raises NotFoundError.
    """
    roots, cut = await _roots(store, asked, spec)
    tree = _Tree()
    left_out = 0
    for root in roots:
        if root.id in tree.events:
            continue
        found = await store.caused_by(root.id, MOST + 1 - len(tree.events))
        left_out += tree.grow(found, MOST)
    await _weave(store, tree)
    lines = tree.lines()
    return Why(asked=asked, lines=tuple(lines), cut=cut, left_out=left_out)


async def _roots(
    store: Store, asked: str, spec: ModelSpec | None
) -> tuple[list[Entry], str | None]:
    """The events that the chains of `asked` begin with; what they begin with that is gone."""
    starts = await _starts(store, asked, spec)
    if not starts:
        what = f"{spec.name} {asked!r}" if spec is not None else f"{asked[:80]!r}"
        raise NotFoundError(
            f"the journal has no event of {what}",
            hint="name an event, its number, a flow, a record or a failed line",
        )
    roots: dict[str, Entry] = {}
    cut = None
    seen: set[str] = set()
    for start in starts:
        top: Entry | None = start
        while top is not None and top.id not in seen:
            seen.add(top.id)
            above = await _above(store, top)
            if above is None:
                roots[top.id] = top
                break
            found = await store.event(above)
            if found is None:
                cut = f"what led to {top.type} #{top.seq}, {above}, is not in the journal any more"
                roots[top.id] = top
            top = found
    return sorted(roots.values(), key=lambda entry: entry.seq), cut


async def _above(store: Store, entry: Entry) -> str | None:
    """The id of the event that led to this one: its cause, or the root of the flow it joined."""
    if entry.cause is not None:
        return entry.cause
    if entry.flow is None:
        return await _question(store, entry)
    flow = await store.flow(entry.flow)
    return None if flow is None or flow[0].root == entry.id else flow[0].root


async def _question(store: Store, entry: Entry) -> str | None:
    """The cause of the step that an event from outside answered, having come before it asked."""
    event = decode_event(entry.doc)
    if event.source.startswith(OURS):
        return None
    texts = [text for text in (event.subject, *event.data.values()) if isinstance(text, str)]
    for text in dict.fromkeys(texts[:FIELDS]):
        for first in await store.events_of(text, 0, 1):
            model = _about(first)
            for _, steps in () if model is None else await store.flows(model, text):
                for step in steps:
                    if step.answer == entry.id:
                        return step.cause
    return None


async def _starts(store: Store, asked: str, spec: ModelSpec | None) -> list[Entry]:
    """The events that `asked` means."""
    if spec is not None:
        return [entry async for entry in _of(store, asked) if _about(entry) == spec.key][:MOST]
    kind, _, rest = asked.partition(":")
    if kind in {"flow", "answer"} and rest:
        asked = rest
    elif kind == "listener" and rest:
        asked = rest.rpartition(":")[2]
    if asked.isdecimal() and len(asked) <= 18:
        return await _numbered(store, int(asked))
    entry = await store.event(asked)
    if entry is not None:
        return [entry]
    flow = await store.flow(asked)
    if flow is not None:
        causes = [flow[0].root, *(step.cause for step in flow[1])]
        found = [await store.event(cause) for cause in dict.fromkeys(causes)]
        return [entry for entry in found if entry is not None]
    return [entry async for entry in _of(store, asked)][:MOST]


async def _numbered(store: Store, seq: int) -> list[Entry]:
    if not 0 < seq <= store.last_seq():
        return []
    return [entry for entry in await store.events(seq - 1, 1) if entry.seq == seq]


async def _of(store: Store, subject: str, until: int | None = None) -> AsyncIterator[Entry]:
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


def _about(entry: Entry) -> str | None:
    return about(decode_event(entry.doc))


async def _weave(store: Store, tree: _Tree) -> None:
    """Add to the events of a tree the steps that they set off, and the listeners that failed."""
    flows = {event.flow for event in tree.events.values() if event.flow is not None}
    told = {(about(event), event.subject) for event in tree.events.values()}
    for id in flows:
        found = await store.flow(id)
        if found is not None:
            tree.flows[id] = found
    for model, subject in told:
        # A flow that was begun anew has the same root, and made no event of its own perhaps.
        if model is not None and subject is not None:
            for flow, steps in await store.flows(model, subject):
                if flow.root in tree.events:
                    tree.flows[flow.id] = (flow, steps)
    for _, steps in list(tree.flows.values()):
        for step in steps:
            if step.answer is not None and step.cause in tree.events:
                if step.answer not in tree.events:
                    tree.grow(await store.caused_by(step.answer, MOST), MOST)
                tree.answered[step.answer] = step
    tree.failed = [one for one in await store.failed() if one.event in tree.events]


class _Tree:
    """Events with what led to them, and what they set off."""

    def __init__(self) -> None:
        self.events: dict[str, Event] = {}
        self.seqs: dict[str, int] = {}
        self.flows: dict[str, FlowSteps] = {}
        self.answered: dict[str, Step] = {}
        self.failed: list[Failed] = []
        self.last: dict[tuple[str, int], str] = {}  # the last event that the port of a step made

    def grow(self, entries: Sequence[Entry], most: int) -> int:
        """Take events in; how many there was no room for."""
        left_out = 0
        for entry in entries:
            if entry.id in self.events:
                continue
            if len(self.events) >= most:
                left_out += 1
                continue
            self.events[entry.id] = decode_event(entry.doc)
            self.seqs[entry.id] = entry.seq
        return left_out

    def _find_last(self) -> None:
        for id in sorted(self.events, key=lambda id: self.seqs[id]):
            event = self.events[id]
            if event.flow is not None and event.step is not None and event.origin != UNDO:
                self.last[event.flow, event.step] = id

    def lines(self) -> list[Line]:
        """The tree from top to bottom."""
        self._find_last()
        steps = {(step.flow, step.n): step for _, steps in self.flows.values() for step in steps}
        below: dict[str | None, list[tuple[tuple[str, int], str | None, Line]]] = {}
        made: set[tuple[str, int]] = set()
        for id, event in self.events.items():
            line = self._event_line(id, event, steps)
            if line.n is not None and line.flow is not None:
                made.add((line.flow, line.n))
            parent = event.cause if event.cause in self.events else None
            question = self.answered.get(id)
            if parent is None and question is not None:
                parent = question.cause
            step = None if line.flow is None else steps.get((line.flow, line.n or 0))
            if step is not None and parent == step.cause and event.origin != UNDO:
                # What came after the answer was led to by the answer, if by anything.
                answer = None if step.answer is None else self.seqs.get(step.answer)
                if answer is not None and answer < self.seqs[id]:
                    parent = step.answer
            below.setdefault(parent, []).append(((event.time, self.seqs[id]), id, line))
        last = max(self.seqs.values(), default=0) + 1
        for key, step in steps.items():
            if key not in made and step.cause in self.events:
                order = ((step.updated, last), None, _step_line(step))
                below.setdefault(step.cause, []).append(order)
        for one in self.failed:
            if one.kind != "flow":
                below.setdefault(one.event, []).append(((one.time, last), None, _failed_line(one)))
        found: list[Line] = []
        # Not a recursion: a chain may be as long as a tree is large.
        waiting = [(0, item) for item in sorted(below.get(None, ()), key=_order, reverse=True)]
        while waiting:
            depth, (_, led, line) = waiting.pop()
            found.append(msgspec.structs.replace(line, depth=depth))
            if led is not None:
                under = sorted(below.get(led, ()), key=_order, reverse=True)
                waiting += [(depth + 1, item) for item in under]
        return found

    def _event_line(self, id: str, event: Event, steps: Mapping[tuple[str, int], Step]) -> Line:
        step = None
        if event.flow is not None and event.step is not None:
            step = steps.get((event.flow, event.step))
        by = event.origin
        if step is not None:
            port = f"{step.model}.{step.port}"
            by = port if event.origin != UNDO else f"undo of {port}"
        elif by is None and not event.source.startswith(OURS):
            by = "outside"
        question = self.answered.get(id)
        error = event.data["error"] if event.data.keys() == {"flow", "error"} else None
        # How the step stands is told once, at its last event.
        told = step is not None and event.origin != UNDO and self.last[step.flow, step.n] == id
        return Line(
            depth=0,
            kind="event",
            name=event.type,
            time=event.time,
            about=event.subject,
            component=_component(event),
            seq=self.seqs[id],
            id=id,
            by=by,
            changed=_carried(event.data) if error is None else None,
            flow=event.flow,
            n=None if step is None else step.n,
            state=step.state.value if step is not None and told else None,
            attempts=step.attempts if step is not None and told else 0,
            error=step.error if step is not None and told else error,
            waits=_waits(step) if step is not None and told else None,
            answers=None if question is None else f"{question.model}.{question.port}",
        )


def _order(item: tuple[tuple[str, int], str | None, Line]) -> tuple[str, int]:
    return item[0]


def _step_line(step: Step) -> Line:
    return Line(
        depth=0,
        kind="step",
        name=f"{step.model}.{step.port}",
        time=step.updated,
        about=step.record,
        component=step.model.split(".", 1)[0],
        flow=step.flow,
        n=step.n,
        state=step.state.value,
        attempts=step.attempts,
        error=step.error,
        waits=_waits(step),
    )


def _waits(step: Step) -> str | None:
    """What a step waits for, as people read it."""
    if step.state is StepState.ASKED and step.wait is not None:
        until = "" if step.due is None else f" until {step.due}"
        return f"{' or '.join(step.wait.events)}{until}"
    if step.state is StepState.WAITING:
        return "its condition" if step.joined is None else "the other events of its join"
    return None


def _failed_line(failed: Failed) -> Line:
    return Line(
        depth=0,
        kind="listener",
        name=failed.subscriber if failed.kind == "listener" else "answer",
        time=failed.time,
        about=failed.subject,
        component=failed.subscriber.split(":", 1)[0] if failed.kind == "listener" else "",
        attempts=failed.attempts,
        error=failed.error,
    )


def _component(event: Event) -> str:
    parts = event.source.split("/")
    return parts[3] if event.source.startswith(OURS) and len(parts) > 3 else ""


def _carried(data: dict[str, Any]) -> dict[str, Any]:
    """What an event changed of its record, or all that it carries."""
    changed = data.get("changed")
    return changed if isinstance(changed, dict) else data


# --- at -------------------------------------------------------------------------------------------


async def at(store: Store, seq: int, spec: ModelSpec, id: str) -> Past:
    """A record and its flows as of event `seq`: after it, and before the next one.

    Raises InvalidError for a number that the journal has not, NotFoundError for a record that
    never was or whose events the journal does not hold any more.
    """
    here = await _numbered(store, seq)
    if not here:
        last = store.last_seq()
        raise InvalidError(
            f"the journal has no event {seq}",
            hint=f"the last one is {last}" if seq > last else "it may be older than what is kept",
        )
    record = None
    known = False
    entries: list[Entry] = []
    async for entry in _of(store, id):
        event = decode_event(entry.doc)
        if about(event) != spec.key:
            continue
        known = True
        entries.append(entry)
        if entry.seq <= seq:
            record = _folded(spec, record, event, entry)
    if not known:
        raise NotFoundError(f"the journal has no event of {spec.name} {id!r}")
    if record is None and not any(entry.type == spec.created for entry in entries):
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
    return Record(
        model=past.model,
        id=past.id,
        revision=past.revision,
        created=past.created,
        updated=past.updated,
        doc=ENCODER.encode(past.record),
    )


def _too_old(spec: ModelSpec, id: str, first: Entry) -> NotFoundError:
    return NotFoundError(
        f"the journal does not reach back to the beginning of {spec.name} {id!r}: its first event "
        f"there is {first.type} #{first.seq}",
        hint="events older than what is kept are gone",
    )


def _folded(spec: ModelSpec, record: Record | None, event: Event, entry: Entry) -> Record | None:
    """The record after one more event. Raises NotFoundError when one before it is missing."""
    data = event.data
    if data.keys() == {"id", "revision"} and event.type == spec.deleted:
        return None
    if data.keys() != {"id", "revision", "changed"} or data["id"] != event.subject:
        return record  # somebody said something of it: nothing was changed by that
    before = 0 if record is None else record.revision
    if data["revision"] == before:
        return record
    if data["revision"] != before + 1:
        raise _too_old(spec, data["id"], entry)
    fields = {"id": data["id"]} if record is None else msgspec.json.decode(record.doc)
    value = spec.decoder.decode(ENCODER.encode({**fields, **data["changed"]}))
    return Record(
        model=spec.key,
        id=data["id"],
        revision=data["revision"],
        created=event.time if record is None else record.created,
        updated=event.time,
        doc=ENCODER.encode(value),
    )


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
                async for entry in _of(store, subject)
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
