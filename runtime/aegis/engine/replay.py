"""Runs a flow again on a fork of the data, with what its adapters answered then."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import replace
from datetime import datetime
from typing import Any

import msgspec

from aegis.core.component import ENCODER, ModelSpec, Revision, Source
from aegis.core.errors import ClosedError, NotFoundError, RecordingError
from aegis.core.event import OURS, Emission, Event, decode_event
from aegis.core.flow import Flow, FlowState
from aegis.core.keep import Keep
from aegis.core.policy import Policy
from aegis.core.replay import Pair, Replay, pair
from aegis.engine.deploys import Deploys, Limits
from aegis.engine.fork import Borrowing, StandingClock
from aegis.engine.history import record_of
from aegis.engine.ledger import Draft
from aegis.engine.original import MOST, Original, Originals
from aegis.engine.recorder import Recorder
from aegis.engine.resident import Lookup
from aegis.engine.script import Script
from aegis.engine.timers import time_of
from aegis.engine.triggers import about
from aegis.engine.work import Change, Work
from aegis.protocols import Clock, Commit, FlowSteps, Loader, Put, Schema, Store

LONGEST = 30.0  # seconds that component code may take in all
TURNS = 200  # of the loop, after which who waits for something real is left time for it
LINES = "\n"


class Replays:
    """Replays of one host. `scratch` makes the store of a fork."""

    def __init__(
        self,
        *,
        deploys: Deploys,
        store: Store,
        clock: Clock,
        loader: Loader,
        lookup: Lookup | None,
        defaults: Policy | None,
        scratch: Callable[[], Store] | None,
    ) -> None:
        self._deploys = deploys
        self._store = store
        self._clock = self.clock = clock
        self._loader = loader
        self._lookup = lookup
        self._defaults = defaults
        self._scratch = scratch
        self.originals = Originals(store, lambda: deploys.engine.registry.models)

    async def replay(self, id: str, revision: str | None) -> Replay:
        """Run the flow of an event or of that id again; see Host.replay."""
        if self._deploys.flows.recorder is None:
            raise unrecorded()
        past = await self.originals.find(id)
        sources, candidate = await self._sources(past, revision)
        live = self._deploys.engine.registry.live
        with self.borrowed():
            return await self.run(past, id, sources, candidate, [*live.values()])

    @contextmanager
    def borrowed(self) -> Generator[None]:
        """Keep what serves now in memory meanwhile: forks run on it."""
        with ExitStack() as stack:
            for resident in self._deploys.engine.residents.values():
                resident.enter()
                stack.callback(resident.leave)
            yield

    async def run(
        self,
        past: Original,
        asked: str,
        sources: Sequence[Source],
        label: str,
        loaded: Iterable[Revision],
        *,
        longest: float = LONGEST,
    ) -> Replay:
        """Run a flow again where `sources` serve; the code named by `label` is what it is about.

        `loaded` are revisions that need not be loaded for it. It takes `longest` seconds at most.
        """
        recorder = self._deploys.flows.recorder
        if recorder is None or self._scratch is None:
            raise unrecorded()
        script = await self._script(past, recorder)
        clock = StandingClock(self._clock, time_of(decode_event(past.root.doc).time))
        script.heard = clock.hear
        async with self.fork(script, clock, sources, loaded, await self._seed(past)) as (
            fork,
            store,
        ):
            run = _Run(past, fork, store, clock, script, self._clock.now(), longest)
            return await run.through(asked, label)

    @asynccontextmanager
    async def fork(
        self,
        script: Script,
        clock: StandingClock,
        sources: Sequence[Source],
        loaded: Iterable[Revision],
        seed: Commit | None = None,
        *,
        apart: bool = False,
    ) -> AsyncGenerator[tuple[Deploys, Store]]:
        """A host in memory that serves `sources` with the answers of `script`, on what is seeded.

        With `apart` its models are only data (see Borrowing).
        """
        if self._scratch is None:
            raise unrecorded()
        fork = Deploys(
            store=(store := self._scratch()),
            clock=clock,
            loader=Borrowing(self._loader, loaded, apart=apart),
            lookup=self._lookup,
            bindings=None,
            defaults=self._defaults,
            limits=Limits(grace=0.05),
            keep=Keep(),
            vault=self._deploys.vault,
            stage=script.stage,
        )
        fork.perform(script)
        await fork.open()
        try:
            if seed is not None:
                await store.commit(seed)
            setup = self._deploys.setup()
            await fork.change(replace(setup, sources=tuple(sources)))
            yield fork, store
        finally:
            await fork.close()

    async def _script(self, past: Original, recorder: Recorder) -> Script:
        """What is recorded of a flow. Raises RecordingError when a text does not open."""
        script = Script(_nothing)
        models = self._deploys.engine.registry.models
        for event in past.inside.values():
            spec = models.get(about(event) or "")
            if spec is not None and event.type == spec.created and event.subject is not None:
                script.born.setdefault(spec.key, []).append(event.subject)
        known = {(step.flow, step.n): step for step in past.steps()}
        recordings = [one for id in past.family for one in await self._store.recordings(id)]
        for one in sorted(recordings, key=lambda one: (one.time, one.flow, one.n, one.attempt)):
            step = known.get((one.flow, one.n))
            if step is not None:
                place = f"{step.model}.{step.port}"
                script.add(place, step.record, one.time, recorder.opened(one))
        return script

    async def _sources(
        self, past: Original, revision: str | None
    ) -> tuple[tuple[Source, ...], str]:
        """What the fork serves, and the label of the code that the flow runs on."""
        live = self._deploys.engine.registry.live
        sources = {name: one.source for name, one in live.items()}
        component = past.flow.component
        if revision is not None:
            sources[component] = await self._candidate(component, past.flow, revision)
        elif component not in live:
            raise ClosedError(
                f"component {component!r} is not loaded",
                hint="deploy it, or say which revision to replay on",
            )
        source = sources[component]
        return tuple(sources.values()), f"{source.name}@{source.version}+{source.digest[:8]}"

    async def _candidate(self, component: str, flow: Flow, revision: str) -> Source:
        live = self._deploys.engine.registry.live.get(component)
        if LINES in revision:
            version = flow.version if live is None else live.version
            imports = {} if live is None else live.source.imports
            binary = b""
            if live is not None and live.source.is_wasm:
                loader = self._deploys.loader
                binary = await asyncio.to_thread(loader.assemble, revision, component, version)
            return Source.of(
                component, version, revision, origin="a replay", imports=imports, binary=binary
            )
        for deployment in reversed(await self._store.deployments()):
            label = f"{deployment.component}@{deployment.version}+{deployment.digest[:8]}"
            names = {label, deployment.digest, deployment.digest[:8]}
            names |= {f"{deployment.component}@{deployment.version}", deployment.version}
            if deployment.component == component and revision in names:
                source = await self._store.source(deployment.digest)
                if source is not None:
                    return source
        raise NotFoundError(
            f"there is no revision {revision[:80]!r} of {component}",
            hint="a label as orders@1.0.0+3fa9c1d2 of a deployment, a version, or the text itself",
        )

    async def _seed(self, past: Original) -> Commit:
        """The records as they were when the flow began, and the event that began it."""
        models = self._deploys.engine.registry.models
        puts = []
        for key in past.keys:
            then = await self.originals.then(key, past.began)
            if then.record is not None:
                puts.append(Put(record_of(then, models[key[0]]), 0))
        schemas = []
        for model in models:
            doc = await self._store.schema(model)
            if doc is not None:
                schemas.append(Schema(model, doc))
        event = msgspec.structs.replace(decode_event(past.root.doc), flow=None)
        entry = msgspec.structs.replace(past.root, flow=None, doc=ENCODER.encode(event))
        return Commit(puts=puts, schemas=schemas, events=[entry])


def unrecorded() -> RecordingError:
    """What to raise where a host keeps no recordings."""
    return RecordingError(
        "this host records nothing, so nothing can be replayed",
        hint="set recordings = true in [replay] of aegis.toml",
    )


def _nothing(_: str) -> None:
    """Who hears the times of recorded answers before anything runs."""


class _Run:
    """One replay under way."""

    def __init__(
        self,
        past: Original,
        fork: Deploys,
        store: Store,
        clock: StandingClock,
        script: Script,
        today: datetime,
        longest: float,
    ) -> None:
        self._past = past
        self._fork = fork
        self._store = store
        self._clock = self.clock = clock
        self._script = script
        self._today = today
        self._longest = longest
        self._applied: set[str] = set()
        self._flow = ""

    async def through(self, asked: str, revision: str) -> Replay:
        """Run it to its end, or to where it cannot go on; the differences."""
        root = decode_event(self._past.root.doc)
        fork = self._fork
        self._flow = await fork.flows.again(fork.engine.registry, root, ())
        reason = await self._go()
        if self._script.stopped is not None and not self._script.scenes:
            raise RecordingError(
                f"nothing is recorded of flow {self._past.flow.id}: {self._script.stopped}",
                hint="it may be older than what is kept, or recordings were off",
            )
        return await self._compared(asked, revision, reason)

    async def _go(self) -> str:
        """Let the flow move, and happen what happened; why it ended."""
        happenings = list(self._past.outside)
        canceled = self._past.flow.canceled
        while True:
            if not await self._still():
                return self._script.stopped or f"it took longer than {self._longest:g} s"
            due = self._clock.due()
            following = time_of(happenings[0].time) if happenings else None
            if due is not None and due <= (following or self._today):
                self._clock.go_on(due)
            elif happenings:
                event = happenings.pop(0)
                self._clock.go_on(time_of(event.time))
                await self._happen(event)
                if canceled and self._canceled_by(event):
                    canceled = not await self._cancel()
            elif canceled and await self._cancel():
                canceled = False
            elif not len(self._fork.flows):
                return "it came to its end"
            else:
                waits = ", ".join(self._fork.flows.waiting()) or "something that has not happened"
                return f"it waits for {waits}"

    async def _still(self) -> bool:
        """Return when nothing moves any more; False when it must not, or does not end."""
        loop = asyncio.get_running_loop()
        until, turns, quiet = loop.time() + self._longest, 0, 0
        while quiet < 3:
            if self._script.stopped is not None or loop.time() > until:
                return False
            tasks = {task for run in self._fork.flows.runs() for task in run.tasks.values()}
            tasks |= {run.compensator for run in self._fork.flows.runs() if run.compensator}
            moving = sum(not task.done() for task in tasks)
            quiet = quiet + 1 if moving <= self._script.hanging else 0
            turns += 1
            await asyncio.sleep(0 if turns < TURNS else 0.001)
        return True

    async def _happen(self, event: Event) -> None:
        """Let something that came from outside happen in the fork."""
        model = about(event)
        fork = self._fork
        work = Work(key=event.id, label="", model=model, subject=event.subject)
        spec = None if model is None else fork.engine.registry.models.get(model)
        told = event.data.keys() in ({"id", "revision", "changed"}, {"id", "revision"})
        if spec is not None and told and event.data["id"] == event.subject:
            change = self._change(spec, spec.whole(event, self._past.sealed(event.id)))
            if change is None:
                return
            work.changes[change.key] = change
        else:
            source = None if event.source.startswith(OURS) else event.source
            said = Emission(event.type, event.data, event.subject, source or event.source)
            work.emissions.append(said)
        _, draft = await fork.flows.ledger.settle(fork.engine.registry, work)
        self._applied |= {told.id for told, _ in draft.events}

    def _change(self, spec: ModelSpec, event: Event) -> Change | None:
        id = str(event.subject)
        record = self._store.get(spec.key, id)
        changed = event.data.get("changed")
        before = None if record is None else spec.value(record)
        after = None
        if changed is not None:
            fields = {"id": id} if record is None else msgspec.json.decode(spec.opened(record))
            after = spec.decoder.decode(ENCODER.encode({**fields, **changed}))
        elif record is None:
            return None
        return Change(
            spec=spec,
            id=id,
            base=record,
            before=before,
            after=after,
            event=event.type,
            always=True,
        )

    def _canceled_by(self, event: Event) -> bool:
        """Whether it was this event's command that asked for the undo of the flow."""
        spec = self._fork.engine.registry.models.get(about(event) or "")
        reason = (self._past.flow.error or "").removeprefix("undone by ")
        command = None if spec is None else spec.commands.get(reason)
        return command is not None and command.undo and command.produces == event.type

    async def _cancel(self) -> bool:
        """Begin the undo of the flow as somebody did; whether there is anything to undo."""
        run = self._fork.flows.find(self._flow)
        if run is None or run.flow.state is not FlowState.RUNNING:
            return False
        reason = self._past.flow.error or "undone by request"

        def mark(draft: Draft) -> None:
            self._fork.flows.undoing.begin(draft, self._flow, reason, canceled=True)

        await self._fork.flows.ledger.settle(
            self._fork.engine.registry,
            Work(key=self._flow, label=""),
            locks=(self._flow,),
            mark=mark,
        )
        return True

    # What came of it

    async def _compared(self, asked: str, revision: str, reason: str) -> Replay:
        flows = [*reversed(await self._store.recent_flows(MOST))]
        entries = await self._store.events(0, MOST)
        now = [decode_event(e.doc) for e in entries[1:] if e.id not in self._applied]
        then = list(self._past.inside.values())
        steps = _pairs(_steps(self._past.family.values(), then), _steps(flows, now))
        events = _pairs(_events(then), _events(now))
        state = await self._state(flows)
        stopped = self._script.stopped is not None
        same = not stopped and all(one.same for one in (*steps, *events, *state))
        return Replay(
            asked=asked,
            flow=self._past.flow.id,
            revision=revision,
            same=same,
            reason=reason,
            stopped=stopped,
            steps=steps,
            events=events,
            state=state,
            notes=tuple(dict.fromkeys(self._gone())),
        )

    def _gone(self) -> Iterable[str]:
        """What is to be said of steps whose port the code of now does not have."""
        for step in self._past.steps():
            spec = self._fork.engine.registry.models.get(step.model)
            if spec is None or spec.port(step.port) is None:
                yield f"there is no port {step.model}.{step.port} in this code"

    async def _state(self, flows: Iterable[FlowSteps]) -> tuple[Pair, ...]:
        flow = next(flow for flow, _ in flows if flow.id == self._flow)
        then = {"state": self._past.flow.state.value, "error": self._past.flow.error}
        pairs = [pair("flow", then, {"state": flow.state.value, "error": flow.error})]
        for key in self._past.keys:
            record = self._store.get(*key)
            spec = self._fork.engine.registry.models.get(key[0])
            was = self._past.records.get(key)
            doc = None if record is None else record.doc
            if record is not None and spec is not None:
                doc = spec.opened(record)
            now = None if doc is None else msgspec.json.decode(doc)
            if spec is not None and spec.rules is not None:
                was, now = spec.rules.compared(was, now)
            pairs.append(pair(" ".join(key), was, now))
        return tuple(pairs)


