"""The system's clock: wall time, sleeping and time-ordered ids."""

from __future__ import annotations

import asyncio
import os
import random
import threading
import time
from datetime import UTC, datetime

_MILLISECOND = 1_000_000  # nanoseconds
LOOK = 30.0  # seconds after which a sleeper looks again at the wall clock
POOL = 2560  # bytes of randomness drawn at a time: a system call costs more than an id


class SystemClock:
    """Time and ids of this machine, in any thread.

    An id is a UUIDv7: 48 bits of milliseconds and 74 bits that are random at the first id of a
    millisecond and count up from there (RFC 9562, method 2). So ids rise even when the wall clock
    is set back.
    """

    def __init__(self) -> None:
        self._second = (0, "")
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._millisecond = 0
        self._head = ""  # the text of an id up to its last 48 bits, `_tail`
        self._tail = 0
        self._pool = b""
        self._used = POOL

    def now(self) -> datetime:
        """Wall time, timezone UTC."""
        return datetime.now(UTC)

    def stamp(self) -> str:
        """Wall time as RFC 3339 with milliseconds and Z."""
        second, rest = divmod(time.time_ns(), 1000 * _MILLISECOND)
        known, prefix = self._second  # one value, so that two threads cannot mix theirs
        if second != known:
            prefix = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
            self._second = (second, prefix)
        return f"{prefix}.{rest // _MILLISECOND:03d}Z"

    def id(self) -> str:
        """A new UUIDv7, rising within this process."""
        with self._lock:
            now = time.time_ns() // _MILLISECOND
            if now > self._millisecond:
                self._begin(now)
            elif self._pid == os.getpid():
                self._tail += 1
            else:  # a forked child would count on from where its parent does
                self._begin(self._millisecond + 1)
            return f"{self._head}{self._tail:012x}"

    def _begin(self, millisecond: int) -> None:
        pid = os.getpid()
        if self._used == POOL or pid != self._pid:  # a child has its parent's pool
            self._pid = pid
            self._pool, self._used = os.urandom(POOL), 0
        rest = int.from_bytes(self._pool[self._used : self._used + 10])
        self._used += 10
        self._millisecond = millisecond
        self._head = (
            f"{millisecond >> 16:08x}-{millisecond & 0xFFFF:04x}-"
            f"7{rest >> 68:03x}-{rest >> 52 & 0x3FFF | 0x8000:04x}-"
        )
        self._tail = rest & 0x7FFF_FFFF_FFFF  # half of the room is left to count

    def dice(self) -> float:
        """A random number from 0 up to 1."""
        return random.random()  # noqa: S311 -- it spreads retries, and guards nothing

    async def sleep(self, seconds: float) -> None:
        """Return after `seconds`."""
        await asyncio.sleep(seconds)

    async def until(self, when: datetime) -> None:
        """Return when wall time has reached `when`, also if the clock is set meanwhile."""
        while (left := (when - datetime.now(UTC)).total_seconds()) > 0:  # noqa: ASYNC110 -- it is wall time
            await asyncio.sleep(min(left, LOOK))
