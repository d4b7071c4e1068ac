"""Follows addresses: a newer version in the range deploys by itself, after its gate."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec

from aegis.core.component import Source
from aegis.core.errors import (
    AegisError,
    BusyError,
    ClosedError,
    ConflictError,
    MigratingError,
    NotFoundError,
    SourceError,
    StoreError,
    clipped,
    closest,
)
from aegis.core.event import Emission
from aegis.core.lock import place_of, ref_of
from aegis.core.registry import Registry
from aegis.core.semver import is_range, newer, newest
from aegis.core.versions import Followed, coming, usual
from aegis.engine.fetching import Fetched, Fetching
from aegis.engine.locking import Locking
from aegis.engine.monitor import Monitor
from aegis.engine.startup import LIMIT, Deploying
from aegis.protocols import Clock

EVERY = 300.0  # seconds from one look to the next
MOST = 3600.0  # of these when the address does not answer
JITTER = 0.1

HELD = "component.held"
WHO = "follow"

# Says whether what is fetched may serve; raises an AegisError that tells why not.
Guard = Callable[[Source], Awaitable[Any]]

# What says nothing about the version itself: it is tried again at the next look.
_PASSING = (SourceError, MigratingError, BusyError, ClosedError, StoreError)

_log = logging.getLogger("aegis.host")


class _InTheWayError(ConflictError):
    """Something else is under way with the component, such as a split."""


class Following:
    """The addresses that one host follows, a task for each.

    What somebody said to the running host is in the lock, so that the next start follows it too.
    """

    def __init__(
        self,
        fetching: Fetching,
        locking: Locking,
        clock: Clock,
        monitor: Monitor,
        deploy: Deploying,
        registry: Callable[[], Registry],
        turn: asyncio.Lock,
    ) -> None:
        self.guard: Guard | None = None
        self._locking = locking
        self._fetching = fetching
        self._clock = clock
        self._monitor = monitor
        self._deploy = deploy
        self._registry = registry
        self._turn = turn
        self._unguarded: set[str] = set()
        self._followed: dict[str, Followed] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._first: dict[str, asyncio.Event] = {}  # set after the first look

    def states(self) -> Sequence[Followed]:
        """All that is followed, by name."""
        return [self._followed[name] for name in sorted(self._followed)]

    def state(self, name: str) -> Followed | None:
        """What is followed for a component, None when nothing is."""
        return self._followed.get(name)

    def begin(
        self, name: str, address: str, every: float | None, *, guarded: bool = True
    ) -> Followed:
        """Follow an address from now on, in the place of another one."""
        self._end(name)
        if not guarded:
            self._unguarded.add(name)
        live = self._registry().live.get(name)
        serves = None if live is None else live.version
        ref = ref_of(address)
        locked = self._locking.entry(name)
        followed = self._followed[name] = Followed(
            name=name,
            address=address,
            range=ref if is_range(ref) else usual(serves),
            every=every or EVERY,
            serves=serves,
            held=None if locked is None else locked.held,
            why="" if locked is None else locked.why,
        )
        self._first[name] = asyncio.Event()
        self._tasks[name] = asyncio.create_task(self._run(name))
        return followed

    async def looked(self, name: str) -> Followed:
        """What is followed for a component, as soon as its address was asked once.

        Raises NotFoundError when nothing is followed any more.
        """
        if name in self._first:
            await self._first[name].wait()
        if name not in self._followed:
            raise NotFoundError(f"nothing is followed for component {name!r}")
        return self._followed[name]

    def end(self, name: str) -> None:
        """Follow nothing for a component any more. Raises NotFoundError when nothing is."""
        if name not in self._followed:
            raise NotFoundError(
                f"nothing is followed for component {name!r}", hint=closest(name, self._followed)
            )
        self._end(name)

    def _end(self, name: str) -> None:
        self._followed.pop(name, None)
        self._unguarded.discard(name)
        first = self._first.pop(name, None)
        if first is not None:
            first.set()
        task = self._tasks.pop(name, None)
        if task is not None and task is not asyncio.current_task():
            task.cancel()
        self._monitor.clear(f"follow:{name}")
        self._monitor.clear(f"held:{name}")
        self._monitor.restated()

    async def close(self) -> None:
        """Follow nothing any more."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def swapped(self, registry: Registry) -> None:
        """Other components are live. Who went back to an older version does not want the newer."""
        for name, one in list(self._followed.items()):
            live = registry.live.get(name)
            if live is None:
                if one.serves is not None:  # it was undeployed
                    self._end(name)
                    self._locking.unfollow(name)
                continue
            if live.version == one.serves:
                continue
            before = one.serves
            self._put(name, serves=live.version)
            if before is not None and newer(before, live.version):
                self._hold(name, before, f"somebody went back to {live.version}")
            elif one.held is not None and not newer(one.held, live.version):
                self._put(name, held=None, why="")
                self._locking.say(name, held=None, why="")
                self._monitor.clear(f"held:{name}")

    async def _run(self, name: str) -> None:
        """Look now and then; when the address does not answer, more and more seldom."""
        failures = 0
        while True:
            try:
                await self.look(name)
                failures = 0
                self._well(name)
            except Exception as error:
                failures += 1
                self._ails(name, error)
            if name not in self._followed:
                return
            self._first[name].set()
            every = self._followed[name].every
            pause = max(every, min(every * 2 ** min(failures, 16), MOST))
            await self._clock.sleep(pause * (1 - JITTER * self._clock.dice()))

    def _well(self, name: str) -> None:
        self._put(name, problem=None)
        self._monitor.clear(f"follow:{name}")

    def _ails(self, name: str, error: Exception) -> None:
        """The address cannot be asked, or what it has not be had, for now."""
        if not isinstance(error, AegisError):
            _log.exception("following component %r", name)
        text = str(error) or type(error).__name__
        self._put(name, problem=text)
        self._monitor.report(f"follow:{name}", f"component {name!r} is followed: {text}")

    async def look(self, name: str) -> None:
        """Ask the address once, and deploy what is newer there. Raises what asking does."""
        one = self._followed[name]
        ref = ref_of(one.address)
        fetched: Fetched | None = None
        try:
            async with asyncio.timeout(LIMIT):
                versions: list[str] = []
                if not ref or is_range(ref):
                    offers = await self._fetching.offers(place_of(one.address))
                    versions = [offer.version for offer in offers]
                if not versions:  # it has only itself
                    fetched = await self._locking.newest(name)
                    versions = [fetched.source.version]
        except TimeoutError:
            raise SourceError(f"{one.address} does not answer within {LIMIT:g} s") from None
        self._put(name, newest=newest(versions, one.range), looked=self._clock.stamp())
        found = coming(versions, one.range, serves=one.serves, held=one.held)
        if found is not None:
            await self._take(name, found, fetched)

    async def _take(self, name: str, version: str, fetched: Fetched | None) -> None:
        """Deploy a version, or hold it back."""
        try:
            if fetched is None:
                async with asyncio.timeout(LIMIT):
                    fetched = await self._locking.fetch_version(name, version)
            if self.guard is not None and name not in self._unguarded:
                await self.guard(fetched.source)
            await self._serve(name, fetched)
        except TimeoutError:
            raise SourceError(f"{version} did not come within {LIMIT:g} s") from None
        except (_InTheWayError, *_PASSING):
            raise
        except Exception as error:
            if not isinstance(error, AegisError):
                _log.exception("component %r %s", name, version)
            why = str(error) or type(error).__name__
            text = f"component {name!r}: {version} is there, and does not serve: {why}"
            self._monitor.report(f"held:{name}", text)
            _log.warning("%s", text)
            self._hold(name, version, why)

    async def _serve(self, name: str, fetched: Fetched) -> None:
        async with self._turn:
            one = self._followed.get(name)  # as it is now: the guard may have taken its time
            version = fetched.source.version
            if one is None or coming([version], "*", serves=one.serves, held=one.held) is None:
                return
            try:
                await self._deploy([fetched], WHO)
            except ConflictError as error:
                raise _InTheWayError(error.detail, hint=error.hint) from error
        self._locking.keep(name, fetched)

    def _hold(self, name: str, version: str, why: str) -> None:
        """Let a version not come by itself; the next newer one may."""
        self._put(name, held=version, why=why)
        self._locking.say(name, held=version, why=clipped(why, 500))
        one = self._followed[name]
        data = {
            "component": name,
            "version": version,
            "serves": one.serves,
            "address": one.address,
            "why": why,
        }
        live = self._registry().live.get(name)
        label = name if live is None else live.label
        self._monitor.publish(label, Emission(HELD, data, name))

    def _put(self, name: str, **changed: Any) -> None:
        if name in self._followed:
            self._followed[name] = msgspec.structs.replace(self._followed[name], **changed)
            self._monitor.restated()
