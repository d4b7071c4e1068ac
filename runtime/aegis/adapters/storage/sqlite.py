"""The embedded store: SQLite with full sync, one writer thread that commits in groups."""

# ruff: noqa: S608 -- values are bound; what statements are put together from are names of ours

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import queue
import sqlite3
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from aegis.adapters.storage import backup, forgetting, holding, selection, tables, values
from aegis.adapters.storage.audit import audit_rows, audit_steps, audit_structure
from aegis.adapters.storage.lock import OwnerLock
from aegis.adapters.storage.log import lost_commits
from aegis.adapters.storage.sight import SqliteSight
from aegis.adapters.storage.snapshot import NAME, export
from aegis.adapters.storage.table import Row, Table, checksum
from aegis.adapters.storage.tables import Records, Work
from aegis.core.audit import Action
from aegis.core.component import Source
from aegis.core.deployment import Deployment
from aegis.core.errors import (
    AegisError,
    BadRequestError,
    ConflictError,
    CorruptError,
    NewerFormatError,
    StoreError,
)
from aegis.core.grant import Granted
from aegis.core.moving import Header, Manifest, Progress
from aegis.core.query import Condition, Index, Page, Query
from aegis.core.record import Record
from aegis.protocols import (
    NOTHING,
    Answer,
    Audits,
    Commit,
    Cursor,
    Entries,
    Entry,
    Failed,
    Flows,
    FlowSteps,
    Kept,
    Old,
    Outgoing,
    Recording,
    Sight,
    Unclaimed,
)

T = TypeVar("T")

_log = logging.getLogger("aegis.host")

_GET = f"{tables.RECORDS.select} WHERE model = ? AND id = ?"
GROUP = 256  # commits that share one transaction at most
READERS = 4  # scans at a time
CONVERTED = 2000  # records of which rows are made at a time
# Up to this size, in bytes, the file is looked through: some 3 ms a MiB. A killed process damages
# nothing, a bad disk might; in a larger file whoever reads the damage finds it. After a crash that
# happens before anything else, after a clean close so many seconds later, beside all else.
CHECKED = 64 * 1024 * 1024
CHECKED_AFTER = 5.0

# What is wrong with the whole database is told to all at once: redoing would only wait again, and
# after a failed fsync it could seem to succeed.
_HOPELESS = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOTADB,
        sqlite3.SQLITE_READONLY,
    }
)
_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_BROKEN = (
    "malformed JSON",
    "Could not decode to UTF-8",
    "user-defined function raised",  # the checksum of what is no text
)


