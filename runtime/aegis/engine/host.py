"""Holds the current engine: deploys components, swaps engines, drains what was replaced."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

import msgspec

from aegis.core.component import ENCODER, ModelSpec, Revision, Source
from aegis.core.deployment import Deployment, schema_problems
from aegis.core.errors import (
    AegisError,
    ClosedError,
    ComponentError,
    ConflictError,
    InvalidError,
    NotFoundError,
    StoreError,
    closest,
)
from aegis.core.event import Event, decode_event, matches
from aegis.core.flow import NEEDS_UNDO, OPEN_STEPS, Flow, Step
from aegis.core.graph import Graph, graph_of
from aegis.core.model import Model
from aegis.core.port import REQUIRED
from aegis.core.query import Query, Term
from aegis.core.registry import Registry
from aegis.engine.broker import Broker, Subscription, subscriber
from aegis.engine.engine import Engine, named
from aegis.engine.flows import Flows
from aegis.engine.ledger import Ledger, Outcome
from aegis.engine.resident import Lookup, Resident, settings_of, stage
from aegis.engine.run import Located
from aegis.engine.steps import STALLED
from aegis.engine.watchdog import Watchdog
from aegis.protocols import Clock, Commit, Cursor, Failed, Fill, Loader, Schema, Store

_log = logging.getLogger("aegis.host")
T = TypeVar("T")


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of a host: records cached, flows attempted at a time, seconds to drain at close.

    `lag` (seconds) is how long component code may hold the loop before it is named.
    """

    cached: int = 50_000
    flows: int = 512
    grace: float = 10.0
    lag: float = 0.1


class ComponentStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One live component, as a status shows it."""

    name: str
    version: str
    digest: str
    origin: str
    endpoints: tuple[str, ...]
    models: tuple[str, ...]
    previous: str | None


class HostStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What a host is doing: its components, open flows and what they wait for, and problems."""

    components: tuple[ComponentStatus, ...]
    waiting: tuple[str, ...]
    flows_open: int
    events: int
    problems: tuple[str, ...]


