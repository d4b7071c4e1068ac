"""How the components of a host change: load, check, open, store, swap, drain."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Coroutine, Mapping, Sequence
from datetime import timedelta
from typing import Any

import msgspec

from aegis.core.component import ENCODER, Revision, Source
from aegis.core.deployment import Deployment, schema_problems
from aegis.core.errors import ClosedError, ComponentError, NotFoundError, StoreError, closest
from aegis.core.flow import NEEDS_UNDO, OPEN_STEPS, Flow, Step
from aegis.core.port import REQUIRED
from aegis.core.registry import Registry
from aegis.engine.broker import Broker, subscriber
from aegis.engine.engine import Engine
from aegis.engine.flows import Flows
from aegis.engine.ledger import Ledger
from aegis.engine.resident import Lookup, Resident, settings_of, stage
from aegis.engine.run import Located
from aegis.engine.steps import STALLED
from aegis.engine.watchdog import Watchdog
from aegis.protocols import Clock, Commit, Cursor, Fill, Loader, Schema, Store

# How long the answer of a request with an Idempotency-Key is kept.
ANSWERED = timedelta(days=1)

_log = logging.getLogger("aegis.host")


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of a host: records cached, flows attempted at a time, seconds to drain at close.

    `lag` (seconds) is how long component code may hold the loop before it is named.
    """

    cached: int = 50_000
    flows: int = 512
    grace: float = 10.0
    lag: float = 0.1


