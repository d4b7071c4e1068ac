"""The store that forgets: plain dicts, for tests and `--ephemeral`."""

from __future__ import annotations

import asyncio
import bisect
import copy
import heapq
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from aegis.adapters.storage.exporting import header, write
from aegis.adapters.storage.sight import MemorySight
from aegis.core.audit import Action, Audit
from aegis.core.component import Source
from aegis.core.deployment import Deployment
from aegis.core.errors import AegisError, ConflictError, StoreError
from aegis.core.flow import OPEN_FLOWS, Flow, Step
from aegis.core.grant import Granted
from aegis.core.matching import counted, gathered
from aegis.core.moving import Header, Manifest, Progress
from aegis.core.query import Condition, Index, Page, Query
from aegis.core.record import Record
from aegis.core.rule import duplicate
from aegis.protocols import (
    NOTHING,
    Answer,
    Audits,
    Commit,
    Cursor,
    Drop,
    Entries,
    Entry,
    Failed,
    Fill,
    Flows,
    FlowSteps,
    Former,
    Keeping,
    Kept,
    Old,
    Outgoing,
    Put,
    Recording,
    Sight,
    Taken,
    Unclaimed,
)

T = TypeVar("T")


class MemoryStore:
    """What a host commits, kept as long as the process lives (see protocols.Store)."""

    def __init__(self) -> None:
        self.commits = 0
        self.batches = 0
        self._rewritten = 0  # see Sight
        self._is_open = False
        self._records: dict[str, dict[str, Record]] = {}
        self._journal: list[Entry] = []
        self._last = 0
        self._entries: dict[str, Entry] = {}
        self._flows: dict[str, Flow] = {}
        self._about: dict[tuple[str, str], dict[str, None]] = {}  # flows by record
        self._steps: dict[str, dict[int, Step]] = {}
        self._answers: dict[str, Answer] = {}
        self._cursors: dict[str, int] = {}
        self._failed: dict[tuple[int, str], Failed] = {}
        self._deployments: dict[int, Deployment] = {}
        self._sources: dict[str, Source] = {}
        self._schemas: dict[str, bytes] = {}
        self._formers: dict[str, dict[str, Former]] = {}
        self._taken: dict[str, Taken] = {}
        self._unclaimed: dict[str, Unclaimed] = {}
        self._recordings: dict[str, dict[tuple[int, int], Recording]] = {}
        self._held: dict[tuple[str, str, str], str] = {}
        self._sealed: dict[str, bytes] = {}
        self._outgoing: dict[str, Outgoing] = {}
        self._places: dict[str, str] = {}
        self._granted: dict[str, Granted] = {}
        self._keys: dict[str, dict[str, str]] = {}
        self._audits: list[Audit] = []

    async def open(self) -> None:
        """Make ready."""
        self._is_open = True

    async def close(self) -> None:
        """Refuse further work; what is stored can be opened again."""
        self._is_open = False

    def announce(self, address: str) -> None:
        """Nobody else can want this store, so nobody is told."""

    def commit(self, commit: Commit) -> asyncio.Future[int]:
        """Store all of `commit`; drops count after puts (see protocols.Store)."""
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        try:
            future.set_result(self._apply(commit))
        except AegisError as error:
            future.set_exception(error)
        return future

    def _apply(self, commit: Commit) -> int:
        self._require_open()
        changes = self._changes(commit)
        for entry in commit.events:
            if entry.id in self._entries:
                raise ConflictError(f"the event {entry.id} is in the journal already")
        holdings = self._holdings(commit) if commit.held or commit.released else {}
        for (model, id), record in changes.items():
            if record is None:
                self._records.get(model, {}).pop(id, None)
            else:
                self._records.setdefault(model, {})[id] = record
        for entry in commit.events:
            self._enter(entry)
        self._convert(commit)
        # Flows and steps are the only values here that their owner may change afterwards.
        for flow in commit.flows:
            self._flows[flow.id] = copy.copy(flow)
            self._about.setdefault((flow.model, flow.record), {})[flow.id] = None
        for step in commit.steps:
            self._steps.setdefault(step.flow, {})[step.n] = copy.copy(step)
        self._answers.update((answer.key, answer) for answer in commit.answers)
        self._cursors.update((cursor.subscriber, cursor.seq) for cursor in commit.cursors)
        self._failed.update(((one.seq, one.subscriber), one) for one in commit.failed)
        for gone in commit.cleared:
            self._failed.pop((gone.seq, gone.subscriber), None)
        self._deployments.update((one.number, one) for one in commit.deployments)
        self._sources.update((source.digest, source) for source in commit.sources)
        self._schemas.update((schema.model, schema.doc) for schema in commit.schemas)
        for fill in commit.fills:
            self._fill(fill)
        self._taken.update((taken.key, taken) for taken in commit.taken)
        self._unclaimed.update((one.event, one) for one in commit.unclaimed)
        for claimed in commit.claimed:
            self._unclaimed.pop(claimed.event, None)
        for one in commit.recordings:
            self._recordings.setdefault(one.flow, {})[one.n, one.attempt] = one
        self._hold(holdings)
        self._sealed.update((one.event, one.doc) for one in commit.sealed)
        self._outgoing.update((row.key, row) for row in commit.outgoing)
        for sent in commit.sent:
            self._outgoing.pop(sent.key, None)
        self._places.update((place.model, place.datasource) for place in commit.places)
        self._granted.update((one.component, one) for one in commit.granted)
        for keeping in commit.keeping:
            self._keep(keeping)
        self._audit(commit.audits)
        self.commits += 1
        self.batches += 1
        return self._last

    def _holdings(self, commit: Commit) -> dict[tuple[str, str, str], str | None]:
        """Who holds what after `commit`, where that changes. Raises DuplicateError."""
        changes: dict[tuple[str, str, str], str | None] = {}
        for gone in commit.released:
            if gone.key is None:
                of = (gone.model, gone.field)
                changes.update((key, None) for key in self._held if key[:2] == of)
            elif self._held.get(key := (gone.model, gone.field, gone.key)) == gone.id:
                changes[key] = None
        for one in commit.held:
            key = (one.model, one.field, one.key)
            found = changes[key] if key in changes else self._held.get(key)
            if found not in (None, one.id):
                raise duplicate(one.model, one.field)
            changes[key] = one.id
        return changes

    def _enter(self, entry: Entry) -> None:
        self._last += 1
        stored = msgspec.structs.replace(entry, seq=self._last)
        self._journal.append(stored)
        self._entries[entry.id] = stored

    def _convert(self, commit: Commit) -> None:
        for model in commit.outdated:
            self._formers.pop(model, None)
        for one in commit.converted:
            before, after = one.before, one.after
            self._records[after.model][after.id] = after
            self._enter(one.event)
            if one.keep:
                kept = Former(before.model, before.id, one.keep, after.revision, before.doc)
                self._formers.setdefault(before.model, {})[before.id] = kept

    def _hold(self, changes: Mapping[tuple[str, str, str], str | None]) -> None:
        for place, holder in changes.items():
            if holder is None:
                del self._held[place]
            else:
                self._held[place] = holder

    def _keep(self, one: Keeping) -> None:
        values = self._keys.setdefault(one.component, {})
        if one.value is None:
            values.pop(one.key, None)
        else:
            values[one.key] = one.value

    def _audit(self, told: Iterable[Audit]) -> None:
        for one in told:
            self._audits.append(msgspec.structs.replace(one, n=len(self._audits) + 1))

    def _fill(self, fill: Fill) -> None:
        self._rewritten += 1
        records = self._records.get(fill.model, {})
        for id, record in records.items():
            fields = msgspec.json.decode(record.doc, type=dict[str, msgspec.Raw])
            if fill.field not in fields:
                fields[fill.field] = msgspec.Raw(fill.value)
                records[id] = msgspec.structs.replace(record, doc=msgspec.json.encode(fields))

    def _changes(self, commit: Commit) -> dict[tuple[str, str], Record | None]:
        """What becomes of each record. Raises ConflictError, and nothing has changed then."""
        for one in commit.converted:
            known = self.get(one.before.model, one.before.id)
            if known is None or known.revision != one.before.revision:
                raise ConflictError("a record changed while it was migrated", hint="try again")
        changes: dict[tuple[str, str], Record | None] = {}
        todo: list[Put | Drop] = [*commit.puts, *commit.drops]
        for change in todo:
            key = _key(change)
            current = changes[key] if key in changes else self.get(*key)
            found = 0 if current is None else current.revision
            if found != change.expected:
                state = f"is at revision {found}" if found else "does not exist"
                wanted = f"revision {change.expected}" if change.expected else "to be new"
                raise ConflictError(
                    f"{' '.join(key)} {state}, expected {wanted}", hint="read it again"
                )
            changes[key] = change.record if isinstance(change, Put) else None
        return changes

    def get(self, model: str, id: str) -> Record | None:
        """The record as last committed."""
        self._require_open()
        return self._records.get(model, {}).get(id)

    async def list(self, model: str, query: Query) -> Page:
        """The page that `query` means."""
        self._require_open()
        return gathered(self._records.get(model, {}).values(), query)

    async def count(self, model: str, where: tuple[Condition, ...] = ()) -> int:
        """How many records of `model` there are for which all of `where` holds."""
        self._require_open()
        if not where:
            return len(self._records.get(model, {}))
        return counted(self._records.get(model, {}).values(), where)

    async def index(self, component: str, indexes: Mapping[str, Sequence[Index]]) -> None:
        """Nothing to do: every query looks at all records of its model."""
        self._require_open()

    async def clear(self, component: str, audits: Audits = ()) -> int:
        """Drop a component's records, flows, steps and schemas; how many records were dropped."""
        self._require_open()
        self._rewritten += 1
        self._audit(audits)
        known = {*self._records, *self._schemas, *(key[0] for key in self._held)}
        known |= {*(flow.model for flow in self._flows.values())}
        models = [model for model in known if model.startswith(f"{component}.")]
        for flow in list(self._flows.values()):
            if flow.component == component or flow.model in models:
                self._drop_flow(flow)
                self._steps.pop(flow.id, None)
                self._recordings.pop(flow.id, None)
                gone = [key for key in self._failed if key[1] == f"flow:{flow.id}"]
                for key in gone:
                    del self._failed[key]
        for model in models:
            self._schemas.pop(model, None)
            self._formers.pop(model, None)
        self._held = {key: id for key, id in self._held.items() if key[0] not in models}
        self._keys.pop(component, None)
        for row in [*self._outgoing.values()]:
            if row.model.startswith(f"{component}."):
                del self._outgoing[row.key]
        return sum(len(self._records.pop(model, {})) for model in models)

    def last_seq(self) -> int:
        """The seq of the journal's last event, 0 when there is none."""
        self._require_open()
        return self._last

    async def events(self, after: int, limit: int) -> Entries:
        """Up to `limit` entries of the journal with a seq above `after`, in order."""
        self._require_open()
        begin = self._place(after)
        return self._journal[begin : begin + limit]

    def _place(self, seq: int) -> int:
        """Where in the journal the entries after `seq` begin."""
        return bisect.bisect_right(self._journal, seq, key=lambda entry: entry.seq)

    async def event(self, id: str) -> Entry | None:
        """The entry of the event `id`."""
        self._require_open()
        return self._entries.get(id)

    async def events_of(self, subject: str, after: int, limit: int) -> Entries:
        """Up to `limit` entries with that subject and a seq above `after`, in order."""
        self._require_open()
        found = (e for e in self._journal[self._place(after) :] if e.subject == subject)
        return list(itertools.islice(found, limit))

    async def caused_by(self, id: str, limit: int) -> Entries:
        """The event `id` and those that it led to, at whatever remove: `limit` of them in order."""
        self._require_open()
        first = self._entries.get(id)
        if first is None:
            return []
        known = {id}
        found = [first]
        for entry in self._journal[self._place(first.seq) :]:
            if len(found) == limit:
                break
            if entry.cause in known:
                known.add(entry.id)
                found.append(entry)
        return found

    def taken(self, key: str) -> str | None:
        """The id that an outside event got, None when none of that key was taken."""
        self._require_open()
        found = self._taken.get(key)
        return None if found is None else found.event

    def holder(self, model: str, field: str, key: str) -> str | None:
        """The id of the record that holds a value of a unique field."""
        self._require_open()
        return self._held.get((model, field, key))

    def sealed(self, event: str) -> bytes | None:
        """What is sealed beside an event."""
        self._require_open()
        return self._sealed.get(event)

    async def unclaimed(self) -> Sequence[Unclaimed]:
        """The events that wait to be claimed as answers, oldest first."""
        self._require_open()
        return sorted(self._unclaimed.values(), key=lambda one: (one.time, one.event))

    async def recordings(self, flow: str) -> Sequence[Recording]:
        """What the adapters of a flow's steps answered, by step and attempt."""
        self._require_open()
        return [one for _, one in sorted(self._recordings.get(flow, {}).items())]

    async def outgoing(self) -> Sequence[Outgoing]:
        """What is on its way to datasources, in the order of its commits."""
        self._require_open()
        return [*self._outgoing.values()]

    async def granted(self) -> Sequence[Granted]:
        """What was granted to components, and taken from them."""
        self._require_open()
        return list(self._granted.values())

    def kept(self, component: str, key: str) -> str | None:
        """What a component keeps under a key."""
        self._require_open()
        return self._keys.get(component, {}).get(key)

    async def keys(self, component: str, prefix: str, limit: int) -> Sequence[str]:
        """Up to `limit` keys of a component that begin with a text, in order."""
        self._require_open()
        names = (name for name in self._keys.get(component, {}) if name.startswith(prefix))
        return sorted(names)[:limit]

    async def count_keys(self, component: str) -> int:
        """How many keys a component has."""
        self._require_open()
        return len(self._keys.get(component, {}))

    async def places(self) -> Mapping[str, str]:
        """Where the records of models are, as commits said: datasources by model."""
        self._require_open()
        return dict(self._places)

    def _drop_flow(self, flow: Flow) -> None:
        del self._flows[flow.id]
        key = (flow.model, flow.record)
        about = self._about[key]
        del about[flow.id]
        if not about:
            del self._about[key]

    async def open_flows(self) -> Flows:
        """Flows whose state is in OPEN_FLOWS with all their steps by number, oldest flow first."""
        return self._with_steps(flow for flow in self._flows.values() if flow.state in OPEN_FLOWS)

    async def flow(self, id: str) -> FlowSteps | None:
        """One flow with its steps by number."""
        flow = self._flows.get(id)
        found = self._with_steps([] if flow is None else [flow])
        return found[0] if found else None

    async def flows(self, model: str, record: str) -> Flows:
        """The flows about a record, oldest first."""
        return self._with_steps(self._flows[id] for id in self._about.get((model, record), ()))

    async def recent_flows(self, limit: int) -> Flows:
        """Up to `limit` flows of any state, by id, the highest first."""
        self._require_open()
        ids = heapq.nlargest(limit, self._flows)
        return [one for id in ids for one in self._with_steps([self._flows[id]])]

    def _with_steps(self, flows: Iterable[Flow]) -> Flows:
        self._require_open()
        return [
            (
                copy.copy(flow),
                [copy.copy(step) for _, step in sorted(self._steps.get(flow.id, {}).items())],
            )
            for flow in sorted(flows, key=lambda flow: (flow.created, flow.id))
        ]

    async def forget(self, old: Old, limit: int) -> int:
        """Drop up to `limit` each of what is `old`; how many."""
        self._require_open()
        answers = [key for key, one in self._answers.items() if one.created < old.answers]
        taken = [key for key, one in self._taken.items() if one.time < old.taken]
        recordings = [
            one
            for kept in self._recordings.values()
            for one in kept.values()
            if one.time < old.recordings
        ]
        for key in answers[:limit]:
            del self._answers[key]
        for key in taken[:limit]:
            del self._taken[key]
        for one in recordings[:limit]:
            del self._recordings[one.flow][one.n, one.attempt]
        return sum(len(found[:limit]) for found in (answers, taken, recordings))

    async def forget_events(self, after: int, until: int, kept: Kept, limit: int) -> int:
        """Look at up to `limit` events after a seq and up to another, drop those not `kept`."""
        self._rewritten += 1
        begin, end = self._place(after), self._place(min(until, self._last - 1))
        looked = self._journal[begin : min(end, begin + limit)]
        left = [e for e in looked if e.id in kept.events or e.flow in kept.flows]
        self._journal[begin : begin + len(looked)] = left
        for entry in set(looked) - set(left):
            del self._entries[entry.id]
            self._sealed.pop(entry.id, None)
        return looked[-1].seq if len(looked) == limit else until

    async def forget_flows(self, after: str, before: str, kept: Kept, limit: int) -> str | None:
        """Look at up to `limit` flows after an id, drop those not `kept` that ended `before`."""
        self._rewritten += 1
        ids = heapq.nsmallest(limit, (id for id in self._flows if id > after))
        for id in ids:
            flow = self._flows[id]
            if flow.state in OPEN_FLOWS or id in kept.flows or flow.updated >= before:
                continue
            self._drop_flow(flow)
            self._steps.pop(id, None)
            self._recordings.pop(id, None)
        return ids[-1] if len(ids) == limit else None

    async def answer(self, key: str) -> Answer | None:
        """The stored answer of an idempotency key."""
        self._require_open()
        return self._answers.get(key)

    async def cursor(self, subscriber: str) -> int | None:
        """How far a subscriber has come, None when it is new."""
        self._require_open()
        return self._cursors.get(subscriber)

    async def cursors(self) -> Sequence[Cursor]:
        """How far each subscriber has come."""
        self._require_open()
        return [Cursor(name, seq) for name, seq in sorted(self._cursors.items())]

    async def failed(self, limit: int | None = None) -> Sequence[Failed]:
        """The failed list, oldest event first; with `limit` the newest ones only."""
        self._require_open()
        found = [self._failed[key] for key in sorted(self._failed)]
        return found if limit is None else found[max(0, len(found) - limit) :]

    async def failed_of(self, subscriber: str) -> Sequence[Failed]:
        """The failures of one subscriber, oldest event first."""
        return [one for one in await self.failed() if one.subscriber == subscriber]

    async def failed_count(self) -> int:
        """How many failures there are."""
        self._require_open()
        return len(self._failed)

    async def deployments(self) -> Sequence[Deployment]:
        """All deployments, by number."""
        self._require_open()
        return [one for _, one in sorted(self._deployments.items())]

    async def source(self, digest: str) -> Source | None:
        """The text of a revision."""
        self._require_open()
        return self._sources.get(digest)

    async def audits(self, after: int | None, limit: int, action: Action | None = None) -> Audits:
        """Entries of the audit log, in order (see protocols.Store)."""
        self._require_open()
        found = [
            one for one in self._audits[after or 0 :] if action is None or one.action is action
        ]
        return found[max(0, len(found) - limit) :] if after is None else found[:limit]

    async def look(self, question: Callable[[Sight], T]) -> T:
        """What `question` answers of a copy of the dicts; what is in them never changes."""
        self._require_open()
        sight = MemorySight(
            self._last,
            self._rewritten,
            self._journal.copy(),
            {model: records.copy() for model, records in self._records.items()},
            {id: (flow, self._steps.get(id, {}).copy()) for id, flow in self._flows.items()},
            self._sealed.copy(),
            {model: formers.copy() for model, formers in self._formers.items()},
        )
        return await asyncio.to_thread(question, sight)

    async def schema(self, model: str) -> bytes | None:
        """The schema that the stored records of `model` have."""
        self._require_open()
        return self._schemas.get(model)

    async def export(
        self,
        target: str,
        models: Sequence[str],
        told: Progress,
        more: Mapping[str, Sequence[Record]] = NOTHING,
    ) -> Header:
        """Write records to a new file, all as of one point (see protocols.Store)."""
        self._require_open()
        counts = {model: len(records) for model, records in self._records.items()}
        counts |= {model: len(records) for model, records in more.items()}
        found = header(counts, self._schemas, models, self._last)
        records = [
            record
            for model in found.models
            for record in (
                more[model]
                if model in more
                else [one for _, one in sorted(self._records.get(model, {}).items())]
            )
        ]
        await asyncio.to_thread(write, Path(target), found, records, told)
        return found

    async def backup(self, target: str, told: Progress) -> Manifest:
        """There is nothing to copy. Raises ConflictError."""
        raise ConflictError(
            "this host keeps everything in memory: there is no data directory to back up",
            hint="export its records, or run it with a data directory",
        )

    def _require_open(self) -> None:
        if not self._is_open:
            raise StoreError("the store in memory is not open")


def _key(change: Put | Drop) -> tuple[str, str]:
    if isinstance(change, Put):
        return (change.record.model, change.record.id)
    return (change.model, change.id)
