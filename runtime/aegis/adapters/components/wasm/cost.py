"""Counts what one guest costs: computing, waiting, memory, and the calls that were stopped."""

from __future__ import annotations

import threading
from collections import Counter, deque
from weakref import WeakKeyDictionary

from aegis.adapters.components.wasm.instance import Instance
from aegis.core.guest import GuestCost, Stop

TIMED = 128  # the last calls, of whose waiting p50 and p99 are told


class Cost:
    """What a guest did so far. Its threads tell it, any thread may ask."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls = 0
        self._seconds = 0.0
        self._stopped: Counter[str] = Counter()
        self._waits: deque[float] = deque(maxlen=TIMED)
        # Only an instance's own thread may look into it, so its size is noted there.
        self._sizes: WeakKeyDictionary[Instance, int | None] = WeakKeyDictionary()

    def ended(self, seconds: float, waited: float, instance: Instance | None) -> None:
        """A call has ended, which waited for its turn and computed, in seconds.

        `instance` is what goes on to the next one, None where it is of no use any more.
        """
        size = None if instance is None else instance.memory
        with self._lock:
            self._calls += 1
            self._seconds += seconds
            self._waits.append(waited)
            if instance is not None:
                self._sizes[instance] = size

    def stopped(self, kind: Stop) -> None:
        """A call was stopped."""
        with self._lock:
            self._stopped[kind] += 1

    def told(self, *, queued: int, threads: int) -> GuestCost:
        """All of it, with what the guest itself knows."""
        with self._lock:
            calls, seconds = self._calls, self._seconds
            stopped = dict(self._stopped)
            waits, sizes = sorted(self._waits), list(self._sizes.values())
        return GuestCost(
            calls=calls,
            seconds=round(seconds, 6),
            stopped=stopped,
            queued=queued,
            wait_p50=round(waits[len(waits) // 2] * 1e3, 3) if waits else None,
            wait_p99=round(waits[len(waits) * 99 // 100] * 1e3, 3) if waits else None,
            threads=threads,
            instances=len(sizes),
            memory=None if None in sizes else sum(size or 0 for size in sizes),
        )