def _pairs(then: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[Pair, ...]:
    return tuple(pair(name, then.get(name), now.get(name)) for name in {**then, **now})


def _steps(flows: Iterable[FlowSteps], events: Iterable[Event]) -> dict[str, Any]:
    """How each step stands and what it changed, by port and record."""
    changed: dict[tuple[str, int], dict[str, Any]] = {}
    for event in events:
        if event.flow is not None and event.step is not None:
            fields = event.data.get("changed")
            known = changed.setdefault((event.flow, event.step), {})
            known.update(fields if isinstance(fields, dict) else {})
    found: dict[str, Any] = {}
    for _, steps in flows:
        for step in steps:
            told: dict[str, Any] = {"state": step.state.value, "failed attempts": step.attempts}
            told |= {"error": step.error, **changed.get((step.flow, step.n), {})}
            found[_numbered(f"{step.model}.{step.port} {step.record}", found)] = told
    return found


def _events(events: Iterable[Event]) -> dict[str, Any]:
    """What each event carries, by its type and subject."""
    found: dict[str, Any] = {}
    for event in events:
        data = event.data.get("changed")
        if not isinstance(data, dict):
            data = dict(event.data)
            if data.keys() == {"flow", "error"}:  # of the host: the flow of now has another id
                del data["flow"]
        found[_numbered(f"{event.type} {event.subject or ''}".strip(), found)] = data
    return found


def _numbered(name: str, known: Mapping[str, Any]) -> str:
    """`name`, with a number when it is there already."""
    count = 2
    while (numbered := name if count == 2 else f"{name} ({count - 1})") in known:
        count += 1
    return numbered
