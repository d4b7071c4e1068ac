"""Deadlines of calls: coarse buckets behind one timer of the loop, a third of what timers cost."""

from __future__ import annotations

import asyncio
import heapq
import threading
from contextvars import Context
from typing import Protocol

# Buckets to a second, and to a deadline: it is seen so much late at most, and never early. More of
# them would only be more sets to keep.
GRAIN = 100


class Due(Protocol):
    """What has a deadline."""

    def expire(self) -> None:
        """Its deadline is over. On the loop."""


class Deadlines:
    """The deadlines of one loop, in buckets by time. Most are taken out long before they come."""

    __slots__ = ("_armed", "_buckets", "_order", "_timer", "loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._buckets: dict[int, set[Due]] = {}
        self._order: list[int] = []  # a heap of the buckets' times
        self._timer: asyncio.TimerHandle | None = None
        self._armed = 0  # for which bucket, while there is a timer

    def put(self, due: Due, seconds: float) -> set[Due]:
        """Expire `due` in so many seconds, unless it is taken out of the set that this gives."""
        slot = int((self.loop.time() + seconds) * GRAIN) + 1
        if seconds >= 2:
            slot += -slot % int(seconds)
        bucket = self._buckets.get(slot)
        if bucket is None:
            bucket = self._buckets[slot] = set()
            heapq.heappush(self._order, slot)
            if self._timer is None or slot < self._armed:
                self._arm(slot)
        bucket.add(due)
        return bucket

    def _arm(self, slot: int) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._armed = slot
        # Whose call it was that came first matters to nobody: its context may go.
        self._timer = self.loop.call_at(slot / GRAIN, self._fire, context=Context())

    def _fire(self) -> None:
        self._timer = None
        # The loop may call a timer early by the resolution of its clock.
        now = max(self._armed, int(self.loop.time() * GRAIN))
        while self._order and self._order[0] <= now:
            for due in self._buckets.pop(heapq.heappop(self._order)):
                due.expire()
        if self._order:
            self._arm(self._order[0])


class _Here(threading.local):
    deadlines: Deadlines | None = None


_here = _Here()


def deadlines() -> Deadlines:
    """The deadlines of the running loop."""
    loop = asyncio.get_running_loop()
    found = _here.deadlines
    if found is None or found.loop is not loop:
        found = _here.deadlines = Deadlines(loop)
    return found
