"""What is due at a time of the wall clock, in one queue with one sleeper."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import logging
from collections.abc import Callable, Hashable
from contextlib import suppress
from datetime import UTC, datetime

from aegis.protocols import Clock

# What was dropped stays in the queue until it is due; beyond so many it is tidied.
SLACK = 1024

_log = logging.getLogger("aegis.host")


class Timers:
    """Calls what is due. A key has one time at most; whoever sets it again changes it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._queue: list[tuple[datetime, int, Hashable]] = []
        self._live: dict[Hashable, tuple[int, Callable[[], None]]] = {}
        self._numbers = itertools.count()
        self._task: asyncio.Task[None] | None = None
        self._sooner: asyncio.Future[None] | None = None

    def __len__(self) -> int:
        return len(self._live)

    def set(self, key: Hashable, when: datetime, action: Callable[[], None]) -> None:
        """Call `action` at `when` or soon after; what is due already is called in a moment."""
        number = next(self._numbers)
        self._live[key] = (number, action)
        first = not self._queue or when < self._queue[0][0]
        heapq.heappush(self._queue, (when, number, key))
        if self._task is None:
            self._task = asyncio.create_task(self._run())
        elif first and self._sooner is not None and not self._sooner.done():
            self._sooner.set_result(None)

    def drop(self, key: Hashable) -> None:
        """Call nothing for `key`."""
        if self._live.pop(key, None) is not None and len(self._queue) > 2 * len(self._live) + SLACK:
            self._queue = [item for item in self._queue if self._is_live(item[1], item[2])]
            heapq.heapify(self._queue)

    async def close(self) -> None:
        """Call nothing any more."""
        self._queue.clear()
        self._live.clear()
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    def _is_live(self, number: int, key: Hashable) -> bool:
        known = self._live.get(key)
        return known is not None and known[0] == number

    async def _run(self) -> None:
        while self._queue:
            when, number, key = self._queue[0]
            if not self._is_live(number, key):
                heapq.heappop(self._queue)
            elif self._clock.now() >= when:
                heapq.heappop(self._queue)
                _, action = self._live.pop(key)
                try:
                    action()
                except Exception:
                    _log.exception("what was due at %s failed", when)
            else:
                await self._sleep(when)
        self._task = None

    async def _sleep(self, when: datetime) -> None:
        """Until `when`, or until something is due sooner."""
        self._sooner = asyncio.get_running_loop().create_future()
        sleeping = asyncio.ensure_future(self._clock.until(when))
        try:
            await asyncio.wait({sleeping, self._sooner}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleeping.cancel()
            self._sooner = None


def stamped(when: datetime) -> str:
    """A time as RFC 3339 with milliseconds and Z."""
    return when.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def time_of(stamp: str) -> datetime:
    """The time that RFC 3339 text says."""
    return datetime.fromisoformat(stamp)
