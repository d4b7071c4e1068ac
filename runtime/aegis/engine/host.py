"""The host as its users see it: one verb for each thing that can be done."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar, cast, overload

import msgspec

from aegis.core.audit import Action, Audit
from aegis.core.caching import Caching
from aegis.core.clause import Clause
from aegis.core.component import Language, ModelSpec, Source
from aegis.core.deployment import Deployment
from aegis.core.difference import Difference
from aegis.core.errors import (
    AegisError,
    BadRequestError,
    ConflictError,
    InvalidError,
    MigratingError,
    NotFoundError,
    SqlError,
    StoreError,
    closest,
)
from aegis.core.event import Event, decode_event, event, matches
from aegis.core.flow import Flow, Step
from aegis.core.grant import AccessStatus
from aegis.core.graph import Graph, graph_of
from aegis.core.guest import GuestCost, GuestStatus, Trap, TrapOutcome, TrapReplay
from aegis.core.keep import Keep
from aegis.core.lock import Lock, Wanted
from aegis.core.migration import Migration
from aegis.core.model import Model
from aegis.core.moving import Header, Manifest, Progress
from aegis.core.past import Past
from aegis.core.policy import Policy
from aegis.core.query import Found, Query, read_cursor
from aegis.core.reading import Reading
from aegis.core.record import Record
from aegis.core.rehearsal import Gate, Rehearsal
from aegis.core.replay import Replay
from aegis.core.sealing import Vault
from aegis.core.serializer import Decoder, text_of
from aegis.core.split import SplitStatus
from aegis.core.versions import Followed, Versions
from aegis.core.why import Why
from aegis.engine import causes, history
from aegis.engine.auditing import audited
from aegis.engine.cache import CacheStatus
from aegis.engine.context import Outlet
from aegis.engine.deploys import Deploys, Limits
from aegis.engine.elsewhere import Datasources, Elsewhere
from aegis.engine.engine import OUTSIDE, Engine, named
from aegis.engine.everywhere import Everywhere, found
from aegis.engine.failures import MOST, FailedGroup, Failures, Told
from aegis.engine.fetching import Fetched, Fetching
from aegis.engine.following import Guard
from aegis.engine.guests import guest_status
from aegis.engine.intake import Imported, Intake, OnConflict, Terms
from aegis.engine.ledger import Outcome
from aegis.engine.monitor import Monitor
from aegis.engine.plan import Change
from aegis.engine.planning import Planning
from aegis.engine.rehearsing import Rehearsing
from aegis.engine.replay import Replays
from aegis.engine.resident import Lookup
from aegis.engine.rotation import Rotated
from aegis.engine.subscription import Inline, Overflow, Subscription, When
from aegis.engine.traps import Traps
from aegis.engine.undo import failure
from aegis.engine.upkeep import Upkeep
from aegis.engine.work import Work, checked
from aegis.protocols import (
    Analyst,
    Cipher,
    Clock,
    Commit,
    Failed,
    Libraries,
    Loader,
    Lockfile,
    Sighted,
    Sources,
    Store,
    Trust,
)

PAGE = 500  # entries of the journal read at once

_log = logging.getLogger("aegis.host")
T = TypeVar("T")
Verb = TypeVar("Verb", bound=Callable[..., Coroutine[Any, Any, Any]])


def repeated(verb: Verb) -> Verb:
    """Have a verb wait for a migration that it runs into, and begin anew on the code after it."""

    @functools.wraps(verb)
    async def repeat(self: Host, /, *args: Any, **kwargs: Any) -> Any:
        while True:
            try:
                return await verb(self, *args, **kwargs)
            except MigratingError as error:
                await self.migrated(error)

    return cast("Verb", repeat)


class ComponentStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One live component, as a status shows it; `guest` and `cost` are those of its sandbox."""

    name: str
    version: str
    digest: str
    origin: str
    endpoints: tuple[str, ...]
    models: tuple[str, ...]
    previous: str | None
    language: Language = "python"
    guest: GuestStatus | None = None
    cost: GuestCost | None = None


class ListenerStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One durable listener (`component:listener`); `lag`: events it has not looked at yet."""

    name: str
    lag: int


class HostStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What a host is doing: its components, open flows and what they wait for, and problems.

    `unsigned` are the addresses from which nothing has to be signed.
    """

    components: tuple[ComponentStatus, ...]
    listeners: tuple[ListenerStatus, ...] = ()
    waiting: tuple[str, ...]
    flows_open: int
    events: int
    failed: int
    problems: tuple[str, ...]
    caches: tuple[CacheStatus, ...] = ()
    unsigned: tuple[str, ...] = ()
    followed: tuple[Followed, ...] = ()


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
        grants: Mapping[str, Sequence[str]] | None = None,
        defaults: Policy | None = None,
        limits: Limits | None = None,
        cipher: Cipher | None = None,
        vault: Vault | None = None,
        keep: Keep | None = None,
        caching: Caching | None = None,
        scratch: Callable[[], Store] | None = None,
        analyst: Callable[[Sighted], Analyst] | None = None,
        datasources: Datasources | None = None,
        stores: Mapping[str, str] | None = None,
        backups: str | None = None,
        sources: Sources | None = None,
        trust: Trust | None = None,
        libraries: Libraries | None = None,
        components: Mapping[str, Wanted] | None = None,
        lockfile: Lockfile | None = None,
        locked: bool = False,
    ) -> None:
        self.store = store
        self.clock = clock
        self._deploys = Deploys(
            store=store,
            clock=clock,
            loader=loader,
            lookup=lookup,
            bindings=bindings,
            grants=grants,
            defaults=defaults,
            limits=limits or Limits(),
            cipher=cipher,
            vault=vault,
            keep=keep or Keep(),
            backups=backups,
            caching=caching,
            elsewhere=Elsewhere(store, clock, datasources, stores),
        )
        self._planning = Planning(self._deploys)
        self._replays = Replays(
            deploys=self._deploys,
            store=store,
            clock=clock,
            loader=loader,
            lookup=lookup,
            defaults=defaults,
            scratch=scratch,
        )
        self._traps = Traps(deploys=self._deploys, store=store, loader=loader)
        self._rehearsing = Rehearsing(self._deploys, self._replays)
        self._fetching = Fetching(
            sources,
            trust,
            libraries,
            store=store,
            clock=clock,
            provenance=self._deploys.provenance,
            live=lambda: self.engine.registry.live,
        )
        self._upkeep = Upkeep(
            self._deploys,
            self._fetching,
            store,
            clock,
            components=components or {},
            lockfile=lockfile,
            only=locked,
        )
        self._starting: set[str] = set()
        self._make_analyst = analyst
        self._everywhere = Everywhere(store, self._deploys.elsewhere)
        self._analyst: Analyst | None = None

    @property
    def monitor(self) -> Monitor:
        """What the host does, as figures and recent happenings."""
        return self._deploys.monitor

    @property
    def engine(self) -> Engine:
        """The current engine; a call reads it once, so that it sees one graph to its end."""
        return self._deploys.engine

    @property
    def loader(self) -> Loader:
        """What makes revisions of sources, for who reads files that only that can read."""
        return self._deploys.loader

    @property
    def intake(self) -> Intake:
        """What takes exported records in, as the API hands them over."""
        return self._deploys.intake

    @property
    def failures(self) -> Failures:
        """What failed, as the API asks for it."""
        return self._deploys.failures

    @property
    def forgotten(self) -> int:
        """The number of the last event that may be gone from the journal, as `[keep]` said."""
        return self._deploys.retention.forgotten

    async def migrated(self, error: MigratingError) -> None:
        """Return when the migration that a call ran into has ended: it may be repeated then."""
        await self._deploys.flows.boundary.passed(error.component)

    def lead(self, outlet: Outlet | None) -> None:
        """Let `outlet` say where the output of components goes that are deployed from now on."""
        self._deploys.outlet = outlet

    def introduce(self, **own: Any) -> None:
        """Let components ask `config("host.NAME")` for what is known of the host itself.

        What the configuration says of such a key goes before it.
        """
        self._deploys.own.update((f"host.{name}", value) for name, value in own.items())

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
        await self._deploys.open()
        await self._fetching.vigilance.open()

    async def close(self) -> None:
        """Refuse new work, let what is under way end, close adapters and the store."""
        await self._upkeep.close()
        if self._analyst is not None:
            await self._analyst.close()
        await self._deploys.close()

    async def begin(self) -> None:
        """Deploy what `[components]` wants; back when each was tried, after seconds at most.

        What cannot be had yet is `missing`, and is tried again until it is there. Raises
        ConfigError for a lock that is broken, or lacks something when only that may be taken.
        """
        begun = self.starting("components")
        try:
            await self._upkeep.begin()
        finally:
            begun()

    # Versions

    async def lock(self, upgrade: Collection[str] | None = ()) -> Lock:
        """Write down what `[components]` comes to, for the next start; what serves stays.

        What is locked stays so, but what is named in `upgrade`, or all with None: of that the
        newest that its address means. Raises NotFoundError for another name, and what `fetch` does;
        then nothing has changed.
        """
        return await self._upkeep.renew(upgrade)

    async def follow(
        self, name: str, address: str | None = None, *, every: float | None = None
    ) -> Followed:
        """Let newer versions of a component deploy by themselves; back after the first look.

        `address` may end with a range (`@^1.2`); without one it is what the component is from.
        Every `every` seconds it is asked. No pre-release comes so, and no other major version; one
        that is refused, or was given up for an older one, waits for the next newer one. The next
        start follows it, too. Raises NotFoundError, InvalidError for what cannot be followed,
        ConflictError where aegis.toml says another address.
        """
        return await self._upkeep.follow(name, address, every)

    async def unfollow(self, name: str) -> None:
        """Let no version of a component come by itself any more. Raises NotFoundError."""
        await self._upkeep.unfollow(name)

    def guard(self, gate: Gate | Guard | None) -> None:
        """Let what comes by itself pass a gate before it serves; what that raises holds it.

        A Gate is that of `deploy`; a function is given the source.
        """
        if isinstance(gate, Gate):
            gate = functools.partial(self.through, gate)
        self._upkeep.following.guard = gate

    def followed(self) -> Sequence[Followed]:
        """All that is followed, by name."""
        return self._upkeep.following.states()

    async def versions(self, name: str) -> Versions:
        """What there is of a component: live, loaded, deployed before, and where it comes from.

        A source that does not answer is no error. Raises NotFoundError for a component that was
        never here and that nobody wants.
        """
        return await self._upkeep.versions(name)

    # Deploying

    async def deploy(
        self,
        source: Source | str,
        version: str | None = None,
        text: str | None = None,
        *,
        origin: str = "",
        imports: Mapping[str, str] | None = None,
        file: str = "",
        grants: Sequence[str] = (),
        who: str = "",
        gate: Gate | None = None,
        told: Progress | None = None,
    ) -> Deployment:
        """Load, check and swap in a component; the old revision serves until the new one does.

        `source` is one, or the address of a component, or its name with `version` and `text`.
        `imports` are the texts of the files it imports, by path from its folder; `file` is what a
        debugger calls the text. `grants` are given to it with the deploy (see `grant`). The same
        code and configuration again changes nothing. With a `gate` it is tried on recorded flows
        and requests first (see `rehearse`); `told` hears how far that is. Raises ComponentError
        naming every problem, GateError with what differs; then nothing has changed. Of an address
        also what `fetch` raises, and InvalidError when there is more than one component.
        """
        if isinstance(source, str) and version is not None and text is not None:
            source = Source.of(source, version, text, origin=origin, imports=imports, file=file)
        found = source if isinstance(source, Source) else await self.one(source, who)
        if gate is not None:
            await self.through(gate, found, who=who, told=told)
        return await self._deploys.deploy(found, who=who, grants=grants)

    async def rehearse(
        self, source: Source | str, gate: Gate | None = None, *, told: Progress | None = None
    ) -> Rehearsal:
        """How the last recorded flows and requests of a component fare on new code; see Gate.

        `source` is one, or the address of a component. Flows are run again as `replay` does, and
        requests made again on the record as it was: nothing real is touched. Raises ComponentError
        for code that cannot be loaded, RecordingError where nothing is recorded, and what `fetch`
        raises.
        """
        found = source if isinstance(source, Source) else await self.one(source)
        return await self._rehearsing.rehearse([found], gate or Gate(), told)

    async def through(
        self, gate: Gate, source: Source, *, who: str = "", told: Progress | None = None
    ) -> Rehearsal:
        """What a gate finds that lets a component through, as the API tells it.

        Raises GateError where it does not, of which the audit log tells.
        """
        rehearsal = await self.rehearse(source, gate, told=told)
        if not rehearsal.passes:
            why = f"gate: {rehearsal.figures()}"
            entry = audited(self.clock, Action.REFUSE, who=who, of=source, detail=why)
            await self.store.commit(Commit(audits=[entry]))
        rehearsal.check()
        return rehearsal

    async def receive(
        self, sent: bytes | Source, *, told: Progress | None = None, who: str = ""
    ) -> Source:
        """The component that somebody sent, as a zip or as a text, if it may be deployed here.

        What is sent is from `upload:NAME`: it is signed by who is pinned for that, or TrustError
        is raised. Raises what `fetch` raises, too.
        """
        return await self._fetching.receive(sent, told=told, who=who)

    async def one(self, address: str, who: str = "", *, told: Progress | None = None) -> Source:
        """The one component at an address. Raises InvalidError, and what `fetch` raises."""
        found = await self.fetch(address, told=told, who=who)
        if len(found) != 1:
            names = ", ".join(one.source.name for one in found)
            raise InvalidError(
                f"{address} has {len(found)} components: {names or 'none'}",
                hint="name one, as in book.ipynb#orders",
            )
        return found[0].source

    async def fetch(
        self, address: str, *, told: Progress | None = None, who: str = ""
    ) -> Sequence[Fetched]:
        """The components at an address, checked and trusted; nothing of them has run.

        `told` hears how many bytes came, and of how many. `who` wants them: what is not trusted is
        told to the audit log. Raises InvalidError for what is no address, SourceError,
        ManifestError, TrustError.
        """
        return await self._fetching.fetch(address, told=told, who=who)

    async def change(self, change: Change, *, who: str = "") -> Sequence[Deployment]:
        """Make everything that `change` says so in one commit and one swap; the new deployments.

        Raises ComponentError naming every problem; then nothing has changed.
        """
        return await self._deploys.change(change, who=who)

    def setup(self) -> Change:
        """What makes another host serve what this one does: code, configuration and bindings."""
        return self._deploys.setup()

    async def preview(
        self,
        source: Source | str,
        version: str = "",
        text: str = "",
        *,
        origin: str = "",
        imports: Mapping[str, str] | None = None,
        file: str = "",
    ) -> Migration:
        """What a deploy would make of stored records and open flows; nothing is stored or swapped.

        `migrate` of every model whose schema does not fit is tried on a copy of all its records:
        which fields come and go, which records fail, what hinders open flows. The parameters are
        those of `deploy`. Raises ComponentError when the component cannot be loaded.
        """
        if isinstance(source, str):
            source = Source.of(source, version, text, origin=origin, imports=imports, file=file)
        return await self._planning.preview(source)

    async def plan(
        self,
        source: Source | str | Change,
        version: str | None = None,
        text: str | None = None,
        *,
        origin: str = "",
        imports: Mapping[str, str] | None = None,
    ) -> Difference:
        """What a deploy would make different, breaking changes named; nothing changes.

        The parameters are those of `deploy`, or all of a change of several components. Its code is
        loaded and let go. Raises ComponentError for what cannot be loaded, and what `fetch` raises.
        """
        if isinstance(source, str) and version is not None and text is not None:
            source = Source.of(source, version, text, origin=origin, imports=imports)
        if isinstance(source, str):
            source = await self.one(source)
        change = Change(sources=(source,)) if isinstance(source, Source) else source
        return await self._planning.difference(change)

    async def undeploy(self, name: str) -> None:
        """Stop serving a component; its records and open flows stay. Raises NotFoundError."""
        await self._deploys.undeploy(name)

    async def rollback(self, name: str) -> Deployment:
        """Make the previous revision of a component live again, and its records what it reads.

        After a migration a record that was not changed since gets back what it was; of others
        `unmigrate` of the code that serves makes it. Raises NotFoundError, and ComponentError when
        a record cannot be taken back; then nothing has changed.
        """
        return await self._deploys.rollback(name)

    async def split(
        self, source: Source | str, *, weight: float = 10, by: str | None = None
    ) -> SplitStatus:
        """Let a candidate serve `weight` percent of a component's records beside what is live.

        `source` is a candidate or its address; or the name of a component that is split already,
        whose candidate gets another weight. Which of the two a call, a step or an event gets goes
        by the id of its record (`by="record"`), or by what a request says (`by="header:NAME"`). The
        same key has the same side, and a larger weight takes none away from the candidate. Flows
        end on the version they began on. Raises ComponentError naming what keeps both from serving
        the same records, ConflictError while another candidate is tried, and what `fetch` raises.
        """
        if isinstance(source, str) and source in self.engine.registry.live:
            return await self._deploys.splits.weigh(source, weight, by)
        found = source if isinstance(source, Source) else await self.one(source)
        return await self._deploys.splits.begin(found, weight=weight, by=by)

    def splits(self) -> Sequence[SplitStatus]:
        """The components that are split, with calls, errors and times of both sides."""
        return self._deploys.splits.status()

    async def promote(self, name: str, *, who: str = "") -> Deployment:
        """Make the candidate of a split live, for all. Raises NotFoundError, ComponentError."""
        return await self._deploys.splits.promote(name, who=who)

    async def drop(self, name: str) -> None:
        """End a split: what is live serves all again; flows that began on the candidate end there.

        Raises NotFoundError, and ComponentError when other flows wait for what only it has.
        """
        await self._deploys.splits.drop(name)

    async def reset(self, name: str) -> int:
        """Drop all records, flows and schemas of a component; how many records were dropped.

        Raises NotFoundError for a component that was never deployed on this data.
        """
        return await self._deploys.reset(name)

    async def resume(self) -> list[str]:
        """Load from the store the revisions that open flows wait for; the labels resumed.

        Raises ComponentError when the stored text does not load any more.
        """
        return await self._deploys.resume()

    async def configure(self, values: Mapping[str, Any]) -> None:
        """Set configuration values by dotted key; components that use a changed one re-open.

        Those of table `ports` (`{"ports.timeout": 5, "ports.breaker": {"pause": 2}}`) are for ports
        that say nothing themselves, from their next attempt on; nothing is deployed for it. Raises
        ConfigError for one of these that is wrong, ComponentError for another; then nothing has
        changed.
        """
        await self._deploys.configure(values)

    async def bind(self, slot: str, part: str) -> None:
        """Choose what does a Protocol: `bind("orders.Payments", "CardPayments")`."""
        await self._deploys.bind(slot, part)

    async def audit(
        self, limit: int = 100, *, after: int | None = None, action: Action | str | None = None
    ) -> Sequence[Audit]:
        """Who changed what runs here: the newest `limit` entries of the audit log, in order.

        With `after` those behind that number; with `action` only those of one, as `deploy`. Raises
        BadRequestError for an action that there is none of.
        """
        try:
            wanted = None if action is None else Action(action)
        except ValueError:
            raise BadRequestError(
                f"there is no action {action!r}",
                hint=closest(str(action), [one.value for one in Action])
                or f"it is one of {', '.join(Action)}",
            ) from None
        return await self.store.audits(after, limit, wanted)

    async def grant(self, component: str, *grants: str, who: str = "") -> AccessStatus:
        """Let a component reach things that others export; it counts from its next call on.

        `grant("shipping", "orders.Order:read", "orders:order.*")`: a model to be read or written
        (both without a right), an adapter or a datasource by name, the events that a glob means
        (`:write` lets it tell them). It is kept, whether the component is there or not. Raises
        InvalidError for what is no grant.
        """
        return await self._deploys.granting.grant(component, grants, who)

    async def revoke(self, component: str, *grants: str, who: str = "") -> AccessStatus:
        """Take from a component what it may reach of others, whoever gave it: its next call fails.

        It stays taken until it is granted again, whatever aegis.toml says. Raises InvalidError.
        """
        return await self._deploys.granting.revoke(component, grants, who)

    def access(self, component: str | None = None) -> Sequence[AccessStatus]:
        """What the live components export, ask for and were granted; of one, if that is named.

        Raises NotFoundError.
        """
        names = sorted(self.engine.registry.live) if component is None else [component]
        return [self._deploys.granting.status(name) for name in names]

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

    def _taking(self, model: type[Any] | str | Model) -> ModelSpec:
        """As `spec`, for a call that may write: a migration comes before what it is given."""
        spec = self.spec(model)
        self.engine.resident(spec)
        return spec

    def _armed(self, spec: ModelSpec, id: str) -> tuple[Engine, ModelSpec]:
        """The engine for calls of a record, and its model there: of a split that of its side."""
        engine = self.engine.arm(spec.component, id)
        return engine, (
            spec if engine is self.engine else engine.registry.models.get(spec.key, spec)
        )

    @repeated
    async def create(self, model: type[Any] | str, *, id: str | None = None, **data: Any) -> Any:
        """Create a record; durable, with its first event, on return. Raises InvalidError."""
        self._deploys.check_open()
        spec = self._taking(model)
        engine = self.engine
        if spec.component in engine.arms:
            id = engine.id() if id is None else id
            engine, spec = self._armed(spec, id)
        given = checked(spec, spec.create_decoder, data)
        return _value(spec, await engine.create(spec, given, id=id))

    async def get(self, model: type[Any] | str, id: str) -> Any:
        """A record by id. Raises NotFoundError."""
        while True:
            engine, spec = self._armed(self.spec(model), id)
            try:
                return spec.value(await engine.fetch(spec, id))
            except MigratingError as error:
                await self.migrated(error)

    @repeated
    async def query(
        self,
        model: type[Any] | str,
        /,
        *clauses: Clause,
        sort: str | None = None,
        limit: int = 100,
        cursor: str | None = None,
        fields: str | Sequence[str] | None = None,
        **filters: Any,
    ) -> Found:
        """Records of which all `clauses` and `filters` are true, ordered by `sort` (`"-total,id"`).

        A filter is a field and what it must be: `status="NEW"`, `total__ge=100`, with ne, lt, le,
        gt, ge, in, prefix, contains or exists; `address__city` is a field inside another. For other
        than all of them there are `any_of(...)` and `not_(...)`. What a cursor stands for is
        `.next` of the page before, asked in the same way. With `fields` (`"id,total"`) each is a
        dict of these. Every record has `_created` and `_updated`, too.

        Raises BadRequestError naming what cannot be asked.
        """
        spec = self.spec(model)
        if limit < 0:
            raise BadRequestError(f"limit must be 0 or more, not {limit}", parameter="limit")
        names = None if fields is None else spec.columns.names(fields)
        where = Reading(spec.columns).where(clauses, filters)
        terms = spec.columns.sort(sort)
        after = read_cursor(cursor, terms)
        page = await self.engine.list(
            spec, Query(where=where, sort=terms, limit=limit, after=after)
        )
        found = Found(
            spec.value(record) if names is None else _row(spec, record, names)
            for record in page.items
        )
        found.next = page.next
        return found

    async def related(
        self,
        record: Any,
        name: str,
        /,
        *clauses: Clause,
        sort: str | None = None,
        limit: int = 100,
        **filters: Any,
    ) -> Any:
        """What a record relates to by its relation `name`: a record, or a list as `query` gives.

        Raises NotFoundError where there is none and must be one, ClosedError when the component
        with the target is not loaded.
        """
        spec = self.spec(record)
        found = named(spec, "relation", spec.relations, name)
        work = Work(key="", label="")
        if found.many:
            reach = self.engine.reach
            return Found(await reach.many(work, found, record, clauses, filters, sort, limit))
        return await self.engine.reach.one(work, found, record)

    async def list(
        self,
        model: type[Any] | str,
        /,
        *,
        limit: int = 100,
        sort: str | None = None,
        **filters: Any,
    ) -> Found:
        """Records whose fields equal `filters`, ordered by `sort`: `query` for the short way."""
        return await self.query(model, limit=limit, sort=sort, **filters)

    @repeated
    async def count(self, model: type[Any] | str, /, *clauses: Clause, **filters: Any) -> int:
        """How many records there are for which all `clauses` and `filters` are true (see query)."""
        spec = self.spec(model)
        return await self.engine.count(spec, Reading(spec.columns).where(clauses, filters))

    @repeated
    async def update(self, record: Any, **changes: Any) -> Any:
        """Set fields of a record; ConflictError when one of them was changed since it was read."""
        self._deploys.check_open()
        engine, spec = self._armed(self._taking(record), record.id)
        given = checked(spec, spec.patch_decoder, changes)
        now = spec.value(await engine.fetch(spec, record.id))
        stale = [n for n in changes if getattr(now, n) != getattr(record, n, getattr(now, n))]
        if stale and not spec.last_wins:
            raise ConflictError(
                f"{spec.name} {record.id}: {', '.join(stale)} changed since you read it",
                hint="get it again",
            )
        # No revision is named: a change of other fields that comes between does no harm.
        return _value(spec, await engine.patch(spec, record.id, given, expected=None))

    @repeated
    async def delete(self, record: Any) -> None:
        """Delete a record. Raises ConflictError while a flow about it is open."""
        self._deploys.check_open()
        engine, spec = self._armed(self.spec(record), record.id)
        await engine.delete(spec, record.id, expected=None)

    @repeated
    async def call(self, record: Any, command: str, **arguments: Any) -> Any:
        """Run a command of a record."""
        self._deploys.check_open()
        engine, spec = self._armed(self._taking(record), record.id)
        found = named(spec, "command", spec.commands, command)
        given = _arguments(spec, command, found.call.decoder, arguments)
        return _value(spec, await engine.command(spec, record.id, found, given))

    @repeated
    async def run(self, record: Any, port: str, **arguments: Any) -> Any:
        """Run a port of a record directly, outside any flow."""
        self._deploys.check_open()
        engine, spec = self._armed(self._taking(record), record.id)
        found = named(spec, "port", spec.ports, port)
        given = _arguments(spec, port, found.call.decoder, arguments)
        return _value(spec, await engine.run(spec, record.id, found, given))

    # Moving data

    async def export(
        self, path: str, *models: type[Any] | str, told: Progress = lambda _done, _of: None
    ) -> Header:
        """Write the records of `models`, all when none is named, to the new file `path`.

        A line of JSON each, what is sealed as it is stored, all as of one point of the journal,
        while the host goes on; what is kept elsewhere is as it was a moment before. `told(done,
        of)` hears of records, in another thread. Raises ConflictError when the file exists,
        NotFoundError for a model without records here, CorruptError, StoreError.
        """
        keys = [m if isinstance(m, str) and "." in m else self.spec(m).key for m in models]
        more = await found(self._deploys.elsewhere, keys)
        return await self.store.export(path, keys, told, more)

    async def import_(
        self,
        path: str,
        *,
        on_conflict: OnConflict = "fail",
        other_schema: bool = False,
        edited: bool = False,
        after: int = 0,
        told: Progress = lambda _done, _of: None,
    ) -> Imported:
        """Take in the records of the export `path`, as `<noun>.imported`; no step is set off.

        The file is read whole before anything is stored; of an `edited` one counts and checksum may
        be wrong. Then batches of one model follow, each stored whole or not at all. A record that
        is here with other data is an error, or stays (`on_conflict="skip"`), or is replaced. A new
        one keeps id, revision and times. Raises InvalidError, ConflictError or NotFoundError, with
        the number of the line and, as field `stored`, that of the last line before it that is in:
        give that as `after` to go on.
        """
        self._deploys.check_open()
        terms = Terms(on_conflict=on_conflict, other_schema=other_schema)
        return await self.intake.file(Path(path), terms, edited=edited, after=after, told=told)

    async def backup(self, path: str, *, told: Progress = lambda _done, _of: None) -> Manifest:
        """Copy all data to the new directory `path`, as of one point, while the host goes on.

        Models that are kept elsewhere are not in it, and a line of the log names them. With it go
        the keys of recordings and of sealed fields, where they are files beside the data. What was
        acknowledged before is in it. `told(done, of)` hears of bytes, in another thread. `aegis
        data restore` makes a data directory of it. Raises ConflictError when the directory exists
        or the host is in memory, CorruptError when the data is damaged, StoreError.
        """
        left = sorted(self._deploys.elsewhere.places)
        if left:
            _log.warning("not in the backup, since kept elsewhere: %s", ", ".join(left))
        return await self.store.backup(path, told)

    async def rotate_keys(self, *, told: Progress = lambda _done, _of: None) -> Rotated:
        """Seal private and encrypted fields with a new key, and all records of live models anew.

        Others go on meanwhile; no record has another revision for it. Older keys stay where they
        are: what is sealed beside the journal opens with them, and what is kept elsewhere until it
        is written again.
        `told(done, of)` hears of records. Raises ConflictError when nothing live is sealed or it is
        done already, ConfigError when the new key cannot be kept, SealError.
        """
        self._deploys.check_open()
        return await self._deploys.rotation.rotate(self.engine.registry, told)

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
        found = await self._deploys.flows.wait(flow, timeout)
        if found is None:
            raise NotFoundError(f"there is no flow {flow!r}")
        return found

    async def continue_undo(self, flow: str) -> Flow:
        """Go on with the undo of a flow, by id, that ended `compensation failed`.

        Raises NotFoundError, and ConflictError for a flow that did not end so.
        """
        self._deploys.check_open()
        return await self._deploys.flows.undoing.resume(flow)

    async def skip_undo(self, flow: str) -> Flow:
        """Go on with an undo behind the step that it stopped at, which stays as it is.

        Raises NotFoundError, and ConflictError for a flow that did not end `compensation failed`.
        """
        self._deploys.check_open()
        return await self._deploys.flows.undoing.resume(flow, skip=True)

    async def undo(self, flow: str) -> Flow:
        """Undo a flow that is under way. Raises NotFoundError, ConflictError."""
        self._deploys.check_open()
        return await self._deploys.flows.undoing.ask(flow)

    async def publish(
        self,
        name: str,
        subject: str | None = None,
        /,
        *,
        key: str | None = None,
        source: str = OUTSIDE,
        **data: Any,
    ) -> str:
        """Tell the host an event from outside, as a partner's answer; its id.

        `source` says who tells it, `key` is their id of it: told again with both the same, it is
        known and has no further effect. Raises InvalidError, StoreError.
        """
        self._deploys.check_open()
        said = event(name, subject, **data)
        return (await self.engine.publish(said, source=source, key=key)).event

    async def flow(self, id: str) -> tuple[Flow, Sequence[Step]] | None:
        """A flow with its steps, None when there is none of that id."""
        return await self.store.flow(id)

    async def flows(self, record: Any) -> Sequence[tuple[Flow, Sequence[Step]]]:
        """The flows about a record with their steps, oldest first."""
        return await self.store.flows(self.spec(record).key, record.id)

    async def events(
        self, pattern: str = "*", *, after: int | None = None, limit: int = 100
    ) -> Sequence[Event]:
        """Events from the journal whose name matches, in order: the newest ones.

        With `after`, a sequence number, the first ones past it.
        """
        found: list[Event] = []
        if after is None:
            end = self.store.last_seq()
            while end > self.forgotten and len(found) < limit:
                begin = max(0, end - PAGE)
                entries = await self.store.events(begin, end - begin)
                found[:0] = [
                    decode_event(e.doc)
                    for e in entries
                    if e.seq <= end and matches(pattern, e.type)
                ]
                end = begin
            return found[-limit:]
        while len(found) < limit:
            entries = await self.store.events(after, PAGE)
            if not entries:
                break
            after = entries[-1].seq
            found += [decode_event(e.doc) for e in entries if matches(pattern, e.type)]
        return found[:limit]

    def subscribe(
        self,
        pattern: str = "*",
        *,
        when: When | None = None,
        limit: int = 1000,
        overflow: Overflow = "drop-oldest",
        once: bool = False,
    ) -> Subscription:
        """Hear events from now on; iterate the subscription, and `stop()` it.

        Of those that match, the ones for which `when(event)` is true, with `once` only the first.
        It holds `limit` events; when it is full it drops the oldest or the newest, or ends, as
        `overflow` says: "drop-oldest", "drop-newest" or "end" (iterating it raises OverrunError).
        """
        return self._deploys.broker.audience.subscribe(
            pattern, when=when, limit=limit, overflow=overflow, once=once
        )

    async def expect(
        self, pattern: str = "*", *, when: When | None = None, timeout: float | None = None
    ) -> Event:
        """The next event that matches and for which `when(event)` is true.

        Raises ExpectedError when none came within `timeout` seconds (None waits for ever), and
        whatever `when` raises.
        """
        self._deploys.check_open()
        return await self._deploys.broker.audience.expect(pattern, when, timeout)

    def listen(self, pattern: str, callback: Callable[[Event], object]) -> Inline:
        """Call `callback(event)` as each matching event is stored, on the loop; `stop()` it.

        It must not block, nor change the event, which others hear too; one that raises is logged by
        its name. Raises InvalidError for a coroutine function.
        """
        return self._deploys.broker.audience.listen(pattern, callback)

    def woken(self, wake: asyncio.Event) -> AbstractContextManager[None]:
        """Set `wake` whenever events were stored, while inside; `store.events` has them then."""
        return self._deploys.broker.woken(wake)

    async def failed(self) -> Sequence[Failed]:
        """What failed and can be tried again: events of listeners, and flows that were undone."""
        return await self.store.failed()

    async def failed_groups(self) -> Sequence[FailedGroup]:
        """What failed, by kind, thing and error, the largest group first; see `retry_all`."""
        return await self._deploys.failures.groups()

    async def input(self, failed: Failed | Flow | Model | str) -> Event:
        """The event that a failure is about, with the data that its next try gives to it.

        Of a flow it is the event that began it. Raises NotFoundError.
        """
        failures = self._deploys.failures
        return await failures.input(await failures.one(await self._failure(failed)))

    @repeated
    async def retry(
        self, failed: Failed | Flow | Model | str, *, data: Mapping[str, Any] | None = None
    ) -> str:
        """Try again what failed; what came of that, in one line.

        By its line of the list or the id of it, a flow or its id, or a record: its newest flow that
        failed. `listener:<subscriber>:<seq>` delivers that event once more, with `data` as its
        data, and, when it is taken, those held behind it. `flow:<id>` goes on with an undo that
        stopped, or begins a flow anew that was undone, its record first changed as `data` says.
        Raises NotFoundError, ConflictError for what cannot be tried now, and InvalidError for data
        that does not fit; then nothing has changed.
        """
        self._deploys.check_open()
        return await self._deploys.failures.retry(await self._failure(failed), data=data)

    async def discard(self, failed: Failed | Flow | Model | str) -> str:
        """Take what failed off the list for good. Raises NotFoundError, ConflictError."""
        self._deploys.check_open()
        return await self._deploys.failures.discard(await self._failure(failed))

    async def retry_all(self, group: FailedGroup | str, *, limit: int = MOST) -> Sequence[Told]:
        """Try again up to `limit` failures of a group, by itself or its id; what came of each."""
        self._deploys.check_open()
        failures = self._deploys.failures
        return await failures.each(await self._grouped(group, limit), failures.retry)

    async def discard_all(self, group: FailedGroup | str, *, limit: int = MOST) -> Sequence[Told]:
        """Take up to `limit` failures of a group off the list for good; what came of each."""
        self._deploys.check_open()
        failures = self._deploys.failures
        return await failures.each(await self._grouped(group, limit), failures.discard)

    async def _grouped(self, group: FailedGroup | str, limit: int) -> Sequence[str]:
        found = await self._deploys.failures.group(group) if isinstance(group, str) else group
        return found.ids[:limit]

    async def _failure(self, failed: Failed | Flow | Model | str) -> str:
        """The id of what somebody means that failed. Raises NotFoundError."""
        if isinstance(failed, Failed):
            return failed.id
        if isinstance(failed, Flow):
            return failure(failed.id)
        if isinstance(failed, str):
            return failed if ":" in failed else failure(failed)
        spec = self.spec(failed)
        for flow, _ in reversed(await self.store.flows(spec.key, failed.id)):
            if await self.store.failed_of(failure(flow.id)):
                return failure(flow.id)
        raise NotFoundError(f"no flow of {spec.name} {failed.id!r} is on the failed list")

    # What happened

    async def why(self, of: Any, model: type[Any] | str | None = None) -> Why:
        """What led to what: the tree from the requests to each change, of `of`.

        `of` is an event, its id or number, a flow or its id, a line of the failed list or its id, a
        record, or the id of a record, with its `model` where others could be meant. Raises
        NotFoundError.
        """
        if isinstance(of, Failed | Flow | Event):
            return await causes.why(self.store, of.id)
        if isinstance(of, str | int):
            return await causes.why(
                self.store, str(of), None if model is None else self.spec(model)
            )
        return await causes.why(self.store, of.id, self.spec(of))

    async def at(self, seq: int | Event, record: Any, model: type[Any] | str | None = None) -> Past:
        """A record and its flows as of a point of the journal: an event, or its number.

        `record` is a record, or an id with its `model`. Raises InvalidError for a point that the
        journal has not, NotFoundError for a record it has no events of, or not its first ones.
        """
        spec = self.spec(record if model is None else model)
        id = record if isinstance(record, str) else record.id
        if isinstance(seq, Event):
            entry = await self.store.event(seq.id)
            if entry is None:
                raise NotFoundError(f"the event {seq.id!r} is not in the journal")
            seq = entry.seq
        return await history.at(self.store, seq, spec, id)

    @overload
    async def replay(self, of: Trap, revision: str | None = None) -> TrapReplay: ...
    @overload
    async def replay(
        self, of: Flow | Event | Failed | Model | str | int, revision: str | None = None
    ) -> Replay: ...
    async def replay(
        self, of: Trap | Flow | Event | Failed | Model | str | int, revision: str | None = None
    ) -> Replay | TrapReplay:
        """Run a flow again on a fork of the data, with recorded answers; the differences.

        `of` is a flow or its id, one of its events, its id or its number, a line of the failed
        list, or a record: its newest flow; or one of `traps`: then that call is made again, in an
        instance of its own. It runs on the live code, or on `revision`: a label as
        `orders@1.0.0+3fa9c1d2`, a version, or (of a flow) the text of a component.
        Nothing real is touched: adapters are not asked, a call that was not recorded ends it.
        Raises NotFoundError, RecordingError when nothing is recorded or it does not open,
        ComponentError for code that does not load, ClosedError for a component that is not loaded.
        """
        self._deploys.check_open()
        if isinstance(of, Trap):
            return await self._traps.replay(of, revision)
        id = str(of)
        if isinstance(of, Flow | Event):
            id = of.id
        elif isinstance(of, Failed):
            id = of.id.removeprefix("flow:")
        elif isinstance(of, Model):
            flows = await self.flows(of)
            if not flows:
                raise NotFoundError(f"{type(of).__name__} {of.id!r} has no flow")
            id = flows[-1][0].id
        return await self._replays.replay(id, revision)

    async def traps(self, component: str | None = None) -> Sequence[Trap]:
        """The last calls of a component in WebAssembly that were stopped, the newest last.

        Or those of all components. They are in memory, with the code that is loaded; `replay` makes
        one of them again. Raises NotFoundError for a component that is not loaded.
        """
        self._deploys.check_open()
        return self._traps.last(component)

    async def replay_trap(self, component: str, n: int) -> TrapOutcome:
        """Make a stopped call again, by its number and on the live code; what became of it.

        What the guest gives is not told. Raises NotFoundError when there is no such call.
        """
        return (await self.replay(self._traps.numbered(component, n))).outcome

    # What is in it

    async def sql(
        self,
        text: str,
        /,
        *,
        at: int | None = None,
        max_rows: int = 1_000_000,
        timeout: float = 60.0,
        **params: Any,
    ) -> Any:
        """The answer to one SELECT over models, journal and flows, as of its event `seq`.

        A model is a table by its endpoint (`orders`), and as `orders."Order"`, with its fields and
        `_revision`, `_created`, `_updated`; `events`, `flows` and `steps` are the others. `$name`
        in the text stands for the parameter of that name. The answer has `columns`, `rows()`,
        `relation`, `df()` and `arrow()`; times are in UTC. Raises SqlError, also for more than
        `max_rows` rows or `timeout` seconds.

        With `at`, the number of an event, models and events are as they were then, read back from
        the whole journal, and there are no flows and steps. Raises InvalidError, NotFoundError and
        ConflictError where the journal does not tell that.
        """
        self._deploys.check_open()
        if at is not None and self.forgotten:
            raise NotFoundError(
                f"the journal may have lost events up to {self.forgotten}: it does not tell what "
                f"was stored at event {at}",
                hint="[keep] events_days says how long events are kept",
            )
        if self._analyst is None:
            if self._make_analyst is None:
                raise AegisError("this host has no analyst: it was built without one")
            self._analyst = self._make_analyst(self._everywhere)
        while True:
            engine = self.engine
            await self._everywhere.prepare(text, engine.registry, whole=at is not None)
            try:
                return await self._analyst.ask(
                    engine.registry, text, params, max_rows=max_rows, timeout=timeout, at=at
                )
            except (SqlError, StoreError):
                # It may have read what code after `engine` stored.
                for component in engine.outdated:
                    await self._deploys.flows.boundary.passed(component)
                if not engine.outdated or engine is self.engine:
                    raise

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
                    previous=(
                        p.label if (p := self._deploys.previous.get(name)) is not None else None
                    ),
                    language=revision.source.language,
                    guest=guest_status(registry, revision),
                    cost=None if revision.guest is None else revision.guest.cost,
                )
                for name, revision in sorted(registry.live.items())
            ),
            listeners=tuple(
                ListenerStatus(name=name, lag=lag)
                for name, lag in self._deploys.broker.lags().items()
            ),
            waiting=tuple(self._deploys.flows.waiting()),
            flows_open=len(self._deploys.flows),
            failed=self.monitor.failures,
            unsigned=tuple(self._fetching.vigilance.unsigned),
            caches=self._deploys.records.status(),
            events=self.store.last_seq(),
            followed=tuple(self.followed()),
            problems=(
                *registry.warnings(),
                *(problem.text for problem in self.monitor.problems()),
            ),
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
        if not self._deploys.is_open:
            return ["the host"]
        waiting = self._deploys.flows.waiting()
        stranded = (f"flow {id}: {why}" for id, why in self._deploys.patrol.stranded.items())
        absent = self._upkeep.startup.missing()
        return sorted({*self._starting, *absent, *waiting, *stranded})


def _value(spec: ModelSpec, outcome: Outcome) -> Any:
    if outcome.record is None:
        raise AegisError(f"{spec.name} has no record after the call")
    return spec.value(outcome.record)


def _arguments(spec: ModelSpec, name: str, decoder: Decoder | None, given: dict[str, Any]) -> Any:
    if decoder is None:
        if given:
            raise InvalidError(f"{spec.name}.{name} takes no arguments, not {', '.join(given)}")
        return None
    try:
        return decoder.decode(text_of(given, decoder))
    except msgspec.ValidationError as error:
        raise InvalidError(f"{spec.name}.{name}: {error}") from None


def _row(spec: ModelSpec, record: Record, names: Sequence[str]) -> dict[str, Any]:
    """Some fields of a record, as the author typed them, and its times."""
    value = spec.value(record)
    times = {"_created": record.created, "_updated": record.updated}
    return {name: times[name] if name in times else getattr(value, name) for name in names}