class Host:
    """A host of components. Open it (`async with`), deploy components, use their models.

    Every coroutine runs on the loop that opened the host.
    """

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        loader: Loader,
        lookup: Lookup | None = None,
        bindings: Mapping[str, str] | None = None,
        limits: Limits | None = None,
    ) -> None:
        self.limits = limits or Limits()
        self.store = store
        self.clock = clock
        self._loader = loader
        self._fallback = lookup or _nothing
        self._values: dict[str, Any] = {}
        self._ledger = Ledger(store, clock, cached=self.limits.cached)
        self._flows = Flows(
            self._ledger, self._locate, lambda: self.engine.registry, limit=self.limits.flows
        )
        self._flows.on_end = self._flow_ended
        self._broker = Broker(self._ledger, lambda: self.engine)
        self.engine = Engine(Registry(bindings=bindings or {}), {}, self._ledger, self._flows)
        self._deploying = asyncio.Lock()
        self._deployments: dict[str, Deployment] = {}
        self._number = 0
        self._previous: dict[str, Revision] = {}
        self._before: dict[str, Deployment] = {}
        self._draining: set[asyncio.Task[None]] = set()
        self._starting: set[str] = set()
        self._watchdog = Watchdog(self.limits.lag)
        self._opened = False
        self._closed = False

    # Opening and closing

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def open(self) -> None:
        """Open the store, take over what an earlier run left. Raises StoreError and its kinds."""
        await self.store.open()
        try:
            for deployment in await self.store.deployments():
                self._number = max(self._number, deployment.number)
                if deployment.live:
                    self._before[deployment.component] = deployment
            await self._remember_absence()
            await self._flows.load()
        except BaseException:
            await self.store.close()
            raise
        self._watchdog.start()
        self._opened = True

    async def close(self) -> None:
        """Refuse new work, let what is under way end, close adapters and the store."""
        if self._closed:
            return
        self._closed = True
        self._watchdog.stop()
        self.engine.closing = True
        if self._opened:
            await self._flows.close(self.limits.grace)
            await self._broker.close()
            if self._draining:
                _, late = await asyncio.wait(self._draining, timeout=self.limits.grace)
                for task in late:
                    task.cancel()
            for resident in self.engine.residents.values():
                try:
                    async with asyncio.timeout(self.limits.grace):
                        await resident.drained()
                except TimeoutError:
                    _log.warning("%s still had calls in flight", resident.revision.label)
                await resident.close()
                self._loader.unload(resident.revision)
        await self.store.close()

    # What the engine asks

    def _locate(self, flow: Flow, step: Step) -> Located | None:
        component, _, name = step.model.partition(".")
        registry = self.engine.registry
        if component == flow.component:
            revision = registry.revision(component, flow.version)
        else:
            revision = registry.live.get(component)
        if revision is None:
            return None
        model = revision.by_name.get(name)
        port = None if model is None else model.ports.get(step.port)
        if model is None or port is None:
            return None
        return Located(self.engine.residents[revision], model, port)

    def _lookup(self, key: str) -> Any:
        return self._values[key] if key in self._values else self._fallback(key)

    # Deploying

    async def deploy(
        self, name: str, version: str, text: str, *, origin: str = "", who: str = ""
    ) -> Deployment:
        """Load, check and swap in a component; the old revision serves until the new one does.

        The same text and configuration again changes nothing. Raises ComponentError naming every
        problem; then nothing has changed.
        """
        async with self._deploying:
            self._check_open()
            source = Source(
                name=name,
                version=version,
                text=text,
                origin=origin,
                digest=hashlib.sha256(f"{name}\0{version}\0{text}".encode()).hexdigest(),
            )
            current = self.engine.registry.live.get(name)
            if current is not None and current.digest == source.digest:
                resident = self.engine.residents[current]
                if settings_of(current, self._lookup) == resident.settings:
                    return self._deployments[name]
            revision = await self._load(source)
            try:
                self._check_open()
                return await self._install(revision, who=who)
            except BaseException:
                if revision not in self.engine.residents:
                    self._loader.unload(revision)
                raise

    async def _load(self, source: Source) -> Revision:
        """Load off the loop; what a caller who has gone no longer wants is unloaded again."""
        loading = asyncio.ensure_future(asyncio.to_thread(self._loader.load, source))
        try:
            return await asyncio.shield(loading)
        except asyncio.CancelledError:

            def unload(loaded: asyncio.Future[Revision]) -> None:
                if not loaded.cancelled() and loaded.exception() is None:
                    self._loader.unload(loaded.result())

            loading.add_done_callback(unload)
            raise

    async def _install(
        self, revision: Revision, *, who: str, resident: Resident | None = None
    ) -> Deployment:
        """Check `revision` against everything else, open it, store the deployment, swap."""
        name = revision.name
        registry = self.engine.registry.with_component(revision)
        problems = [*registry.problems(name), *self._stranding(registry, revision)]
        schemas: list[Schema] = []
        fills: list[Fill] = []
        newer = set()
        for key, schema in revision.schemas.items():
            stored = await self.store.schema(key)
            if stored == schema:
                continue
            records = await self.store.count(key)
            if stored is not None:
                back = records and resident is not None
                if back and not schema_problems(key, schema, stored, records):
                    # Older code again: what it does not know stays in the records, unread.
                    newer.add(key)
                    continue
                problems += schema_problems(key, stored, schema, records)
                if records and not problems:
                    fills += _fills(revision, key, stored)
            schemas.append(Schema(key, schema))
        if problems:
            raise ComponentError(name, problems)
        opened = resident is None
        if resident is None:
            resident = await stage(registry, revision, self._lookup)
        resident.newer = frozenset(newer)
        old = self.engine.registry.live.get(name)
        deployment = Deployment(
            number=self._number + 1,
            component=name,
            version=revision.version,
            digest=revision.digest,
            origin=revision.source.origin,
            who=who,
            time=self.clock.stamp(),
        )
        commit = Commit(
            deployments=[deployment, *self._ended(name)],
            sources=[revision.source],
            schemas=schemas,
            fills=fills,
            cursors=await self._new_cursors(revision),
        )
        try:
            await self.store.commit(commit)
        except BaseException:
            if opened:
                await resident.close()
            raise
        if fills:
            self._ledger.records.forget()
        self._number = deployment.number
        self._deployments[name] = deployment
        if old is not None and old is not revision:
            self._previous[name] = old
            self._outdate(old, schemas)
        await self._swap(registry, {**self.engine.residents, revision: resident})
        return deployment

    async def _new_cursors(self, revision: Revision) -> list[Cursor]:
        """Where the listeners that are new with `revision` begin: now."""
        names = [subscriber(revision, listener) for listener in revision.listeners]
        new = [name for name in names if await self.store.cursor(name) is None]
        return [Cursor(name, self.store.last_seq()) for name in new]

    def _outdate(self, old: Revision, schemas: Sequence[Schema]) -> None:
        """Tell older loaded code which records may now hold fields that it does not know."""
        changed = {schema.model for schema in schemas}
        for revision, resident in self.engine.residents.items():
            if revision.name == old.name:
                resident.newer |= changed & {spec.key for spec in revision.models}

    def _ended(self, name: str) -> list[Deployment]:
        """The deployment that a new one of `name` replaces, marked so."""
        earlier = self._deployments.get(name) or self._before.get(name)
        return [] if earlier is None else [msgspec.structs.replace(earlier, live=False)]

    def _stranding(self, registry: Registry, revision: Revision) -> list[str]:
        """Ports and undos that `revision` drops although open flows wait for or may need them."""
        lost: dict[str, int] = {}
        for run in self._flows.runs():
            for step in run.steps.values():
                component, _, name = step.model.partition(".")
                if component != revision.name:
                    continue
                own = run.flow.component == component
                if own and run.flow.version != revision.version:
                    continue
                model = revision.by_name.get(name)
                port = None if model is None else model.ports.get(step.port)
                old = self._locate(run.flow, step)
                undo = old is not None and old.port.undo is not None
                if step.state in OPEN_STEPS and port is None:
                    gone = f"port {step.model}.{step.port} is gone, and {{}} for it"
                elif step.state in NEEDS_UNDO and undo and (port is None or port.undo is None):
                    gone = f"the undo of {step.model}.{step.port} is gone, and {{}} to undo it"
                else:
                    continue
                lost[gone] = lost.get(gone, 0) + 1
        return [
            gone.format(f"{count} open flow{'s' if count != 1 else ''} wait")
            + ": keep it, or give the component another version number so that they end on the old "
            "one"
            for gone, count in lost.items()
        ]

    async def _swap(self, registry: Registry, residents: Mapping[Revision, Resident]) -> None:
        """Make `registry` current at once, then let go of what nothing needs any more."""
        kept: list[Revision] = []
        given_up: list[Revision] = []
        for revision in registry.retained:
            (kept if self._needed(registry, revision) else given_up).append(revision)
        registry = registry.retaining(*kept)
        loaded = set(registry.revisions())
        self.engine = Engine(
            registry,
            {revision: resident for revision, resident in residents.items() if revision in loaded},
            self._ledger,
            self._flows,
        )
        for revision in given_up:
            task = asyncio.create_task(self._drain(residents[revision]))
            self._draining.add(task)
            task.add_done_callback(self._draining.discard)
        await self._broker.follow(list(registry.live.values()))
        await self._catch_up()
        self._flows.resume()

    def _needed(self, registry: Registry, revision: Revision) -> bool:
        """Whether a revision that is not live stays loaded: the previous one, or flows need it."""
        if self._previous.get(revision.name) is revision:
            return True
        live = registry.live.get(revision.name)
        if live is not None and live.version == revision.version:
            return False
        if registry.revision(revision.name, revision.version) is not revision:
            return False
        return self._awaited(revision)

    def _awaited(self, revision: Revision) -> bool:
        """Whether an open flow carries the version number of `revision`."""
        return any(
            run.flow.component == revision.name and run.flow.version == revision.version
            for run in self._flows.runs()
        )

    def _flow_ended(self, flow: Flow) -> None:
        """Let go of the old revision that a flow was the last to need."""
        live = self.engine.registry.live.get(flow.component)
        if self._closed or (live is not None and live.version == flow.version):
            return
        old = self.engine.registry.revision(flow.component, flow.version)
        if old is not None and not self._needed(self.engine.registry, old):
            task = asyncio.create_task(self._tidy())
            self._draining.add(task)
            task.add_done_callback(self._draining.discard)

    async def _tidy(self) -> None:
        async with self._deploying:
            if not self._closed:
                await self._swap(self.engine.registry, self.engine.residents)

    async def _drain(self, resident: Resident) -> None:
        """Wait for the calls in flight on a replaced revision, then take it out of memory."""
        await resident.drained()
        async with self._deploying:
            revision, registry = resident.revision, self.engine.registry
            loaded = registry.revision(revision.name, revision.version)
            if loaded is None and not self._closed and self._awaited(revision):
                # The last call in flight began a flow: it ends where it began.
                await self._swap(
                    registry.retaining(*registry.retained, revision),
                    {**self.engine.residents, revision: resident},
                )
                return
        await resident.close()
        self._loader.unload(resident.revision)

    async def _remember_absence(self) -> None:
        """Store from where on each component that was live before the restart misses events."""
        seq = self.store.last_seq()
        absent = []
        for name in self._before:
            since = await self.store.cursor(_absence(name))
            if since is None or since < 0:
                absent.append(Cursor(_absence(name), seq))
        if absent:
            await self.store.commit(Commit(cursors=absent))

    async def _catch_up(self) -> None:
        """Give a component that is back after a restart the events it missed meanwhile."""
        for name, revision in self.engine.registry.live.items():
            while self._before.get(name) is not None:
                try:
                    await self._replay(revision)
                except StoreError:
                    _log.exception("%s has not heard yet what it missed", revision.label)
                    if self._closed:
                        raise
                    await self.clock.sleep(STALLED)
                else:
                    del self._before[name]

    async def _replay(self, revision: Revision) -> None:
        absence = _absence(revision.name)
        seq = await self.store.cursor(absence) or 0
        while entries := await self.store.events(seq, 500):
            for entry in entries:
                cursor = Cursor(absence, entry.seq)
                await self._flows.replay(self.engine.registry, revision, entry, cursor)
            seq = entries[-1].seq
        await self.store.commit(Commit(cursors=[Cursor(absence, -1)]))

    async def undeploy(self, name: str) -> None:
        """Stop serving a component; its records and open flows stay. Raises NotFoundError."""
        async with self._deploying:
            self._check_open()
            self._live(name)
            await self.store.commit(Commit(deployments=self._ended(name)))
            self._deployments.pop(name, None)
            self._previous.pop(name, None)
            await self._swap(self.engine.registry.without(name), self.engine.residents)

    async def rollback(self, name: str) -> Deployment:
        """Make the previous revision of a component live again. Raises NotFoundError."""
        async with self._deploying:
            self._check_open()
            self._live(name)
            previous = self._previous.get(name)
            if previous is None:
                raise NotFoundError(
                    f"component {name!r} has no previous revision loaded",
                    hint="deploy the version you want",
                )
            resident = self.engine.residents[previous]
            settings = settings_of(previous, self._lookup)
            if settings != resident.settings:
                await self._restage(self.engine.registry, previous)
                resident = self.engine.residents[previous]
            return await self._install(previous, who="rollback", resident=resident)

    async def reset(self, name: str) -> int:
        """Drop all records, flows and schemas of a component; how many records were dropped.

        Raises NotFoundError for a component that was never deployed on this data.
        """
        async with self._deploying:
            self._check_open()
            known = {deployment.component for deployment in await self.store.deployments()}
            if name not in known:
                raise NotFoundError(f"there is no component {name!r}", hint=closest(name, known))
            revision = self.engine.registry.live.get(name)
            await self._flows.forget(name)
            dropped = await self.store.clear(name)
            self._ledger.records.forget()
            if revision is not None:
                schemas = [Schema(key, doc) for key, doc in revision.schemas.items()]
                await self.store.commit(Commit(schemas=schemas))
            return dropped

    async def resume(self) -> list[str]:
        """Load from the store the revisions that open flows wait for; the labels resumed.

        Raises ComponentError when the stored text does not load any more.
        """
        async with self._deploying:
            self._check_open()
            resumed = []
            wanted = {
                (run.flow.component, run.flow.version): run.flow.digest
                for run in self._flows.runs()
                if run.blocked is not None
            }
            # The newest code with that version number, which may have healed the flow before.
            for deployment in await self.store.deployments():
                if (deployment.component, deployment.version) in wanted:
                    wanted[deployment.component, deployment.version] = deployment.digest
            for (component, version), digest in sorted(wanted.items()):
                registry = self.engine.registry
                if registry.revision(component, version) is not None:
                    continue
                source = await self.store.source(digest)
                if source is None:
                    raise ComponentError(
                        component, [f"the text of {component}@{version} is not in the store"]
                    )
                revision = await self._load(source)
                if component not in registry.live:
                    await self._install(revision, who="resume")
                else:
                    resident = await stage(registry, revision, self._lookup)
                    stored = {key: await self.store.schema(key) for key in revision.schemas}
                    resident.newer = frozenset(
                        key for key, doc in revision.schemas.items() if stored[key] != doc
                    )
                    await self._swap(
                        registry.retaining(*registry.retained, revision),
                        {**self.engine.residents, revision: resident},
                    )
                resumed.append(revision.label)
            self._flows.resume()
            return resumed

    async def configure(self, values: Mapping[str, Any]) -> None:
        """Set configuration values by dotted key; components that use a changed one re-open."""
        async with self._deploying:
            self._check_open()
            before = self._values
            self._values = {**before, **values}
            try:
                await self._reopen()
            except BaseException:
                self._values = before
                raise

    async def bind(self, slot: str, part: str) -> None:
        """Choose what does a Protocol: `bind("orders.Payments", "CardPayments")`."""
        async with self._deploying:
            self._check_open()
            before = self.engine.registry
            registry = Registry(
                live=before.live,
                retained=before.retained,
                bindings={**before.bindings, slot: part},
            )
            name = slot.split(".", 1)[0]
            revision = before.live.get(name)
            if revision is None:
                self.engine = Engine(registry, self.engine.residents, self._ledger, self._flows)
                return
            problems = registry.problems(name)
            if problems:
                raise ComponentError(name, problems)
            await self._restage(registry, revision)

    async def _reopen(self) -> None:
        """Re-open what uses another value now; all of it, or nothing when one cannot."""
        registry = self.engine.registry
        changed = [
            revision
            for revision in registry.live.values()
            if settings_of(revision, self._lookup) != self.engine.residents[revision].settings
        ]
        if changed:
            await self._restage(registry, *changed)

    async def _restage(self, registry: Registry, *revisions: Revision) -> None:
        """Open new adapters for revisions that go on serving; the old ones drain and close."""
        fresh: dict[Revision, Resident] = {}
        try:
            for revision in revisions:
                fresh[revision] = await stage(registry, revision, self._lookup)
                fresh[revision].newer = self.engine.residents[revision].newer
        except BaseException:
            for resident in fresh.values():
                await resident.close()
            raise
        olds = [self.engine.residents[revision] for revision in revisions]
        await self._swap(registry, {**self.engine.residents, **fresh})
        for old in olds:
            task = asyncio.create_task(_retire(old))
            self._draining.add(task)
            task.add_done_callback(self._draining.discard)

    def _check_open(self) -> None:
        if self._closed or not self._opened:
            raise ClosedError("the host is closed" if self._closed else "the host is not open yet")

    def _live(self, name: str) -> Revision:
        revision = self.engine.registry.live.get(name)
        if revision is None:
            raise NotFoundError(
                f"there is no component {name!r}", hint=closest(name, self.engine.registry.live)
            )
        return revision

    # Records

    def spec(self, model: type[Any] | str | Model) -> ModelSpec:
        """The live model that a class of any revision, a record or a name stands for.

        A name is `orders.Order`, or `Order` where one component has it. Raises NotFoundError.
        """
        registry = self.engine.registry
        if not isinstance(model, str):
            cls = model if isinstance(model, type) else type(model)
            for revision in registry.revisions():
                if any(spec.cls is cls for spec in revision.models):
                    model = f"{revision.name}.{cls.__name__}"
                    break
            else:
                model = cls.__name__
        if "." in model:
            found = [spec for spec in [registry.models.get(model)] if spec is not None]
        else:
            found = [spec for spec in registry.models.values() if spec.name == model]
        if len(found) == 1:
            return found[0]
        if found:
            names = ", ".join(spec.key for spec in found)
            raise NotFoundError(f"{model!r} could be {names}", hint="name the component too")
        names_known = [*registry.models, *(spec.name for spec in registry.models.values())]
        raise NotFoundError(f"there is no model {model!r}", hint=closest(model, names_known))

    async def create(self, model: type[Any] | str, *, id: str | None = None, **data: Any) -> Any:
        """Create a record; durable, with its first event, on return. Raises InvalidError."""
        self._check_open()
        spec = self.spec(model)
        given = _checked(spec, spec.create_decoder, data)
        return _value(spec, await self.engine.create(spec, given, id=id))

    async def get(self, model: type[Any] | str, id: str) -> Any:
        """A record by id. Raises NotFoundError."""
        spec = self.spec(model)
        return spec.value(self.engine.get(spec, id))

    async def list(
        self, model: type[Any] | str, *, limit: int = 100, sort: str | None = None, **filters: Any
    ) -> list[Any]:
        """Records whose fields equal `filters`, ordered by `sort` (`"-total,id"`)."""
        spec = self.spec(model)
        query = Query(
            where=tuple(term(spec, name, value) for name, value in filters.items()),
            sort=sort_terms(spec, sort),
            limit=limit,
        )
        page = await self.engine.list(spec, query)
        return [spec.value(record) for record in page.items]

    async def update(self, record: Any, **changes: Any) -> Any:
        """Set fields of a record; ConflictError when one of them was changed since it was read."""
        self._check_open()
        spec = self.spec(record)
        given = _checked(spec, spec.patch_decoder, changes)
        now = spec.value(self.engine.get(spec, record.id))
        stale = [n for n in changes if getattr(now, n) != getattr(record, n, getattr(now, n))]
        if stale and not spec.last_wins:
            raise ConflictError(
                f"{spec.name} {record.id}: {', '.join(stale)} changed since you read it",
                hint="get it again",
            )
        # No revision is named: a change of other fields that comes between does no harm.
        return _value(spec, await self.engine.patch(spec, record.id, given, expected=None))

    async def delete(self, record: Any) -> None:
        """Delete a record. Raises ConflictError while a flow about it is open."""
        self._check_open()
        await self.engine.delete(self.spec(record), record.id, expected=None)

    async def call(self, record: Any, command: str, **arguments: Any) -> Any:
        """Run a command of a record."""
        self._check_open()
        spec = self.spec(record)
        found = named(spec, "command", spec.commands, command)
        given = _arguments(spec, command, found.call.decoder, arguments)
        return _value(spec, await self.engine.command(spec, record.id, found, given))

    async def run(self, record: Any, port: str, **arguments: Any) -> Any:
        """Run a port of a record directly, outside any flow."""
        self._check_open()
        spec = self.spec(record)
        found = named(spec, "port", spec.ports, port)
        given = _arguments(spec, port, found.call.decoder, arguments)
        return _value(spec, await self.engine.run(spec, record.id, found, given))

    # Flows and events

    async def wait(self, flow: Any, timeout: float | None = None) -> Flow | None:
        """A flow (by id, or a record's newest) when it has ended, or as it is at the timeout.

        None for a record that has none. Raises NotFoundError for an unknown id.
        """
        if not isinstance(flow, str):
            flows = await self.flows(flow)
            if not flows:
                return None
            flow = flows[-1][0].id
        found = await self._flows.wait(flow, timeout)
        if found is None:
            raise NotFoundError(f"there is no flow {flow!r}")
        return found

    async def continue_undo(self, flow: str) -> Flow:
        """Go on with the undo of a flow, by id, that ended `compensation failed`.

        Raises NotFoundError, and ConflictError for a flow that did not end so.
        """
        self._check_open()
        return await self._flows.undoing.resume(flow)

    async def flow(self, id: str) -> tuple[Flow, Sequence[Step]] | None:
        """A flow with its steps, None when there is none of that id."""
        return await self.store.flow(id)

    async def flows(self, record: Any) -> Sequence[tuple[Flow, Sequence[Step]]]:
        """The flows about a record with their steps, oldest first."""
        return await self.store.flows(self.spec(record).key, record.id)

    async def events(
        self, pattern: str = "*", *, after: int = 0, limit: int = 100
    ) -> Sequence[Event]:
        """Events from the journal whose name matches, in order, past sequence number `after`."""
        found: list[Event] = []
        while len(found) < limit:
            entries = await self.store.events(after, 500)
            if not entries:
                break
            after = entries[-1].seq
            found += [decode_event(e.doc) for e in entries if matches(pattern, e.type)]
        return found[:limit]

    def subscribe(self, pattern: str = "*", *, limit: int = 1000) -> Subscription:
        """Hear events from now on; iterate the subscription, and `stop()` it."""
        return self._broker.subscribe(pattern, limit=limit)

    async def failed(self) -> Sequence[Failed]:
        """Events that a listener could not take."""
        return await self.store.failed()

    # What it looks like

    def graph(self) -> Graph:
        """Models, ports, events, adapters and stores of the live components."""
        return graph_of(self.engine.registry)

    def status(self) -> HostStatus:
        """What the host is doing now."""
        registry = self.engine.registry
        return HostStatus(
            components=tuple(
                ComponentStatus(
                    name=revision.name,
                    version=revision.version,
                    digest=revision.digest,
                    origin=revision.source.origin,
                    endpoints=tuple(s.endpoint for s in revision.models if s.endpoint is not None),
                    models=tuple(spec.name for spec in revision.models),
                    previous=(p.label if (p := self._previous.get(name)) is not None else None),
                )
                for name, revision in sorted(registry.live.items())
            ),
            waiting=tuple(self._flows.waiting()),
            flows_open=len(self._flows),
            events=self.store.last_seq(),
            problems=(*registry.warnings(), *self._watchdog.said),
        )

    def starting(self, what: str) -> Callable[[], None]:
        """Say that `what` must end before the host is ready; the function that says it has."""
        self._starting.add(what)
        return lambda: self._starting.discard(what)

    def starting_with(self) -> Sequence[str]:
        """What `starting` was said of and has not ended."""
        return sorted(self._starting)

    def missing(self) -> Sequence[str]:
        """What keeps the host from being ready; empty when it is."""
        if self._closed or not self._opened:
            return ["the host"]
        return sorted({*self._starting, *self._flows.waiting()})


