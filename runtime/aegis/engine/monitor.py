"""What a host does, as figures and recent happenings, numbered so that views get what is new."""

from __future__ import annotations

import asyncio
import itertools
import threading
import uuid
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from time import perf_counter
from typing import TYPE_CHECKING, Any
from weakref import ReferenceType, ref

from aegis.core.component import CommandSpec, ListenerSpec, ModelSpec, PortSpec, Revision
from aegis.core.errors import StoreError
from aegis.core.event import Emission, is_glob, matches
from aegis.core.flow import Flow, Step
from aegis.core.graph import (
    Edge,
    Graph,
    command_id,
    event_id,
    graph_of,
    listener_id,
    model_id,
    port_id,
)
from aegis.core.registry import Registry
from aegis.core.trace import HTTP, Call
from aegis.core.versions import Followed
from aegis.core.wire import (
    Component,
    EventLine,
    FailedLine,
    Figure,
    FlowLine,
    Frame,
    GateRun,
    Level,
    LogLine,
    Older,
    Problem,
    Split,
    Status,
    Topic,
)
from aegis.engine.context import CALLER, SOURCE
from aegis.engine.guests import GuestLines, guest_status
from aegis.engine.lines import event_line, failed_line, flow_line, followed_line, split_line
from aegis.engine.log import Log
from aegis.engine.meter import TIMED, Meter, Span
from aegis.engine.run import Run
from aegis.engine.watchdog import Who
from aegis.protocols import Clock, Commit, Entry, Failed, Store

if TYPE_CHECKING:
    from aegis.engine.deploys import Deploys
    from aegis.engine.ledger import Draft

EVENTS = 1000  # events that are kept, to be shown
FLOWS = 500  # flows that changed last
LINES = 500  # lines of the log
FAILED = 1000  # failures in memory; the store has them all
GATES = 64  # the last gates, one for each component
TRACED = 1000  # calls of a trace

# What one frame holds at most.
SHOWN_EVENTS = 50
SHOWN_FLOWS = 200
SHOWN_FAILED = 200

# Kinds of events beyond which a new one is counted in the whole only: code can make up names.
ROUTES = 4096
# Seconds over which the rate of events is told.
WINDOW = 3
# The figures of the loop itself: how late it was when it was asked for a sign of life.
LOOP = "loop"
RECENT = 50  # events of an earlier run that views begin with
# Seconds for which a lag is a problem.
LAGGED = 300.0
# Frames whose cursor is known by the number of events then.
ENDS = 1024


class Trace:
    """The calls of a host while it is traced, TRACED at most; `left_out` counts the others."""

    def __init__(self, caller: Any = None) -> None:
        self.left_out = 0
        self._caller = caller
        self._spans: list[Span | Call] = []

    def add(self, span: Span | Call) -> None:
        """One more call, unless somebody else than the caller set it off."""
        if self._caller is not None and SOURCE.get() != HTTP and CALLER.get() != self._caller:
            return
        if len(self._spans) < TRACED:
            self._spans.append(span)
        else:
            self.left_out += 1

    @property
    def calls(self) -> tuple[Call, ...]:
        """The calls so far, in the order they began."""
        return tuple(span if isinstance(span, Call) else _call(span) for span in self._spans)


