"""Reads a flow back as it was: its events, what came from outside meanwhile, and how it ended."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from aegis.core.component import ModelSpec
from aegis.core.errors import ClosedError, InvalidError, NotFoundError
from aegis.core.event import Event, decode_event
from aegis.core.flow import OPEN_FLOWS, Flow, Step
from aegis.core.past import Past
from aegis.engine.history import at, events_of, numbered
from aegis.engine.work import Key
from aegis.protocols import Entry, FlowSteps, Store

MOST = 2000  # events of a flow


@dataclass(frozen=True, kw_only=True)
class Original:
    """A flow as it was: the flows that came of it too, its events, and what came from outside.

    `began` is the event after which the flow began, `ended` the last one that counts. `inside` are
    the events that it made, `outside` the others about its records, in order. `records` are those
    it is about, by `keys`, as they were at the end. `sealed` gives what is beside an event.
    """

    flow: Flow
    family: dict[str, FlowSteps]
    root: Entry
    began: int
    ended: int
    inside: dict[str, Event]
    outside: list[Event]
    keys: tuple[Key, ...]
    records: dict[Key, Any]
    sealed: Callable[[str], bytes | None]

    def steps(self) -> Iterable[Step]:
        """The steps of all its flows, oldest flow first."""
        for _, steps in self.family.values():
            yield from steps


class Originals:
    """The flows of one store as they were; `models` are those whose code is loaded."""

    def __init__(self, store: Store, models: Callable[[], Mapping[str, ModelSpec]]) -> None:
        self._store = store
        self._models = models

    async def find(self, id: str) -> Original:
        """The flow that `id` means, as it was. Raises NotFoundError, InvalidError, ClosedError."""
        flow, steps = await self._flow(id)
        root = await self._store.event(flow.root)
        if root is None:
            raise NotFoundError(
                f"the event that began flow {flow.id} is not in the journal any more",
                hint="events older than what is kept are gone",
            )
        family: dict[str, FlowSteps] = {flow.id: (flow, steps)}
        inside: dict[str, Event] = {}
        for entry in await self._store.caused_by(root.id, MOST):
            event = decode_event(entry.doc)
            stops = event.data.keys() == {"flow", "error"} and event.data["flow"] in family
            made = event.step is not None and event.flow in family
            if event.id == root.id or not (made or (stops and event.cause is not None)):
                continue
            inside[event.id] = event
            if event.flow is not None and event.flow not in family:
                found = await self._store.flow(event.flow)
                if found is not None and found[0].root == event.id:
                    family[event.flow] = found
        steps = [step for _, of in family.values() for step in of]
        keys = dict.fromkeys([(flow.model, flow.record), *((s.model, s.record) for s in steps)])
        outside = await self._outside(root, inside, family, steps, keys)
        began = root.seq
        if decode_event(root.doc).flow != flow.id:  # begun anew, later
            before = [entry.seq for entry, _ in outside if entry.id < flow.id]
            began = max([began, *before])
        ended = self._store.last_seq()
        if all(one.state not in OPEN_FLOWS for one, _ in family.values()):
            answers = {step.answer for step in steps}
            seqs = [e.seq for e, _ in outside if e.id in answers]
            seqs += [(await self._seq(event)) for event in inside.values()]
            ended = max([began, *seqs])
        return Original(
            flow=flow,
            family=family,
            root=root,
            began=began,
            ended=ended,
            inside=inside,
            outside=[event for entry, event in outside if began < entry.seq <= ended],
            keys=tuple(keys),
            records={key: await self._data(key, ended) for key in keys},
            sealed=self._store.sealed,
        )

    async def _data(self, key: Key, seq: int) -> Any:
        """A record at a point of the journal, as JSON has it; None when it was not there."""
        then = await self.then(key, seq)
        if then.record is None:
            return None
        return msgspec.json.decode(self._models()[key[0]].encode(then.record))

    async def then(self, key: Key, seq: int) -> Past:
        """A record as of an event. Raises ClosedError when its model is not loaded."""
        spec = self._models().get(key[0])
        if spec is None:
            raise ClosedError(f"the component of {key[0]} is not loaded", hint="deploy it first")
        return await at(self._store, seq, spec, key[1])

    async def _seq(self, event: Event) -> int:
        entry = await self._store.event(event.id)
        return 0 if entry is None else entry.seq

    async def _flow(self, id: str) -> FlowSteps:
        """The flow that `id` means: its own, or that of an event. Raises NotFoundError."""
        if id.startswith("listener:"):
            raise InvalidError(
                "what a listener did is not recorded, so it cannot be replayed",
                hint="replay the flow of the event",
            )
        id = id.removeprefix("flow:")
        if id.isdecimal() and len(id) <= 18:
            entry = next(iter(await numbered(self._store, int(id))), None)
        else:
            flow = await self._store.flow(id)
            if flow is not None:
                return flow
            entry = await self._store.event(id)
        if entry is None:
            raise NotFoundError(f"there is no flow and no event {id[:80]!r}")
        found_flow = None if entry.flow is None else await self._store.flow(entry.flow)
        if found_flow is None:
            raise NotFoundError(
                f"{entry.type} #{entry.seq} belongs to no flow, so there is nothing to replay"
            )
        return found_flow

    async def _outside(
        self,
        root: Entry,
        inside: Mapping[str, Event],
        family: Mapping[str, FlowSteps],
        steps: Iterable[Step],
        keys: Iterable[Key],
    ) -> list[tuple[Entry, Event]]:
        """The events about the records of a flow that it did not make, and those it waited for."""
        found: dict[str, Entry] = {}
        for _, record in keys:
            async for entry in events_of(self._store, record):
                if entry.seq > root.seq and entry.id not in inside:
                    found[entry.id] = entry
        for step in steps:
            for id in (step.answer, *(step.joined or {}).values()):
                if id is not None and id not in inside and id != root.id:
                    told = await self._store.event(id)
                    if told is not None and told.seq > root.seq:
                        found[id] = told
        for entry in await self._store.caused_by(root.id, MOST):
            if entry.flow in family and entry.id not in inside and entry.id != root.id:
                found[entry.id] = entry
        line = sorted(found.values(), key=lambda entry: entry.seq)
        return [(entry, decode_event(entry.doc)) for entry in line]