class SqliteStore:
    """What a host commits, in one SQLite database of one directory (see protocols.Store).

    One thread writes. It never waits for a group to fill: what is committed while the last fsync
    runs is the next one. `commits` and `batches` count what it has done; their ratio is the size
    of a group. Point reads run on the loop, in microseconds; scans run in threads of their own.

    `busy_timeout` is how long, in seconds, a commit waits for another process's lock on the file.
    """

    def __init__(self, directory: Path, *, busy_timeout: float = 5.0) -> None:
        self.commits = 0
        self.batches = 0
        self._rewritten = 0  # of the writer, see Sight: counted before and after each such change
        self._path = directory / NAME
        self._busy_timeout = busy_timeout
        self._lock = OwnerLock(directory)
        self._gate = asyncio.Lock()
        self._is_open = False
        self._broken: StoreError | None = None
        self._seq = 0  # of the writer: the last one given out
        self._last = 0  # of the loop: the last one that is durable
        self._waiting: list[Work] = []  # for the group in flight to land
        self._is_busy = False  # a group is in flight or about to be
        self._queue: queue.SimpleQueue[list[Work]] = queue.SimpleQueue()
        self._idle: queue.SimpleQueue[sqlite3.Connection] = queue.SimpleQueue()

    async def open(self) -> None:
        """Take the directory (made when missing) and make ready.

        Raises OwnedError, CorruptError, NewerFormatError, StoreError.
        """
        async with self._gate:
            if self._is_open:
                return
            self._loop = asyncio.get_running_loop()
            await asyncio.to_thread(self._open)
            self._last = self._seq
            self._waiting = []
            self._is_busy = False
            self._queue = queue.SimpleQueue()
            self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="aegis-store-reader")
            self._thread = threading.Thread(target=self._write, name="aegis-store", daemon=True)
            self._thread.start()
            self._broken = None
            self._is_open = True
            self._is_sound = True
            self._look = self._loop.call_later(CHECKED_AFTER, self._look_through)

    async def close(self) -> None:
        """Finish what was committed, fold the log into the database, let go of the directory."""
        async with self._gate:
            if self._is_open:
                last = self._submit(Commit())  # once it is stored, so is all before it
                self._is_open = False
                self._look.cancel()
                with contextlib.suppress(StoreError):
                    await last
                self._queue.put([])
                await asyncio.to_thread(self._close)

    def announce(self, address: str) -> None:
        """Tell whoever wants this directory too where its owner serves."""
        self._lock.announce(address)

    # --- writing --------------------------------------------------------------------------------

    def commit(self, commit: Commit) -> asyncio.Future[int]:
        """Store all of `commit` durably; drops count after puts (see protocols.Store).

        A caller that is cancelled meanwhile has committed all the same.
        """
        return self._submit(commit)

    async def clear(self, component: str, audits: Audits = ()) -> int:
        """Drop a component's records, flows, steps and schemas; how many records were dropped."""
        return await self._run(lambda: self._clear(component), audits, rewrites=True)

    async def index(self, component: str, indexes: Mapping[str, Sequence[Index]]) -> None:
        """Have these indexes on the records of a component's models, by model, and no others.

        Making one reads all records of its model, and commits wait meanwhile.
        """
        await self._run(lambda: selection.index(self._writer, component, indexes))

    async def forget(self, old: Old, limit: int) -> int:
        """Drop up to `limit` each of what is `old`; how many."""
        return await self._run(lambda: forgetting.old(self._writer, old, limit))

    async def forget_events(self, after: int, until: int, kept: Kept, limit: int) -> int:
        """Look at up to `limit` events after a seq and up to another, drop those not `kept`."""

        def errand() -> int:
            last = min(until, self._seq - 1)
            return forgetting.events(self._writer, after, last, kept, limit) or until

        return await self._run(errand, rewrites=True)

    async def forget_flows(self, after: str, before: str, kept: Kept, limit: int) -> str | None:
        """Look at up to `limit` flows after an id, drop those not `kept` that ended `before`."""
        return await self._run(
            lambda: forgetting.flows(self._writer, after, before, kept, limit), rewrites=True
        )

    async def _run(
        self, errand: Callable[[], T], audits: Audits = (), *, rewrites: bool = False
    ) -> T:
        """What `errand` gives, run by the writer in its turn, in a transaction.

        One that `rewrites` changes what no event tells of. `audits` are stored with it.
        """
        found: T = await self._submit(Commit(audits=[*audits]), errand, rewrites=rewrites)
        return found

    async def export(
        self,
        target: str,
        models: Sequence[str],
        told: Progress,
        more: Mapping[str, Sequence[Record]] = NOTHING,
    ) -> Header:
        """Write records to a new file, all as of one point (see protocols.Store)."""
        return await self._aside(export, target, models, told, more)

    async def backup(self, target: str, told: Progress) -> Manifest:
        """Copy all data, as of one point, to a new directory (see protocols.Store)."""
        return await self._aside(backup.back_up, target, told)

    async def _aside(self, work: Callable[..., T], target: str, *more: Any) -> T:
        """What `work` on the directory gives, beside all else, with a connection of its own."""
        if not self._is_open:
            raise self._closed()
        return await asyncio.to_thread(work, self._path.parent, Path(target), *more)

    async def audit(self) -> None:
        """Look through the whole file beside all else, and name in the log what is damaged.

        Then the next start looks before it does anything, as after a crash: it makes damaged
        indexes anew, and refuses a database whose structure is damaged.
        """

        def look(db: sqlite3.Connection) -> bool:
            wrong = audit_structure(db, mend=False)
            if wrong is not None:
                _log.error("%s is damaged: %s; the next start looks closer", self._path, wrong)
            return audit_rows(db) and wrong is None

        if not await self._scan(look):
            self._is_sound = False

    def _look_through(self) -> None:
        async def look() -> None:
            with contextlib.suppress(StoreError):  # closed meanwhile
                await self.audit()

        if self._path.stat().st_size <= CHECKED:
            self._looking = self._loop.create_task(look())

    def _submit(
        self,
        commit: Commit,
        errand: Callable[[], Any] | None = None,
        *,
        rewrites: bool = False,
    ) -> asyncio.Future[Any]:
        """Put in line for the writer; errors are told by the future, never raised here."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        try:
            if not self._is_open:
                raise self._closed()
            if self._broken is not None:
                raise self._broken
            rewrites = rewrites or bool(commit.fills)
            self._waiting.append(Work(commit, future, errand, rewrites=rewrites))
            if not self._is_busy:
                self._is_busy = True
                self._loop.call_soon(self._hand_over)
        except StoreError as error:
            future.set_exception(error)
        except (UnicodeError, TypeError, ValueError) as error:
            future.set_exception(StoreError(f"a value cannot be stored: {error}"))
        return future

    def _hand_over(self) -> None:
        """On the loop: give the writer its next group; this is the one place that knows how.

        It happens once a turn of the loop and when the last group has landed, so that those whom
        that one woke are in the next: fuller groups and fewer wake-ups than a queue of commits
        gives, and there is nothing to tell anybody before the loop turns anyway.
        """
        works = self._waiting[:GROUP]
        del self._waiting[:GROUP]
        self._queue.put(works)

    def _settle(self, works: list[Work], outcomes: Sequence[int | AegisError], seq: int) -> None:
        """On the loop: what `works` came to."""
        self._last = seq
        for work, outcome in zip(works, outcomes, strict=True):
            if work.future.done():  # its caller was cancelled
                continue
            if isinstance(outcome, AegisError):
                work.future.set_exception(outcome)
            else:
                work.future.set_result(outcome)
        self._is_busy = bool(self._waiting)
        if self._is_busy:
            self._loop.call_soon(self._hand_over)

    def _fail(self, works: list[Work], error: BaseException) -> None:
        """On the loop: the writer is gone, and nobody may wait for it."""
        self._broken = broken = StoreError(
            f"the writer of {self._path} died: {error!r}", hint="restart the host"
        )
        works, self._waiting = works + self._waiting, []
        for work in works:
            if not work.future.done():
                work.future.set_exception(broken)

    def _tell(self, call: Callable[..., None], *arguments: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed, so nobody waits any more
            self._loop.call_soon_threadsafe(call, *arguments)

    def _write(self) -> None:
        """The writer's thread: group after group until an empty one comes."""
        works: list[Work] = []
        try:
            while works := self._queue.get():
                rewrites = any(work.rewrites for work in works)
                self._rewritten += rewrites
                outcomes = self._land(works)
                self._rewritten += rewrites
                self.batches += 1
                self.commits += len(works)
                self._tell(self._settle, works, outcomes, self._seq)
        except BaseException as error:  # noqa: BLE001 -- whatever it is, nobody may wait for ever
            self._tell(self._fail, works, error)

    def _land(self, works: list[Work]) -> Sequence[int | AegisError]:
        """Commit `works`, all at once if they let us, else so that a bad one fails alone."""
        try:
            return self._transact(lambda: self._store(works))
        except Exception as error:  # noqa: BLE001 -- a value that cannot be bound raises as it likes
            if len(works) == 1:
                if selection.is_unreadable(error) and self._is_unindexed(works[0]):
                    return self._land(works)
                return [self._explain(works[0], error)]
            if _code(error) in _HOPELESS:
                return [self._translated(error) for _ in works]
        try:
            return self._transact(lambda: [self._store_apart(work) for work in works])
        except Exception:  # noqa: BLE001 -- a full disk makes SQLite give up the transaction, savepoints and all
            return [outcome for work in works for outcome in self._land([work])]

    def _is_unindexed(self, work: Work) -> bool:
        """Whether indexes were dropped that a damaged record kept `work` from changing."""
        models = {model for (model, _), _, _ in work.changes}
        return any(selection.drop(self._writer, model) for model in models)

    def _transact(self, change: Callable[[], T]) -> T:
        seq = self._seq
        self._writer.execute("BEGIN IMMEDIATE")
        try:
            result = change()
            self._writer.execute("COMMIT")
        except BaseException:
            self._seq = seq
            if self._writer.in_transaction:
                self._writer.execute("ROLLBACK")
            raise
        return result

    def _store_apart(self, work: Work) -> int | AegisError:
        seq = self._seq
        self._writer.execute("SAVEPOINT apart")
        try:
            (outcome,) = self._store([work])
        except Exception as error:
            if not self._writer.in_transaction:
                raise
            self._seq = seq
            self._writer.execute("ROLLBACK TO apart")
            self._writer.execute("RELEASE apart")
            return self._explain(work, error)
        self._writer.execute("RELEASE apart")
        return outcome

    def _store(self, works: list[Work]) -> list[int]:
        """Write the rows of `works`, a statement per table; the seq of each.

        Several changes of one record become one. Raises ConflictError or sqlite3.IntegrityError
        when an expected revision is not there, which of them `_explain` finds out.
        """
        if works[0].errand is not None and len(works) == 1:
            self._add(works[0].audits)
            return [works[0].errand()]
        seqs: list[int] = []
        events: list[Row] = []
        upserts: dict[str, list[Row]] = {}
        records = _folded(works)
        for work in works:
            if work.errand is not None:
                raise sqlite3.IntegrityError("an errand runs apart")
            if work.holdings is not None:  # in order: what one releases the next may hold
                work.holdings.store(self._writer)
            for sql, row in work.keeping:  # in order, too: what one forgets the next may keep
                self._writer.execute(sql, row)
            for event in work.events:
                self._seq += 1
                events.append(tables.event(self._seq, event))
            if work.converted or work.outdated:
                self._convert(work)
            for sql, rows in work.upserts:
                upserts.setdefault(sql, []).extend(rows)
            self._add(work.audits)
            seqs.append(self._seq)
        if records:
            self._store_records(records)
        if events:
            self._writer.executemany(tables.EVENTS.insert, events)
        for sql, rows in upserts.items():
            self._writer.executemany(sql, rows)
        return seqs

    def _add(self, audits: Sequence[tuple[str, bytes]]) -> None:
        """Add entries to the audit log behind its last one."""
        if not audits:
            return
        (last,) = self._writer.execute("SELECT max(n) FROM audits").fetchone()
        rows = [tables.audit(n, *one) for n, one in enumerate(audits, start=(last or 0) + 1)]
        self._writer.executemany(tables.AUDITS.insert, rows)

    def _store_records(self, records: Records) -> None:
        inserts: list[Row] = []
        updates: list[Row] = []
        deletes: list[Row] = []
        for key, (expected, row) in records.items():
            if row is None and expected:
                deletes.append((*key, expected))
            elif row is None:  # came and went
                if self._writer.execute(tables.REVISION, key).fetchone():
                    raise sqlite3.IntegrityError("a record that should be new is there")
            elif expected:
                updates.append((*row[2:], *key, expected))
            else:
                inserts.append(row)
        if inserts:
            self._writer.executemany(tables.RECORDS.insert, inserts)
        for sql, rows in ((tables.UPDATE, updates), (tables.DELETE, deletes)):
            if rows and self._writer.executemany(sql, rows).rowcount != len(rows):
                raise sqlite3.IntegrityError("a stored revision is not the expected one")

    def _convert(self, work: Work) -> None:
        """Give records another form. Raises ConflictError when one has changed meanwhile."""
        for model in work.outdated:
            self._writer.execute("DELETE FROM formers WHERE model = ?", (model,))
        for begin in range(0, len(work.converted), CONVERTED):
            part = work.converted[begin : begin + CONVERTED]
            rows = [tables.converted(self._seq + n, one) for n, one in enumerate(part, start=1)]
            self._seq += len(rows)
            changed = self._writer.executemany(tables.UPDATE, [row for row, _, _ in rows]).rowcount
            if changed != len(rows):
                raise ConflictError("a record changed while it was migrated", hint="try again")
            self._writer.executemany(tables.EVENTS.insert, [event for _, event, _ in rows])
            self._writer.executemany(
                tables.FORMERS.insert, [kept for _, _, kept in rows if kept is not None]
            )

    def _clear(self, component: str) -> int:
        # Keys of models are `component.Model`, and `/` comes right after `.`.
        mine, (first, end) = "model >= ? AND model < ?", (f"{component}.", f"{component}/")
        flows = f"component = ? OR ({mine})"
        self._writer.execute(
            "DELETE FROM failed WHERE subscriber IN "
            f"(SELECT 'flow:' || id FROM flows WHERE {flows})",
            (component, first, end),
        )
        self._writer.execute(
            f"DELETE FROM steps WHERE flow IN (SELECT id FROM flows WHERE {flows})",
            (component, first, end),
        )
        self._writer.execute(
            f"DELETE FROM recordings WHERE flow IN (SELECT id FROM flows WHERE {flows})",
            (component, first, end),
        )
        self._writer.execute(f"DELETE FROM flows WHERE {flows}", (component, first, end))
        self._writer.execute(f"DELETE FROM schemas WHERE {mine}", (first, end))
        self._writer.execute(f"DELETE FROM uniques WHERE {mine}", (first, end))
        self._writer.execute(f"DELETE FROM formers WHERE {mine}", (first, end))
        self._writer.execute(f"DELETE FROM outbox WHERE {mine}", (first, end))
        self._writer.execute("DELETE FROM keys WHERE component = ?", (component,))
        return self._writer.execute(f"DELETE FROM records WHERE {mine}", (first, end)).rowcount

    def _explain(self, work: Work, error: Exception) -> AegisError:
        """Why `work` alone was not stored; it has been rolled back."""
        if isinstance(error, ConflictError):
            return error
        if isinstance(error, sqlite3.IntegrityError):
            with contextlib.suppress(sqlite3.Error):  # what went wrong first is told then
                return self._conflict_of(work) or self._translated(error)
        return self._translated(error)

    def _conflict_of(self, work: Work) -> ConflictError | None:
        """What in `work` does not fit what is stored."""
        if work.holdings and (duplicate := work.holdings.conflict(self._writer)):
            return duplicate
        for key, (expected, _) in _folded([work]).items():
            row = self._writer.execute(tables.REVISION, key).fetchone()
            found = 0 if row is None else row[0]
            if found != expected:
                return _conflict(*key, expected, found)
        for event in work.events:
            if self._writer.execute("SELECT 1 FROM events WHERE id = ?", (event.id,)).fetchone():
                return ConflictError(f"the event {event.id} is in the journal already")
        return None

    # --- reading --------------------------------------------------------------------------------

    def get(self, model: str, id: str) -> Record | None:
        """The record as last committed."""
        row = self._point(_GET, model, id)
        return None if row is None else values.record(row)

    def last_seq(self) -> int:
        """The seq of the journal's last event, 0 when there is none."""
        return self._last

    async def list(self, model: str, query: Query) -> Page:
        """The page that `query` means. Raises BadRequestError for a value no record can have."""
        return await self._scan(lambda db: selection.select(db, model, query))

    async def count(self, model: str, where: tuple[Condition, ...] = ()) -> int:
        """How many records of `model` there are for which all of `where` holds."""
        return await self._scan(lambda db: selection.count(db, model, where))

    async def events(self, after: int, limit: int) -> Entries:
        """Up to `limit` entries of the journal with a seq above `after`, in order."""
        sql = f"{tables.EVENTS.select} WHERE seq > ? ORDER BY seq LIMIT ?"
        return await self._entries(sql, after, limit)

    async def event(self, id: str) -> Entry | None:
        """The entry of the event `id`."""
        row = self._point(f"{tables.EVENTS.select} WHERE id = ?", id)
        return None if row is None else self._fits(values.entry(row), id=id)

    async def events_of(self, subject: str, after: int, limit: int) -> Entries:
        """Up to `limit` entries with that subject and a seq above `after`, in order."""
        sql = f"{tables.EVENTS.select} WHERE subject = ? AND seq > ? ORDER BY seq LIMIT ?"
        found = await self._entries(sql, subject, after, limit)
        return [self._fits(entry, subject=subject) for entry in found]

    async def caused_by(self, id: str, limit: int) -> Entries:
        """The event `id` and those that it led to, at whatever remove: `limit` of them in order."""
        found = await self._entries(tables.CAUSED, id, limit)
        known = {id}
        for entry in found:
            if entry.cause not in known:  # only the first one may have another cause
                self._fits(entry, id=id)
            known.add(entry.id)
        return found

    async def _entries(self, sql: str, *key: str | int) -> Entries:
        return await self._scan(lambda db: [values.entry(row) for row in db.execute(sql, key)])

    def taken(self, key: str) -> str | None:
        """The id that an outside event got, None when none of that key was taken."""
        row = self._point(f"{tables.TAKEN.select} WHERE key = ?", key)
        return None if row is None else values.taken(row).event

    def holder(self, model: str, field: str, key: str) -> str | None:
        """The id of the record that holds a value of a unique field."""
        row = self._point(holding.HOLDER, model, field, key)
        return None if row is None else str(holding.UNIQUES.checked(row)[3])

    def sealed(self, event: str) -> bytes | None:
        """What is sealed beside an event."""
        row = self._point(f"{tables.SEALED.select} WHERE event = ?", event)
        return None if row is None else tables.SEALED.checked(row)[-1]

    async def unclaimed(self) -> Sequence[Unclaimed]:
        """The events that wait to be claimed as answers, oldest first."""
        sql = f"{tables.UNCLAIMED.select} ORDER BY time, event"
        return await self._scan(lambda db: [values.unclaimed(row) for row in db.execute(sql)])

    async def recordings(self, flow: str) -> Sequence[Recording]:
        """What the adapters of a flow's steps answered, by step and attempt."""
        sql = f"{tables.RECORDINGS.select} WHERE flow = ? ORDER BY n, attempt"
        return await self._scan(
            lambda db: [values.recording(row) for row in db.execute(sql, (flow,))]
        )

    async def outgoing(self) -> Sequence[Outgoing]:
        """What is on its way to datasources, in the order of its commits."""
        sql = f"{tables.OUTBOX.select} ORDER BY rowid"
        return await self._documents(tables.OUTBOX, Outgoing, sql)

    async def granted(self) -> Sequence[Granted]:
        """What was granted to components, and taken from them."""
        table = tables.GRANTED
        rows = await self._scan(lambda db: db.execute(table.select).fetchall())
        return [values.document(table, row, Granted) for row in rows]

    def kept(self, component: str, key: str) -> str | None:
        """What a component keeps under a key."""
        row = self._point(f"{tables.KEYS.select} WHERE component = ? AND key = ?", component, key)
        return None if row is None else str(tables.KEYS.checked(row)[-1], "utf-8")

    async def keys(self, component: str, prefix: str, limit: int) -> Sequence[str]:
        """Up to `limit` keys of a component that begin with a text, in order."""
        sql = "SELECT key FROM keys WHERE component = ? AND key >= ? ORDER BY key"

        def look(db: sqlite3.Connection) -> Sequence[str]:
            names = (row[0] for row in db.execute(sql, (component, prefix)))
            begun = itertools.takewhile(lambda name: name.startswith(prefix), names)
            return list(itertools.islice(begun, limit))

        return await self._scan(look)

    async def count_keys(self, component: str) -> int:
        """How many keys a component has."""
        sql = "SELECT count(*) FROM keys WHERE component = ?"
        return await self._scan(lambda db: int(db.execute(sql, (component,)).fetchone()[0]))

    async def places(self) -> Mapping[str, str]:
        """Where the records of models are, as commits said: datasources by model."""
        table = tables.PLACES
        rows = await self._scan(lambda db: [table.checked(row) for row in db.execute(table.select)])
        return {model: datasource for model, datasource, _ in rows}

    async def open_flows(self) -> Flows:
        """Flows whose state is in OPEN_FLOWS with all their steps by number, oldest flow first."""
        return await self._flows(tables.FLOWS_WHERE.format(tables.OPEN))

    async def flow(self, id: str) -> FlowSteps | None:
        """One flow with its steps by number."""
        found = await self._flows(tables.FLOWS_WHERE.format("id = ?"), id)
        return found[0] if found else None

    async def flows(self, model: str, record: str) -> Flows:
        """The flows about a record, oldest first."""
        found = await self._flows(
            tables.FLOWS_WHERE.format("model = ? AND f.record = ?"), model, record
        )
        for flow, _ in found:
            self._fits(flow, model=model, record=record)
        return found

    async def recent_flows(self, limit: int) -> Flows:
        """Up to `limit` flows of any state, by id, the highest first."""
        return await self._flows(tables.RECENT, limit)

    async def _flows(self, sql: str, *key: str | int) -> Flows:
        return await self._scan(lambda db: values.flows(db.execute(sql, key)))

    async def answer(self, key: str) -> Answer | None:
        """The stored answer of an idempotency key."""
        row = self._point(f"{tables.ANSWERS.select} WHERE key = ?", key)
        return None if row is None else values.answer(row)

    async def cursor(self, subscriber: str) -> int | None:
        """How far a subscriber has come, None when it is new."""
        row = self._point(f"{tables.CURSORS.select} WHERE subscriber = ?", subscriber)
        return None if row is None else values.cursor(row).seq

    async def cursors(self) -> Sequence[Cursor]:
        """How far each subscriber has come."""
        sql = f"{tables.CURSORS.select} ORDER BY subscriber"
        return await self._scan(lambda db: [values.cursor(row) for row in db.execute(sql)])

    async def failed(self, limit: int | None = None) -> Sequence[Failed]:
        """The failed list, oldest event first; with `limit` the newest ones only."""
        sql = f"{tables.FAILED.select} ORDER BY seq DESC, subscriber DESC LIMIT ?"
        found = await self._documents(tables.FAILED, Failed, sql, -1 if limit is None else limit)
        return found[::-1]

    async def failed_of(self, subscriber: str) -> Sequence[Failed]:
        """The failures of one subscriber, oldest event first."""
        sql = f"{tables.FAILED.select} WHERE subscriber = ? ORDER BY seq"
        return await self._documents(tables.FAILED, Failed, sql, subscriber)

    async def failed_count(self) -> int:
        """How many failures there are."""
        sql = "SELECT count(*) FROM failed"
        return await self._scan(lambda db: int(db.execute(sql).fetchone()[0]))

    async def deployments(self) -> Sequence[Deployment]:
        """All deployments, by number."""
        sql = f"{tables.DEPLOYMENTS.select} ORDER BY number"
        return await self._documents(tables.DEPLOYMENTS, Deployment, sql)

    async def source(self, digest: str) -> Source | None:
        """The text of a revision."""
        row = self._point(f"{tables.SOURCES.select} WHERE digest = ?", digest)
        return None if row is None else values.document(tables.SOURCES, row, Source)

    async def schema(self, model: str) -> bytes | None:
        """The schema that the stored records of `model` have."""
        row = self._point(f"{tables.SCHEMAS.select} WHERE model = ?", model)
        return None if row is None else tables.SCHEMAS.checked(row)[-1]

    async def audits(self, after: int | None, limit: int, action: Action | None = None) -> Audits:
        """Entries of the audit log, in order (see protocols.Store)."""
        return await self._scan(lambda db: values.audits(db, after, limit, action))

    async def look(self, question: Callable[[Sight], T]) -> T:
        """What `question` answers of what one transaction sees."""

        def ask(db: sqlite3.Connection) -> T:
            try:
                return question(self._sight(db))
            finally:
                if db.in_transaction:
                    db.execute("ROLLBACK")

        return await self._scan(ask)

    def _sight(self, db: sqlite3.Connection) -> SqliteSight:
        """What is stored now, and how often it was rewritten until then.

        The writer may be at that: when the number stayed the same meanwhile it is that of the
        transaction, or will be another one soon.
        """
        while True:
            rewritten = self._rewritten
            db.execute("BEGIN")
            sight = SqliteSight(db, rewritten)
            if self._rewritten == rewritten:
                return sight
            db.execute("ROLLBACK")

    async def _documents(
        self, table: Table, type: type[T], sql: str, *key: str | int
    ) -> Sequence[T]:
        return await self._scan(
            lambda db: [values.document(table, row, type) for row in db.execute(sql, key)]
        )

    def _fits(self, value: T, **asked: str) -> T:
        """`value`, which must be what was `asked` for: an index can be damaged too."""
        if all(getattr(value, name) == wanted for name, wanted in asked.items()):
            return value
        raise self._corrupt(f"an index leads to the wrong {type(value).__name__}")

    def _point(self, sql: str, *key: str) -> Any:
        """The one row that `key` names, read here and now."""
        if not self._is_open:
            raise self._closed()
        try:
            return self._reader.execute(sql, key).fetchone()
        except UnicodeEncodeError:  # half a surrogate pair: nothing stored has such a key
            return None
        except (sqlite3.Error, UnicodeDecodeError) as error:
            raise self._translated(error) from error

    async def _scan(self, question: Callable[[sqlite3.Connection], T]) -> T:
        """What `question` answers, asked in a reader's thread."""
        if not self._is_open:
            raise self._closed()
        return await self._loop.run_in_executor(self._readers, self._ask, question)

    def _ask(self, question: Callable[[sqlite3.Connection], T]) -> T:
        db = self._idle.get()
        try:
            return question(db)
        except (OverflowError, UnicodeEncodeError) as error:
            raise BadRequestError(f"no record can have that value: {error}") from error
        except (sqlite3.Error, msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise self._translated(error) from error
        finally:
            self._idle.put(db)

    # --- opening and closing --------------------------------------------------------------------

    def _open(self) -> None:
        self._make_directory()
        released = self._lock.acquire()
        connections: list[sqlite3.Connection] = []
        try:
            # The journal files get the mode of the database; SQLite itself would ask the umask.
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            if lost_commits(self._path):
                raise CorruptError(
                    f"the log {self._path}-wal is damaged: what was committed last is not readable",
                    hint="restore the directory from a backup, or remove that file to go on "
                    "without what it holds",
                )
            connections.append(self._connect(cache=16))
            self._writer = connections[0]
            self._prepare(self._writer, check=not released)
            last = self._writer.execute(f"{tables.EVENTS.select} ORDER BY seq DESC LIMIT 1")
            self._seq = max((values.entry(row).seq for row in last), default=0)
            connections.append(self._connect(cache=16, read_only=True))
            self._reader = connections[1]
            for _ in range(READERS):
                connections.append(self._connect(cache=4, read_only=True))
                self._idle.put(connections[-1])
        except BaseException as error:
            for db in connections:
                db.close()
            self._idle = queue.SimpleQueue()
            # Not clean, unless it was before: the next one who opens must look as closely.
            self._lock.release(clean=released)
            if isinstance(error, sqlite3.Error | OSError | UnicodeDecodeError):
                raise self._translated(error) from error
            raise

    def _make_directory(self) -> None:
        """The directory, private, and durable with all that lead to it."""
        directory = self._path.parent
        missing = [path for path in (directory, *directory.parents) if not path.exists()]
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            for path in missing:
                parent = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                try:
                    os.fsync(parent)
                finally:
                    os.close(parent)
        except OSError as error:
            raise StoreError(f"cannot make the directory {directory}: {error.strerror}") from error

    def _connect(self, *, cache: int, read_only: bool = False) -> sqlite3.Connection:
        """A connection that any thread may use, one at a time; `cache` in MiB."""
        db = sqlite3.connect(
            self._path, timeout=self._busy_timeout, isolation_level=None, check_same_thread=False
        )
        db.execute(f"PRAGMA cache_size = {-1024 * cache}")
        db.execute("PRAGMA cell_size_check = ON")
        db.create_function("checksum", -1, checksum, deterministic=True)
        if read_only:
            db.execute("PRAGMA query_only = ON")
        return db

    def _prepare(self, db: sqlite3.Connection, *, check: bool) -> None:
        """Make the database ours and ready, or say why not."""
        (found,) = db.execute("PRAGMA user_version").fetchone()
        (application,) = db.execute("PRAGMA application_id").fetchone()
        (known,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if known and application != tables.APPLICATION:
            raise CorruptError(
                f"{self._path} is a database, but not one of Aegis", hint="choose another directory"
            )
        if found > tables.FORMAT:
            raise NewerFormatError(
                f"{self._path} has format {found}, this Aegis reads up to {tables.FORMAT}",
                hint="update aegis-kernel, or choose another data directory",
            )
        check = check and self._path.stat().st_size <= CHECKED
        if check and (wrong := audit_structure(db, mend=True)):
            raise self._corrupt(wrong)
        (mode,) = db.execute("PRAGMA journal_mode = WAL").fetchone()
        if mode != "wal":
            raise StoreError(f"the file system of {self._path} cannot share memory between files")
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA journal_size_limit = 67108864")
        if not known:
            db.executescript(f"BEGIN IMMEDIATE; {tables.TABLES} COMMIT;")
        for upgrade in range(found, tables.FORMAT) if known else ():
            db.executescript(f"BEGIN IMMEDIATE; {tables.UPGRADES[upgrade]} COMMIT;")
        if check:
            audit_rows(db)
            if wrong := audit_steps(db):
                raise self._corrupt(wrong)

    def _close(self) -> None:
        self._thread.join()
        self._readers.shutdown()
        self._reader.close()
        while not self._idle.empty():
            self._idle.get().close()
        try:
            self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            clean = True
        except sqlite3.Error:  # nothing is lost: the log is replayed by whoever opens next
            clean = False
        self._writer.close()
        self._lock.release(clean=clean and self._is_sound)

    def _closed(self) -> StoreError:
        return StoreError(f"the store {self._path} is not open")

    def _corrupt(self, detail: object) -> CorruptError:
        return CorruptError(
            f"{self._path} is damaged: {detail}",
            hint="restore the directory from a backup, or move it away to start with an empty one",
        )

    def _translated(self, error: Exception) -> StoreError:
        """`error` of SQLite or of decoding as one of ours."""
        damaged = _code(error) in _DAMAGED or any(word in str(error) for word in _BROKEN)
        # A name in the schema that is no text makes SQLite's message one that is none either.
        if damaged or isinstance(error, msgspec.MsgspecError | UnicodeDecodeError):
            return self._corrupt(error)
        return StoreError(f"the store {self._path} failed: {error}")


def _code(error: BaseException) -> int:
    """SQLite's primary result code of `error`, 0 when it has none."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _conflict(model: str, id: str, expected: int, found: int) -> ConflictError:
    state = f"is at revision {found}" if found else "does not exist"
    wanted = f"revision {expected}" if expected else "to be new"
    return ConflictError(f"{model} {id} {state}, expected {wanted}", hint="read it again")


def _folded(works: Iterable[Work]) -> Records:
    """The changes of all `works` by record; one that follows another takes its place."""
    records: Records = {}
    for work in works:
        for key, expected, row in work.changes:
            earlier = records.get(key)
            if earlier is None:
                records[key] = (expected, row)
                continue
            first, before = earlier
            found = 0 if before is None else before[2]
            if found != expected:
                raise _conflict(*key, expected, found)
            records[key] = (first, row)
    return records