class Deploys:
    """Holds the current engine, and is the only one that assigns another. One change at a time."""

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        loader: Loader,
        lookup: Lookup | None,
        bindings: Mapping[str, str] | None,
        limits: Limits,
    ) -> None:
        self._limits = limits
        self._store = store
        self._clock = clock
        self._loader = loader
        self._fallback = lookup or _nothing
        self._values: dict[str, Any] = {}
        self._ledger = Ledger(store, clock, cached=limits.cached)
        self.flows = Flows(
            self._ledger, self.locate, lambda: self.engine.registry, limit=limits.flows
        )
        self.flows.on_end = self._flow_ended
        self.broker = Broker(self._ledger, lambda: self.engine)
        self.engine = Engine(Registry(bindings=bindings or {}), {}, self._ledger, self.flows)
        self.watchdog = Watchdog(limits.lag)
        self.previous: dict[str, Revision] = {}
        self._deploying = asyncio.Lock()
        self._deployments: dict[str, Deployment] = {}
        self._number = 0
        self._before: dict[str, Deployment] = {}
        self._draining: set[asyncio.Task[None]] = set()
        self._tidying: asyncio.TimerHandle | None = None
        self._opened = False
        self._closed = False

    @property
    def is_open(self) -> bool:
        """Whether the host takes work."""
        return self._opened and not self._closed

    async def open(self) -> None:
        """Open the store, take over what an earlier run left. Raises StoreError and its kinds."""
        await self._store.open()
        try:
            for deployment in await self._store.deployments():
                self._number = max(self._number, deployment.number)
                if deployment.live:
                    self._before[deployment.component] = deployment
            await self._remember_absence()
            await self.flows.load()
        except BaseException:
            await self._store.close()
            raise
        self.watchdog.start()
        self._opened = True
        self._tidy_answers()

    async def close(self) -> None:
        """Refuse new work, let what is under way end, close adapters and the store."""
        if self._closed:
            return
        self._closed = True
        self.watchdog.stop()
        if self._tidying is not None:
            self._tidying.cancel()
        self.engine.closing = True
        if self._opened:
            await self.flows.close(self._limits.grace)
            await self.broker.close()
            if self._draining:
                _, late = await asyncio.wait(self._draining, timeout=self._limits.grace)
                for task in late:
                    task.cancel()
            for resident in self.engine.residents.values():
                try:
                    async with asyncio.timeout(self._limits.grace):
                        await resident.drained()
                except TimeoutError:
                    _log.warning("%s still had calls in flight", resident.revision.label)
                await resident.close()
                self._loader.unload(resident.revision)
        await self._store.close()

    def _tidy_answers(self) -> None:
        """Forget old idempotency answers now and every hour: a key is promised for a day."""
        self._spawn(self._forget_answers())
        self._tidying = asyncio.get_running_loop().call_later(3600, self._tidy_answers)

    async def _forget_answers(self) -> None:
        before = (self._clock.now() - ANSWERED).isoformat(timespec="milliseconds")
        try:
            await self._store.forget_answers(before.replace("+00:00", "Z"))
        except StoreError as error:
            _log.warning("old idempotency answers stay for now: %s", error)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something beside the calls; closing the host waits for it."""
        task = asyncio.create_task(work)
        self._draining.add(task)
        task.add_done_callback(self._draining.discard)

    def locate(self, flow: Flow, step: Step) -> Located | None:
        """Where the code of a step is in the current engine, None when it is not loaded."""
        places = self.engine.places
        key = (flow.component, flow.version, step.model, step.port)
        if key not in places:
            places[key] = self._located(flow, step)
        return places[key]

    def _located(self, flow: Flow, step: Step) -> Located | None:
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

    async def deploy(
        self, name: str, version: str, text: str, *, origin: str = "", who: str = ""
    ) -> Deployment:
        """Load, check and swap in a component; the old revision serves until the new one does.

        The same text and configuration again changes nothing. Raises ComponentError naming every
        problem; then nothing has changed.
        """
        async with self._deploying:
            self.check_open()
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
                self.check_open()
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
            stored = await self._store.schema(key)
            if stored == schema:
                continue
            records = await self._store.count(key)
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
            time=self._clock.stamp(),
        )
        commit = Commit(
            deployments=[deployment, *self._ended(name)],
            sources=[revision.source],
            schemas=schemas,
            fills=fills,
            cursors=await self._new_cursors(revision),
        )
        try:
            await self._store.commit(commit)
        except BaseException:
            if opened:
                await resident.close()
            raise
        if fills:
            self._ledger.records.forget()
        self._number = deployment.number
        self._deployments[name] = deployment
        if old is not None and old is not revision:
            self.previous[name] = old
            self._outdate(old, schemas)
        await self._swap(registry, {**self.engine.residents, revision: resident})
        return deployment

    async def _new_cursors(self, revision: Revision) -> list[Cursor]:
        """Where the listeners that are new with `revision` begin: now."""
        names = [subscriber(revision, listener) for listener in revision.listeners]
        new = [name for name in names if await self._store.cursor(name) is None]
        return [Cursor(name, self._store.last_seq()) for name in new]

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
        for run in self.flows.runs():
            for step in run.steps.values():
                component, _, name = step.model.partition(".")
                if component != revision.name:
                    continue
                own = run.flow.component == component
                if own and run.flow.version != revision.version:
                    continue
                model = revision.by_name.get(name)
                port = None if model is None else model.ports.get(step.port)
                old = self.locate(run.flow, step)
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
            self.flows,
        )
        for revision in given_up:
            self._spawn(self._drain(residents[revision]))
        await self.broker.follow(list(registry.live.values()))
        await self._catch_up()
        self.flows.resume()

    def _needed(self, registry: Registry, revision: Revision) -> bool:
        """Whether a revision that is not live stays loaded: the previous one, or flows need it."""
        if self.previous.get(revision.name) is revision:
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
            for run in self.flows.runs()
        )

    def _flow_ended(self, flow: Flow) -> None:
        """Let go of the old revision that a flow was the last to need."""
        live = self.engine.registry.live.get(flow.component)
        if self._closed or (live is not None and live.version == flow.version):
            return
        old = self.engine.registry.revision(flow.component, flow.version)
        if old is not None and not self._needed(self.engine.registry, old):
            self._spawn(self._tidy())

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
        seq = self._store.last_seq()
        absent = []
        for name in self._before:
            since = await self._store.cursor(_absence(name))
            if since is None or since < 0:
                absent.append(Cursor(_absence(name), seq))
        if absent:
            await self._store.commit(Commit(cursors=absent))

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
                    await self._clock.sleep(STALLED)
                else:
                    del self._before[name]

    async def _replay(self, revision: Revision) -> None:
        absence = _absence(revision.name)
        seq = await self._store.cursor(absence) or 0
        while entries := await self._store.events(seq, 500):
            for entry in entries:
                cursor = Cursor(absence, entry.seq)
                await self.flows.replay(self.engine.registry, revision, entry, cursor)
            seq = entries[-1].seq
        await self._store.commit(Commit(cursors=[Cursor(absence, -1)]))

    async def undeploy(self, name: str) -> None:
        """Stop serving a component; its records and open flows stay. Raises NotFoundError."""
        async with self._deploying:
            self.check_open()
            self._live(name)
            await self._store.commit(Commit(deployments=self._ended(name)))
            self._deployments.pop(name, None)
            self.previous.pop(name, None)
            await self._swap(self.engine.registry.without(name), self.engine.residents)

    async def rollback(self, name: str) -> Deployment:
        """Make the previous revision of a component live again. Raises NotFoundError."""
        async with self._deploying:
            self.check_open()
            self._live(name)
            previous = self.previous.get(name)
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
            self.check_open()
            known = {deployment.component for deployment in await self._store.deployments()}
            if name not in known:
                raise NotFoundError(f"there is no component {name!r}", hint=closest(name, known))
            revision = self.engine.registry.live.get(name)
            await self.flows.forget(name)
            dropped = await self._store.clear(name)
            self._ledger.records.forget()
            if revision is not None:
                schemas = [Schema(key, doc) for key, doc in revision.schemas.items()]
                await self._store.commit(Commit(schemas=schemas))
            return dropped

    async def resume(self) -> list[str]:
        """Load from the store the revisions that open flows wait for; the labels resumed.

        Raises ComponentError when the stored text does not load any more.
        """
        async with self._deploying:
            self.check_open()
            resumed = []
            wanted = {
                (run.flow.component, run.flow.version): run.flow.digest
                for run in self.flows.runs()
                if run.blocked is not None
            }
            # The newest code with that version number, which may have healed the flow before.
            for deployment in await self._store.deployments():
                if (deployment.component, deployment.version) in wanted:
                    wanted[deployment.component, deployment.version] = deployment.digest
            for (component, version), digest in sorted(wanted.items()):
                registry = self.engine.registry
                if registry.revision(component, version) is not None:
                    continue
                source = await self._store.source(digest)
                if source is None:
                    raise ComponentError(
                        component, [f"the text of {component}@{version} is not in the store"]
                    )
                revision = await self._load(source)
                if component not in registry.live:
                    await self._install(revision, who="resume")
                else:
                    resident = await stage(registry, revision, self._lookup)
                    stored = {key: await self._store.schema(key) for key in revision.schemas}
                    resident.newer = frozenset(
                        key for key, doc in revision.schemas.items() if stored[key] != doc
                    )
                    await self._swap(
                        registry.retaining(*registry.retained, revision),
                        {**self.engine.residents, revision: resident},
                    )
                resumed.append(revision.label)
            self.flows.resume()
            return resumed

    async def configure(self, values: Mapping[str, Any]) -> None:
        """Set configuration values by dotted key; components that use a changed one re-open."""
        async with self._deploying:
            self.check_open()
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
            self.check_open()
            before = self.engine.registry
            registry = Registry(
                live=before.live,
                retained=before.retained,
                bindings={**before.bindings, slot: part},
            )
            name = slot.split(".", 1)[0]
            revision = before.live.get(name)
            if revision is None:
                self.engine = Engine(registry, self.engine.residents, self._ledger, self.flows)
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
            self._spawn(_retire(old))

    def check_open(self) -> None:
        """Raise ClosedError unless the host is open."""
        if not self.is_open:
            raise ClosedError("the host is closed" if self._closed else "the host is not open yet")

    def _live(self, name: str) -> Revision:
        revision = self.engine.registry.live.get(name)
        if revision is None:
            raise NotFoundError(
                f"there is no component {name!r}", hint=closest(name, self.engine.registry.live)
            )
        return revision


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
