"""Finds what led to what: from a change up to the request, and from there down to every change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from aegis.core.component import ModelSpec
from aegis.core.errors import NotFoundError
from aegis.core.event import OURS, UNDO, Event, decode_event
from aegis.core.flow import Step, StepState
from aegis.core.why import Line, Why
from aegis.engine.history import events_of, numbered
from aegis.engine.triggers import about
from aegis.protocols import Entry, Failed, FlowSteps, Store

MOST = 1000  # events of a tree
FIELDS = 20  # of an event from outside that may name the record it is for


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
        return [entry async for entry in events_of(store, asked) if _about(entry) == spec.key][
            :MOST
        ]
    kind, _, rest = asked.partition(":")
    if kind in {"flow", "answer"} and rest:
        asked = rest
    elif kind == "listener" and rest:
        asked = rest.rpartition(":")[2]
    if asked.isdecimal() and len(asked) <= 18:
        return await numbered(store, int(asked))
    entry = await store.event(asked)
    if entry is not None:
        return [entry]
    flow = await store.flow(asked)
    if flow is not None:
        causes = [flow[0].root, *(step.cause for step in flow[1])]
        found = [await store.event(cause) for cause in dict.fromkeys(causes)]
        return [entry for entry in found if entry is not None]
    return [entry async for entry in events_of(store, asked)][:MOST]


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
