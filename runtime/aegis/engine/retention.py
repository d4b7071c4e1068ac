"""Forgets what is old and needed by nothing, now and every hour, a little at a time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection
from datetime import timedelta

from aegis.core.errors import AegisError, StoreError
from aegis.core.keep import Keep
from aegis.engine.failures import Failures
from aegis.engine.flows import Flows
from aegis.protocols import Clock, Commit, Cursor, Entry, Kept, Old, Store

EVERY = 3600.0
BATCH = 500  # rows that one commit looks at or drops at most
PAUSE = 0.05  # seconds between two batches: the writer has others to serve
FORGOTTEN = "journal:forgotten"  # the cursor that says up to where events may be gone

_log = logging.getLogger("aegis.host")


class Retention:
    """What `keep` says, done. `needed` are the components whose cursors hold events.

    `forgotten` is the number of the last event that may be gone: of those up to it only what
    something needed was kept, which is all that an open flow, a line of the failed list or an
    event that waits to be claimed leads to.
    """

    def __init__(
        self,
        keep: Keep,
        store: Store,
        clock: Clock,
        flows: Flows,
        failures: Failures,
        needed: Callable[[], Collection[str]],
    ) -> None:
        self.forgotten = 0
        self._keep = keep
        self._store = store
        self._clock = clock
        self._flows = flows
        self._failures = failures
        self._needed = needed
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Read where the journal begins."""
        self.forgotten = await self._store.cursor(FORGOTTEN) or 0

    def start(self) -> None:
        """Run now and every hour."""
        self._task = asyncio.create_task(self._run())
        self._timer = asyncio.get_running_loop().call_later(EVERY, self.start)

    async def stop(self) -> None:
        """End what is under way; the next start goes on with it."""
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        try:
            await self.run()
        except StoreError as error:
            _log.warning("what is old stays for now: %s", error)
        except Exception:
            _log.exception("what is old stays for now")

    async def run(self) -> None:
        """Forget all that may go. Raises StoreError."""
        keep = self._keep
        old = Old(
            answers=self._ago(timedelta(hours=keep.answers_hours)),
            taken=self._ago(timedelta(days=keep.taken_days)),
            recordings=self._ago(timedelta(days=keep.recordings_days)),
        )
        while await self._store.forget(old, BATCH):
            await self._clock.sleep(PAUSE)
        await self._forget_failures()
        await self._forget_events()

    async def _forget_failures(self) -> None:
        """Discard the lines of the failed list that are too old, or too many."""
        days, most = self._keep.failed_days, self._keep.failed_most
        if days is None and most is None:
            return
        before = "" if days is None else self._ago(timedelta(days=days))
        failed = await self._store.failed()
        surplus = 0 if most is None else max(0, len(failed) - most)
        for number, line in enumerate(failed):
            if number < surplus or line.time < before:
                try:
                    await self._failures.discard(line.id)
                except StoreError:
                    raise
                except AegisError as error:  # it is gone already, or being dealt with
                    _log.info("%s stays on the failed list for now: %s", line.id, error)

    async def _forget_events(self) -> None:
        until = await self._until()
        last = await self._entry(until)
        if until <= self.forgotten or last is None:
            return
        kept = await self._kept()
        # Said before it is so: nobody may take what is left for all there was.
        await self._store.commit(Commit(cursors=[Cursor(FORGOTTEN, until)]))
        self.forgotten = until
        seq = 0
        while seq < until:
            seq = await self._store.forget_events(seq, until, kept, BATCH)
            await self._clock.sleep(PAUSE)
        flow: str | None = ""
        while flow is not None:
            flow = await self._store.forget_flows(flow, last.time, kept, BATCH)
            await self._clock.sleep(PAUSE)

    async def _until(self) -> int:
        """The last event that is too old or one too many, and that every cursor has passed."""
        last, until = self._store.last_seq(), 0
        if self._keep.events_most is not None:
            until = last - self._keep.events_most
        if self._keep.events_days is not None:
            until = max(until, await self._last_before(self._keep.events_days))
        needed = self._needed()
        for cursor in await self._store.cursors() if until > 0 else ():
            component = cursor.subscriber.removeprefix("absent:").split(":", 1)[0]
            if component in needed and cursor.seq >= 0:
                until = min(until, cursor.seq)
        return until

    async def _last_before(self, days: float) -> int:
        """The number of the last event that is more than `days` old, 0 when none is."""
        before = self._ago(timedelta(days=days))
        low, high = 0, self._store.last_seq()
        while low < high:  # events up to `low` are older, those after `high` are not
            middle = (low + high + 1) // 2
            entry = await self._entry(middle)
            if entry is not None and entry.time >= before:
                high = middle - 1
            else:
                low = middle
        return low

    async def _entry(self, seq: int) -> Entry | None:
        """The last event up to that number, as far as it is still there, else the next one."""
        found = await self._store.events(max(0, seq - 1), 1)
        return found[0] if found else None

    async def _kept(self) -> Kept:
        """What must stay, whatever its age."""
        events: set[str] = {one.event for one in await self._store.unclaimed()}
        flows: set[str] = set()
        steps = [step for run in self._flows.runs() for step in run.steps.values()]
        for run in self._flows.runs():
            flows.add(run.flow.id)
            events.add(run.flow.root)
        for line in await self._store.failed():
            events.add(line.event)
            if line.kind == "flow":
                stored = await self._store.flow(line.subscriber.partition(":")[2])
                if stored is not None:
                    flows.add(stored[0].id)
                    steps += stored[1]
        for step in steps:
            events.add(step.cause)
            if step.answer is not None:
                events.add(step.answer)
            events.update((step.joined or {}).values())
        return Kept(frozenset(events), frozenset(flows))

    def _ago(self, span: timedelta) -> str:
        return (self._clock.now() - span).isoformat(timespec="milliseconds").replace("+00:00", "Z")
