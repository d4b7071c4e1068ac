"""What the events of a commit set off: which steps begin, in which flow, and what joins them."""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import msgspec

from aegis.core.component import ModelSpec, PortSpec, Revision
from aegis.core.event import Event, teller
from aegis.core.flow import Flow, FlowState, Step, StepState
from aegis.core.registry import Consumer, Registry
from aegis.engine.ledger import Draft
from aegis.engine.run import Run
from aegis.engine.waits import named
from aegis.engine.work import Work

if TYPE_CHECKING:
    from aegis.engine.flows import Flows

_replace = msgspec.structs.replace

_log = logging.getLogger("aegis.host")


class Triggers:
    """Finds what an event sets off among all loaded ports."""

    def __init__(self, flows: Flows) -> None:
        self._flows = flows

    def concerned(self, registry: Registry, work: Work) -> Iterable[str]:
        """The open flows in which what `work` tells is an answer or the event of a join."""
        if not (self._flows.answers.waits or registry.has_joins):
            return ()
        return [
            id
            for type, about, subject, data in work.told()
            if self._flows.answers.waits.is_awaited(type) or registry.joins(type)
            for id in self._concerned_by(registry, work, type, about, subject, data())
        ]

    def _concerned_by(
        self,
        registry: Registry,
        work: Work,
        type: str,
        about: str | None,
        subject: str | None,
        data: dict[str, Any],
    ) -> Iterator[str]:
        by = None
        if registry.is_closed:
            by = (work.label.partition("@") if about is None else about.partition("."))[0] or None
        found = self._flows.answers.waits.who(type, subject, data, by)
        if found is not None:
            yield found[0].flow.id
        for consumer in registry.joins(type):
            record = _subject(subject, data, about, consumer)
            if record is not None:
                yield from self._flows.about((consumer.model.key, record))

    def consume(
        self,
        registry: Registry,
        draft: Draft,
        event: Event,
        about: str | None,
        run: Run | None,
        *,
        only: Revision | None = None,
    ) -> Event:
        """Add the steps that `event` sets off; the event, which may have got a flow by it."""
        started: list[Step] = []
        flow = None if run is None else drafted(draft, run.flow)
        if flow is not None and flow.state is not FlowState.RUNNING:
            flow = None
        new: Run | None = None
        by = teller(event.source) if registry.is_closed else None
        for consumer in registry.consumers(event.type):
            model, port = consumer.model, consumer.port
            record = _subject(event.subject, event.data, about, consumer)
            if record is None:
                continue
            owner = consumer.revision
            if by is not None and not registry.access.hears(owner.label, by, event.type):
                continue
            if (only is not None and owner is not only) or not _takes(
                registry, owner, flow, record
            ):
                continue
            joined = self._join(draft, event, consumer, record, run) if port.join else None
            if joined is not None:
                event = event if event.flow is not None else _replace(event, flow=joined)
                draft.delivered.append(consumer)
                continue
            at_hand = self._is_at_hand(draft, model, record)
            value = self.value(draft, model, record) if at_hand else None
            if at_hand and value is None:
                _log.warning(
                    "%s of event %s names %s %r, which does not exist: no step taken",
                    port.by or "subject",
                    event.type,
                    model.name,
                    record,
                )
                continue
            if flow is None:
                flow, new = self._open(registry, draft, event, about or model.key, owner)
                event = _replace(event, flow=flow.id)
                draft.flow = draft.flow or flow.id
            holder = run if new is None else new
            assert holder is not None  # noqa: S101 -- a flow is either the run's or the new one's
            step = Step(
                flow=flow.id,
                n=holder.next,
                model=model.key,
                port=port.name,
                record=record,
                cause=event.id,
                key=f"{flow.id}.{holder.next}",
                state=StepState.WAITING,
                updated=draft.now,
                joined={consumer.pattern: event.id} if port.join else None,
            )
            # What is not at hand is fetched when this is stored; until then the step waits.
            if at_hand and not port.join and passes(port, value):
                step.state = StepState.READY
            holder.next += 1
            started.append(step)
            draft.delivered.append(consumer)
        if not started:
            return event
        draft.commit.steps += started
        if new is not None:
            draft.after.append(functools.partial(self._flows.begin, new, started))
        elif run is not None:
            draft.after.append(functools.partial(self._flows.extend, run, started, draft.leaving))
            draft.leaving = None
        return event

    def _join(
        self, draft: Draft, event: Event, consumer: Consumer, record: str, run: Run | None
    ) -> str | None:
        """Add `event` to a step that waits for it besides others; the step's flow, if any."""
        model, port = consumer.model, consumer.port
        runs = [*([] if run is None else [run])]
        runs += [
            self._flows.run(id)
            for id in self._flows.about((model.key, record))
            if id in draft.locked
        ]
        for holder in dict.fromkeys(runs):
            if holder.flow.state is not FlowState.RUNNING:
                continue
            drafted = {s.n: s for s in draft.commit.steps if s.flow == holder.flow.id}
            for step in {**holder.steps, **drafted}.values():
                if (step.model, step.port, step.record) != (model.key, port.name, record):
                    continue
                if step.state is not StepState.WAITING or step.joined is None:
                    continue
                if consumer.pattern in step.joined:
                    continue
                joined = _replace(
                    step, joined={**step.joined, consumer.pattern: event.id}, cause=event.id
                )
                if (
                    is_joined(port, joined)
                    and self._is_at_hand(draft, model, record)
                    and passes(port, self.value(draft, model, record))
                ):
                    joined = joined.moved(StepState.READY)
                draft.commit.steps = [s for s in draft.commit.steps if s is not step]
                draft.flow = draft.flow or holder.flow.id
                self._flows.go_on(draft, holder, joined)
                return holder.flow.id
        return None

    def _open(
        self, registry: Registry, draft: Draft, event: Event, model: str, consumer: Revision
    ) -> tuple[Flow, Run]:
        """A new flow, owned by the component that `event` is about."""
        owner = registry.taking(model.split(".", 1)[0], event.subject) or consumer
        flow = Flow(
            id=self._flows.ledger.clock.id(),
            root=event.id,
            component=owner.name,
            version=owner.version,
            digest=owner.digest,
            model=model,
            record=event.subject or "",
            state=FlowState.RUNNING,
            created=draft.now,
            updated=draft.now,
        )
        draft.commit.flows.append(flow)
        return flow, Run(flow, (), touched=False)

    def _is_at_hand(self, draft: Draft, model: ModelSpec, record: str) -> bool:
        """Whether `value` knows a record: not all are in the host's store."""
        key = (model.key, record)
        return key in draft.records or self._flows.ledger.elsewhere.is_at_hand(key)

    def value(self, draft: Draft, model: ModelSpec, record: str) -> Any:
        """The record as `draft` leaves it, as an instance of `model`'s own class."""
        key = (model.key, record)
        value = draft.values.get(key)
        if isinstance(value, model.cls):
            return value
        stored = (
            draft.records[key] if key in draft.records else self._flows.ledger.records.get(*key)
        )
        return None if stored is None else model.value(stored)


