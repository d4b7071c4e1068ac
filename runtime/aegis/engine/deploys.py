"""How the components of a host change: load, check, open, store, swap, drain."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Coroutine, Generator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import msgspec

from aegis.core.audit import Action, Audit
from aegis.core.caching import Caching
from aegis.core.component import Revision, Source
from aegis.core.deployment import Deployment
from aegis.core.errors import (
    ClosedError,
    ComponentError,
    NotFoundError,
    TrustError,
    closest,
)
from aegis.core.flow import Flow, Step
from aegis.core.grant import Grants
from aegis.core.keep import Keep
from aegis.core.policy import Policy, spelled
from aegis.core.port import REQUIRED
from aegis.core.query import Page, Query
from aegis.core.registry import Registry
from aegis.core.sealing import Vault
from aegis.engine.absence import Absence
from aegis.engine.auditing import audited
from aegis.engine.broker import Broker
from aegis.engine.context import CALLER, Outlet
from aegis.engine.elsewhere import Elsewhere
from aegis.engine.engine import Engine
from aegis.engine.failures import Failures
from aegis.engine.flows import Flows
from aegis.engine.granting import Granting
from aegis.engine.intake import Intake
from aegis.engine.ledger import Ledger
from aegis.engine.lending import Lender
from aegis.engine.migrations import Finish, Migrations, numbers
from aegis.engine.monitor import Monitor
from aegis.engine.patrol import Patrol
from aegis.engine.plan import (
    Change,
    Plan,
    plan,
    rebound,
    refuse_stranding,
)
from aegis.engine.provenance import Provenance
from aegis.engine.recorder import Recorder
from aegis.engine.resident import Lookup, Resident, Stage, defaults_of, settings_of, stage
from aegis.engine.retention import Retention
from aegis.engine.rotation import Rotation
from aegis.engine.run import Located
from aegis.engine.script import Script
from aegis.engine.sealing import check_keys, sealing
from aegis.engine.splits import Splits
from aegis.engine.watchdog import Watchdog
from aegis.protocols import Cipher, Clock, Commit, Loader, Place, Schema, Store

_log = logging.getLogger("aegis.host")


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of a host: flows attempted at a time, seconds to drain at close.

    `lag` (seconds) is how long component code may hold the loop before it is named; every `look`
    seconds the open flows are looked at, whether one is stranded. A migration waits `boundary`
    seconds for attempts and calls under way to end.
    """

    flows: int = 512
    grace: float = 10.0
    lag: float = 0.1
    look: float = 15.0
    boundary: float = 30.0


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
        grants: Mapping[str, Sequence[str]] | None = None,
        defaults: Policy | None,
        limits: Limits,
        keep: Keep,
        cipher: Cipher | None = None,
        vault: Vault | None = None,
        caching: Caching | None = None,
        stage: Stage = stage,
        backups: str | None = None,
        elsewhere: Elsewhere | None = None,
    ) -> None:
        self._limits = limits
        self.store = self._store = store
        self.clock = self._clock = clock
        self.loader = loader
        self.vault = vault
        self._fallback = lookup or _nothing
        self._open_parts = stage
        self._values: dict[str, Any] = {}
        self.own: dict[str, Any] = {}
        self._base = defaults or Policy()
        self.outlet: Outlet | None = None
        # Told whenever other components are live.
        self.on_swap: list[Callable[[Registry], None]] = []
        self.monitor = Monitor(self, store, clock)
        self.elsewhere = elsewhere or Elsewhere(store, clock)
        self.elsewhere.monitor = self.monitor
        self.elsewhere.noted = lambda commit: self._ledger.note(self.engine.registry, commit)
        self._ledger = Ledger(store, clock, self.elsewhere, caching=caching or Caching())
        self.records = self._ledger.records
        self._ledger.monitor = self.monitor
        self.flows = Flows(
            self._ledger, self.locate, lambda: self.engine.registry, limit=limits.flows
        )
        self.flows.on_end = self._flow_ended
        if cipher is not None:
            self.flows.recorder = Recorder(cipher, store)
        self.broker = Broker(self._ledger, lambda: self.engine)
        self.rotation = Rotation(store, self._ledger, vault)
        self.intake = Intake(store, self._ledger, lambda: self.engine)
        registry = Registry(
            bindings=bindings or {},
            grants=Grants(said={name: tuple(said) for name, said in (grants or {}).items()}),
            defaults=defaults_of(self._fallback, self._base),
        )
        self.engine = Engine(registry, {}, self._ledger, self.flows)
        self.migrations = Migrations(
            store, clock, self._ledger, self.flows, patience=limits.boundary, backups=backups
        )
        self.failures = Failures(self)
        self.splits = Splits(self)
        self.granting = Granting(self)
        self.watchdog = Watchdog(limits.lag, self.monitor.heard_of_loop)
        self.patrol = Patrol(self.flows, limits.look)
        self.previous: dict[str, Revision] = {}
        self.provenance = Provenance()
        self.changing = asyncio.Lock()
        self._deployments: dict[str, Deployment] = {}
        self._number = 0
        self._absence = Absence(store, clock, self.flows, lambda: self._closed)
        self.flows.away = self._absence.away
        self.retention = Retention(
            keep,
            store,
            clock,
            self.flows,
            self.failures,
            lambda: {*self.engine.registry.live, *self._absence.away},
        )
        self._draining: set[asyncio.Task[None]] = set()
        self._opened = False
        self._closed = False

    def perform(self, script: Script) -> None:
        """Let relations lead to what is recorded in a script."""
        self._ledger.script = script

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
                self.provenance.learn(deployment)
                if deployment.live:
                    self._absence.away[deployment.component] = deployment
            granted = replace(self.engine.registry, grants=await self.granting.kept())
            self.engine = Engine(granted, {}, self._ledger, self.flows)
            await self._absence.begin()
            await self.elsewhere.open()
            await self.flows.load()
            await self.monitor.open()
            await self.retention.open()
        except BaseException:
            self.monitor.close()
            await self._store.close()
            raise
        self.watchdog.start()
        self.patrol.start()
        self._opened = True
        self.retention.start()

    async def close(self) -> None:
        """Refuse new work, let what is under way end, close adapters and the store."""
        if self._closed:
            return
        self._closed = True
        self.watchdog.stop()
        self.patrol.stop()
        for engine in (self.engine, *self.engine.arms.values()):
            engine.closing = True
        if self._opened:
            await self.retention.stop()
            await self.flows.close(self._limits.grace)
            await self.broker.close()
            # Who uses adapters of another goes first: that one drains when it is given back.
            residents = sorted(self.engine.residents.values(), key=_lent_by)
            users = [resident for resident in residents if resident.loans]
            for resident in users:
                await self._end(resident)
            if self._draining:
                _, late = await asyncio.wait(self._draining, timeout=self._limits.grace)
                for task in late:
                    task.cancel()
            for resident in residents:
                if resident not in users:
                    await self._end(resident)
                self.loader.unload(resident.revision)
        await self.elsewhere.close(self._limits.grace if self._opened else 0)
        await self._store.close()
        self.monitor.close()

    async def _end(self, resident: Resident) -> None:
        """Close a resident when its calls have ended, or have had the time for it."""
        try:
            async with asyncio.timeout(self._limits.grace):
                await resident.drained()
        except TimeoutError:
            _log.warning("%s still had calls in flight", resident.revision.label)
        await resident.close()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something beside the calls; closing the host waits for it."""
        task = asyncio.create_task(work)
        self._draining.add(task)
        task.add_done_callback(self._draining.discard)

    def locate(self, flow: Flow, step: Step) -> Located | None:
        """Where the code of a step is in the current engine, None when it is not loaded."""
        places = self.engine.places
        key = (flow.component, flow.version, step.model, step.port)
        if self.engine.arms and step.model.partition(".")[0] in self.engine.arms:
            return self._located(flow, step)  # it depends on the record
        if key not in places:
            places[key] = self._located(flow, step)
        return places[key]

    def _located(self, flow: Flow, step: Step) -> Located | None:
        component, _, name = step.model.partition(".")
        registry = self.engine.registry
        if component == flow.component:
            revision = registry.revision(component, flow.version)
        else:
            revision = registry.taking(component, step.record)
        if revision is None:
            return None
        model = revision.by_name.get(name)
        port = None if model is None else model.port(step.port)
        if model is None or port is None:
            return None
        resident = self.engine.residents[revision]
        return Located(resident, model, port, self.monitor, registry.defaults, self.engine.reach)

    def lookup_in(self, given: Mapping[str, Any] | None = None) -> Lookup:
        """Finds configuration in what is `given`, else where the host was told to look, else here.

        With None, in what is set now.
        """
        values = self._values if given is None else given

        def find(key: str) -> Any:
            if key in values:
                return values[key]
            found = self._fallback(key)
            return self.own.get(key, REQUIRED) if found is REQUIRED else found

        return find

    async def deploy(
        self, source: Source, *, who: str = "", grants: Sequence[str] = ()
    ) -> Deployment:
        """Load, check and swap in a component; the old revision serves until the new one does.

        It is given `grants` with that. The same code and configuration again changes nothing.
        Raises ComponentError naming every problem; then nothing has changed.
        """
        async with self.changing:
            given = self.granting.giving(source.name, grants) if grants else None
            await self._make(Change(sources=(source,), grants=given), who)
            return self._deployments[source.name]

    async def change(self, change: Change, *, who: str = "") -> list[Deployment]:
        """Make everything that `change` says so in one commit and one swap; the new deployments.

        Raises ComponentError naming every problem, NotFoundError for a component that is to go and
        is not there; then nothing has changed.
        """
        async with self.changing:
            return await self._make(change, who)

    async def _make(self, change: Change, who: str = "") -> list[Deployment]:
        self.check_open()
        for name in change.gone:
            self.live(name)
        for source in change.sources:
            await self.check(source, who)
            self.splits.check(source.name)
        lookup = self.lookup_in(change.values)
        loaded: list[Revision] = []
        try:
            for source in change.sources:
                if self.serves(source, lookup):
                    self.engine.residents[self.live(source.name)].caller = CALLER.get()
                else:
                    loaded.append(await self.load(source))
            self.check_open()
            return await self.install(loaded, change, who=who)
        except BaseException:
            for revision in loaded:  # as many as there were
                if revision not in self.engine.residents:
                    self.loader.unload(revision)
            raise

    async def check(self, source: Source, who: str = "") -> None:
        """Raise TrustError for what is older than what was deployed since it was fetched."""
        try:
            self.provenance.check(source.name, source.version, source.origin, source.signed)
        except TrustError as error:
            entry = audited(self._clock, Action.REFUSE, who=who, of=source, detail=str(error))
            await self._store.commit(Commit(audits=[entry]))
            raise

    def setup(self) -> Change:
        """What makes another host serve what this one does."""
        registry = self.engine.registry
        return Change(
            sources=tuple(revision.source for revision in registry.live.values()),
            values=self._values,
            bindings=registry.bindings,
            grants=registry.grants,
        )

    def serves(self, source: Source, lookup: Lookup) -> bool:
        """Whether that very code is live, with the settings that it would get."""
        current = self.engine.registry.live.get(source.name)
        if current is None or current.digest != source.digest:
            return False
        return settings_of(current, lookup) == self.engine.residents[current].settings

    async def load(self, source: Source) -> Revision:
        """Load off the loop; what a caller who has gone no longer wants is unloaded again."""
        with self.pinned(source.name):
            loading = asyncio.ensure_future(asyncio.to_thread(self.loader.load, source))
        try:
            return sealing(await asyncio.shield(loading), self.vault)
        except asyncio.CancelledError:

            def unload(loaded: asyncio.Future[Revision]) -> None:
                if not loaded.cancelled() and loaded.exception() is None:
                    self.loader.unload(loaded.result())

            loading.add_done_callback(unload)
            raise

    async def install(
        self,
        revisions: Sequence[Revision],
        change: Change,
        *,
        who: str,
        action: Action = Action.DEPLOY,
        loaded: Mapping[Revision, Resident] = MappingProxyType({}),
        returned: Collection[str] = (),
        back: bool = False,
    ) -> list[Deployment]:
        """Check `revisions` against everything else, open them, store the deployments, swap.

        Those in `loaded` are open: they served before. Records of models that are `returned` have
        another form since then; with `back` they get again what they were.
        """
        async with AsyncExitStack() as boundary:
            return await self._install_at(
                boundary,
                revisions,
                change,
                who=who,
                action=action,
                loaded=loaded,
                returned=returned,
                back=back,
            )

    async def _install_at(
        self,
        boundary: AsyncExitStack,
        revisions: Sequence[Revision],
        change: Change,
        *,
        who: str,
        action: Action,
        loaded: Mapping[Revision, Resident],
        returned: Collection[str],
        back: bool,
    ) -> list[Deployment]:
        """Do so; what waits for a migration at its `boundary` goes on when that ends."""
        before = self.engine.registry
        lookup = self.lookup_in(change.values)
        homes, places = await self.elsewhere.settle(
            revisions, lambda revision: settings_of(revision, lookup)
        )
        planned = await plan(
            before,
            revisions,
            change,
            store=self._store,
            count=lambda model: self.count(model, homes),
            now=self._clock.now(),
            runs=self.flows.runs(),
            locate=self.locate,
            back=loaded.keys(),
            returned=returned,
            away={key for key, name in homes.items() if name} | set(self.elsewhere.places),
        )
        await check_keys(
            self.vault, self._store, revisions, lambda model, query: self.page(model, query, homes)
        )
        values = self._values if change.values is None else change.values
        registry = replace(planned.registry, defaults=defaults_of(lookup, self._base))
        again = self._again(registry, revisions, change, lookup)
        tuned = registry.defaults != before.defaults or registry.grants != before.grants
        if not (revisions or again or change.gone or rebound(before, registry) or tuned):
            self._values = dict(values)
            return []
        opened: dict[Revision, Resident] = {}
        deployments = [
            self._deployment(revision, self._number + count, who)
            for count, revision in enumerate(revisions, start=1)
        ]
        try:
            coming = [one for one in (*revisions, *again) if one not in loaded]
            for revision in coming:
                await self._open_up(registry, revision, lookup, coming, opened)
            await self._index(revisions, planned, homes)
            released = await self._ledger.uniques.prepare(
                self._ledger, revisions, lambda model: self.elsewhere.counted(model, homes)
            )
            commit = self._commit(planned, revisions, deployments, change.gone, places)
            commit.released = released
            commit.audits = self._audits(revisions, change.gone, registry.grants, action, who)
            deployments, finish = await self._stored(
                planned, revisions, deployments, commit, boundary, back=back
            )
            await self.elsewhere.become(homes, places)
            self._ledger.uniques.settle(revisions)
        except BaseException:
            still = [before.live[one.name] for one in revisions if one.name in before.live]
            self._ledger.uniques.settle(still)
            for resident in opened.values():
                await resident.close()
            raise
        if planned.fills:
            self._ledger.records.forget()
        self._values = dict(values)
        residents = {**self.engine.residents, **loaded, **opened}
        for revision in revisions:
            residents[revision].caller = CALLER.get()
            residents[revision].newer = planned.newer & set(revision.schemas)
        for revision in again:
            residents[revision].caller = self.engine.residents[revision].caller
            residents[revision].newer = self.engine.residents[revision].newer
            residents[revision].tally = self.engine.residents[revision].tally
        replaced = [
            resident
            for revision, resident in self.engine.residents.items()
            if residents[revision] is not resident
        ]
        for name in change.gone:
            self._deployments.pop(name, None)
            self.provenance.gone(name)
            self.previous.pop(name, None)
        for deployment, revision in zip(deployments, revisions, strict=True):
            self._take(deployment)
            old = before.live.get(revision.name)
            if old is not None and old is not revision:
                self.previous[revision.name] = old
                self._outdate(old, planned.schemas)
        await self.swap(registry, residents, finish)
        for resident in replaced:
            self._spawn(_retire(resident))
        return deployments

    def _audits(
        self,
        revisions: Sequence[Revision],
        gone: Collection[str],
        grants: Grants,
        action: Action,
        who: str,
    ) -> list[Audit]:
        """What the audit log says of a change: who did that to what."""
        live = self.engine.registry.live
        who = "" if who == action else who
        told = [audited(self._clock, action, who=who, of=one.source) for one in revisions]
        told += self.granting.audits(self.engine.registry.grants, grants, who)
        return told + [
            audited(self._clock, Action.UNDEPLOY, who=who, of=live[name].source)
            for name in sorted(gone)
        ]

    def _take(self, deployment: Deployment) -> None:
        """A deployment is stored, and is the last one of its component."""
        self._number = deployment.number
        self._deployments[deployment.component] = deployment
        self.provenance.learn(deployment)

    async def _stored(
        self,
        planned: Plan,
        revisions: Sequence[Revision],
        deployments: list[Deployment],
        commit: Commit,
        boundary: AsyncExitStack,
        *,
        back: bool,
    ) -> tuple[list[Deployment], Finish | None]:
        """Store `commit`, with the records that get another form; the deployments as stored.

        Of a migration also what ends it, when the new engine serves (see Migrations).
        """
        if not planned.migrating:
            if commit.deployments or commit.granted:
                await self._store.commit(commit)
            return deployments, None
        conversion = self.migrations.conversion(
            planned.migrating,
            revisions,
            self.engine.registry,
            deployments={} if back else numbers(deployments),
            back=back,
        )

        def check() -> None:
            refuse_stranding(revisions, planned, self.flows.runs(), self.locate)

        with self.pinned(revisions[0].name):
            finish = await self.migrations.make(
                commit, conversion, revisions, boundary, check, back=back
            )
        made = {deployment.number: deployment for deployment in commit.deployments}
        return [made[deployment.number] for deployment in deployments], finish

    async def count(self, model: str, homes: Mapping[str, str]) -> int:
        """How many records of a model there are, where it will be."""
        found = await self.elsewhere.counted(model, homes)
        return await self._store.count(model) if found is None else found

    async def page(self, model: str, query: Query, homes: Mapping[str, str]) -> Page:
        """What a query of a model finds, where it will be."""
        found = await self.elsewhere.asked(model, query, homes)
        return await self._store.list(model, query) if found is None else found

    async def _index(
        self, revisions: Sequence[Revision], planned: Plan, homes: Mapping[str, str]
    ) -> None:
        """Let the store make what the models want to be looked up by, and drop what they do not.

        Where else models are kept, new fields are written out, too.
        """
        for revision in revisions:
            indexes = {spec.key: spec.indexes for spec in revision.models}
            await self._store.index(revision.name, indexes)
            await self.elsewhere.index(revision, homes)
        for fill in planned.fills:
            if homes.get(fill.model):
                await self.elsewhere.fill(fill, homes[fill.model])

    def _commit(
        self,
        planned: Plan,
        revisions: Sequence[Revision],
        deployments: Sequence[Deployment],
        gone: Collection[str],
        places: Sequence[Place],
    ) -> Commit:
        """All that is stored with a change of components."""
        commit = Commit(
            deployments=list(deployments),
            # `file` is a name of this process only.
            sources=[replace(revision.source, file="") for revision in revisions],
            schemas=list(planned.schemas),
            fills=list(planned.fills),
            cursors=list(planned.cursors),
            places=list(places),
        )
        commit.granted = planned.registry.grants.changed(self.engine.registry.grants)
        for name in (*(deployment.component for deployment in deployments), *gone):
            commit.deployments += self._ended(name)
        return commit

    def _deployment(self, revision: Revision, number: int, who: str) -> Deployment:
        return Deployment(
            number=number,
            component=revision.name,
            version=revision.version,
            digest=revision.digest,
            origin=revision.source.origin,
            who=who,
            time=self._clock.stamp(),
            signed=revision.source.signed,
            resolved=revision.source.resolved,
            language=revision.source.language,
        )

    def _again(
        self, registry: Registry, new: Sequence[Revision], change: Change, lookup: Lookup
    ) -> list[Revision]:
        """What goes on serving and has its adapters made anew, with who uses those."""
        going = [one for one in registry.serving() if one not in new]
        again = [one for one in going if self._is_unsettled(one, change, lookup, registry)]
        while True:
            moved = {*new, *again}
            more = [
                one
                for one in going
                if one not in moved
                and any(
                    lender.revision in moved or not _is_live(registry, lender)
                    for lender in self.engine.residents[one].loans
                )
            ]
            if not more:
                return again
            again += more

    def _is_unsettled(
        self, revision: Revision, change: Change, lookup: Lookup, registry: Registry
    ) -> bool:
        """Whether what goes on serving gets other settings, or another adapter that was chosen."""
        if revision.name in rebound(self.engine.registry, registry):
            return True
        settings = self.engine.residents[revision].settings
        return change.values is not None and settings_of(revision, lookup) != settings

    def _outdate(self, old: Revision, schemas: Sequence[Schema]) -> None:
        """Tell older loaded code which records may now hold fields that it does not know."""
        changed = {schema.model for schema in schemas}
        for revision, resident in self.engine.residents.items():
            if revision.name == old.name:
                resident.newer |= changed & {spec.key for spec in revision.models}

    def _ended(self, name: str) -> list[Deployment]:
        """The deployment that a new one of `name` replaces, marked so."""
        earlier = self._deployments.get(name) or self._absence.away.get(name)
        return [] if earlier is None else [msgspec.structs.replace(earlier, live=False)]

    async def swap(
        self,
        registry: Registry,
        residents: Mapping[Revision, Resident],
        finish: Finish | None = None,
    ) -> None:
        """Make `registry` current at once, then let go of what nothing needs any more.

        In between call what ends a migration.
        """
        kept: list[Revision] = []
        given_up: list[Revision] = []
        for revision in registry.retained:
            (kept if self._needed(registry, revision) else given_up).append(revision)
        registry = registry.retaining(*kept)
        loaded = set(registry.revisions())
        tuned = registry.defaults != self.engine.registry.defaults
        self.engine = Engine(
            registry,
            {revision: resident for revision, resident in residents.items() if revision in loaded},
            self._ledger,
            self.flows,
        )
        for name, split in registry.splits.items():
            self.engine.arms[name] = Engine(
                registry.with_component(split.candidate),
                self.engine.residents,
                self._ledger,
                self.flows,
            )
        if tuned:
            for resident in self.engine.residents.values():
                resident.tune(registry.defaults)
        self.records.arrange(registry.models.values())
        self.elsewhere.guard(registry)
        self.monitor.swapped()
        for told in self.on_swap:
            told(registry)
        if finish is not None:
            await finish()
        for revision in given_up:
            self._spawn(self._drain(residents[revision]))
        await self.broker.follow(list(registry.live.values()), list(registry.serving()))
        await self._absence.end(self.engine.registry)
        self.flows.resume()

    def _needed(self, registry: Registry, revision: Revision) -> bool:
        """Whether a revision that is not live stays loaded: the previous one, or flows need it."""
        if self.previous.get(revision.name) is revision:
            return True
        split = registry.splits.get(revision.name)
        if split is not None and split.candidate is revision:
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
        async with self.changing:
            if not self._closed:
                await self.swap(self.engine.registry, self.engine.residents)

    async def _drain(self, resident: Resident) -> None:
        """Wait for the calls in flight on a replaced revision, then take it out of memory."""
        await resident.drained()
        async with self.changing:
            revision, registry = resident.revision, self.engine.registry
            loaded = registry.revision(revision.name, revision.version)
            if loaded is None and not self._closed and self._awaited(revision):
                # The last call in flight began a flow: it ends where it began.
                await self.swap(
                    registry.retaining(*registry.retained, revision),
                    {**self.engine.residents, revision: resident},
                )
                return
        await resident.close()
        self.loader.unload(resident.revision)

    async def undeploy(self, name: str) -> None:
        """Stop serving a component; its records and open flows stay. Raises NotFoundError."""
        await self.change(Change(gone=frozenset({name})))

    async def planned(self, revision: Revision) -> Plan:
        """How a revision would come to be live. Raises ComponentError naming every problem."""
        return await plan(
            self.engine.registry,
            [revision],
            Change(sources=(revision.source,)),
            store=self._store,
            count=lambda model: self.count(model, {}),
            now=self._clock.now(),
            runs=self.flows.runs(),
            locate=self.locate,
            away=set(self.elsewhere.places),
        )

    async def rollback(self, name: str) -> Deployment:
        """Make the previous revision of a component live again. Raises NotFoundError."""
        async with self.changing:
            self.check_open()
            self.live(name)
            self.splits.check(name)
            previous = self.previous.get(name)
            if previous is None:
                raise NotFoundError(
                    f"component {name!r} has no previous revision loaded",
                    hint="deploy the version you want",
                )
            resident = self.engine.residents[previous]
            lookup = self.lookup_in()
            outdated = settings_of(previous, lookup) != resident.settings or not all(
                lender is self.engine.residents.get(lender.revision)
                and _is_live(self.engine.registry, lender)
                for lender in resident.loans
            )
            if outdated:
                resident = await self.stage(self.engine.registry, previous, lookup)
            done = self._deployments[name].migrated
            try:
                (deployment,) = await self.install(
                    [previous],
                    Change(),
                    who="rollback",
                    action=Action.ROLLBACK,
                    loaded={previous: resident},
                    returned=() if done is None else done.models,
                    back=done is not None and not done.back,
                )
            except BaseException:
                if outdated:
                    await resident.close()
                raise
            return deployment

    async def reset(self, name: str) -> int:
        """Drop all records, flows and schemas of a component; how many records were dropped.

        Raises NotFoundError for a component that was never deployed on this data.
        """
        async with self.changing:
            self.check_open()
            known = {deployment.component for deployment in await self._store.deployments()}
            if name not in known:
                raise NotFoundError(f"there is no component {name!r}", hint=closest(name, known))
            revision = self.engine.registry.live.get(name)
            await self.flows.forget(name)
            dropped = await self.elsewhere.clear(name)
            told = audited(self._clock, Action.RESET, name)
            dropped += await self._store.clear(name, [told])
            self._ledger.records.forget()
            await self.monitor.reload()
            if revision is not None:
                schemas = [Schema(key, doc) for key, doc in revision.schemas.items()]
                await self._store.commit(Commit(schemas=schemas))
            return dropped

    async def resume(self) -> list[str]:
        """Load from the store the revisions that open flows wait for; the labels resumed.

        Raises ComponentError when the stored text does not load any more.
        """
        async with self.changing:
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
                revision = await self.load(source)
                if component not in registry.live:
                    await self.install([revision], Change(), who="resume", action=Action.RESUME)
                else:
                    lookup = self.lookup_in()
                    resident = await self.stage(registry, revision, lookup)
                    stored = {key: await self._store.schema(key) for key in revision.schemas}
                    resident.newer = frozenset(
                        key for key, doc in revision.schemas.items() if stored[key] != doc
                    )
                    await self.swap(
                        registry.retaining(*registry.retained, revision),
                        {**self.engine.residents, revision: resident},
                    )
                resumed.append(revision.label)
            self.flows.resume()
            return resumed

    async def configure(self, values: Mapping[str, Any]) -> None:
        """Set configuration values by dotted key; components that use a changed one re-open.

        Those of table `ports` count from the next attempt on. Raises ConfigError for one of these
        that is wrong, ComponentError for another; then nothing has changed.
        """
        async with self.changing:
            await self._make(Change(values={**self._values, **spelled(values)}))

    async def bind(self, slot: str, part: str) -> None:
        """Choose what does a Protocol: `bind("orders.Payments", "CardPayments")`."""
        async with self.changing:
            await self._make(Change(bindings={**self.engine.registry.bindings, slot: part}))

    async def _open_up(
        self,
        registry: Registry,
        revision: Revision,
        lookup: Lookup,
        coming: list[Revision],
        opened: dict[Revision, Resident],
    ) -> Resident:
        """Have `revision` among those that are `opened`, and before it who lends to it."""
        if revision in opened:
            return opened[revision]
        if revision not in coming:
            return self.engine.residents[revision]
        coming = [one for one in coming if one is not revision]

        async def find(owner: Revision) -> Resident:
            return await self._open_up(registry, owner, lookup, coming, opened)

        opened[revision] = await self.stage(registry, revision, lookup, find)
        return opened[revision]

    async def stage(
        self,
        registry: Registry,
        revision: Revision,
        lookup: Lookup,
        find: Callable[[Revision], Awaitable[Resident]] | None = None,
    ) -> Resident:
        """A revision with its adapters open; `find` has the residents of those who lend some."""

        async def loaded(owner: Revision) -> Resident:
            return self.engine.residents[owner]

        lender = Lender(current=lambda: self.engine.registry, resident=find or loaded)
        with self.pinned(revision.name):
            resident = await self._open_parts(registry, revision, lookup, self.monitor, lender)
        resident.outlet = self.outlet
        self.migrations.residents.add(resident)
        return resident

    @contextmanager
    def pinned(self, name: str) -> Generator[None, None, None]:
        """Lead what a component prints while it comes to be to who deploys it."""
        unpin = None if self.outlet is None else self.outlet(CALLER.get(), name)
        try:
            yield
        finally:
            if unpin is not None:
                unpin()

    def deployment(self, name: str) -> Deployment | None:
        """The deployment of a live component by this run of the host."""
        return self._deployments.get(name)

    def check_open(self) -> None:
        """Raise ClosedError unless the host is open."""
        if not self.is_open:
            raise ClosedError("the host is closed" if self._closed else "the host is not open yet")

    def live(self, name: str) -> Revision:
        revision = self.engine.registry.live.get(name)
        if revision is None:
            raise NotFoundError(
                f"there is no component {name!r}", hint=closest(name, self.engine.registry.live)
            )
        return revision


def _nothing(_: str) -> Any:
    return REQUIRED


def _lent_by(resident: Resident) -> int:
    """How many others lend to it, one to the other: who has most is closed first."""
    return min((_lent_by(lender) - 1 for lender in resident.loans), default=0)


def _is_live(registry: Registry, resident: Resident) -> bool:
    return registry.live.get(resident.revision.name) is resident.revision


async def _retire(resident: Resident) -> None:
    await resident.drained()
    await resident.close()
