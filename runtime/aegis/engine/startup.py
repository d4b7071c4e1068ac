"""What a host deploys at its start: all that can be had together, what is late when it comes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Coroutine, Sequence
from typing import Any, Protocol

from aegis.core.errors import AegisError, ComponentError, SourceError
from aegis.core.registry import Registry
from aegis.engine.fetching import Fetched
from aegis.engine.locking import Locking
from aegis.engine.monitor import Monitor
from aegis.protocols import Clock

PATIENCE = 10.0  # seconds that the start waits for sources, all together
LIMIT = 300.0  # seconds that one fetch may take
FIRST = 1.0  # seconds of the first pause; the next ones are twice as long each
MOST = 300.0

WHO = "start"

_log = logging.getLogger("aegis.host")


class Deploying(Protocol):
    """Makes what was fetched serve, all in one swap. Raises ComponentError naming one at fault."""

    async def __call__(self, fetched: Sequence[Fetched], who: str) -> object: ...


class Startup:
    """Deploys the components that a host is to have. What is missing is tried again until it is.

    A component that somebody else deployed meanwhile is not missing any more. `turn` keeps it from
    deploying together with what follows the same components.
    """

    def __init__(
        self,
        locking: Locking,
        clock: Clock,
        monitor: Monitor,
        deploy: Deploying,
        registry: Callable[[], Registry],
        turn: asyncio.Lock,
    ) -> None:
        self._locking = locking
        self._clock = clock
        self._monitor = monitor
        self._deploy = deploy
        self._registry = registry
        self._missing: dict[str, str] = {}  # why each is not there
        self._had: dict[str, Fetched] = {}  # what was fetched and does not serve yet
        self._tasks: set[asyncio.Task[None]] = set()
        self._turn = turn

    def missing(self) -> Sequence[str]:
        """What is to be there and is not, each with the reason."""
        live = self._registry().live
        return [
            f"component {name}: {why}" for name, why in self._missing.items() if name not in live
        ]

    async def begin(self, names: Collection[str]) -> None:
        """Deploy `names`; back when each was tried, after twice `PATIENCE` seconds at most."""
        self._missing = dict.fromkeys(names, "it is being fetched")
        firsts = {name: self._spawn(self._fetch(name)) for name in names}
        if firsts:
            await asyncio.wait(firsts.values(), timeout=PATIENCE)
            # Code that takes its time to load must not keep the host from starting.
            await asyncio.wait([self._spawn(self._settle())], timeout=PATIENCE)
        for name, first in firsts.items():
            if name in self._missing:
                self._spawn(self._pursue(name, first))

    async def close(self) -> None:
        """Try nothing any more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _pursue(self, name: str, first: asyncio.Task[None]) -> None:
        """Try until it serves, more and more seldom."""
        if not first.done():
            await first
            await self._settle()
        pause = FIRST
        while self._is_missing(name):
            await self._clock.sleep(pause * (1 - self._clock.dice() / 2))
            pause = min(2 * pause, MOST)
            if self._is_missing(name):
                await self._fetch(name)
                await self._settle()

    def _is_missing(self, name: str) -> bool:
        if name in self._missing and name in self._registry().live:
            self._there(name)
        return name in self._missing

    async def _fetch(self, name: str) -> None:
        """Have it fetched, or note why it cannot be."""
        try:
            async with asyncio.timeout(LIMIT):
                self._had[name] = await self._locking.fetch(name)
        except TimeoutError:
            self._lacks(name, SourceError(f"its source does not answer within {LIMIT:g} s"))
        except Exception as error:
            self._lacks(name, error)

    async def _settle(self) -> None:
        """Deploy what was fetched: all together, without those that are refused."""
        async with self._turn:
            trying = {name: had for name, had in list(self._had.items()) if self._is_missing(name)}
            while trying:
                try:
                    await self._deploy(list(trying.values()), WHO)
                except ComponentError as error:
                    if error.component not in trying:
                        self._lack(trying, error)
                        return
                    self._lacks(error.component, error)
                    del trying[error.component]
                except Exception as error:
                    self._lack(trying, error)
                    return
                else:
                    for name in trying:
                        self._there(name)
                    return

    def _lack(self, names: Collection[str], error: Exception) -> None:
        for name in names:
            self._lacks(name, error)

    def _lacks(self, name: str, error: Exception) -> None:
        """Say why it is not there, once for each reason."""
        text = str(error) if isinstance(error, AegisError) else f"{type(error).__name__}: {error}"
        if self._missing.get(name) == text:
            return
        self._missing[name] = text
        known = isinstance(error, AegisError)
        _log.warning(
            "component %r is not there yet, and is tried again: %s",
            name,
            text,
            exc_info=None if known else error,
        )
        self._monitor.report(f"start:{name}", f"component {name!r} is not there yet: {text}")

    def _there(self, name: str) -> None:
        self._missing.pop(name, None)
        self._had.pop(name, None)
        self._monitor.clear(f"start:{name}")
