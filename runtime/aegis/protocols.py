"""All that the engine asks of the outside: a store, a clock, a loader of components."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Any, Literal, Protocol, TypeVar

import msgspec

from aegis.core.audit import Action, Audit
from aegis.core.bundle import Bundle, Offer
from aegis.core.component import Library, Revision, Source
from aegis.core.deployment import Deployment
from aegis.core.description import Description
from aegis.core.errors import AegisError, ComponentError
from aegis.core.flow import Flow, Step
from aegis.core.grant import Granted
from aegis.core.lock import Lock
from aegis.core.moving import Header, Manifest, Progress
from aegis.core.query import Condition, Index, Page, Query
from aegis.core.record import Record
from aegis.core.registry import Registry
from aegis.core.signature import Signed
from aegis.core.trust import Trusted

T = TypeVar("T")

NOTHING: Mapping[str, Any] = MappingProxyType({})


class Put(msgspec.Struct, frozen=True, gc=False):
    """A record to write; `expected` is the stored revision it replaces, 0 when it must be new."""

    record: Record
    expected: int


class Drop(msgspec.Struct, frozen=True, gc=False):
    """A record to delete; `expected` is the stored revision."""

    model: str
    id: str
    expected: int


class Entry(msgspec.Struct, frozen=True, gc=False):
    """An event in the journal: `doc` is the Event as JSON. `seq` is 0 until it is stored.

    `cause` is the id of the event that led to it.
    """

    id: str
    type: str
    subject: str | None
    flow: str | None
    time: str
    doc: bytes
    seq: int = 0
    cause: str | None = None


class Taken(msgspec.Struct, frozen=True):
    """An event from outside that was taken: `key` is its source and id, `event` the id it got."""

    key: str
    event: str
    time: str


class Unclaimed(msgspec.Struct, frozen=True):
    """An event that some port waits for as an answer, and no step does yet."""

    event: str
    type: str
    time: str


class Claimed(msgspec.Struct, frozen=True):
    """An event that is unclaimed no more."""

    event: str


class Recording(msgspec.Struct, frozen=True, gc=False):
    """What a step's adapters answered in one attempt, sealed; attempts count from 1."""

    flow: str
    n: int
    attempt: int
    time: str
    doc: bytes


class Old(msgspec.Struct, frozen=True, kw_only=True):
    """Times (RFC 3339): what was made before them may be forgotten."""

    answers: str
    taken: str
    recordings: str


class Kept(msgspec.Struct, frozen=True):
    """What must not be forgotten, however old: ids of events and of flows."""

    events: frozenset[str]
    flows: frozenset[str]


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """The stored answer of a request that carried an Idempotency-Key.

    `fingerprint` identifies method, path and body; `headers` are (name, value) pairs.
    """

    key: str
    fingerprint: str
    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    created: str


class Cursor(msgspec.Struct, frozen=True):
    """How far a durable subscriber has come: the seq of the last event it is done with."""

    subscriber: str
    seq: int


class Failed(msgspec.Struct, frozen=True, kw_only=True):
    """What failed: an event for a listener, an answer for nobody, a flow undone or stuck in undo.

    `held` says that it was an earlier event of its subject that failed, and this one waits for it.
    Of a flow `subscriber` is `flow:` and its id, `event` its root, `subject` its record, and `seq`
    the journal's last one when it ended; of an answer that no step waited for `subscriber` is
    `answer:` and the id of its event. `what` is the type of the event, or the flow's model.
    `data` is what somebody gave the event for its data when it was last tried, None when that was
    its own.
    """

    subscriber: str
    seq: int
    event: str
    subject: str | None
    error: str
    attempts: int
    time: str
    held: bool = False
    kind: Literal["listener", "flow", "answer"] = "listener"
    what: str = ""
    data: dict[str, Any] | None = None

    @property
    def id(self) -> str:
        """What `host.retry` and `host.discard` take: `flow:...`, `answer:...`, `listener:...`."""
        if self.kind != "listener":
            return self.subscriber
        return f"listener:{self.subscriber}:{self.seq}"


class Cleared(msgspec.Struct, frozen=True):
    """A failure that is none any more: the key of a Failed."""

    subscriber: str
    seq: int


