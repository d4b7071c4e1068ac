"""Tries a candidate on what was recorded, before it serves: flows and requests, one at a time."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import msgspec

from aegis.core.component import ENCODER, CommandSpec, ModelSpec, Revision, Source
from aegis.core.errors import (
    AegisError,
    ClosedError,
    ConflictError,
    InvalidError,
    NotFoundError,
    RecordingError,
)
from aegis.core.event import IMPORT, MIGRATION, Event, decode_event
from aegis.core.flow import OPEN_FLOWS, Flow
from aegis.core.moving import Progress
from aegis.core.rehearsal import SHOWN, Divergence, Gate, Rehearsal
from aegis.core.replay import Pair, Replay, pair
from aegis.engine.fork import StandingClock
from aegis.engine.history import at, record_of
from aegis.engine.ledger import Outcome
from aegis.engine.script import Script
from aegis.engine.timers import time_of
from aegis.engine.triggers import about
from aegis.engine.work import checked
from aegis.protocols import Commit, Entry, FlowSteps, Put

if TYPE_CHECKING:
    from aegis.engine.deploys import Deploys
    from aegis.engine.replay import Replays

LONGEST = 5.0  # seconds for one flow or request
PAGE = 500  # events read at once
FAR = 20  # times as many flows and events are looked through as are wanted
MIGRATING = "its records get another form, which the plan tells of"
# What cannot be tried, whatever the candidate is: it is gone, has another form, was not recorded.
_UNTRIABLE = (NotFoundError, ConflictError, ClosedError, RecordingError)


@dataclass(kw_only=True)
class _Tally:
    """What came of everything so far."""

    counts: Counter[str] = field(default_factory=Counter)
    diverging: list[Divergence] = field(default_factory=list)
    notes: Counter[str] = field(default_factory=Counter)

    def skip(self, why: str) -> None:
        self.counts["skipped"] += 1
        self.notes[why] += 1

    def diverges(self, one: Divergence) -> None:
        self.counts[one.verdict] += 1
        if len(self.diverging) < SHOWN:
            self.diverging.append(one)


@dataclass(frozen=True, kw_only=True)
class _Request:
    """A call from outside that changed one record, and the number of its event."""

    seq: int
    event: Event
    model: str


class Rehearsing:
    """Rehearsals of one host."""

    def __init__(self, deploys: Deploys, replays: Replays) -> None:
        self._deploys = deploys
        self._replays = replays

    async def rehearse(
        self, sources: Sequence[Source], gate: Gate, told: Progress | None = None
    ) -> Rehearsal:
        """How the last recorded flows and requests of some components fare on new code of them.

        Nothing real is touched, and calls go before it. `told` hears how many are done, and of how
        many. Raises ComponentError for code that cannot be loaded, RecordingError where nothing is
        recorded.
        """
        deploys = self._deploys
        deploys.check_open()
        lookup = deploys.lookup_in()
        new = [source for source in sources if not deploys.serves(source, lookup)]
        began = asyncio.get_running_loop().time()
        tally = _Tally()
        names = {source.name for source in new}
        left = 0
        if names & deploys.engine.registry.live.keys():
            loaded: list[Revision] = []
            try:
                for source in new:
                    loaded.append(await deploys.load(source))  # noqa: PERF401 -- see below
                left = await self._all(loaded, gate, tally, told, began + gate.seconds)
            finally:
                for revision in loaded:  # as many as there were
                    deploys.loader.unload(revision)
        counts = tally.counts
        return Rehearsal(
            components=tuple(sorted(source.name for source in sources)),
            gate=gate,
            same=counts["same"],
            differ=counts["differs"],
            raises=counts["raises"],
            unsteady=counts["unsteady"],
            skipped=counts["skipped"],
            unreached=left,
            seconds=round(asyncio.get_running_loop().time() - began, 3),
            diverging=tuple(tally.diverging),
            notes=tuple(f"{count} times: {why}" for why, count in tally.notes.most_common()),
        )

    async def _all(
        self,
        loaded: Sequence[Revision],
        gate: Gate,
        tally: _Tally,
        told: Progress | None,
        until: float,
    ) -> int:
        """Try everything, the newest first; how many there was no time for."""
        names = {revision.name for revision in loaded}
        things: dict[str, FlowSteps | _Request] = {}
        for flow in await self._flows(names, gate.last):
            things[f"{flow[0].id} flow"] = flow
        for request in await self._requests(names, gate.last):
            things[f"{request.event.id} request"] = request
        order = sorted(things, reverse=True)[: gate.last]
        plans = [await self._deploys.planned(revision) for revision in loaded]
        migrating = frozenset(key for plan in plans for key in plan.migrating)
        loop = asyncio.get_running_loop()
        async with AsyncExitStack() as stack:
            stack.enter_context(self._replays.borrowed())
            trial = _Trial(self._deploys, self._replays, loaded, migrating, tally, stack)
            for done, key in enumerate(order):
                if told is not None:
                    told(done, len(order))
                if (now := loop.time()) >= until:
                    return len(order) - done
                thing = things[key]
                if isinstance(thing, _Request):
                    await trial.request(thing)
                else:
                    await trial.flow(thing[0], min(LONGEST, until - now))
                # As long again belongs to those who are served.
                await asyncio.sleep(loop.time() - now)
            if told is not None:
                told(len(order), len(order))
        return 0

    async def _flows(self, names: set[str], most: int) -> list[FlowSteps]:
        """The last flows that have ended and that code of `names` took part in."""
        limit, found = most, list[FlowSteps]()
        while True:
            recent = await self._deploys.store.recent_flows(limit)
            found = [
                (flow, steps)
                for flow, steps in recent
                if flow.state not in OPEN_FLOWS
                and names & {flow.component, *(s.model.partition(".")[0] for s in steps)}
            ]
            if len(found) >= most or len(recent) < limit or limit >= most * FAR:
                return found[:most]
            limit *= 4

    async def _requests(self, names: set[str], most: int) -> list[_Request]:
        """The last calls from outside that created, patched or commanded a record of `names`."""
        store, found = self._deploys.store, list[_Request]()
        seq = max(0, store.last_seq() - most * FAR)
        while page := await store.events(seq, PAGE):
            seq = page[-1].seq
            found += [request for entry in page for request in _request(entry, names)]
            del found[:-most]
        return found


def _request(entry: Entry, names: set[str]) -> Iterable[_Request]:
    event = decode_event(entry.doc)
    if event.cause is not None or event.step is not None or event.origin in {IMPORT, MIGRATION}:
        return
    model = about(event)
    if model is None or model.partition(".")[0] not in names:
        return
    if event.data.keys() == {"id", "revision", "changed"} and event.data["id"] == event.subject:
        yield _Request(seq=entry.seq, event=event, model=model)


class _Trial:
    """Flows and requests on one candidate, which is loaded once."""

    def __init__(
        self,
        deploys: Deploys,
        replays: Replays,
        loaded: Sequence[Revision],
        migrating: frozenset[str],
        tally: _Tally,
        stack: AsyncExitStack,
    ) -> None:
        self._deploys = deploys
        self._replays = replays
        self._migrating = migrating
        self._tally = tally
        self._stack = stack
        self._live = dict(deploys.engine.registry.live)
        self._new = {revision.name: revision for revision in loaded}
        self._loaded = [*loaded, *self._live.values()]
        self._stages: dict[str, _Stage] = {}

    async def flow(self, flow: Flow, longest: float) -> None:
        """Run a flow on the candidate; where it is otherwise, on what serves as well."""
        said = Divergence(
            id=flow.id, kind="flow", name=f"{flow.model} {flow.record}", verdict="raises"
        )
        try:
            past = await self._replays.originals.find(flow.id)
            if self._migrating.intersection(key for key, _ in past.keys):
                self._tally.skip(MIGRATING)
                return
            replay = await self._run(past, flow, self._new, longest)
        except _UNTRIABLE as error:
            self._tally.skip(error.detail.partition(flow.id)[0] or error.detail)
            return
        except AegisError as error:
            self._tally.diverges(msgspec.structs.replace(said, error=str(error)))
            return
        pairs = self._differing(replay)
        if not pairs and not replay.stopped:
            self._tally.counts["same"] += 1
            return
        if flow.component in self._live:
            known = await self._run(past, flow, {}, longest)
            if known.stopped == replay.stopped and _names(self._differing(known)) == _names(pairs):
                self._tally.counts["unsteady"] += 1
                return
        raised = next(filter(None, map(_raised, replay.steps)), None)
        self._tally.diverges(
            msgspec.structs.replace(
                said,
                verdict="differs" if raised is None else "raises",
                error=raised or (replay.reason if replay.stopped else None),
                differences=tuple(pairs),
            )
        )

    async def _run(
        self, past: Any, flow: Flow, new: Mapping[str, Revision], longest: float
    ) -> Replay:
        serving = {**self._live, **new}
        sources = [revision.source for revision in serving.values()]
        label = serving[flow.component].label if flow.component in serving else ""
        return await self._replays.run(
            past, flow.id, sources, label, self._loaded, longest=max(longest, 0.1)
        )

    def _differing(self, replay: Replay) -> list[Pair]:
        """What is not the same, but for fields that the candidate adds with their defaults."""
        found = [
            left
            for one in (*replay.steps, *replay.events)
            if not one.same
            for left in self._but_new(one)
        ]
        for one in replay.state:
            if not one.same:
                model = one.name.partition(" ")[0]
                found += self._but_added(model, one)
        return found

    def _but_new(self, one: Pair) -> Iterable[Pair]:
        """What a step or an event tells, but for such fields of any model."""
        if not isinstance(one.now, dict) or not isinstance(one.then, dict | None):
            return [one]
        left = {
            key: value
            for key, value in one.now.items()
            if key in (one.then or {})
            or not any(_added(new, key, value, added) for new, added in self._grown)
        }
        if left or one.then:
            return [msgspec.structs.replace(one, now=left)]
        return []

    @cached_property
    def _grown(self) -> list[tuple[ModelSpec, set[str]]]:
        """The candidate's models that serve already, with the fields that it adds."""
        return [
            (model, set(model.fields) - set(old.fields))
            for revision in self._new.values()
            for model in revision.models
            if (live := self._live.get(revision.name)) is not None
            and (old := live.by_name.get(model.name)) is not None
        ]

    def _but_added(self, model: str, one: Pair) -> Iterable[Pair]:
        component, _, name = model.partition(".")
        old = None if component not in self._live else self._live[component].by_name.get(name)
        new = None if component not in self._new else self._new[component].by_name.get(name)
        if old is None or new is None or not isinstance(one.now, dict):
            return [one]
        added = set(new.fields) - set(old.fields)
        left = {key: value for key, value in one.now.items() if not _added(new, key, value, added)}
        if not left and not one.then:
            return []
        return [msgspec.structs.replace(one, now=left)]

    async def request(self, request: _Request) -> None:
        """Make a change again on the candidate: does it still read it, and store the same?"""
        component, _, name = request.model.partition(".")
        old = self._live[component].by_name.get(name) if component in self._live else None
        new = self._new[component].by_name.get(name)
        event, tally = request.event, self._tally
        said = Divergence(
            id=event.id, kind="request", name=f"{event.type} {event.subject}", verdict="raises"
        )
        if old is None:
            tally.skip("its model is not loaded")
            return
        if request.model in self._migrating:
            tally.skip(MIGRATING)
            return
        if new is None:
            gone = f"there is no model {request.model} in this code"
            tally.diverges(msgspec.structs.replace(said, error=gone))
            return
        try:
            redone = await self._redone(old, request)
        except _UNTRIABLE as error:
            tally.skip(error.detail.partition(str(event.subject))[0] or error.detail)
            return
        if redone is None:
            tally.skip("what a command was called with is not recorded")
            return
        now = await self._tried(self._new[component], redone)
        pairs = [one for one in [_compared(old, redone, now)] if not one.same]
        pairs = [left for one in pairs for left in self._but_added(request.model, one)]
        if now.error is None and not pairs:
            tally.counts["same"] += 1
            return
        known = await self._tried(self._live[component], redone)
        before = [one for one in [_compared(old, redone, known)] if not one.same]
        if (known.error is None) == (now.error is None) and _names(before) == _names(pairs):
            tally.counts["unsteady"] += 1
            return
        tally.diverges(
            msgspec.structs.replace(
                said,
                verdict="differs" if now.error is None else "raises",
                error=now.error,
                differences=() if now.error is not None else tuple(pairs),
            )
        )

    async def _redone(self, old: ModelSpec, request: _Request) -> _Redone | None:
        """What is to be done again, None for a command of which too little is known."""
        store, event, id = self._deploys.store, request.event, str(request.event.subject)
        whole = old.whole(event, store.sealed(event.id))
        then = await at(store, request.seq, old, id)
        after = msgspec.json.decode(old.encode(then.record))
        if event.type == old.created:
            given = {
                item.encode_name: value
                for item in msgspec.structs.fields(old.create)
                if not _same(value := getattr(then.record, item.name), _default(item))
            }
            return _Redone(old.name, event, id, None, None, given, after)
        past = await at(store, request.seq - 1, old, id)
        before = record_of(past, old)
        commands = [one for one in old.commands.values() if one.produces == event.type]
        if event.type == old.updated:  # of a patch, or as a patch would be
            known = {item.encode_name for item in msgspec.structs.fields(old.patch)}
            changed = [name for name in whole.data["changed"] if name in known]
            given = {name: getattr(then.record, name) for name in changed}
            return _Redone(old.name, event, id, before, None, given, after)
        if len(commands) != 1 or not _alone(commands[0]):
            return None
        return _Redone(old.name, event, id, before, commands[0].name, {}, after)

    async def _tried(self, revision: Revision, redone: _Redone) -> _Result:
        stage = self._stages.get(revision.digest)
        if stage is None:
            stage = await self._stack.enter_async_context(
                _staged(self._replays, revision, self._loaded)
            )
            self._stages[revision.digest] = stage
        return await stage.perform(redone)