def about(event: Event) -> str | None:
    """The key of the model whose record an event is about, as its source says."""
    parts = event.source.split("/")
    return f"{parts[3]}.{parts[5]}" if len(parts) == 6 else None


def _subject(
    subject: str | None, data: dict[str, Any], about: str | None, consumer: Consumer
) -> str | None:
    """The id of the record whose port an event sets off, None when it is not meant."""
    by = consumer.port.by
    if by is None:
        return subject if about == consumer.model.key else None
    found = named(by, subject, data)
    return subject if found is None and about is not None and by == "id" else found


def _takes(registry: Registry, owner: Revision, flow: Flow | None, record: str) -> bool:
    """Whether it is this revision of its component that takes the next step of a flow."""
    if flow is not None and owner.name == flow.component:
        return registry.revision(flow.component, flow.version) is owner
    return registry.taking(owner.name, record) is owner


def is_joined(port: PortSpec, step: Step) -> bool:
    """Whether all the events have come that a step needs."""
    return not port.join or (step.joined is not None and step.joined.keys() >= {*port.consumes})


def passes(port: PortSpec, value: Any) -> bool:
    if port.when is None:
        return True
    try:
        return bool(port.when(value))
    except Exception:
        _log.exception("the condition of port %s raised: the step waits", port.name)
        return False


def drafted(draft: Draft, flow: Flow) -> Flow:
    """The flow as `draft` will leave it."""
    return next((f for f in reversed(draft.commit.flows) if f.id == flow.id), flow)
