"""The use cases on records, bound to one registry: read, list, create, patch, delete, run."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import msgspec

from aegis.core.component import Call, CommandSpec, ModelSpec, PortSpec, Revision
from aegis.core.errors import (
    BreakerOpenError,
    ClosedError,
    ConflictError,
    DuplicateError,
    GrantError,
    InvalidError,
    MigratingError,
    NotFoundError,
    PortError,
    Refused,
    StaleError,
    TooLargeError,
    closest,
)
from aegis.core.event import OURS, Emission
from aegis.core.graph import model_id
from aegis.core.policy import Policies, Policy
from aegis.core.query import Condition, Page, Query
from aegis.core.record import ID, Record
from aegis.core.registry import Registry
from aegis.core.relation import RelationSpec
from aegis.engine.attempt import attempt, returned
from aegis.engine.context import CALLER, SOURCE
from aegis.engine.flows import Flows
from aegis.engine.gate import admit
from aegis.engine.ledger import Answering, Draft, Ledger, Outcome
from aegis.engine.meter import Meter
from aegis.engine.powers import Powers
from aegis.engine.reach import Reach
from aegis.engine.resident import Resident
from aegis.engine.run import Located
from aegis.engine.script import Script
from aegis.engine.steps import REREADS
from aegis.engine.work import Change, Work
from aegis.protocols import Answer, Taken

# Where events come from that were told from outside and do not say it themselves.
OUTSIDE = "/aegis/api"
# What the host says of itself, and of components: nobody else does.
# Errors that component code may meet and callers may see; of others they see only the kind.
TOLD = (InvalidError, NotFoundError, PortError, ClosedError, GrantError)
RESERVED = ("breaker.", "flow.", "schedule.")

_log = logging.getLogger("aegis.host")
T = TypeVar("T")


class Told(msgspec.Struct, frozen=True):
    """An event from outside: the id it has here, and whether it was known already."""

    event: str
    known: bool = False


class _KnownError(Exception):
    """An event from outside was told before."""


class Engine:
    """One graph of components, as every call that began on it sees it to its end."""

    def __init__(
        self,
        registry: Registry,
        residents: Mapping[Revision, Resident],
        ledger: Ledger,
        flows: Flows,
    ) -> None:
        self.registry = registry
        self.residents = residents
        self._ledger = ledger
        self._flows = flows
        self.closing = False
        self.reach = Reach(self)
        self.powers = Powers(self, ledger)
        self.arms: dict[str, Engine] = {}  # by component that is split: the candidate's graph
        self.outdated: frozenset[str] = frozenset()  # components whose records moved on, see there
        self._boundary = flows.boundary
        self._boundary.follow(self)
        # Where steps find their code: (component, version, model, port), filled in as they ask.
        self.places: dict[tuple[str, str, str, str], Located | None] = {}
        self._policies: dict[int, tuple[Policies, Policy]] = {}  # by the id of what was said

    def arm(self, component: str, key: str | None) -> Engine:
        """The engine of whoever gets a key: this one, or that in which the candidate is live."""
        if not self.arms:
            return self
        split = self.registry.splits.get(component)
        return self.arms[component] if split is not None and split.takes(key) else self

    def policy(self, said: Policies) -> Policy:
        """What somebody goes by who `said` this of attempts."""
        known = self._policies.get(id(said))
        if known is None:
            known = self._policies[id(said)] = (said, said.over(self.registry.defaults))
        return known[1]

    def resident(self, spec: ModelSpec) -> Resident:
        """The loaded live revision of a model, for a call that may write.

        Raises ClosedError when it does not serve, MigratingError when its records change form.
        """
        if spec.component in self._boundary.shut or spec.component in self.outdated:
            raise MigratingError(spec.component)
        revision = self.registry.live.get(spec.component)
        if revision is None or self.closing:
            raise ClosedError(f"component {spec.component!r} is not serving")
        return self.residents[revision]

    def _home(self, spec: ModelSpec, id: str) -> tuple[ModelSpec, Resident]:
        """Whose code a record's command runs: the version its open flow began on, else live."""
        resident = self.resident(spec)
        for flow in map(self._flows.flow, self._flows.about((spec.key, id))):
            if flow.component != spec.component or flow.version == resident.revision.version:
                continue
            revision = self.registry.revision(flow.component, flow.version)
            if revision is not None and spec.name in revision.by_name:
                return revision.by_name[spec.name], self.residents[revision]
        return spec, resident

    @property
    def now(self) -> Registry:
        """The registry that is current, which a call under way may have begun before."""
        return self._flows.registry()

    @property
    def script(self) -> Script | None:
        """What tells what relations led to, in a replay."""
        return self._ledger.script

    def id(self) -> str:
        """The id of a new record."""
        return self._ledger.clock.id()

    def is_here(self, spec: ModelSpec) -> bool:
        """Whether the records of a model are in the host's store, and `get` has them at once."""
        return spec.key not in self._ledger.elsewhere.places

    def get(self, spec: ModelSpec, id: str) -> Record:
        """A record that is in the host's store. Raises NotFoundError, CorruptError."""
        self._check_form(spec)
        return _there(spec, id, self._ledger.records.sound(spec.key, id))

    async def find(self, model: str, id: str) -> Record | None:
        """The record of a model by its key, loaded or not, None when there is none."""
        return await self._ledger.fetch(model, id)

    async def fetch(self, spec: ModelSpec, id: str) -> Record:
        """The record, from wherever it is kept. Raises NotFoundError, CorruptError, StoreError."""
        return (await self.stored(spec, id)).sound()

    async def stored(self, spec: ModelSpec, id: str) -> Record:
        """The record as it is stored, damaged or not. Raises NotFoundError."""
        self._check_form(spec)
        return _there(spec, id, await self._ledger.fetch(spec.key, id))

    def _check_form(self, spec: ModelSpec) -> None:
        """Raise MigratingError when the records have another form than this graph reads."""
        if self.outdated and spec.component in self.outdated:
            raise MigratingError(spec.component)

    async def list(self, spec: ModelSpec, query: Query) -> Page:
        """The page of records that `query` means."""
        if self.is_here(spec):
            page = await self._ledger.store.list(spec.key, query)
        else:
            page = await self._ledger.elsewhere.list(spec.key, query)
        self._check_form(spec)
        for record in page.items:
            record.sound()
        return page

    async def count(self, spec: ModelSpec, where: tuple[Condition, ...]) -> int:
        """How many records there are for which all of `where` holds. Raises MigratingError."""
        if self.is_here(spec):
            count = await self._ledger.store.count(spec.key, where)
        else:
            count = await self._ledger.elsewhere.count(spec.key, where)
        self._check_form(spec)
        return count

    async def publish(
        self, said: Emission, *, source: str = OUTSIDE, key: str | None = None
    ) -> Told:
        """Take an event from outside, durably; with a `key` of the sender's only once.

        Raises InvalidError for a name or a source that is the host's own, BusyError.
        """
        if said.type.startswith(RESERVED):
            raise InvalidError(f"{said.type!r} is an event of the host itself")
        if not source or len(source) > 1000 or source.startswith(OURS):
            raise InvalidError(
                f"{source[:80]!r} cannot be the source of an event from outside",
                hint="a URI of the sender",
            )
        if self.closing:
            raise ClosedError("the host is closing")
        if self.registry.consumers(said.type):
            self._flows.admit()
        # A URI has no spaces: the first one ends it.
        taken = None if key is None else f"{source.replace(' ', '%20')} {key}"
        work = Work(key="", label="", origin="outside")
        work.emissions.append(msgspec.structs.replace(said, source=source))

        def mark(draft: Draft) -> None:
            if taken is None:
                return
            if self._ledger.store.taken(taken) is not None:
                raise _KnownError
            draft.commit.taken.append(Taken(taken, draft.events[0][0].id, draft.now))

        try:
            _, draft = await self._ledger.settle(
                self.registry, work, locks=() if taken is None else (taken,), mark=mark
            )
        except _KnownError:
            return Told(self._ledger.store.taken(taken or "") or "", known=True)
        return Told(draft.events[0][0].id)

    async def answer(self, key: str) -> Answer | None:
        """The stored answer of an idempotency key."""
        return await self._ledger.store.answer(key)

    async def create(
        self,
        spec: ModelSpec,
        data: msgspec.Struct,
        *,
        id: str | None = None,
        answering: Answering | None = None,
    ) -> Outcome:
        """Create a record of `data` (a `spec.create`). Durable, with its event, on return."""
        resident = self.resident(spec)
        if spec.ports:
            self._flows.admit()
        if id is None:
            id = self._ledger.clock.id()
        elif not ID.fullmatch(id):
            raise InvalidError(
                f"{spec.name}: {id[:80]!r} is no id",
                hint="1 to 200 characters, none of them a space, /, ?, # or %",
            )
        try:
            value = spec.cls(
                id=id, **{name: getattr(data, name) for name in data.__struct_fields__}
            )
        except (TypeError, ValueError) as error:
            raise spec.invalid(error) from error
        work = self._work(resident, spec, id)
        work.key = id
        work.changes[(spec.key, id)] = Change(
            spec=spec, id=id, base=None, before=None, after=value, event=spec.created
        )
        if not spec.ports:
            return await self._settle(resident, work, "create", answering)
        resident.enter()  # while it waits for its turn, too: its revision may be replaced then
        try:
            async with self._flows.steps.turns:
                return await self._settle(resident, work, "create", answering)
        finally:
            resident.leave()

    async def patch(
        self,
        spec: ModelSpec,
        id: str,
        changes: msgspec.Struct,
        *,
        expected: int | None,
        answering: Answering | None = None,
    ) -> Outcome:
        """Set the fields that `changes` (a `spec.patch`) holds; `expected` is the known revision.

        Raises StaleError when the record has another one; None lets the last writer win.
        """
        resident = self.resident(spec)
        record = await self.fetch(spec, id)
        if expected is not None and record.revision != expected:
            raise StaleError(
                f"{spec.name} {id!r} is at revision {record.revision}, not {expected}",
                hint="read it again and repeat the change",
            )
        given = {
            name: value
            for name in changes.__struct_fields__
            if (value := getattr(changes, name)) is not msgspec.UNSET
        }
        while True:
            before = spec.value(record)
            work = self._work(resident, spec, id)
            work.changes[(spec.key, id)] = Change(
                spec=spec,
                id=id,
                base=record,
                before=before,
                after=msgspec.structs.replace(before, **given),
                event=spec.updated,
                expected=expected,
            )
            try:
                return await self._settle(resident, work, "update", answering)
            except (StaleError, DuplicateError):
                raise
            except ConflictError:
                # Where the last write wins, this one is later than the one that came between.
                if expected is not None or not spec.last_wins:
                    raise
                record = await self.fetch(spec, id)

    async def delete(self, spec: ModelSpec, id: str, *, expected: int | None) -> None:
        """Delete a record, and with it what its relations say.

        Raises ConflictError while a flow about it is open, and while others point to it whose
        relation does not say what becomes of them.
        """
        resident = self.resident(spec)
        record = await self.stored(spec, id)
        work = self._work(resident, spec, id)
        end = Change(
            spec=spec,
            id=id,
            base=record,
            before=None,
            after=None,
            event=spec.deleted,
            expected=expected,
        )
        work.changes[end.key] = end

        def mark(_: Draft) -> None:
            for change in work.changes.values():
                for flow in self._flows.about(change.key) if change.after is None else ():
                    raise ConflictError(
                        f"{change.spec.name} {change.id!r} has an open flow",
                        hint="wait for its end or cancel it first",
                        flow=flow,
                    )

        async with self._ledger.references.leaving(self.reach, work):
            await self._settle(resident, work, "delete", None, mark)

    async def relate(
        self,
        spec: ModelSpec,
        id: str,
        relation: RelationSpec,
        data: msgspec.Struct,
        *,
        answering: Answering | None = None,
    ) -> Outcome:
        """Create a record that another relates to, and name it there where that holds the id.

        `data` is a `create` of the target (see Reach.filled). The outcome is about the new one.
        Raises InvalidError, ConflictError where one record is related to already.
        """
        resident = self.resident(spec)
        record = await self.fetch(spec, id)
        value = spec.value(record)
        target = self.reach.target(relation, "write")
        self.resident(target)
        if target.ports:
            self._flows.admit()
        if not relation.many:
            condition = self.reach.condition(relation, target, value)
            if (await self.list(target, Query(where=(condition,), limit=1))).items:
                raise ConflictError(f"{spec.name} {id!r} has a {relation.name} already")
        change = self.reach.made(target, data)
        work = self._work(resident, spec, id)
        work.changes[change.key] = change
        linked = self.reach.linked(relation, value, change.id)
        if linked is not None:
            work.changes[spec.key, id] = Change(
                spec=spec,
                id=id,
                base=record,
                before=value,
                after=linked,
                event=spec.updated,
                expected=record.revision,
            )
        return await self._settle(resident, work, "create", answering)

    async def command(
        self,
        spec: ModelSpec,
        id: str,
        command: CommandSpec,
        arguments: msgspec.Struct | None,
        *,
        answering: Answering | None = None,
    ) -> Outcome:
        """Run a command on a record; what it returns is stored. Raises Refused, PortError."""

        def undo(draft: Draft) -> None:
            for flow in list(self._flows.about((spec.key, id))):
                reason = f"undone by {command.name}"
                self._flows.undoing.begin(draft, flow, reason, canceled=True)

        home, resident = self._home(spec, id)
        if home is not spec:
            command = named(home, "command", home.commands, command.name)
        return await self._invoke(
            home,
            resident,
            id,
            command.name,
            self._ledger.monitor.command(home, command),
            command.call,
            arguments,
            self.policy(command.policies),
            command.produces,
            always=False,
            mark=undo if command.undo else None,
            answering=answering,
        )

    async def run(
        self,
        spec: ModelSpec,
        id: str,
        port: PortSpec,
        arguments: msgspec.Struct | None,
        *,
        answering: Answering | None = None,
    ) -> Outcome:
        """Run a port directly, once and within its timeout; its event sets off what consumes it.

        When that fails, or a breaker is open, its fallback stands in.
        """
        home, resident = self._home(spec, id)
        if home is not spec:
            port = named(home, "port", home.ports, port.name)

        async def invoke(
            call: Call, arguments: msgspec.Struct | None, policies: Policies
        ) -> Outcome:
            return await self._invoke(
                home,
                resident,
                id,
                port.name,
                self._ledger.monitor.port(home, port),
                call,
                arguments,
                self.policy(policies),
                port.produces or spec.updated,
                always=port.produces is not None,
                mark=None,
                answering=answering,
            )

        try:
            return await invoke(port.call, arguments, port.policies)
        except (PortError, BreakerOpenError) as error:
            if port.fallback is None:
                raise
            _log.warning("%s.%s of %s falls back: %s", home.key, port.name, id, error)
            return await invoke(port.fallback, None, port.fallback_policies)

    async def _invoke(
        self,
        spec: ModelSpec,
        resident: Resident,
        id: str,
        name: str,
        meter: Meter,
        call: Call,
        arguments: msgspec.Struct | None,
        policy: Policy,
        event: str,
        *,
        always: bool,
        mark: Any,
        answering: Answering | None,
    ) -> Outcome:
        given = {} if arguments is None else msgspec.structs.asdict(arguments)
        if arguments is not None and call.check is not None:
            call.check(arguments)
        if call.event is not None:
            given[call.event] = None
        given.update(resident.adapters(call))
        work = self._work(resident, spec, id)
        work.actor = meter.id
        asks = call.adapters or resident.revision.is_outbound
        resident.enter()
        try:
            for reread in range(REREADS + 1):
                record = await self.fetch(spec, id)
                before = spec.value(record)
                work.changes.clear()
                work.emissions.clear()
                work.keeping = work.known = None
                probed = admit(resident.gates(call), work)
                try:
                    span = meter.begin(SOURCE.get(), about=id, tally=resident.tally)
                    try:
                        after = await attempt(call, before, given, policy.timeout, work, name)
                        after = returned(spec, name, after, before)
                    except BaseException as error:
                        span.end(error)
                        raise
                    span.end()
                    change = Change(
                        spec=spec,
                        id=id,
                        base=record,
                        before=before,
                        after=after,
                        event=event,
                        always=always,
                        # What it decided without asking anybody it decides anew by a newer record,
                        # unless that keeps changing: then its fields go over what there is.
                        expected=None if asks or reread == REREADS else record.revision,
                    )
                    work.changes = {change.key: change, **work.changes}
                    outcome, _ = await self._ledger.settle(
                        self.registry, work, resident=resident, mark=mark, answering=answering
                    )
                    return outcome
                except (ConflictError, StaleError):
                    if asks or reread == REREADS:
                        raise
                except Refused as refusal:
                    await self._keep_emission(spec, id, work, refusal)
                    raise
                except (*TOLD, TooLargeError):
                    raise
                except Exception as error:
                    # Its words may hold what callers must not see: the edge logs the cause.
                    raise PortError(f"{spec.key}.{name} raised {type(error).__name__}") from error
                finally:
                    for gate in probed:
                        gate.leave(work)
            raise AssertionError("unreachable: the loop returns or raises")
        finally:
            resident.leave()

    async def _keep_emission(self, spec: ModelSpec, id: str, work: Work, refusal: Refused) -> None:
        """Publish the event that a refusal carries, and nothing else of its unit of work."""
        said = refusal.emit
        if isinstance(said, Emission) and self.reach.telling(work.label, said.type) is None:
            work.changes.clear()
            work.keeping = None
            work.emissions[:] = [Emission(said.type, said.data, said.subject or id)]
            await self._ledger.settle(self.registry, work)

    async def _settle(
        self,
        resident: Resident,
        work: Work,
        verb: str,
        answering: Answering | None,
        mark: Callable[[Draft], None] | None = None,
    ) -> Outcome:
        meter = self._ledger.monitor.meter(work.actor or "")
        span = meter.begin(SOURCE.get(), verb, work.subject, tally=resident.tally)
        resident.enter()
        try:
            outcome, _ = await self._ledger.settle(
                self.registry, work, resident=resident, mark=mark, answering=answering
            )
        except BaseException as error:
            span.end(error)
            raise
        finally:
            resident.leave()
        span.end()
        return outcome

    def _work(self, resident: Resident, spec: ModelSpec, id: str) -> Work:
        return Work(
            key=self._ledger.clock.id(),
            label=resident.revision.label,
            pin=resident.pin(CALLER.get()),
            model=spec.key,
            subject=id,
            actor=model_id(spec),
            origin=SOURCE.get(),
            reach=self.reach,
        )


def _there(spec: ModelSpec, id: str, record: Record | None) -> Record:
    if record is None:
        raise NotFoundError(f"there is no {spec.name} {id!r}")
    return record


def named(spec: ModelSpec, kind: str, among: Mapping[str, T], name: str) -> T:
    """The port or command `name` of a model. Raises NotFoundError with the closest name."""
    found = among.get(name)
    if found is None:
        raise NotFoundError(f"{spec.name} has no {kind} {name!r}", hint=closest(name, among))
    return found
