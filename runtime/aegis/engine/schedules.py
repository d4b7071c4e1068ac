"""Listeners of times: says `schedule.fired` once for each, by what is stored."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta

from aegis.core.component import ListenerSpec, Revision
from aegis.core.event import Emission
from aegis.core.schedule import FIRED, Schedule
from aegis.engine.context import CALLER
from aegis.engine.engine import Engine
from aegis.engine.ledger import Draft, Ledger
from aegis.engine.listener import once
from aegis.engine.steps import STALLED
from aegis.engine.work import Work
from aegis.protocols import Cursor, Store

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)

_log = logging.getLogger("aegis.host")


def _row(component: str, listener: str) -> str:
    """The cursor whose seq is the time (ms since 1970) that was fired last."""
    return f"schedule:{component}:{listener}"


async def beginnings(
    revision: Revision, before: Revision | None, store: Store, now: datetime
) -> list[Cursor]:
    """Where the schedules of `revision` begin that are new, or other than in `before`: now."""
    known = {} if before is None else {spec.name: spec.schedule for spec in before.listeners}
    return [
        Cursor(row, _ms(now))
        for spec in revision.listeners
        if spec.schedule is not None
        for row in [_row(revision.name, spec.name)]
        if (spec.name in known and known[spec.name] != spec.schedule)
        or await store.cursor(row) is None
    ]


class Schedules:
    """The schedules of the live components, each a task that waits for its next time.

    A time is fired by moving the schedule's row in the commit that publishes the event, so never
    twice. Of times that passed while nobody looked the latest is fired.
    """

    def __init__(self, ledger: Ledger, engine: Callable[[], Engine]) -> None:
        self._ledger = ledger
        self._engine = engine
        self._tasks: dict[tuple[str, Schedule], asyncio.Task[None]] = {}

    async def follow(self, revisions: Sequence[Revision]) -> None:
        """Keep exactly the schedules of `revisions`."""
        wanted = {(_row(r.name, s.name), schedule): (r, s) for r, s, schedule in _of(revisions)}
        for key in [key for key in self._tasks if key not in wanted]:
            await self._stop(key)
        for key, (revision, spec) in wanted.items():
            if key not in self._tasks:
                row, schedule = key
                work = self._keep(row, schedule, revision.name, spec.name)
                self._tasks[key] = asyncio.create_task(work)

    async def close(self) -> None:
        """Fire nothing more; what comes meanwhile is made up for after the next start."""
        for key in list(self._tasks):
            await self._stop(key)

    async def _stop(self, key: tuple[str, Schedule]) -> None:
        task = self._tasks.pop(key)
        task.cancel()
        await asyncio.wait([task])
        await self._ledger.free(key[0])  # who keeps it next reads the row

    async def _keep(self, row: str, schedule: Schedule, component: str, listener: str) -> None:
        CALLER.set(None)
        ledger, clock = self._ledger, self._ledger.clock
        while True:
            try:
                last = _time(await ledger.store.cursor(row) or _ms(clock.now()))
                due = schedule.latest(last, clock.now())
                if due is None:
                    await clock.until(schedule.next(last))
                    continue
                if not await self._fire(row, component, listener, due):
                    return
            except Exception:
                _log.exception("%s stands still, and tries again in %g s", row, STALLED)
                await clock.sleep(STALLED)

    async def _fire(self, row: str, component: str, listener: str, due: datetime) -> bool:
        """Say that the time has come; False when there is nobody left to hear it."""
        revision = self._engine().registry.live.get(component)
        specs = () if revision is None else revision.listeners
        spec = next((spec for spec in specs if spec.name == listener), None)
        if revision is None or spec is None:
            return False
        name = f"{component}:{listener}"
        if spec.once and await self._ledger.store.cursor(once(name)) is not None:
            return False
        at = due.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        work = Work(key=row, label=revision.label, origin="schedule")
        work.emissions.append(Emission(FIRED, {"at": at}, spec.subject))

        def mark(draft: Draft) -> None:
            draft.commit.cursors.append(Cursor(row, _ms(due)))

        await self._ledger.settle(self._engine().registry, work, locks=(row,), mark=mark)
        return not spec.once


def _of(revisions: Sequence[Revision]) -> Iterator[tuple[Revision, ListenerSpec, Schedule]]:
    for revision in revisions:
        for spec in revision.listeners:
            if spec.schedule is not None:
                yield revision, spec, spec.schedule


def _ms(time: datetime) -> int:
    return (time - _EPOCH) // _MILLISECOND


def _time(ms: int) -> datetime:
    return _EPOCH + ms * _MILLISECOND
