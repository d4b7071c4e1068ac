"""The circuit breaker between one user of the graph and one partner, with who waits for it."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Iterable, Mapping
from time import perf_counter
from typing import TYPE_CHECKING, Any

from aegis.core.breaker import Breaker, Breaking, State
from aegis.core.errors import BreakerOpenError
from aegis.core.event import Emission
from aegis.core.wire import Breaker as Standing
from aegis.engine.work import Work

if TYPE_CHECKING:
    from aegis.engine.monitor import Monitor

# What an author says of a port's breaker: None leaves it to the configuration.
Said = bool | Mapping[str, Any] | None

_log = logging.getLogger("aegis.host")


class Gate:
    """A breaker in the host: its timer, its waiters, and how its changes become known.

    It belongs to a loaded revision and ends with it. On the host's loop only.
    """

    def __init__(
        self, monitor: Monitor, said: Said, label: str, user: str, part: str, edge: str
    ) -> None:
        self.breaker = Breaker(None)
        self._said = said
        self.name = f"{_short(user)} -> {_short(part).rpartition('.')[2]}"
        self.edge = edge
        self._user = user
        self._part = part
        self._label = label
        self._monitor = monitor
        self._since = ""
        self._until = ""
        self._closed = False
        self._shown = True
        self._timer: asyncio.TimerHandle | None = None
        self._waiters: list[asyncio.Future[None]] = []

    @property
    def standing(self) -> Standing:
        """Since when it is not closed, and until when it asks nothing, as views show it."""
        is_open = self.breaker.state is State.OPEN
        return Standing(since=self._since, until=self._until if is_open else None)

    def tune(self, usual: Breaking | None) -> None:
        """Go by the `usual` numbers from now on, where the author said no other."""
        numbers = usual if self._said is None else Breaking.of(said=self._said, usual=usual)
        if numbers == self.breaker.numbers:
            return
        if self.breaker.tune(numbers):
            self._tell("closed", "the configuration turned it off")
            self._wake()
        elif self.breaker.state is State.OPEN and not self._closed:
            self._wait()

    def refused(self) -> BreakerOpenError:
        """What a call gets that is not let through."""
        if not self._shown:
            self._shown = True
            self._show(self.breaker.state)
        return BreakerOpenError(
            f"breaker of {self.name} is {self.breaker.state.value} since {self._since}: "
            "its partner kept failing, nothing was asked",
            retry_after=max(1, math.ceil(self.breaker.left(perf_counter()))),
            edge=self.edge,
            since=self._since,
        )

    def admit(self, work: Work) -> None:
        """Let an attempt through as the probe, of a breaker that is half-open and ready."""
        self.breaker.admit(work)
        self._tell("probed", f"a probe is let through, for {work.subject}")

    def heard(self, now: float, work: Work | None, error: str | None) -> None:
        """The partner answered an attempt, or failed it with `error`."""
        if not self.breaker.heard(now, work, failed=error is not None) or self._closed:
            return
        if error is None:
            self._tell("closed", "its probe was answered")
            self._wake()
            return
        self._since = self._monitor.stamp()
        self._until = self._monitor.stamp(self.breaker.pause)
        self._tell("opened", error)
        self._wait()

    def leave(self, work: Work) -> None:
        """An attempt has ended; a probe that asked nothing, or was cut, makes room for another."""
        if self.breaker.leave(work):
            self._wake()

    async def ready(self) -> None:
        """Return when it is worth while to look again for one that lets an attempt through."""
        if self._closed or self.breaker.ready(perf_counter()):
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        await waiter

    def rouse(self) -> None:
        """Other code may have come for who waits here; until somebody is refused it is not shown.

        A revision that is replaced stays loaded, for a rollback, and with it this.
        """
        self._shown = False
        self._show(None)
        self._wake()

    def close(self) -> None:
        """The revision is no more: nobody waits for it any longer."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        self._show(None)
        self._wake()

    def _wait(self) -> None:
        """Let the waiters try as soon as the pause is over."""
        if self._timer is not None:
            self._timer.cancel()
        if self.breaker.ready(perf_counter()):
            self._show(self.breaker.state)
            self._wake()
            return
        # Timers may be early by the resolution of the clock.
        pause = self.breaker.left(perf_counter()) + 0.001
        self._timer = asyncio.get_running_loop().call_later(pause, self._wait)

    def _wake(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    def _tell(self, verb: str, why: str) -> None:
        state = self.breaker.state
        self._show(state)
        level = logging.WARNING if state is State.OPEN else logging.INFO
        _log.log(level, "breaker of %s %s: %s", self.name, verb, why)
        data: dict[str, Any] = {
            "component": self._label.partition("@")[0],
            "port": _short(self._user),
            "part": _short(self._part),
            "why": why,
        }
        if verb == "opened":
            data["pause"] = self.breaker.pause
        self._monitor.publish(self._label, Emission(f"breaker.{verb}", data, self.edge))

    def _show(self, state: State | None) -> None:
        for id in (self.edge, self._user):
            bad = self._shown and not self._closed and state is not State.CLOSED
            self._monitor.meter(id).guard(self, state if bad else None)


def admit(gates: Iterable[Gate], work: Work) -> list[Gate]:
    """Let an attempt through all its breakers; those for which it is the probe.

    Raises BreakerOpenError when one does not let it; then none has.
    """
    probed = []
    for gate in gates:
        if gate.breaker.state is not State.CLOSED:
            if not gate.breaker.ready(perf_counter()):
                raise gate.refused()
            probed.append(gate)
    for gate in probed:
        gate.admit(work)
    return probed


def shut(gates: Iterable[Gate]) -> Gate | None:
    """The breaker that keeps an attempt waiting."""
    return next((gate for gate in gates if not gate.breaker.ready(perf_counter())), None)


def _short(id: str) -> str:
    """The node of the graph without its kind."""
    return id.partition(":")[2]