def _absence(component: str) -> str:
    """The cursor that tells since when a component misses events; negative when it misses none."""
    return f"absent:{component}"


def _fills(revision: Revision, key: str, stored: bytes) -> list[Fill]:
    """The defaults of the fields that `revision` adds to the stored records of a model."""
    spec = revision.by_name[key.split(".", 1)[1]]
    known = msgspec.json.decode(stored)["schema"].get("properties", {})
    fills = []
    for item in msgspec.structs.fields(spec.cls):
        if item.name in known:
            continue
        if item.default is not msgspec.NODEFAULT:
            fills.append(Fill(key, item.name, ENCODER.encode(item.default)))
        elif item.default_factory is not msgspec.NODEFAULT:
            fills.append(Fill(key, item.name, ENCODER.encode(item.default_factory())))
    return fills


def _nothing(_: str) -> Any:
    return REQUIRED


async def _retire(resident: Resident) -> None:
    await resident.drained()
    await resident.close()


def _value(spec: ModelSpec, outcome: Outcome) -> Any:
    if outcome.record is None:
        raise AegisError(f"{spec.name} has no record after the call")
    return spec.value(outcome.record)


def _checked(spec: ModelSpec, decoder: msgspec.json.Decoder[Any], data: dict[str, Any]) -> Any:
    """`data` as the Struct that the API would make of it: the same checks, the same errors."""
    try:
        return decoder.decode(ENCODER.encode(data))
    except (msgspec.ValidationError, TypeError) as error:
        unknown = [name for name in data if name not in spec.fields]
        hint = closest(unknown[0], spec.fields) if unknown else None
        raise InvalidError(f"{spec.name}: {error}", hint=hint) from None