@dataclass(frozen=True)
class _Redone:
    """A change of a record to be made again: what was there, what is given, what came of it."""

    model: str
    event: Event
    id: str
    before: Any
    command: str | None
    given: Mapping[str, Any]
    after: Any


@dataclass(frozen=True)
class _Result:
    """The document of a record, or what was raised instead."""

    doc: Any = None
    error: str | None = None


@dataclass(frozen=True)
class _Stage:
    """A host in memory with one component, whose models are only data and commands."""

    fork: Deploys
    component: str
    clock: StandingClock

    async def perform(self, redone: _Redone) -> _Result:
        """Make the change, and what it is afterwards."""
        fork = self.fork
        spec = fork.engine.registry.models[f"{self.component}.{redone.model}"]
        await fork.reset(self.component)
        self.clock.go_on(time_of(redone.event.time))
        try:
            if redone.before is not None:
                await fork.store.commit(Commit(puts=[Put(redone.before, 0)]))
            async with asyncio.timeout(LONGEST):
                outcome = await self._done(spec, redone)
        except TimeoutError:
            return _Result(error=f"it took longer than {LONGEST:g} s")
        except AegisError as error:
            return _Result(error=str(error))
        except Exception as error:  # whatever a candidate raises is told
            return _Result(error=f"{type(error).__name__}: {error}")
        if outcome.record is None:
            return _Result()
        return _Result(doc=msgspec.json.decode(spec.opened(outcome.record)))

    async def _done(self, spec: ModelSpec, redone: _Redone) -> Outcome:
        engine = self.fork.engine
        if redone.command is not None:
            command = spec.commands.get(redone.command)
            if command is None:
                raise NotFoundError(f"there is no command {redone.command} in this code")
            if command.call.decoder is not None:
                checked(spec, command.call.decoder, {})
                raise InvalidError(f"{redone.command} takes arguments in this code")
            return await engine.command(spec, redone.id, command, None)
        if redone.before is None:
            given = checked(spec, spec.create_decoder, redone.given)
            return await engine.create(spec, given, id=redone.id)
        given = checked(spec, spec.patch_decoder, redone.given)
        return await engine.patch(spec, redone.id, given, expected=None)