class Monitor:
    """What one host does. Every change has a number; `cursor` is that of the last one.

    All of it is for the host's loop, but `note`, which any thread may call. Nothing is built until
    a frame is asked for.
    """

    def __init__(self, deploys: Deploys, store: Store, clock: Clock) -> None:
        self.boot = uuid.uuid4().hex
        self.cursor = 0
        self.traces: tuple[Trace, ...] = ()
        self._deploys = deploys
        self._store = store
        self._clock = clock
        self.waiters: list[asyncio.Future[None]] = []
        self._meters: dict[str, Meter] = {}
        self._routes: dict[tuple[str | None, str], tuple[Meter, ...]] = {}
        self._deliveries: dict[tuple[str, str, str], Meter] = {}
        self._events: deque[tuple[int, int, Entry]] = deque(maxlen=EVENTS)
        self._last_event = 0
        self._seconds: deque[list[int]] = deque(maxlen=WINDOW + 1)
        self._ends: OrderedDict[int, int] = OrderedDict()
        self._flows: OrderedDict[str, tuple[int, Run]] = OrderedDict()
        self._failed: dict[tuple[str, int], Failed] = {}
        self._failed_hidden = 0  # failures that only the store has
        self._stale = False
        self._counting: asyncio.Task[None] | None = None
        self._failed_changed = 0
        self._problems: dict[str, Problem] = {}
        self._place = {"address": "", "notebook": ""}
        self._data: str | None = None
        self._status_changed = 0
        self._splits_changed = 0
        self._gates: OrderedDict[str, tuple[int, GateRun]] = OrderedDict()
        # Tells what is followed for a component, where anything is.
        self.followed: Callable[[str], Followed | None] = lambda _: None
        self._lines: deque[tuple[int, LogLine, str | None]] = deque(maxlen=LINES)
        self._inbox: deque[tuple[str, Level, str, str, str | None]] = deque(maxlen=LINES)
        self._numbers = itertools.count(1)
        self._posted = False
        # The thread of the host's loop, once there is one.
        self.thread: int | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._settling: asyncio.TimerHandle | None = None
        self._lag: asyncio.TimerHandle | None = None
        self._loop_meter = self.meter(LOOP)
        self._log = Log(self)
        self._floor = 0
        self._scene = _Scene()
        self._guests = GuestLines()

    # What changes, as the engine tells it

    def touch(self) -> int:
        """Number one more change, and wake who waits for it."""
        self.cursor += 1
        if self.waiters:
            self.wake()
        return self.cursor

    def wake(self) -> None:
        """Wake who waits for a change."""
        for waiter in self.waiters:
            if not waiter.done():
                waiter.set_result(None)
        self.waiters.clear()

    def meter(self, id: str, source: str = "", target: str = "", label: str = "") -> Meter:
        """The meter of a node or edge of the graph, always the same one."""
        found = self._meters.get(id)
        if found is None:
            found = self._meters[id] = Meter(self, id, source or id, target or id, label or id)
        return found

    def port(self, model: ModelSpec, port: PortSpec) -> Meter:
        """The meter of a port."""
        return self.meter(port_id(model, port), label=port.name)

    def undo(self, model: ModelSpec, port: PortSpec) -> Meter:
        """The meter of a port's undo; shown where it is an edge, from the port to its model."""
        id = port_id(model, port)
        edge = Edge(id, model_id(model), "undo").id
        return self.meter(edge, target=id, label=f"undo {port.name}")

    def command(self, model: ModelSpec, command: CommandSpec) -> Meter:
        """The meter of a command."""
        return self.meter(command_id(model, command), label=command.name)

    def listener(self, revision: Revision, listener: ListenerSpec) -> Meter:
        """The meter of a listener."""
        return self.meter(listener_id(revision, listener), label=listener.name)

    def edge(self, source: str, target: str, kind: str) -> Meter:
        """The meter of the calls from one node to another."""
        return self.meter(Edge(source, target, kind).id, source, target)

    def cause(self, event: str, model: ModelSpec) -> str:
        """The node of the event of that id, for a trace; the model's when it is too long ago."""
        found = (entry.type for _, _, entry in reversed(self._events) if entry.id == event)
        type = next(found, None)
        return model_id(model) if type is None else event_id(type)

    def stored(self, draft: Draft, last: int) -> None:
        """A commit was stored and has had its consequences; `last` is the seq of its last event."""
        commit = draft.commit
        changed = self.touch()
        if commit.events:
            self._published(commit.events, last, draft.actor, changed)
        for consumer in draft.delivered:
            key = (consumer.pattern, consumer.model.key, consumer.port.name)
            meter = self._deliveries.get(key)
            if meter is None:
                target = port_id(consumer.model, consumer.port)
                meter = self.edge(event_id(consumer.pattern), target, "consumes")
                self._deliveries[key] = meter
            meter.calls += 1
            meter.changed = changed
        known = None
        for step in commit.steps:
            if step.flow != known:
                known = step.flow
                self._moved(known, changed)
        for flow in commit.flows:
            if flow.id != known:
                known = flow.id
                self._moved(known, changed)
        if commit.failed or commit.cleared:
            self._failures(commit, changed)

    def _published(
        self, entries: Sequence[Entry], last: int, actor: str | None, changed: int
    ) -> None:
        seq = last - len(entries)
        now = perf_counter()
        second = int(now)
        if not self._seconds or self._seconds[-1][0] != second:
            self._seconds.append([second, 0])
        self._seconds[-1][1] += len(entries)
        self._last_event = changed
        for entry in entries:
            seq += 1
            self._events.append((changed, seq, entry))
            key = (actor, entry.type)
            route = self._routes.get(key)
            for meter in self._route(key) if route is None else route:
                meter.calls += 1
                meter.changed = changed
            if self.traces:
                self.record(_published(entry, actor, now))

    def _route(self, key: tuple[str | None, str]) -> tuple[Meter, ...]:
        actor, type = key
        if len(self._routes) >= ROUTES:
            return ()
        scene, target = self._now(), event_id(type)
        ids = [target, *(event_id(glob) for glob in scene.globs if matches(glob, type))]
        if actor is not None:
            ids.append(f"produces:{actor}>{target}")
        self._routes[key] = tuple(self.meter(id) for id in ids if id in scene.ids)
        return self._routes[key]

    def _moved(self, id: str, changed: int) -> None:
        """A flow moved, which is open or was until this commit."""
        run = self._deploys.flows.find(id)
        if run is None:
            known = self._flows.get(id)
            if known is None:
                return
            run = known[1]
        self._flows[id] = (changed, run)
        self._flows.move_to_end(id)
        if len(self._flows) > FLOWS:
            self._flows.popitem(last=False)
        self._status_changed = changed

    def heard(self, pattern: str, listener: str) -> None:
        """A listener is given an event that it names by `pattern`."""
        self.edge(event_id(pattern), listener, "consumes").count()

    def flow(self, run: Run) -> None:
        """A flow ended, or waits for something else than before."""
        id = run.flow.id
        self._flows[id] = (self.touch(), run)
        self._flows.move_to_end(id)
        if len(self._flows) > FLOWS:
            self._flows.popitem(last=False)
        self._status_changed = self.cursor

    def _failures(self, commit: Commit, changed: int) -> None:
        for one in commit.failed:
            self._failed[one.subscriber, one.seq] = one
        for gone in commit.cleared:
            self._failed.pop((gone.subscriber, gone.seq), None)
        self._failed_changed = self._status_changed = changed
        if len(self._failed) > FAILED or self._failed_hidden:
            # Not all of it is here, so the store has to count.
            self._recount()

    def _recount(self) -> None:
        self._stale = True
        if self._counting is None and self._loop is not None:
            self._counting = self._loop.create_task(self._count())

    async def _count(self) -> None:
        try:
            while self._stale:
                self._stale = False
                await self._load_failures()
        except StoreError as error:
            self.note("warning", "host", f"the failed list cannot be read: {error}")
        finally:
            self._counting = None

    async def _load_failures(self) -> None:
        newest = await self._store.failed(FAILED)
        count = await self._store.failed_count()
        if not self._stale:
            self._failed = {(one.subscriber, one.seq): one for one in newest}
            self._failed_hidden = max(0, count - len(newest))
            self._failed_changed = self._status_changed = self.touch()

    def heard_of_loop(self, late: float, said: str | None) -> None:
        """The loop gave a sign of life so late (seconds); `said` blames somebody. Any thread."""
        self.soon(self._lagged, late, said)

    def _lagged(self, late: float, said: str | None) -> None:
        meter = self._loop_meter
        meter.calls += 1
        if meter.times is None:
            meter.times = deque(maxlen=TIMED)
        meter.times.append(late)
        if said is not None and self._loop is not None:
            meter.errors += 1
            meter.error = said
            meter.changed = self.touch()
            self.report("lag", said)
            if self._lag is not None:
                self._lag.cancel()
            self._lag = self._loop.call_later(LAGGED, self.clear, "lag")

    def watch(self, who: Who) -> None:
        """Blame what `who` names when the interpreter is held; it is asked on another thread."""
        self._deploys.watchdog.who = who

    def swapped(self) -> None:
        """Other components are live than before."""
        self._routes.clear()
        for meter in self._meters.values():
            # What failed was other code, maybe: what serves now shows by its own calls how it is.
            if meter.row:
                meter.row = 0
                meter.changed = self.cursor + 1
        for gate in {gate for meter in self._meters.values() for gate in meter.guards}:
            gate.rouse()
        self.restated()
        self._splits_changed = self._status_changed

    def restated(self) -> None:
        """Something that the status tells is otherwise."""
        self._status_changed = self.touch()

    def gate(self, run: GateRun) -> None:
        """How far a gate is; it takes the place of the one before of its component."""
        self._gates[run.component] = (self.touch(), run)
        self._gates.move_to_end(run.component)
        if len(self._gates) > GATES:
            self._gates.popitem(last=False)

    def report(self, source: str, text: str) -> None:
        """Something is wrong, until `clear(source)`; `source` names it stably."""
        known = self._problems.get(source)
        if known is None or known.text != text:
            self._problems[source] = Problem(source=source, text=text, time=self._clock.stamp())
            self._status_changed = self.touch()

    def clear(self, source: str) -> None:
        """What was reported of `source` is no more."""
        if self._problems.pop(source, None) is not None:
            self._status_changed = self.touch()

    @property
    def failures(self) -> int:
        """How many lines the failed list has, those that views do not get included."""
        return len(self._failed) + self._failed_hidden

    def problems(self) -> tuple[Problem, ...]:
        """What was reported and stands."""
        return tuple(self._problems.values())

    def at(
        self, *, address: str | None = None, data: str | None = None, notebook: str | None = None
    ) -> None:
        """Say where the host is: its API's address, its data directory, the notebook it runs."""
        if address is not None:
            self._place["address"] = address
        if notebook is not None:
            self._place["notebook"] = notebook
        if data is not None:
            self._data = data
        self._status_changed = self.touch()

    def note(self, level: Level, source: str, text: str, more: str | None = None) -> None:
        """A line for the log, with the traceback behind it; any thread may write it."""
        self._inbox.append((self._clock.stamp(), level, source, text, more))
        if not self._posted:
            self._posted = True  # before it is posted: the loop may be quicker than this thread
            if not self.soon(self._read_notes):
                self._posted = False

    def soon(self, call: Callable[..., None], *arguments: Any) -> bool:
        """Call on the host's loop, from any thread; False when the host is not open."""
        loop = self._loop
        if loop is None:
            return False
        try:
            loop.call_soon_threadsafe(call, *arguments)
        except RuntimeError:  # the loop is closed: nobody reads any more
            return False
        return True

    def _read_notes(self) -> None:
        self._posted = False
        while self._inbox:
            time, level, source, text, more = self._inbox.popleft()
            line = LogLine(
                n=next(self._numbers),
                time=time,
                level=level,
                source=source,
                text=text,
                more=more is not None,
            )
            self._lines.append((self.touch(), line, more))

    def traceback(self, n: int) -> str | None:
        """The traceback of a line of the log, by its number; None where there is none."""
        return next((more for _, line, more in self._lines if line.n == n), None)

    def publish(self, label: str, emission: Emission) -> None:
        """Publish an event of the host itself about what the code `label` does, in no flow."""
        self._deploys.flows.steps.announce(label, emission)

    def stamp(self, ahead: float = 0.0) -> str:
        """The time now, or so many seconds ahead, as events have it."""
        if not ahead:
            return self._clock.stamp()
        when = self._clock.now() + timedelta(seconds=ahead)
        return when.isoformat(timespec="milliseconds").replace("+00:00", "Z")

    # Opening and closing

    async def open(self) -> None:
        """Take over what the store knows of flows and failures."""
        self._loop = asyncio.get_running_loop()
        self.thread = threading.get_ident()
        self._log.open()
        changed = self.touch()
        for entry in await self._store.events(max(0, self._store.last_seq() - RECENT), RECENT):
            self._events.append((changed, entry.seq, entry))
        await self.reload()

    async def reload(self) -> None:
        """Read flows and failures anew; views forget what they had."""
        self._flows.clear()
        for flow, steps in reversed(await self._store.recent_flows(FLOWS)):
            flows = self._deploys.flows
            run = flows.run(flow.id) if flows.is_open(flow.id) else Run(flow, steps, touched=False)
            self.flow(run)
        self._stale = False
        await self._load_failures()
        self._floor = self.touch()

    def close(self) -> None:
        """Tell nobody anything more."""
        self._loop = None
        self._log.close()
        if self._counting is not None:
            self._counting.cancel()
        if self._lag is not None:
            self._lag.cancel()
        if self._settling is not None:
            self._settling.cancel()
            self._settling = None

    # Traces

    def record(self, span: Span | Call) -> None:
        """One more call for whoever traces."""
        for trace in self.traces:
            trace.add(span)

    @contextmanager
    def trace(self, caller: Any = None) -> Generator[Trace]:
        """Record the calls of the host from now to the end of the block.

        With a `caller` (see context.CALLER) only what that one sets off, and what comes over HTTP.
        """
        trace = Trace(caller)
        self.traces = (*self.traces, trace)
        try:
            yield trace
        finally:
            self.traces = tuple(other for other in self.traces if other is not trace)

    # What views get

    async def changed(self, cursor: int) -> None:
        """Return when there is a change after `cursor`."""
        while self.cursor <= cursor:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self.waiters.append(waiter)
            try:
                await waiter
            finally:
                if waiter in self.waiters:
                    self.waiters.remove(waiter)

    def frame(
        self, cursor: int, topics: frozenset[Topic], pattern: str = "*", *, reset: bool = False
    ) -> Frame:
        """What changed after `cursor`; all there is, marked as `reset`, when that cannot be told.

        A frame holds the newest 50 events and 200 flows and failures at most: more flows than that
        push each other out of the view, and so they do here.
        """
        self._read_notes()
        self._guests.look(self._deploys.engine.registry, self.touch)
        lost = 0
        oldest = self._events[0] if len(self._events) == EVENTS else None
        if not reset and cursor and oldest is not None and oldest[0] > cursor:
            # Events that the view has not seen are gone; how many can be told when all were meant.
            seen = self._ends.get(cursor)
            if seen is None or pattern != "*":
                reset = True
            else:
                lost = oldest[1] - 1 - seen
        if cursor > self.cursor or cursor < self._floor or cursor <= 0:
            reset = True
        since = 0 if reset else cursor
        events, skipped = self._event_lines(since, pattern) if "events" in topics else ((), 0)
        rate = self.rate()
        frame = Frame(
            cursor=self.cursor,
            since=since,
            reset=reset,
            time=self._clock.stamp(),
            rate=rate,
            status=self.status() if "status" in topics and self._is_new(since) else None,
            figures=self.figures(since) if "figures" in topics else {},
            events=events,
            skipped=0 if reset else skipped + lost,
            flows=self._flow_lines(since) if "flows" in topics else (),
            failed=(
                self.failed()
                if "failed" in topics and (reset or self._failed_changed > since)
                else None
            ),
            log=tuple(line for n, line, _ in self._lines if n > since) if "log" in topics else (),
            splits=(
                self.splits()
                if "figures" in topics
                and (reset or max(self._splits_changed, self._deploys.splits.changed) > since)
                else None
            ),
            gates=(
                tuple(run for changed, run in self._gates.values() if changed > since)
                if "gates" in topics
                else ()
            ),
            guests=tuple(self._guests.since(since)) if "figures" in topics else (),
        )
        self._ends[self.cursor] = self._events[-1][1] if self._events else 0
        self._ends.move_to_end(self.cursor)
        if len(self._ends) > ENDS:
            self._ends.popitem(last=False)
        if rate and self._settling is None and self._loop is not None:
            # When events stop there is nothing new, but the rate.
            self._settling = self._loop.call_later(1.0, self._settle)
        return frame

    def _settle(self) -> None:
        self._settling = None
        self.touch()

    def _is_new(self, since: int) -> bool:
        return since == 0 or max(self._status_changed, self._last_event) > since

    def rate(self) -> float:
        """Events a second over the last seconds."""
        now = int(perf_counter())
        return round(sum(n for s, n in self._seconds if now - s < WINDOW) / WINDOW, 1)

    def status(self) -> Status:
        """The host at a glance."""
        scene = self._now()
        registry, flows = self._deploys.engine.registry, self._deploys.flows
        return Status(
            address=self._place["address"],
            data=self._data,
            notebook=self._place["notebook"],
            graph=scene.digest,
            components=tuple(self._components(registry)),
            problems=(
                *self._problems.values(),
                *(Problem(source="graph", text=text, time=scene.time) for text in scene.warnings),
            ),
            waiting=tuple(flows.waiting()),
            flows_open=len(flows),
            events=self._store.last_seq(),
            failed=self.failures,
        )

    def splits(self) -> tuple[Split, ...]:
        """The components that are split, with the figures of both sides."""
        return tuple(split_line(split) for split in self._deploys.splits.status())

    def _components(self, registry: Registry) -> Iterator[Component]:
        older = self._older(registry)
        for name, revision in sorted(registry.live.items()):
            previous = self._deploys.previous.get(name)
            broken = self._problems.get(f"watch:{name}")
            ids = [port_id(m, port) for m in revision.models for port in m.ports.values()]
            ids += [listener_id(revision, listener) for listener in revision.listeners]
            failing = [
                meter for id in ids if (meter := self._meters.get(id)) is not None and meter.failing
            ]
            problem = None
            if broken is not None:
                problem = broken.text
            elif failing:
                problem = f"{failing[0].id.partition(':')[2]}: {failing[0].error}"
            deployment, followed = self._deploys.deployment(name), self.followed(name)
            yield Component(
                name=name,
                version=revision.version,
                revision=revision.label,
                digest=revision.digest,
                origin=revision.source.origin,
                endpoints=tuple(s.endpoint for s in revision.models if s.endpoint is not None),
                models=tuple(spec.name for spec in revision.models),
                previous=None if previous is None else previous.label,
                health="broken" if broken is not None else "failing" if failing else "ok",
                problem=problem,
                since="" if deployment is None else deployment.time,
                who="" if deployment is None else deployment.who,
                resolved=revision.source.resolved,
                signed="" if revision.source.signed is None else revision.source.signed.key,
                older=tuple(older.get(name, ())),
                followed=None if followed is None else followed_line(followed),
                language=revision.source.language,
                guest=guest_status(registry, revision),
            )

    def _older(self, registry: Registry) -> dict[str, list[Older]]:
        """By component what is loaded for open flows alone; they are counted where there is any."""
        kept = {split.candidate for split in registry.splits.values()}
        kept.update(self._deploys.previous.values())
        found: dict[str, list[Older]] = {}
        flows: Counter[tuple[str, str]] | None = None
        for revision in registry.retained:
            if revision in kept:
                continue
            if flows is None:
                runs = self._deploys.flows.runs()
                flows = Counter((run.flow.component, run.flow.version) for run in runs)
            count = flows[revision.name, revision.version]
            older = Older(revision=revision.label, flows=count)
            found.setdefault(revision.name, []).append(older)
        return found

    def figures(self, since: int = 0) -> dict[str, Figure]:
        """The figures of what is in the graph now and changed after `since`, by id."""
        ids = self._now().ids
        return {
            id: meter.figure()
            for id, meter in self._meters.items()
            if meter.changed > since and id in ids
        }

    def _event_lines(self, since: int, pattern: str) -> tuple[tuple[EventLine, ...], int]:
        found: list[EventLine] = []
        skipped = 0
        for changed, seq, entry in reversed(self._events):
            if changed <= since:
                break
            if not matches(pattern, entry.type):
                continue
            if len(found) < SHOWN_EVENTS:
                found.append(event_line(entry, seq))
            else:
                skipped += 1
        return tuple(reversed(found)), skipped

    def _flow_lines(self, since: int) -> tuple[FlowLine, ...]:
        found: list[FlowLine] = []
        for changed, run in reversed(self._flows.values()):
            if changed <= since or len(found) == SHOWN_FLOWS:
                break
            found.append(self.flow_line(run.flow, run.steps.values()))
        return tuple(reversed(found))

    def flow_line(self, flow: Flow, steps: Iterable[Step]) -> FlowLine:
        """A flow as views show it, with what it waits for when it is open."""
        flows = self._deploys.flows
        waits = flows.run(flow.id).blocked if flows.is_open(flow.id) else None
        return flow_line(flow, steps, waits, flows.locate)

    def failed(self) -> tuple[FailedLine, ...]:
        """The newest failures, oldest first."""
        newest = list(self._failed.values())[-SHOWN_FAILED:]
        return tuple(failed_line(failed) for failed in newest)

    def _now(self) -> _Scene:
        registry = self._deploys.engine.registry
        if self._scene.registry() is not registry:
            self._scene = _Scene(registry, self._clock.stamp())
        return self._scene


class _Scene:
    """What is known of a registry once it is live. Does not keep it: replaced code has to leave."""

    def __init__(self, registry: Registry | None = None, time: str = "") -> None:
        self.registry: ReferenceType[Registry] = ref(registry or Registry())
        graph = Graph() if registry is None else graph_of(registry)
        self.time = time
        self.digest = graph.digest
        ids = {LOOP, *(node.id for node in graph.nodes), *(edge.id for edge in graph.edges)}
        self.ids = frozenset(ids)
        self.warnings = () if registry is None else tuple(registry.warnings())
        self.globs = tuple(
            node.label for node in graph.nodes if node.kind == "event" and is_glob(node.label)
        )


def _published(entry: Entry, actor: str | None, now: float) -> Call:
    target = event_id(entry.type)
    return Call(
        source=actor or target,
        target=target,
        label=entry.type,
        kind="produces",
        began=now,
        ended=now,
        about=entry.subject,
    )


def _call(span: Span) -> Call:
    meter = span.meter
    return Call(
        source=span.source or meter.source,
        target=meter.target,
        label=span.label or meter.label,
        kind="consumes" if (span.source or "").startswith("event:") else "call",
        began=span.began,
        ended=span.ended,
        error=span.error,
        about=span.about,
    )
