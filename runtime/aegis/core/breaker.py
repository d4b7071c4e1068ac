"""A circuit breaker: whether a partner is asked, by its last answers. It has no clock."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from enum import Enum
from typing import Any

import msgspec

from aegis.core.errors import InvalidError


class Breaking(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When a breaker opens, and for how long; times in seconds.

    It opens when of the last `window` outcomes, none older than `memory`, at least `volume` are
    there and the share `threshold` of them are failures. It then asks nothing for `pause`, which
    doubles up to `longest` while probes fail.
    """

    window: int = 20
    volume: int = 10
    threshold: float = 0.5
    memory: float = 60.0
    pause: float = 5.0
    longest: float = 60.0

    def __post_init__(self) -> None:
        if not 1 <= self.volume <= self.window:
            raise InvalidError(f"a breaker's volume must be 1 to {self.window}, its window")
        if not 0 < self.threshold <= 1:
            raise InvalidError(f"a breaker's threshold is a share above 0, not {self.threshold}")
        if self.memory <= 0 or not 0 < self.pause <= self.longest:
            raise InvalidError("a breaker's memory and pause must be above 0, longest not less")

    @classmethod
    def of(
        cls, *, said: bool | Mapping[str, Any], usual: Breaking | None = None
    ) -> Breaking | None:
        """The numbers that `said` means over the `usual` ones; None for `False`: no breaker.

        Raises InvalidError.
        """
        if isinstance(said, bool):
            return (usual or cls()) if said else None
        try:
            return msgspec.convert({**msgspec.to_builtins(usual or cls()), **said}, cls)
        except msgspec.ValidationError as error:
            raise InvalidError(f"breaker: {error}") from error


class State(Enum):
    """What a breaker does with the next call: ask, refuse, or ask just once as a probe."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


class Breaker:
    """The breaker of one partner. `who` is whatever stands for one attempt.

    Only attempts that it let through are heard: one that began before it opened says nothing of
    how the partner is since. Without `numbers` it lets every attempt through.
    """

    __slots__ = ("numbers", "outcomes", "pause", "probe", "since", "state")

    def __init__(self, numbers: Breaking | None) -> None:
        self.state = State.CLOSED
        self.outcomes: deque[tuple[float, bool]] = deque()
        self.tune(numbers)
        self.since = 0.0  # when it opened last
        self.probe: Any = None

    def tune(self, numbers: Breaking | None) -> bool:
        """Go by other numbers from now on; whether that closed it.

        An open one begins its pause, since it opened, by the new ones.
        """
        self.numbers = numbers
        self.outcomes = deque(self.outcomes, maxlen=0 if numbers is None else numbers.window)
        self.pause = 0.0 if numbers is None else numbers.pause
        closes = numbers is None and self.state is not State.CLOSED
        if closes:
            self.state, self.probe = State.CLOSED, None
        return closes

    def left(self, now: float) -> float:
        """Seconds until it may let a probe through."""
        return max(0.0, self.since + self.pause - now) if self.state is State.OPEN else 0.0

    def ready(self, now: float) -> bool:
        """Whether an attempt would be let through; its pause being over makes it half-open."""
        if self.state is State.OPEN and now >= self.since + self.pause:
            self.state = State.HALF_OPEN
        if self.state is State.CLOSED:
            return True
        return self.state is State.HALF_OPEN and self.probe is None

    def admit(self, who: Any) -> bool:
        """Let an attempt through, of a breaker that is ready; whether it is the probe."""
        if self.state is State.CLOSED:
            return False
        self.probe = who
        return True

    def heard(self, now: float, who: Any, *, failed: bool) -> bool:
        """The partner answered or failed; whether that opened or closed the breaker."""
        if self.numbers is None:
            return False
        if self.state is State.CLOSED:
            self.outcomes.append((now, failed))
            if not failed or not self._tripped(now, self.numbers):
                return False
        elif self.state is State.OPEN or who is not self.probe:
            return False
        elif failed:
            self.pause = min(2 * self.pause, self.numbers.longest)
        else:
            self.state, self.probe = State.CLOSED, None
            self.pause = self.numbers.pause
            self.outcomes.clear()
            return True
        self.state, self.since, self.probe = State.OPEN, now, None
        return True

    def leave(self, who: Any) -> bool:
        """An attempt has ended; whether it was a probe from which nothing was learnt."""
        if self.probe is not who:
            return False
        self.probe = None
        return True

    def _tripped(self, now: float, numbers: Breaking) -> bool:
        recent = [failed for time, failed in self.outcomes if now - time <= numbers.memory]
        return len(recent) >= numbers.volume and sum(recent) >= numbers.threshold * len(recent)