@asynccontextmanager
async def _staged(
    replays: Replays, revision: Revision, loaded: Iterable[Revision]
) -> AsyncGenerator[_Stage]:
    script = Script(lambda _: None)
    clock = StandingClock(replays.clock, time_of("1970-01-01T00:00:00.000Z"))
    async with replays.fork(script, clock, [revision.source], loaded, apart=True) as (fork, _):
        yield _Stage(fork, revision.name, clock)


def _compared(spec: ModelSpec, redone: _Redone, result: _Result) -> Pair:
    """The record then and now, without what is private."""
    then, now = redone.after, result.doc
    if spec.rules is not None:
        then, now = spec.rules.compared(then, now)
    return pair("record", then, now)


def _names(pairs: Iterable[Pair]) -> list[Any]:
    """Which members of what are otherwise."""
    return [
        (one.name, sorted(one.then) if isinstance(one.then, dict) else one.then is None,
         sorted(one.now) if isinstance(one.now, dict) else one.now is None)
        for one in pairs
    ]  # fmt: skip


def _raised(one: Pair) -> str | None:
    """The error that a step has now and had not then, unless it is that of the script."""
    error = one.now.get("error") if isinstance(one.now, dict) and not one.same else None
    if not isinstance(error, str) or error.startswith(RecordingError.__name__):
        return None
    return error or None


def _added(spec: ModelSpec, name: str, value: Any, added: set[str]) -> bool:
    """Whether a member is a field that the candidate adds, with its default."""
    if name not in added:
        return False
    item = next(item for item in msgspec.structs.fields(spec.shape) if item.encode_name == name)
    try:
        return bool(msgspec.json.decode(ENCODER.encode(_default(item))) == value)
    except (TypeError, ValueError):
        return False


def _default(item: Any) -> Any:
    if item.default_factory is not msgspec.NODEFAULT:
        return item.default_factory()
    return item.default


def _same(one: Any, other: Any) -> bool:
    return bool(one == other)


def _alone(command: CommandSpec) -> bool:
    call = command.call
    return not call.adapters and call.arguments is None and call.event is None and not command.undo