class Holding(msgspec.Struct, frozen=True, gc=False):
    """A value of a unique field, by its `key`, and the record `id` that has it alone."""

    model: str
    field: str
    key: str
    id: str


class Release(msgspec.Struct, frozen=True, gc=False):
    """A value that its record has no more; without `key` all of a field that is unique no more."""

    model: str
    field: str
    key: str | None = None
    id: str = ""


class Sealed(msgspec.Struct, frozen=True, gc=False):
    """What an event changed in sealed fields, which it does not tell itself."""

    event: str
    doc: bytes


class Schema(msgspec.Struct, frozen=True):
    """The stored schema of a model's records, as canonical JSON."""

    model: str
    doc: bytes


class Fill(msgspec.Struct, frozen=True):
    """A field that records of `model` stored before it existed get: its default, as JSON.

    Their revision stays: the author's data has not changed, it is only written out.
    """

    model: str
    field: str
    value: bytes


class Converted(msgspec.Struct, frozen=True, gc=False):
    """A record that gets the form of other code, with the event that tells of it.

    `before` is what it replaces, in any revision but this a ConflictError. With `keep`, the number
    of a deployment, that is kept as a Former.
    """

    before: Record
    after: Record
    event: Entry
    keep: int = 0


class Former(msgspec.Struct, frozen=True, gc=False):
    """The document of a record before the migration of a deployment, which gave it `revision`."""

    model: str
    id: str
    deployment: int
    revision: int
    doc: bytes


