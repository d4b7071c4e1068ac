"""Counts what one revision of a split component does: calls, errors, and how long they took."""

from __future__ import annotations

from collections import deque

# The last calls, of which p50 and p99 are told.
TIMED = 1024


class Tally:
    """The figures of one arm, on the host's loop."""

    __slots__ = ("calls", "changed", "errors", "times")

    def __init__(self) -> None:
        self.calls = 0
        self.errors = 0
        self.changed = 0  # the monitor's number of the last change
        self.times: deque[float] = deque(maxlen=TIMED)

    def ended(self, seconds: float, *, failed: bool) -> None:
        """A call has ended after `seconds`."""
        self.calls += 1
        self.errors += failed
        self.times.append(seconds)

    def quantile(self, share: float) -> float | None:
        """The time, in milliseconds, that a share of the last calls was within."""
        if not self.times:
            return None
        times = sorted(self.times)
        return round(times[min(len(times) - 1, int(len(times) * share))] * 1e3, 3)
