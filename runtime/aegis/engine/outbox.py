"""What is on its way to a datasource: stored with its commit, written in order, none lost or twice.

A crash between a write and the commit that says so has it written again, which the datasource
knows by the write's key. Several changes of a record are written as one.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from aegis.core.errors import (
    AegisError,
    BusyError,
    ConflictError,
    DatasourceError,
    StoreError,
)
from aegis.core.record import Record
from aegis.engine.work import Key
from aegis.protocols import Commit, Datasource, Failed, Held, Outgoing, Sent, Write, Written

if TYPE_CHECKING:
    from aegis.engine.elsewhere import Elsewhere

PREFIX = "outbox:"  # of the subscriber in the failed list, before the key of a write
MOST = 10_000  # rows that may wait for one datasource
BATCH = 256  # records written at once
PATIENCE = 10.0  # seconds that a datasource has to answer
WAIT = 5.0  # seconds that a list waits for what is on its way
PAUSES = (0.05, 0.2, 0.5, 1.0, 2.0)  # between tries while a datasource does not answer
TRIES = 8  # of a write over a record that others keep changing

T = TypeVar("T")

_log = logging.getLogger("aegis.host")
_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_encode = msgspec.json.Encoder().encode


class Lane:
    """The way to one datasource: what waits to be written there, and the task that writes it."""

    def __init__(self, name: str, datasource: Datasource, elsewhere: Elsewhere) -> None:
        self.name = name
        self.datasource = datasource
        self.trouble: str | None = None
        self.pending: dict[Key, list[Outgoing]] = {}
        self.parked: dict[str, Outgoing] = {}  # in conflict with what others wrote, by key
        self.rows = 0
        self._models: Counter[str] = Counter()
        self._elsewhere = elsewhere
        self._waiters: list[tuple[set[str], asyncio.Future[None]]] = []
        self._wake = asyncio.Event()
        self._writing = asyncio.Lock()
        self._room = asyncio.Event()
        self._stuck = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    # What waits

    def add(self, row: Outgoing) -> None:
        """Write `row`, which is stored, as soon as may be."""
        self.pending.setdefault((row.model, row.id), []).append(row)
        self._models[row.model] += 1
        self.rows += 1
        self._wake.set()
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name=f"aegis-outbox-{self.name}")

    def admit(self) -> None:
        """Raise BusyError when as much waits as may."""
        if self.rows >= MOST:
            raise BusyError(
                f"{self.rows:,} changes wait for datasource {self.name!r}, which is the most",
                retry_after=5,
            )

    async def room(self) -> None:
        """Return when something more may wait: what a partner has done is done."""
        while self.rows >= MOST:
            self._room.clear()
            await self._room.wait()

    async def written(self, model: str | None = None) -> None:
        """Return when all that waits now, of `model` if one is named, is written.

        Raises DatasourceError when that takes too long.
        """
        if not (self.rows if model is None else self._models[model]):
            return
        keys = {
            row.key for rows in self.pending.values() for row in rows if model in (None, row.model)
        }
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (keys, done)
        self._waiters.append(entry)
        try:
            async with asyncio.timeout(WAIT):
                await done
        except TimeoutError:
            raise DatasourceError(
                self.trouble or f"datasource {self.name!r} has not taken what was written before",
                hint="ask again later; nothing is lost",
            ) from None
        finally:
            if entry in self._waiters:
                self._waiters.remove(entry)

    async def clear(self, component: str) -> int:
        """Drop all there is of a component, and what waits of it; how many records there were."""
        async with self._writing:
            self._forget(component)
            return await self.ask(self.datasource.clear(component))

    def _forget(self, component: str) -> None:
        mine = [rows for key, rows in self.pending.items() if key[0].startswith(f"{component}.")]
        for row in [row for rows in mine for row in rows]:
            self._gone(row)
        for row in [*self.parked.values()]:
            if row.model.startswith(f"{component}."):
                del self.parked[row.key]

    def _gone(self, row: Outgoing) -> None:
        key = (row.model, row.id)
        rows = self.pending.get(key, [])
        if row not in rows:
            return
        rows.remove(row)
        if not rows:
            del self.pending[key]
        self.rows -= 1
        self._room.set()
        self._models[row.model] -= 1
        for keys, done in self._waiters:
            keys.discard(row.key)
            if not keys and not done.done():
                done.set_result(None)

    # Asking

    async def ask(self, question: Awaitable[T], *, patience: float = PATIENCE) -> T:
        """What the datasource answers. Raises DatasourceError, CorruptError, StoreError."""
        try:
            async with asyncio.timeout(patience):
                return await question
        except AegisError:
            raise
        except TimeoutError:
            raise DatasourceError(
                f"datasource {self.name!r} did not answer within {patience:g} s"
            ) from None
        except Exception as error:
            _log.exception("datasource %s failed", self.name)
            raise DatasourceError(
                f"datasource {self.name!r} raised {type(error).__name__}"
            ) from error

    async def replace(self, datasource: Datasource) -> None:
        """Go on with newer code of what a component brings."""
        async with self._writing:
            before, self.datasource = self.datasource, datasource
        await self._end(before)

    async def _end(self, datasource: Datasource) -> None:
        try:
            async with asyncio.timeout(PATIENCE):
                await datasource.close()
        except Exception:
            _log.exception("datasource %s did not close", self.name)

    # Writing

    async def close(self, grace: float) -> None:
        """Write what can be written within `grace` seconds; the rest stays stored."""
        if self._task is not None:
            ends = [asyncio.ensure_future(end) for end in (self.written(), self._stuck.wait())]
            await asyncio.wait(ends, timeout=grace, return_when=asyncio.FIRST_COMPLETED)
            for end in ends:
                end.cancel()
            await asyncio.wait(ends)
            if self.rows:
                _log.warning("%d changes stay on their way to %s", self.rows, self.name)
            self._task.cancel()
            await asyncio.wait([self._task])
        await self._end(self.datasource)

    async def _run(self) -> None:
        failed = 0
        while True:
            self._wake.clear()
            if not self.pending:
                await self._wake.wait()
                continue
            try:
                async with self._writing:
                    await self._batch([[*rows] for rows in [*self.pending.values()][:BATCH]])
            except Exception as error:
                if not isinstance(error, StoreError):
                    _log.exception("the outbox of %s stumbled; it goes on", self.name)
                self._say(str(error))
                await asyncio.sleep(PAUSES[min(failed, len(PAUSES) - 1)])
                failed += 1
            else:
                failed = 0
                self._say(None)

    def _say(self, trouble: str | None) -> None:
        if trouble is None and self.trouble is not None:
            _log.info("datasource %s answers again", self.name)
        self.trouble = trouble
        if trouble is None:
            self._stuck.clear()
        else:
            self._stuck.set()
        self._elsewhere.tell(self)

    async def _batch(self, chains: Sequence[list[Outgoing]]) -> None:
        """Write the last state of each chain of changes, and say that it is there."""
        writes = [_write(rows, rows[0].expected) for rows in chains]
        if not writes:  # forgotten meanwhile
            return
        outcomes = await self.ask(self.datasource.write(writes))
        sent: list[Outgoing] = []
        left: dict[Key, Record | None] = {}
        lost: list[tuple[list[Outgoing], str]] = []
        for rows, write, outcome in zip(chains, writes, outcomes, strict=True):
            done: Record | str | None = write.record
            if outcome is not None:
                done = await self._over(rows, outcome)
            if isinstance(done, str):
                lost.append((rows, done))
                continue
            sent += rows
            left[write.model, write.id] = done
        if sent:
            await self._elsewhere.store.commit(Commit(sent=[Sent(row.key) for row in sent]))
        for row in sent:
            self._gone(row)
        for key, record in left.items():
            self._elsewhere.landed(key, record)
        for rows, why in lost:
            await self._park(rows, why)

    async def _over(self, rows: Sequence[Outgoing], held: Written) -> Record | str | None:
        """Write a chain over what is there instead; what it leaves, or why it cannot be."""
        for _ in range(TRIES):
            if held is None:
                return rows[-1].record
            if isinstance(held, AegisError):
                return held.detail
            write = _again(rows, held)
            if isinstance(write, str):
                return write
            (held,) = await self.ask(self.datasource.write([write]))
            if held is None:
                return write.record
        return "others keep changing it"

    async def _park(self, rows: Sequence[Outgoing], why: str) -> None:
        """Put a chain on the failed list, as one row that stays stored until somebody decides."""
        last = rows[-1]
        row = msgspec.structs.replace(last, expected=rows[0].expected, base=rows[0].base)
        failed = Failed(
            subscriber=PREFIX + row.key,
            seq=self._elsewhere.store.last_seq(),
            event=row.key,
            subject=row.id,
            error=f"{row.model} {row.id!r} in datasource {self.name!r}: {why}",
            attempts=1,
            time=self._elsewhere.clock.stamp(),
            what=row.model,
        )
        _log.error("a change was not written: %s", failed.error)
        sent = [Sent(one.key) for one in rows[:-1]]
        self.parked[row.key] = row
        try:
            await self._elsewhere.note(Commit(outgoing=[row], sent=sent, failed=[failed]))
        except BaseException:
            del self.parked[row.key]
            raise
        for one in rows:
            self._gone(one)

    async def again(self, key: str) -> None:
        """Write what was parked over the record as it is now. Raises ConflictError, StoreError."""
        row = self.parked[key]
        for _ in range(TRIES):
            await self.written(row.model)
            record = await self.ask(self.datasource.get(row.model, row.id))
            write = _forced(row, record)
            (held,) = await self.ask(self.datasource.write([write]))
            if held is None:
                self._elsewhere.landed((row.model, row.id), write.record)
                return
            if isinstance(held, AegisError):
                raise held
        raise ConflictError(f"others keep changing {row.model} {row.id!r}")


def _write(rows: Sequence[Outgoing], expected: int) -> Write:
    last = rows[-1]
    return Write(key=last.key, model=last.model, id=last.id, expected=expected, record=last.record)


def _again(rows: Sequence[Outgoing], held: Held) -> Write | str:
    """How a chain of changes is written over what is `held`, or why it cannot be."""
    there = held.record
    keys = [row.key for row in rows]
    if there is not None and held.key in keys:  # written before a crash, as far as this one
        return _write(rows, there.revision)
    if there is None:
        if any(row.record is None for row in rows[:-1]):
            return _write(rows, 0)
        return "it was deleted by others meanwhile"
    last = rows[-1]
    if last.record is None:
        return "it was changed by others meanwhile, and is not deleted"
    if rows[0].expected == 0 or any(row.record is None for row in rows):
        return "there is another one of that id, made by others"
    before, after, now = map(_FIELDS.decode, (rows[0].base, last.record.doc, there.doc))
    ours = _changed(before, after)
    theirs = _changed(before, now)
    # Also where both say the same: two that counted from 1 to 2 have counted to 3.
    both = sorted(ours & theirs)
    if both:
        return f"others changed {', '.join(both)} meanwhile"
    return _merged(last, last.record, there, {name: after[name] for name in ours})


def _forced(row: Outgoing, there: Record | None) -> Write:
    """How a parked change is written over the record as it is, whoever changed what."""
    if there is None and row.expected and row.record is not None:
        raise ConflictError(
            f"{row.model} {row.id!r} is gone", hint="create it anew, or discard this failure"
        )
    if there is None or row.record is None:
        return _write([row], 0 if there is None else there.revision)
    before = _FIELDS.decode(row.base) if row.base else {}
    after = _FIELDS.decode(row.record.doc)
    ours = {name: after[name] for name in _changed(before, after)}
    return _merged(row, row.record, there, ours)


def _merged(row: Outgoing, ours: Record, there: Record, fields: Mapping[str, msgspec.Raw]) -> Write:
    record = msgspec.structs.replace(
        ours,
        revision=there.revision + 1,
        created=there.created,
        doc=_encode({**_FIELDS.decode(there.doc), **fields}),
    )
    return Write(key=row.key, model=row.model, id=row.id, expected=there.revision, record=record)


def _changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> set[str]:
    """The fields of `after` that `before` has not, or not so. Spaces make no difference."""

    def plain(raw: Any) -> Any:
        return None if raw is None else msgspec.json.decode(raw)

    return {
        name
        for name, value in after.items()
        if name not in before or plain(before[name]) != plain(value)
    }