class Outgoing(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A change of a record that is kept elsewhere, on its way to `datasource`.

    `key` is the id of the event that tells of the change, and names this write wherever it gets.
    `record` is what the record becomes, None when it goes; `expected` the revision it had, 0 for
    none, and `base` the document it had then.
    """

    key: str
    datasource: str
    model: str
    id: str
    expected: int
    record: Record | None
    base: bytes = b""


class Sent(msgspec.Struct, frozen=True):
    """What was outgoing, by its key, and is where it belongs."""

    key: str


class Place(msgspec.Struct, frozen=True):
    """Where the records of a model are: the name of a datasource, empty for the store itself."""

    model: str
    datasource: str


class Keeping(msgspec.Struct, frozen=True, gc=False):
    """What a component keeps under a key, None to keep nothing there any more."""

    component: str
    key: str
    value: str | None


class Commit(msgspec.Struct, kw_only=True):
    """Everything a unit of work changes: stored together or not at all.

    `flows` and `steps` are inserted or replaced by their keys (`Flow.id`; `Step.flow, n`), `failed`
    by theirs (`subscriber, seq`); what is `cleared` leaves the failed list. What is `released` is
    so before anything is `held`. `converted` may be all records of a model: a store makes rows of
    them where that holds nobody up. Formers of the models in `outdated` are dropped, before others
    are kept.
    """

    puts: list[Put] = []
    drops: list[Drop] = []
    events: list[Entry] = []
    flows: list[Flow] = []
    steps: list[Step] = []
    answers: list[Answer] = []
    cursors: list[Cursor] = []
    failed: list[Failed] = []
    cleared: list[Cleared] = []
    deployments: list[Deployment] = []
    sources: list[Source] = []
    schemas: list[Schema] = []
    fills: list[Fill] = []
    taken: list[Taken] = []
    unclaimed: list[Unclaimed] = []
    claimed: list[Claimed] = []
    recordings: list[Recording] = []
    released: list[Release] = []
    held: list[Holding] = []
    sealed: list[Sealed] = []
    converted: list[Converted] = []
    outdated: list[str] = []
    outgoing: list[Outgoing] = []
    sent: list[Sent] = []
    places: list[Place] = []
    granted: list[Granted] = []
    keeping: list[Keeping] = []
    audits: list[Audit] = []


# Inside Store `list` is its method, so the types with lists have their names here.
FlowSteps = tuple[Flow, list[Step]]
Flows = list[FlowSteps]
Entries = list[Entry]
Audits = Sequence[Audit]


class Sight(Protocol):
    """What is stored as of one moment: event `seq`. What others commit meanwhile is not in it.

    `rewritten` is another number whenever something has changed that no event tells of: records
    that got a field, events and flows that were forgotten, the data of a component. Changes of
    flows and steps are counted by nothing: those that had not ended must be looked at again.
    """

    @property
    def seq(self) -> int:
        """The seq of the journal's last event."""
        ...

    @property
    def rewritten(self) -> int:
        """See above; counted as long as the process lives."""
        ...

    def entries(self, after: int) -> Iterator[Entry]:
        """The journal after a seq, in order."""
        ...

    def sealed(self, event: str) -> bytes | None:
        """What is sealed beside an event."""
        ...

    def record(self, model: str, id: str) -> Record | None:
        """One record, None when there is none."""
        ...

    def records(self, model: str) -> Iterator[Record]:
        """All records of a model."""
        ...

    def formers(self, model: str) -> Iterator[Former]:
        """What is kept of a model's records as they were before its last migration."""
        ...

    def flow(self, id: str) -> FlowSteps | None:
        """One flow with its steps by number, None when there is none."""
        ...

    def open_flows(self) -> Sequence[str]:
        """The ids of the flows whose state is in OPEN_FLOWS."""
        ...

    def flows(self, after: str) -> Iterator[FlowSteps]:
        """The flows with an id above `after`, by id."""
        ...


class Sighted(Protocol):
    """What can be looked at as a whole."""

    async def look(self, question: Callable[[Sight], T]) -> T:
        """What `question` answers of all that is stored as of one moment, off the loop.

        The sight is good until it returns. Commits go on meanwhile, so it should take seconds at
        most: a store may have to keep what they replace for as long.
        """
        ...


class Store(Sighted, Protocol):
    """What commits: records, events, flows, answers and deployments together.

    All methods are called on the host's loop. Point reads are synchronous because they are
    answered from the page cache in microseconds; whatever may scan is a coroutine and must not
    block the loop. Errors: StoreError and its kinds.
    """

    async def open(self) -> None:
        """Take ownership and make ready. Raises OwnedError, CorruptError, NewerFormatError."""

    async def close(self) -> None:
        """Finish what was begun, release ownership. Safe to call twice."""

    def announce(self, address: str) -> None:
        """Let whoever finds this store owned know where its owner answers."""

    def commit(self, commit: Commit) -> Awaitable[int]:
        """Store all of `commit` durably; the seq of its last event, or of the journal's last one.

        It is handed over at once; a Future or coroutine tells when it is stored.

        Events get contiguous, rising seqs in their order. Raises ConflictError when a record's
        stored revision is not the expected one (nothing of this commit is stored then, and
        commits that shared its group are unaffected), its kind DuplicateError when another record
        holds a value that one of this commit is to hold, StoreError when it cannot be stored.
        """
        ...

    def get(self, model: str, id: str) -> Record | None:
        """The record as last committed."""
        ...

    async def list(self, model: str, query: Query) -> Page:
        """The page that `query` means; `next` is a cursor for `Query.after` (see core.query).

        What a condition means, how values compare and which record comes first is said in
        core.matching, and is the same in every store. All conditions of `where` hold for the items,
        which come by `sort` and then by id, after the position `after` if there is one, `limit` of
        them at most. A position is good even when its record is gone, and pages joined are the
        whole: a record that stays as it is comes once. Conditions are typed and bounded by whoever
        asks; a store takes their values for values, never for a part of its own language. Raises
        BadRequestError for a value that no record can have.
        """
        ...

    async def count(self, model: str, where: tuple[Condition, ...] = ()) -> int:
        """How many records of `model` there are for which all of `where` holds."""
        ...

    async def index(self, component: str, indexes: Mapping[str, Sequence[Index]]) -> None:
        """Have these indexes on the records of a component's models, by model, and no others.

        An index changes how long a query takes, and nothing else.
        """
        ...

    async def clear(self, component: str, audits: Audits = ()) -> int:
        """Drop a component's records, flows, steps and schemas; how many records were dropped.

        What it keeps by key goes, too. What its records held is free again, and what is kept of
        them from before a migration goes.
        Of the failed list its flows go too, its listeners' events stay. What of it is outgoing goes
        as well. `audits` are stored with that, or nothing is done.
        """
        ...

    def last_seq(self) -> int:
        """The seq of the journal's last event, 0 when there is none."""
        ...

    async def events(self, after: int, limit: int) -> Entries:
        """Up to `limit` entries of the journal with a seq above `after`, in order."""
        ...

    async def event(self, id: str) -> Entry | None:
        """The entry of the event `id`."""
        ...

    async def events_of(self, subject: str, after: int, limit: int) -> Entries:
        """Up to `limit` entries with that subject and a seq above `after`, in order."""
        ...

    async def caused_by(self, id: str, limit: int) -> Entries:
        """The event `id` and those that it led to, at whatever remove: `limit` of them in order."""
        ...

    def taken(self, key: str) -> str | None:
        """The id that an outside event got, None when none of that key was taken."""
        ...

    def holder(self, model: str, field: str, key: str) -> str | None:
        """The id of the record that holds a value of a unique field, None when none does."""
        ...

    def sealed(self, event: str) -> bytes | None:
        """What is sealed beside an event; it is forgotten with that."""
        ...

    async def unclaimed(self) -> Sequence[Unclaimed]:
        """The events that wait to be claimed as answers, oldest first."""
        ...

    async def recordings(self, flow: str) -> Sequence[Recording]:
        """What the adapters of a flow's steps answered, by step and attempt."""
        ...

    async def outgoing(self) -> Sequence[Outgoing]:
        """What is on its way to datasources, in the order of its commits."""
        ...

    async def granted(self) -> Sequence[Granted]:
        """What was granted to components, and taken from them, while the host ran."""
        ...

    def kept(self, component: str, key: str) -> str | None:
        """What a component keeps under a key, None where that is nothing."""
        ...

    async def keys(self, component: str, prefix: str, limit: int) -> Sequence[str]:
        """Up to `limit` keys of a component that begin with a text, in the order of code points."""
        ...

    async def count_keys(self, component: str) -> int:
        """How many keys a component has."""
        ...

    async def places(self) -> Mapping[str, str]:
        """Where the records of models are, as commits said: datasources by model."""
        ...

    async def open_flows(self) -> Flows:
        """Flows whose state is in OPEN_FLOWS with all their steps by number, oldest flow first."""
        ...

    async def flow(self, id: str) -> FlowSteps | None:
        """One flow with its steps by number."""
        ...

    async def flows(self, model: str, record: str) -> Flows:
        """The flows about a record, oldest first."""
        ...

    async def recent_flows(self, limit: int) -> Flows:
        """Up to `limit` flows of any state, by id, the highest first: ids rise with time."""
        ...

    async def answer(self, key: str) -> Answer | None:
        """The stored answer of an idempotency key."""
        ...

    async def forget(self, old: Old, limit: int) -> int:
        """Drop up to `limit` each of what is `old`; how many, so 0 when there is no more."""
        ...

    async def forget_events(self, after: int, until: int, kept: Kept, limit: int) -> int:
        """Look at up to `limit` events with a seq above `after` up to `until`, drop the unneeded.

        Neither an event of `kept` or of a flow of `kept` goes, nor the journal's last one. The seq
        up to which it has looked, which is `until` when it is done.
        """
        ...

    async def forget_flows(self, after: str, before: str, kept: Kept, limit: int) -> str | None:
        """Look at up to `limit` flows with an id above `after`, drop those that ended `before`.

        Their steps and recordings go with them. The id up to which it has looked, None when it is
        done: ids rise with time.
        """
        ...

    async def cursors(self) -> Sequence[Cursor]:
        """How far each subscriber has come."""
        ...

    async def cursor(self, subscriber: str) -> int | None:
        """How far a subscriber has come, None when it is new."""
        ...

    async def failed(self, limit: int | None = None) -> Sequence[Failed]:
        """The failed list, oldest event first; with `limit` the newest ones only."""
        ...

    async def failed_of(self, subscriber: str) -> Sequence[Failed]:
        """The failures of one subscriber, oldest event first."""
        ...

    async def failed_count(self) -> int:
        """How many failures there are."""
        ...

    async def deployments(self) -> Sequence[Deployment]:
        """All deployments, by number."""
        ...

    async def source(self, digest: str) -> Source | None:
        """The text of a revision."""
        ...

    async def schema(self, model: str) -> bytes | None:
        """The schema that the stored records of `model` have."""
        ...

    async def audits(self, after: int | None, limit: int, action: Action | None = None) -> Audits:
        """Up to `limit` entries of the audit log with an `n` above `after`, in order.

        Of one `action` only, if it is named; without `after` the last ones. None is ever dropped.
        """
        ...

    async def export(
        self,
        target: str,
        models: Sequence[str],
        told: Progress,
        more: Mapping[str, Sequence[Record]] = NOTHING,
    ) -> Header:
        """Write the records of `models`, all when none is named, to the new file `target`.

        All of it is as of one point, and commits go on meanwhile. `more` are records from
        elsewhere, by model, which are written as if they were here. Raises ConflictError when
        `target` exists, NotFoundError for a model that has no records here.
        """
        ...

    async def backup(self, target: str, told: Progress) -> Manifest:
        """Copy all that is stored to the new directory `target`, as of one point.

        Commits go on meanwhile. Raises ConflictError when `target` exists or nothing is on disk.
        """
        ...


class Write(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What shall become of one record in a datasource: `record`, or nothing when that is None.

    `expected` is the revision that it has there, 0 when there must be none. `key` names this write
    and no other, and is kept with the record.
    """

    key: str
    model: str
    id: str
    expected: int
    record: Record | None


class Held(msgspec.Struct, frozen=True):
    """Why a write was not done: what is there, and the key of the write that put it there."""

    record: Record | None
    key: str = ""


# What a write came to: None when the record is as it says, else nothing was changed. An error says
# that it can never be done.
Written = Held | AegisError | None


class Datasource(Protocol):
    """Where records of some models are kept instead of in the host's store.

    Others may write there at the same time, by the same rules. All methods are called on the host's
    loop, which they must not block. Errors: StoreError and its kinds, DatasourceError while it is
    out of reach; the host asks again then.
    """

    async def open(self) -> None:
        """Make ready. It need not be reached for that."""

    async def close(self) -> None:
        """Let go of everything. Safe to call twice."""

    async def get(self, model: str, id: str) -> Record | None:
        """The record as last written, by whomever. Raises CorruptError naming what is damaged."""
        ...

    async def list(self, model: str, query: Query) -> Page:
        """The page that `query` means, as Store.list says; `core.matching.gathered` makes one."""
        ...

    async def count(self, model: str, where: tuple[Condition, ...] = ()) -> int:
        """How many records of `model` there are for which all of `where` holds."""
        ...

    def scan(self, model: str) -> AsyncIterator[Record]:
        """All records of a model, in any order."""
        ...

    async def index(self, component: str, indexes: Mapping[str, Sequence[Index]]) -> None:
        """Have these indexes on the records of a component's models, by model, and no others.

        An index changes how long a query takes, and nothing else.
        """

    async def write(self, writes: Sequence[Write]) -> Sequence[Written]:
        """Do each of `writes`, of different records, durably; what each came to.

        One is done when the stored revision is the `expected` one. It was done before, and nothing
        is to do, when the stored record has its `key`, or when it deletes and there is none. Else
        it is Held. Each is whole or not done at all, and none keeps another from being done. When
        this raises, any of them may have been done: they come again.
        """
        ...

    async def clear(self, component: str) -> int:
        """Drop the records of a component; how many there were."""
        ...


class Analyst(Protocol):
    """Answers questions in SQL over a store. Called on the host's loop, which it never blocks."""

    async def ask(
        self,
        registry: Registry,
        text: str,
        params: Mapping[str, Any],
        *,
        max_rows: int,
        timeout: float,
        at: int | None = None,
    ) -> Any:
        """The answer to one SELECT over the models of `registry`, the journal and the flows.

        As of now, or of the event `at`: then without flows. `params` are bound by name. It has
        `columns`, `rows()`, `seq`, `relation`, `df()` and `arrow()`. Raises SqlError.
        """
        ...

    async def close(self) -> None:
        """Let go of everything. Safe to call twice."""


class Cipher(Protocol):
    """Seals what is stored so that only this host's key opens it. Called on the host's loop."""

    def seal(self, data: bytes, about: bytes) -> bytes:
        """`data` sealed, and bound to what it is `about`. Raises AegisError without a key."""
        ...

    def open(self, sealed: bytes, about: bytes) -> bytes:
        """What was sealed. Raises RecordingError for another key, damage, or another `about`."""
        ...


class Clock(Protocol):
    """Time, ids and chance. Nothing else in the host reads a clock, makes an id or throws dice."""

    def now(self) -> datetime:
        """Wall time, timezone UTC."""
        ...

    def stamp(self) -> str:
        """Wall time as RFC 3339 with milliseconds and Z."""
        ...

    def id(self) -> str:
        """A new UUIDv7, rising within this process."""
        ...

    def dice(self) -> float:
        """A random number from 0 up to 1."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return after `seconds`."""

    async def until(self, when: datetime) -> None:
        """Return when wall time has reached `when`."""


class Sources(Protocol):
    """Where components come from: finds out what an address offers, and fetches it."""

    async def offers(self, address: str) -> Sequence[Offer]:
        """The versions that an address offers, oldest first; empty where it has only itself.

        Raises InvalidError for what is no address, SourceError.
        """
        ...

    async def fetch(
        self, address: str, *, at: str = "", told: Progress | None = None
    ) -> Sequence[Bundle]:
        """The components at an address, most often one, their files as their manifests say.

        A ref that is a range is the newest version in it. `at` is what an earlier bundle was
        `resolved` to: exactly that is fetched then, and nobody is asked for what is kept. Bundles
        are checked against their manifests, and no signature is. `told` hears the bytes so far and
        of how many. Raises InvalidError for what is no address, SourceError, ManifestError,
        DigestError, and ComponentError for code that cannot be read.
        """
        ...

    async def unpack(self, packed: bytes) -> Sequence[Bundle]:
        """The components in a zip that somebody sent, at the addresses `upload:NAME`.

        Nothing sent is local. Raises ManifestError, DigestError, ComponentError.
        """
        ...


class Trust(Protocol):
    """Says whether a bundle may be deployed: who signed it, and whether that is who should."""

    def trusted(self) -> Trusted:
        """What it goes by now. Raises ConfigError when that cannot be read."""
        ...

    def by(self) -> str:
        """Whoever changed that last, empty where nobody is known. Raises ConfigError."""
        ...

    async def check(self, bundle: Bundle, now: datetime) -> Signed | None:
        """Who signed `bundle` and when; None of what needs no signature, as what is local.

        Raises TrustError naming why it is refused: unless a key that is pinned for its address
        signed it, and what it signed is all that is there and is good `now`. Whether something
        newer was deployed before is not its concern. Raises ConfigError.
        """
        ...


class Libraries(Protocol):
    """The wheels that components import and the host has not: found, checked and kept."""

    async def provide(self, bundle: Bundle, *, told: Progress | None = None) -> Sequence[Library]:
        """What the dependencies of a bundle come to, each kept by its digest.

        Raises SourceError, DigestError, and ComponentError for a wheel that cannot be used, and
        for one that another component needs in another version.
        """
        ...


class Lockfile(Protocol):
    """Keeps what the addresses of a host came to, beside its configuration."""

    async def read(self) -> Lock:
        """What is locked, by component; nothing when there is no lock.

        Raises ConfigError naming the file and what is wrong in it.
        """
        ...

    async def write(self, change: Callable[[Lock], Lock]) -> Lock:
        """Make of what is locked what `change` makes of it, whole or not at all; the new lock.

        Nothing is written where nothing changes. Raises ConfigError as `read` does, and when the
        file cannot be written.
        """
        ...


class Loader(Protocol):
    """Turns a source into a revision in a fresh namespace, and takes it out of memory again.

    Those that load no WebAssembly say so of each such source.
    """

    def load(self, source: Source) -> Revision:
        """The surveyed component. Runs its code, so it is called off the loop.

        Raises ComponentError naming what is wrong with it and where.
        """
        ...

    def assemble(self, text: str, name: str, version: str = "") -> bytes:
        """The module in WebAssembly that a text (WAT) is, or stands for (see core/wat.py).

        `name` and `version` are what is said beside it. Raises ComponentError with the line.
        """
        raise ComponentError(name, ["nothing here reads WebAssembly"])

    def describe(self, binary: bytes, name: str) -> Description:
        """What a module says of itself, run in a sandbox with nothing granted.

        It takes time. Raises ComponentError of `name` for what is no component, or says nothing.
        """
        raise ComponentError(name, ["nothing here reads WebAssembly"])

    def unload(self, revision: Revision) -> None:
        """Forget everything of `revision` that the process keeps."""