def _arguments(
    spec: ModelSpec, name: str, decoder: msgspec.json.Decoder[Any] | None, given: dict[str, Any]
) -> Any:
    if decoder is None:
        if given:
            raise InvalidError(f"{spec.name}.{name} takes no arguments, not {', '.join(given)}")
        return None
    try:
        return decoder.decode(ENCODER.encode(given))
    except (msgspec.ValidationError, TypeError) as error:
        raise InvalidError(f"{spec.name}.{name}: {error}") from None


def term(spec: ModelSpec, name: str, value: Any) -> Term:
    """An equality filter on a field. Raises NotFoundError for a field the model has not."""
    numeric = _numeric(spec, name)
    plain = msgspec.to_builtins(value)
    return Term(name, plain, numeric)


def sort_terms(spec: ModelSpec, sort: str | None) -> tuple[Term, ...]:
    """The order that `"-total,id"` means. Raises NotFoundError for a field the model has not."""
    terms = []
    for part in sort.split(",") if sort else ():
        name = part.strip().removeprefix("-")
        terms.append(Term(name, None, _numeric(spec, name), part.strip().startswith("-")))
    return tuple(terms)


def _numeric(spec: ModelSpec, name: str) -> bool:
    if name in ("_created", "_updated"):
        return False
    if name not in spec.fields:
        raise InvalidError(f"{spec.name} has no field {name!r}", hint=closest(name, spec.fields))
    schema = spec.schema.get("properties", {}).get(name, {})
    kinds = [schema, *schema.get("anyOf", ())]
    return any(
        kind.get("type") in ("number", "integer") or kind.get("format") == "decimal"
        for kind in kinds
    )
